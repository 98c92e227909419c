//! Parquet files of a source: their columns.

use datafusion::{arrow::datatypes::SchemaRef, error::DataFusionError, execution::runtime_env::RuntimeEnv};
use dflow_io::{IoError, Split, Stores};
use dflow_operators::{ParquetFiles, parquet_metadata, unreadable_parquet};
use dflow_pipeline::Fault;
use parquet::arrow::parquet_to_arrow_schema;

use crate::tabular::viewed;

/// Files with a pinned schema, or that of the first of them.
pub(crate) async fn files(
    stores: &Stores,
    splits: &[Split],
    pinned: Option<SchemaRef>,
    runtime: &RuntimeEnv,
) -> Result<ParquetFiles, IoError> {
    let Some(split) = splits.first() else {
        return Err(IoError::new(Fault::Data, "there is no file to find columns in"));
    };
    let metadata = parquet_metadata(stores, split, runtime).await;
    if let Some(pinned) = pinned {
        return Ok(ParquetFiles::new(stores, &pinned, metadata.ok().as_deref()));
    }
    let broken = |e: &DataFusionError| IoError::new(Fault::Data, unreadable_parquet(split, e));
    let metadata = metadata.map_err(|e| broken(&e))?;
    let file = metadata.file_metadata();
    let schema =
        parquet_to_arrow_schema(file.schema_descr(), file.key_value_metadata()).map_err(|e| broken(&e.into()))?;
    Ok(ParquetFiles::new(stores, &viewed(&schema), Some(&metadata)))
}
