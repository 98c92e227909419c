//! Columns that the folders on a file's path say: `lang=de/year=2024/`.

use std::{collections::HashMap, sync::Arc};

use datafusion::{
    arrow::{
        array::{ArrayRef, RecordBatch, RecordBatchOptions},
        compute::concat,
        datatypes::{FieldRef, Schema, SchemaRef},
        error::ArrowError,
    },
    common::ScalarValue,
    error::DataFusionError,
};
use dflow_io::{IoError, SourceBatch, SourceReader, Split, partition_of};
use dflow_pipeline::{BatchLimits, Fault};
use futures::stream::{BoxStream, StreamExt};

/// The columns of folders, in the order of the folders.
#[derive(Clone, Debug, Default)]
pub struct Partitions {
    /// Their names and types.
    pub fields: Vec<FieldRef>,
}

impl Partitions {
    /// What a file's folders say: columns and the texts of their values, `None` for null.
    pub fn said(split: &Split) -> Vec<(String, Option<String>)> {
        let folders = split.path.rsplit_once('/').map_or("", |(folders, _)| folders);
        folders.split('/').filter_map(partition_of).collect()
    }

    /// The values of a file.
    ///
    /// # Errors
    /// A value isn't of its column's type, or isn't there: a phrase that names the file.
    pub fn values(&self, split: &Split) -> Result<Vec<ScalarValue>, String> {
        let said = Self::said(split);
        let value = |field: &FieldRef| match said.iter().find(|(name, _)| name == field.name()) {
            None => Err(format!("`{}` is in no folder `{}=…`", split.uri(), field.name())),
            Some((_, None)) => ScalarValue::try_from(field.data_type()).map_err(|e| e.to_string()),
            Some((name, Some(value))) => ScalarValue::try_from_string(value.clone(), field.data_type()).map_err(|_| {
                let wanted = field.data_type().to_string().to_lowercase();
                format!("the folder `{name}={value}` of `{}` isn't {wanted}", split.uri())
            }),
        };
        self.fields.iter().map(value).collect()
    }
}

/// A reader whose rows have the columns of their files' folders behind those of the files.
#[derive(Debug)]
pub struct PartitionedReader {
    inner: Arc<dyn SourceReader>,
    partitions: Partitions,
    schema: SchemaRef,
}

impl PartitionedReader {
    /// The rows of `inner` with the columns of folders.
    pub fn new(inner: Arc<dyn SourceReader>, partitions: Partitions) -> Self {
        let fields = inner.schema().fields().iter().chain(&partitions.fields).cloned();
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        Self { inner, partitions, schema }
    }
}

impl SourceReader for PartitionedReader {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn uri_column(&self) -> Option<usize> {
        self.inner.uri_column()
    }

    fn open(
        &self,
        splits: Arc<[Split]>,
        projection: Arc<[usize]>,
        limits: BatchLimits,
    ) -> BoxStream<'static, Result<SourceBatch, IoError>> {
        let own = self.inner.schema().fields().len();
        let read: Arc<[usize]> = projection.iter().copied().filter(|i| *i < own).collect();
        let schema = self.schema.project(&projection).map(Arc::new);
        let (partitions, all) = (self.partitions.clone(), splits.clone());
        let mut known: HashMap<u32, Vec<ScalarValue>> = HashMap::new();
        let batches = self.inner.open(splits, read.clone(), limits);
        let batches = batches.map(move |batch| {
            let mut batch = batch?;
            let internal = |e: DataFusionError| IoError::new(Fault::Internal, e.to_string());
            for run in &batch.runs {
                if let std::collections::hash_map::Entry::Vacant(entry) = known.entry(run.split) {
                    let values = partitions.values(&all[run.split as usize]);
                    entry.insert(values.map_err(|e| IoError::new(Fault::Data, e))?);
                }
            }
            let column = |i: &usize| -> Result<ArrayRef, DataFusionError> {
                if let Some(at) = read.iter().position(|r| r == i) {
                    return Ok(batch.rows.column(at).clone());
                }
                let pieces =
                    batch.runs.iter().map(|run| known[&run.split][i - own].to_array_of_size(run.rows as usize));
                let pieces = pieces.collect::<Result<Vec<_>, _>>()?;
                match pieces.as_slice() {
                    [] => Ok(datafusion::arrow::array::new_empty_array(partitions.fields[i - own].data_type())),
                    [one] => Ok(one.clone()),
                    _ => Ok(concat(&pieces.iter().map(AsRef::as_ref).collect::<Vec<_>>())?),
                }
            };
            let columns = projection.iter().map(column).collect::<Result<Vec<_>, _>>().map_err(internal)?;
            let options = RecordBatchOptions::new().with_row_count(Some(batch.rows.num_rows()));
            let schema = schema.as_ref().map_err(|e: &ArrowError| IoError::new(Fault::Internal, e.to_string()))?;
            let rows = RecordBatch::try_new_with_options(schema.clone(), columns, &options);
            batch.rows = rows.map_err(|e| internal(e.into()))?;
            Ok(batch)
        });
        batches.boxed()
    }
}
