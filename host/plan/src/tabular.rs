//! Readers of csv, json, jsonl and arrow files.
//!
//! Decoding runs on the IO runtime's blocking threads, a few batches ahead. One split is one file; a file that can't be read,
//! or breaks in its middle, is a failure that names it, and the others go on.

use std::{
    io::{self, BufRead, BufReader, Read},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use datafusion::arrow::{
    array::RecordBatch,
    datatypes::{DataType, Field, Schema, SchemaRef},
    error::ArrowError,
};
use dflow_io::{BYTE_ORDER_MARK, Codec, IoError, Run, SourceBatch, SourceFailure, SourceReader, Split, Stores};
use dflow_pipeline::{BatchLimits, CsvOptions, Fault, Format};
use dflow_wasm::Cancel;
use futures::{Stream, StreamExt, stream, stream::BoxStream};
use tokio::{sync::mpsc, task::JoinHandle};

use crate::{
    arrow_file::{arrow_batches, arrow_schema},
    csv_rows::{self, Records},
    inline::{fit, infer, top},
    json_document::JsonDocument,
    json_rows::Objects,
    json_types::JsonTypes,
    rows::{BadRow, Rows, Sample, said},
};

/// Rows that types are inferred from.
const INFERRED_FROM: usize = 1000;
/// Bytes that are read at a time.
const BUFFER: usize = 1 << 20;
/// Batches that are decoded ahead.
const AHEAD: usize = 2;

/// Reads tabular files.
#[derive(Clone)]
pub(crate) struct TabularReader {
    stores: Stores,
    format: Format,
    csv: CsvOptions,
    /// How the files are compressed, if their names don't say it.
    codec: Option<Codec>,
    schema: SchemaRef,
    /// Whether the user says the columns' types.
    pinned: bool,
}

impl std::fmt::Debug for TabularReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TabularReader")
            .field("format", &self.format)
            .field("schema", &self.schema)
            .finish_non_exhaustive()
    }
}

type Batches = Box<dyn Iterator<Item = Result<RecordBatch, BadRow>>>;
type Sender = mpsc::Sender<Result<SourceBatch, IoError>>;

/// How first rows are looked at.
pub(crate) struct Sampling {
    /// The bytes of a row at most.
    pub(crate) max_row: usize,
    /// Ends it.
    pub(crate) cancel: Cancel,
}

/// A file that isn't read on when nobody wants its rows any more: the end of one may be far away.
struct Wanted<R, F> {
    file: R,
    wanted: F,
}

impl<R: Read, F: Fn() -> bool> Read for Wanted<R, F> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match (self.wanted)() {
            true => self.file.read(into),
            false => Err(io::Error::other("nobody wants its rows any more")),
        }
    }
}

impl TabularReader {
    /// Reads files with a pinned schema, or the one that their first rows show: on a thread that may block.
    pub(crate) fn new(
        stores: Stores,
        format: Format,
        csv: CsvOptions,
        codec: Option<Codec>,
        splits: &[Split],
        pinned: Option<SchemaRef>,
        sampling: &Sampling,
    ) -> Result<Self, IoError> {
        let (schema, pinned) = match pinned {
            Some(schema) => (schema, true),
            None => (schema_of(&stores, format, &csv, codec, splits, sampling)?, false),
        };
        Ok(Self { stores, format, csv, codec, schema, pinned })
    }

    /// The batches of one file, in the columns of `schema`, for who receives what is sent to `out`. `broke_off` is that of
    /// [`Stores::reader`].
    fn batches(
        &self,
        split: &Split,
        projection: &[usize],
        limits: &BatchLimits,
        broke_off: &Arc<AtomicBool>,
        out: &Sender,
    ) -> Result<Batches, IoError> {
        let opened = guarded(|| self.open_file(split, projection, limits, broke_off, out));
        opened.unwrap_or_else(|bad| Err(unreadable(split, self.format, &bad.message)))
    }

