//! Where the rows of saved stages are: `store/STAGE/FINGERPRINT/` in the state folder, as Parquet files under the plan's names.

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use dflow_pipeline::Name;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};

use crate::fingerprint::Fingerprint;

/// Digits of a fingerprint in a folder's name: enough that no two of a stage have the same.
const DIGITS: usize = 16;

/// The folder for all that is saved of a stage.
pub(crate) fn store_of(state: &Path, stage: &Name) -> PathBuf {
    state.join("store").join(stage.as_str())
}

/// The folder for what is saved of a stage with a fingerprint.
pub(crate) fn store(state: &Path, stage: &Name, fingerprint: &Fingerprint) -> PathBuf {
    store_of(state, stage).join(&fingerprint.as_str()[..DIGITS])
}

/// Whether a stored file has all of these columns. What its stage shows is always there, but stages below may have come to read
/// more of its ancestors than when it was stored.
pub(crate) fn holds_columns(path: &Path, names: &[String]) -> bool {
    let Ok(file) = File::open(path) else { return false };
    let Ok(metadata) = ArrowReaderMetadata::load(&file, ArrowReaderOptions::new()) else { return false };
    names.iter().all(|name| metadata.schema().field_with_name(name).is_ok())
}
