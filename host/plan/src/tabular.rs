//! Readers of csv and jsonl files.
//!
//! Decoding runs on the IO runtime's blocking threads, a few batches ahead. One split is one file; a file that can't be read,
//! or breaks in its middle, is a failure that names it, and the others go on.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    sync::Arc,
};

use datafusion::arrow::{
    array::RecordBatch,
    csv,
    datatypes::{Field, Schema, SchemaRef},
    error::ArrowError,
    json,
};
use dflow_io::{IoError, Run, SourceBatch, SourceFailure, SourceReader, Split, Stores};
use dflow_pipeline::{BatchLimits, CsvOptions, Fault, Format};
use futures::{StreamExt, stream::BoxStream};
use tokio::sync::mpsc;

use crate::inline::{fit, infer, top};

/// Rows that types are inferred from.
const INFERRED_FROM: usize = 1000;
/// Batches that are decoded ahead.
const AHEAD: usize = 2;

/// Reads tabular files.
#[derive(Clone)]
pub(crate) struct TabularReader {
    stores: Stores,
    format: Format,
    csv: CsvOptions,
    schema: SchemaRef,
}

impl std::fmt::Debug for TabularReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TabularReader")
            .field("format", &self.format)
            .field("schema", &self.schema)
            .finish_non_exhaustive()
    }
}

type Batches = Box<dyn Iterator<Item = Result<RecordBatch, String>>>;

impl TabularReader {
    /// Reads files with a pinned schema, or the one that their first rows show.
    pub(crate) fn new(
        stores: Stores,
        format: Format,
        csv: CsvOptions,
        splits: &[Split],
        pinned: Option<SchemaRef>,
    ) -> Result<Self, IoError> {
        let schema = match pinned {
            Some(schema) => schema,
            None => schema_of(&stores, format, &csv, splits)?,
        };
        Ok(Self { stores, format, csv, schema })
    }

    /// The batches of one file, in the columns of `schema`.
    fn batches(&self, path: &Path, projection: &[usize], limits: &BatchLimits) -> Result<Batches, String> {
        let wanted = Arc::new(self.schema.project(projection).map_err(|e| e.to_string())?);
        let text = |e: ArrowError| e.to_string();
        let rows = limits.rows as usize;
        let file = File::open(path).map_err(|e| e.to_string())?;
        let batches: Batches = match self.format {
            Format::Csv => {
                let reader = csv::ReaderBuilder::new(self.schema.clone())
                    .with_format(csv_format(&self.csv))
                    .with_projection(projection.to_vec())
                    .with_batch_size(rows);
                Box::new(reader.build(file).map_err(text)?.map(move |b| b.map_err(text)))
            }
            _ => {
                let reader = json::ReaderBuilder::new(wanted.clone()).with_batch_size(rows);
                Box::new(
                    reader.build(BufReader::with_capacity(1 << 20, file)).map_err(text)?.map(move |b| b.map_err(text)),
                )
            }
        };
        Ok(Box::new(batches.map(move |batch| fit(&batch?, &wanted))))
    }

    /// Decodes files one after the other into a channel.
    fn decode(
        &self,
        splits: &[Split],
        projection: &[usize],
        limits: &BatchLimits,
        out: &mpsc::Sender<Result<SourceBatch, IoError>>,
    ) {
        let wanted = self.schema.project(projection).map(Arc::new);
        for (i, split) in splits.iter().enumerate() {
            let path = self.stores.local_path(split);
            let mut position = 0u64;
            let mut row_by_row = limits.rows == 1;
            let failure = |position: u64, e: &str| {
                let message = format!(
                    "`{}` can't be read as {}: {}",
                    split.uri(),
                    self.format.as_str(),
                    e.lines().next().unwrap_or_default()
                );
                let failed = vec![SourceFailure { split: i as u32, position, fault: Fault::Data, message }];
                let rows =
                    RecordBatch::new_empty(wanted.as_ref().cloned().unwrap_or_else(|_| Arc::new(Schema::empty())));
                SourceBatch { rows, runs: Vec::new(), failed }
            };
            let mut batches = match self.batches(&path, projection, limits) {
                Ok(batches) => batches,
                Err(e) => {
                    if out.blocking_send(Ok(failure(0, &e))).is_err() {
                        return;
                    }
                    continue;
                }
            };
            loop {
                // A panic of a decoder on a broken file is that file's failure, not ours.
                let next = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| batches.next()));
                let sent = match next {
                    Ok(Some(Ok(rows))) => {
                        let run = Run { split: i as u32, position, rows: rows.num_rows() as u32 };
                        position += rows.num_rows() as u64;
                        out.blocking_send(Ok(SourceBatch { rows, runs: vec![run], failed: Vec::new() }))
                    }
                    Ok(None) => break,
                    // The rows before the bad one are good, whatever batch they are in: from here on, one row a batch.
                    Ok(Some(Err(_))) if !row_by_row => {
                        row_by_row = true;
                        match self.batches(&path, projection, &BatchLimits { rows: 1, ..*limits }) {
                            Ok(again) => batches = Box::new(again.skip(position as usize)),
                            Err(e) => {
                                drop(out.blocking_send(Ok(failure(position, &e))));
                                break;
                            }
                        }
                        continue;
                    }
                    Ok(Some(Err(e))) => {
                        drop(out.blocking_send(Ok(failure(position, &e))));
                        break;
                    }
                    Err(_) => {
                        drop(out.blocking_send(Ok(failure(position, "its decoder panicked"))));
                        break;
                    }
                };
                if sent.is_err() {
                    return;
                }
            }
        }
    }
}