    fn open_file(
        &self,
        split: &Split,
        projection: &[usize],
        limits: &BatchLimits,
        broke_off: &Arc<AtomicBool>,
        out: &Sender,
    ) -> Result<Batches, IoError> {
        let failed = |e: ArrowError| unreadable(split, self.format, &e.to_string());
        let wanted = Arc::new(self.schema.project(projection).map_err(failed)?);
        let (rows, max_row) = (limits.rows as usize, limits.max_row.0 as usize);
        let file = self.stores.reader(split, self.codec, broke_off)?;
        let out = out.clone();
        let file = Wanted { file, wanted: move || !out.is_closed() };
        let objects = || Objects::new(wanted.clone()).coerced(self.pinned);
        let batches: Batches = match self.format {
            Format::Csv => {
                let file = BufReader::with_capacity(BUFFER, file);
                if self.csv.header {
                    let records = Records::by_name(file, &self.csv, &self.schema, projection, max_row);
                    let (records, file) = records.map_err(|e| unreadable(split, self.format, &e))?;
                    Box::new(Rows::new(file, records, rows, max_row).map_err(failed)?)
                } else {
                    let records = Records::by_place(&self.csv, &self.schema, projection);
                    Box::new(Rows::new(file, records, rows, max_row).map_err(failed)?)
                }
            }
            Format::Arrow => {
                let batches = arrow_batches(file, &wanted, self.pinned, rows);
                Box::new(batches.map_err(|e| unreadable(split, self.format, &e))?.map(|b| b.map_err(BadRow::from)))
            }
            Format::Json => {
                let file = BufReader::with_capacity(BUFFER, JsonDocument::new(file));
                Box::new(Rows::new(file, objects(), rows, max_row).map_err(failed)?)
            }
            _ => {
                let file = unmarked(file).map_err(|e| unreadable(split, self.format, &e.to_string()))?;
                Box::new(Rows::new(file, objects().in_lines(true), rows, max_row).map_err(failed)?)
            }
        };
        Ok(Box::new(batches.map(move |batch| Ok(fit(&batch?, &wanted)?))))
    }

