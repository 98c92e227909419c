//! Cases in files, held against a component. `sdk/rust/README.md` describes the format.

use std::{path::Path, sync::Arc};

use arrow::array::RecordBatch;
use dflow_plugin::testing::cases::{Case, ExpectedError, Outcome, check_file, files};
use dflow_wasm::Plugin;
use serde::Serialize;

use crate::{KitError, Workbench};

/// What came of a case.
#[derive(Clone, Debug, Serialize)]
pub struct Tested {
    /// The file's name.
    pub case: String,
    /// What differs, if it failed.
    pub wrong: Option<String>,
}

/// Runs all cases of a folder. With `bless`, they are rewritten to what came out.
///
/// # Errors
///
/// There is no case.
pub fn test(workbench: &Workbench, plugin: &Arc<Plugin>, folder: &Path, bless: bool) -> Result<Vec<Tested>, KitError> {
    let files = files(folder);
    if files.is_empty() {
        let what = format!("there is no case in `{}`", folder.display());
        return Err(KitError::outside(what).hint(
            "a case is a file `cases/NAME.json` with `operator`, `schema` and `rows`; `plugin test --bless` adds what comes out",
        ));
    }
    let mut run = |case: &Case, input: &RecordBatch| outcome(workbench, plugin, case, input);
    let mut tested = Vec::new();
    for file in files {
        if workbench.is_interrupted() {
            break;
        }
        let case = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        tested.push(Tested { case, wrong: check_file(&file, bless, &mut run).err() });
    }
    Ok(tested)
}

fn outcome(workbench: &Workbench, plugin: &Arc<Plugin>, case: &Case, input: &RecordBatch) -> Result<Outcome, String> {
    let mut open = workbench.open_case(plugin, case, input.schema()).map_err(|e| e.to_string())?;
    let answer = open.answer(input).map_err(|stopped| stopped.error.to_string())?;
    let (output, parents, errors) = answer.into_parts();
    let errors = errors.into_iter().map(|e| ExpectedError { row: e.row, kind: e.kind, message: e.message }).collect();
    Outcome::new(&output, &parents, errors)
}
