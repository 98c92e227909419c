//! Parquet files of a source: their columns.

use datafusion::{arrow::datatypes::SchemaRef, error::DataFusionError, execution::runtime_env::RuntimeEnv};
use dflow_io::{IoError, Split, Stores};
use dflow_operators::{ParquetFiles, Partitions, parquet_metadata, unreadable_parquet};
use dflow_pipeline::{At, Fault, Mistake};
use parquet::arrow::parquet_to_arrow_schema;

use crate::{partitions::refuse_both, problems::of_io, tabular::viewed};

/// Files with a pinned schema, or that of the first of them, and the columns of their folders.
pub(crate) async fn files(
    stores: &Stores,
    splits: &[Split],
    pinned: Option<SchemaRef>,
    at: &At,
    partitions: Partitions,
    runtime: &RuntimeEnv,
) -> Result<ParquetFiles, Mistake> {
    let failed = |e: IoError| of_io(at.key("read"), &e);
    let Some(split) = splits.first() else {
        if let Some(pinned) = pinned {
            return Ok(ParquetFiles::new(stores, &pinned, partitions, None).pinned());
        }
        return Err(failed(IoError::new(Fault::Data, "there is no file to find columns in")));
    };
    let metadata = parquet_metadata(stores, split, runtime).await;
    if let Some(pinned) = pinned {
        return Ok(ParquetFiles::new(stores, &pinned, partitions, metadata.ok().as_deref()).pinned());
    }
    let broken = |e: &DataFusionError| failed(IoError::new(Fault::Data, unreadable_parquet(split, e)));
    let metadata = metadata.map_err(|e| broken(&e))?;
    let file = metadata.file_metadata();
    let schema =
        parquet_to_arrow_schema(file.schema_descr(), file.key_value_metadata()).map_err(|e| broken(&e.into()))?;
    let schema = viewed(&schema);
    refuse_both(at, &schema, &partitions)?;
    Ok(ParquetFiles::new(stores, &schema, partitions, Some(&metadata)))
}