    /// Decodes files one after the other into a channel.
    fn decode(&self, splits: &[Split], projection: &[usize], limits: &BatchLimits, out: &Sender) {
        let wanted = self.schema.project(projection).map(Arc::new);
        for (i, split) in splits.iter().enumerate() {
            let mut position = 0u64;
            let broke_off = Arc::new(AtomicBool::new(false));
            let failure = |position: u64, e: IoError| {
                let fault = if broke_off.load(Relaxed) { Fault::Outside } else { e.fault };
                let failed = vec![SourceFailure { split: i as u32, position, fault, message: e.message }];
                let rows =
                    RecordBatch::new_empty(wanted.as_ref().cloned().unwrap_or_else(|_| Arc::new(Schema::empty())));
                SourceBatch { rows, runs: Vec::new(), failed }
            };
            let broken = |position: u64, bad: &BadRow| {
                if bad.fault == Fault::Limit {
                    let what = format!("row {} of `{}` {}", position + 1, split.uri(), bad.message);
                    return IoError::new(bad.fault, what);
                }
                let place = match self.format {
                    // What a document's outside says has the row already.
                    Format::Json if bad.message.contains("row ") => String::new(),
                    Format::Arrow => String::new(),
                    _ if bad.last && position == 0 => String::new(),
                    _ if bad.last => format!("from row {} on: ", position + 1),
                    _ => format!("row {}: ", position + 1),
                };
                unreadable(split, self.format, &format!("{place}{}", bad.message))
            };
            let mut batches = match self.batches(split, projection, limits, &broke_off, out) {
                Ok(batches) => batches,
                Err(e) => {
                    if out.blocking_send(Ok(failure(0, e))).is_err() {
                        return;
                    }
                    continue;
                }
            };
            loop {
                let sent = match guarded(|| batches.next()) {
                    Ok(Some(Ok(rows))) => {
                        let run = Run { split: i as u32, position, rows: rows.num_rows() as u32 };
                        position += rows.num_rows() as u64;
                        out.blocking_send(Ok(SourceBatch { rows, runs: vec![run], failed: Vec::new() }))
                    }
                    Ok(None) => break,
                    Ok(Some(Err(bad))) if !bad.last => {
                        position += 1;
                        out.blocking_send(Ok(failure(position - 1, broken(position - 1, &bad))))
                    }
                    Ok(Some(Err(bad))) | Err(bad) => {
                        drop(out.blocking_send(Ok(failure(position, broken(position, &bad)))));
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
        let decoding = self.stores.io().spawn_blocking(move || reader.decode(&splits, &projection, &limits, &sender));
        decoded(receiver, decoding).boxed()
    }
}

/// What is decoded elsewhere. When that was lost, what it hadn't read yet must not look like the end.
fn decoded(
    batches: mpsc::Receiver<Result<SourceBatch, IoError>>,
    decoding: JoinHandle<()>,
) -> impl Stream<Item = Result<SourceBatch, IoError>> {
    stream::unfold((batches, Some(decoding)), |(mut batches, decoding)| async move {
        if let Some(batch) = batches.recv().await {
            return Some((batch, (batches, decoding)));
        }
        let lost = decoding?.await.err()?;
        let error = IoError::new(Fault::Internal, format!("a thread that reads files was lost: {lost}"))
            .hint("this is a mistake of dflow's; please report it");
        Some((Err(error), (batches, None)))
    })
}

/// What a decoder makes of a file. Its panic about a broken one is that file's failure, not ours.
fn guarded<T>(decode: impl FnOnce() -> T) -> Result<T, BadRow> {
    catch_unwind(AssertUnwindSafe(decode)).map_err(|_| BadRow::from("its decoder panicked".to_owned()))
}

/// A text without what some editors put before it.
fn unmarked(file: impl Read) -> io::Result<impl BufRead> {
    let mut file = BufReader::with_capacity(BUFFER, file);
    if file.fill_buf()?.starts_with(BYTE_ORDER_MARK) {
        file.consume(BYTE_ORDER_MARK.len());
    }
    Ok(file)
}

/// The failure of a file that was opened.
fn unreadable(split: &Split, format: Format, why: &str) -> IoError {
    let why = said(why.lines().next().unwrap_or_default());
    IoError::new(Fault::Data, format!("`{}` can't be read as {}: {why}", split.uri(), format.as_str()))
}

/// The schema that files show: inferred from the first rows.
fn schema_of(
    stores: &Stores,
    format: Format,
    options: &CsvOptions,
    codec: Option<Codec>,
    splits: &[Split],
    sampling: &Sampling,
) -> Result<SchemaRef, IoError> {
    let max_row = sampling.max_row;
    let open = |split: &Split| {
        let (file, cancel) = (stores.reader(split, codec, &Arc::default())?, sampling.cancel.clone());
        Ok::<_, IoError>(Wanted { file, wanted: move || !cancel.is_interrupted() })
    };
    let mut values = Vec::new();
    let failed = |split: &Split, e: String| unreadable(split, format, &e);
    let left_out = |split: &Split, row: &BadRow| failed(split, format!("a row {}", row.message));
    let objects = Objects::new(Arc::new(Schema::empty())).in_lines(format == Format::Jsonl);
    let records = Records::by_place(options, &Arc::new(Schema::empty()), &[]);
    let mut types = JsonTypes::default();
    let (mut csv, mut seen, mut broken) = (Schema::empty(), 0, None);
    let mixed = |split: &Split, what: String| {
        failed(split, what).hint("pin the columns that are read with `schema = { column = \"utf8\" }`")
    };
    for split in splits {
        let file = open(split)?;
        match format {
            Format::Arrow => {
                let schema = guarded(|| arrow_schema(file)).unwrap_or_else(|bad| Err(bad.message));
                return schema.map(|schema| viewed(&schema)).map_err(|e| failed(split, e));
            }
            Format::Json => {
                let sample = Sample::new(BufReader::new(JsonDocument::new(file)), &objects, max_row);
                let mut sample = BufReader::new(sample);
                let rows = serde_json::Deserializer::from_reader(&mut sample);
                for (i, row) in rows.into_iter::<serde_json::Value>().take(INFERRED_FROM - values.len()).enumerate() {
                    let row = row.map_err(|e| {
                        // Where in the document it stands is known for what the decoder meets, not for what we said.
                        let place = if e.is_io() { String::new() } else { format!("row {}: ", i + 1) };
                        failed(split, place + &e.to_string())
                    })?;
                    types.row(i as u64 + 1, &row).map_err(|what| mixed(split, what))?;
                    values.push(row);
                }
                if let Some(row) = &sample.get_ref().large {
                    broken.get_or_insert_with(|| left_out(split, row));
                }
                if values.len() >= INFERRED_FROM {
                    break;
                }
            }
            Format::Csv => {
                let sample = records.sample(file, max_row).map_err(|e| failed(split, e.to_string()))?;
                let (found, count) = csv_rows::format(options)
                    .infer_schema(sample, Some(INFERRED_FROM))
                    .map_err(|e| failed(split, e.to_string()))?;
                let found = if csv_rows::has_moments(&found) {
                    let again = records.sample(open(split)?, max_row).map_err(ArrowError::from);
                    let zoned = again.and_then(|again| csv_rows::zoned(again, options, found, count));
                    zoned.map_err(|e| failed(split, e.to_string()))?
                } else {
                    found
                };
                if csv.fields().is_empty() {
                    csv = found;
                } else {
                    csv = with_types_of(&csv, &found);
                }
                seen += count;
                // A column without values has the type that it shows in a later file.
                if !csv.fields().is_empty()
                    && (seen >= INFERRED_FROM || csv.fields().iter().all(|f| !f.data_type().is_null()))
                {
                    break;
                }
            }
            _ => {
                let file = unmarked(file).map_err(|e| failed(split, e.to_string()))?;
                let mut sample = BufReader::new(Sample::new(file, &objects, max_row));
                for (i, line) in sample.by_ref().lines().enumerate() {
                    let line = line.map_err(|e| failed(split, e.to_string()))?;
                    if line.trim().is_empty() {
                        continue;
                    }
                    let value =
                        serde_json::from_str::<serde_json::Value>(&line).map_err(|e| format!("line {}: {e}", i + 1));
                    let value = match value {
                        Ok(value) if value.is_object() => value,
                        // It fails alone when it is read, if others can be.
                        Ok(_) => {
                            broken.get_or_insert_with(|| failed(split, format!("line {} is not a JSON object", i + 1)));
                            continue;
                        }
                        Err(why) => {
                            broken.get_or_insert_with(|| failed(split, why));
                            continue;
                        }
                    };
                    types.row(i as u64 + 1, &value).map_err(|what| mixed(split, what))?;
                    values.push(value);
                    if values.len() >= INFERRED_FROM {
                        break;
                    }
                }
                if let Some(row) = &sample.get_ref().large {
                    broken.get_or_insert_with(|| left_out(split, row));
                }
                if values.len() >= INFERRED_FROM {
                    break;
                }
            }
        }
    }
    if !csv.fields().is_empty() {
        // Of a column without values nobody knows more than that they are text.
        let texts = csv.fields().iter().map(|field| match field.data_type().is_null() {
            true => Arc::new(Field::clone(field).with_data_type(DataType::Utf8)),
            false => field.clone(),
        });
        return Ok(viewed(&Schema::new(texts.collect::<Vec<_>>())));
    }
    if let Some(broken) = broken.filter(|_| values.is_empty()) {
        return Err(broken);
    }
    if values.is_empty() {
        let names: Vec<_> = splits.iter().take(3).map(Split::uri).collect();
        return Err(IoError::new(Fault::Data, format!("no rows to infer columns from in `{}`", names.join("`, `")))
            .hint("pin them with `schema = { column = \"utf8\" }`"));
    }
    infer(&values).map_err(|e| IoError::new(Fault::Data, e))
}

/// The columns, those without values with the types that others of their names have.
fn with_types_of(schema: &Schema, other: &Schema) -> Schema {
    let typed = schema.fields().iter().map(|field| match other.field_with_name(field.name()) {
        Ok(other) if field.data_type().is_null() => Arc::new(other.clone()),
        _ => field.clone(),
    });
    Schema::new(typed.collect::<Vec<_>>())
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

#[cfg(test)]
mod tests {
    use std::fs;

    use datafusion::arrow::{
        array::{ArrayRef, Int64Array},
        ipc::writer::StreamWriter,
    };
    use dflow_pipeline::Pipeline;
    use tokio::runtime::Handle;

    use super::*;

    /// A stream of three numbers.
    fn numbers() -> Vec<u8> {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..3));
        let batch = RecordBatch::try_from_iter([("number", numbers)]).expect("a batch");
        let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema()).expect("a stream");
        writer.write(&batch).expect("a batch");
        writer.finish().expect("an end");
        writer.into_inner().expect("its bytes")
    }

    /// The same with a width of numbers that there is none of, about which `arrow` panics.
    fn odd() -> Vec<u8> {
        let bytes = numbers();
        let width = 64i32.to_le_bytes();
        let places = (0..bytes.len() - width.len()).filter(|at| bytes[*at..].starts_with(&width));
        let mut odd = places.map(|at| {
            let mut odd = bytes.clone();
            odd[at] += 1;
            odd
        });
        odd.find(|odd| guarded(|| arrow_schema(&odd[..])).is_err()).expect("one of them is the width")
    }

    #[tokio::test]
    async fn a_panic_when_a_file_is_opened_is_its_failure() {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, content) in [("a.arrow", numbers()), ("b.arrow", odd()), ("c.arrow", numbers())] {
            fs::write(folder.path().join(name), content).expect("it can be written");
        }
        let stores = Stores::new(&Pipeline::default(), folder.path(), |_| None, Handle::current()).expect("stores");
        let splits = stores.list("*.arrow").await.expect("files");
        let sampling = Sampling { max_row: usize::MAX, cancel: Cancel::new() };
        let reader = |splits: &[Split]| {
            TabularReader::new(stores.clone(), Format::Arrow, CsvOptions::default(), None, splits, None, &sampling)
        };
        let read = reader(&splits).expect("the first one is whole");
        let batches = read.open(Arc::from(splits.as_slice()), Arc::from([0]), BatchLimits::default());
        let (mut rows, mut failed) = (Vec::new(), Vec::new());
        for batch in batches.collect::<Vec<_>>().await {
            let batch = batch.expect("no file ends the others");
            rows.extend(batch.runs.iter().map(|run| (run.split, run.rows)));
            failed.extend(batch.failed.into_iter().map(|failure| (failure.split, failure.fault, failure.message)));
        }
        assert_eq!(rows, [(0, 3), (2, 3)]);
        let why = "`b.arrow` can't be read as arrow: its decoder panicked";
        assert_eq!(failed, [(1, Fault::Data, why.to_owned())]);
        let error = reader(&splits[1..]).expect_err("nobody knows its columns");
        assert_eq!((error.fault, error.message.as_str()), (Fault::Data, why));
    }

    #[tokio::test]
    async fn who_is_lost_has_not_come_to_its_end() {
        let (sender, batches) = mpsc::channel(1);
        let decoding = tokio::task::spawn_blocking(move || {
            let _sender = sender;
            assert!(std::hint::black_box(false), "it is lost");
        });
        let decoded: Vec<_> = decoded(batches, decoding).collect().await;
        assert!(matches!(&decoded[..], [Err(error)] if error.fault == Fault::Internal), "{decoded:?}");
    }
}