impl SourceReader for TabularReader {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn open(
        &self,
        splits: Arc<[Split]>,
        projection: Arc<[usize]>,
        limits: BatchLimits,
    ) -> BoxStream<'static, Result<SourceBatch, IoError>> {
        let (sender, receiver) = mpsc::channel(AHEAD);
        let reader = self.clone();
        self.stores.io().spawn_blocking(move || reader.decode(&splits, &projection, &limits, &sender));
        futures::stream::unfold(
            receiver,
            |mut receiver| async move { receiver.recv().await.map(|batch| (batch, receiver)) },
        )
        .boxed()
    }
}

fn csv_format(options: &CsvOptions) -> csv::reader::Format {
    csv::reader::Format::default().with_header(options.header).with_delimiter(options.delimiter as u8)
}

/// The schema that files show: a parquet file's own, or inferred from the first rows.
fn schema_of(stores: &Stores, format: Format, options: &CsvOptions, splits: &[Split]) -> Result<SchemaRef, IoError> {
    let mut values = Vec::new();
    let failed = |split: &Split, e: String| {
        let message =
            format!("`{}` can't be read as {}: {}", split.uri(), format.as_str(), e.lines().next().unwrap_or_default());
        IoError::new(Fault::Data, message)
    };
    for split in splits {
        let path: PathBuf = stores.local_path(split);
        let file = File::open(&path).map_err(|e| failed(split, e.to_string()))?;
        match format {
            Format::Csv => {
                let (schema, _) = csv_format(options)
                    .infer_schema(file, Some(INFERRED_FROM))
                    .map_err(|e| failed(split, e.to_string()))?;
                if schema.fields().is_empty() {
                    continue;
                }
                return Ok(viewed(&schema));
            }
            _ => {
                for (i, line) in BufReader::new(file).lines().enumerate() {
                    let line = line.map_err(|e| failed(split, e.to_string()))?;
                    if line.trim().is_empty() {
                        continue;
                    }
                    let value: serde_json::Value =
                        serde_json::from_str(&line).map_err(|e| failed(split, format!("line {}: {e}", i + 1)))?;
                    if !value.is_object() {
                        return Err(failed(split, format!("line {} is not a JSON object", i + 1)));
                    }
                    values.push(value);
                    if values.len() >= INFERRED_FROM {
                        break;
                    }
                }
                if values.len() >= INFERRED_FROM {
                    break;
                }
            }
        }
    }
    if values.is_empty() {
        let names: Vec<_> = splits.iter().take(3).map(Split::uri).collect();
        return Err(IoError::new(Fault::Data, format!("no rows to infer columns from in `{}`", names.join("`, `")))
            .hint("pin them with `schema = { column = \"utf8\" }`"));
    }
    infer(&values).map_err(|e| IoError::new(Fault::Data, e))
}

/// A file's columns as ours.
pub(crate) fn viewed(schema: &Schema) -> SchemaRef {
    // Metadata of files (such as pandas') says nothing about our rows, and two files' may differ.
    let fields: Vec<_> = schema
        .fields()
        .iter()
        .map(|f| {
            Field::clone(f).with_data_type(top(f.data_type())).with_metadata(Default::default()).with_nullable(true)
        })
        .collect();
    Arc::new(Schema::new(fields))
}
