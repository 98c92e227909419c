//! Rows that failed, read back: grouped by what was wrong, row by row, and as one table.

use std::{collections::BTreeMap, fs::File, io::Write, path::Path, sync::Arc};

use datafusion::arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, StringArray, new_null_array},
    compute::{cast, filter_record_batch},
    datatypes::{DataType, Field, FieldRef, Schema, SchemaRef},
    error::ArrowError,
};
use dflow_io::{Codec, Encoder, Prepared, StagedFile};
use dflow_operators::{LETTER_COLUMNS, StepError, is_split};
use dflow_pipeline::{Fault, Format, Name};
use parquet::arrow::{
    ProjectionMask,
    arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder},
};
use serde::Serialize;

use crate::journal::{DeadSource, History};

/// Rows that are read at a time.
const ROWS: usize = 1024;

/// The rows that failed in what stands of a pipeline.
#[derive(Clone, Debug, Default)]
pub struct DeadRows {
    sources: Vec<DeadSource>,
    /// The `__id__` of those that are meant, when it isn't all.
    row: Option<String>,
}

/// Rows of a stage that failed in the same way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeadGroup {
    /// The stage.
    pub stage: Name,
    /// Whose fault.
    pub fault: String,
    /// A short name of what was wrong.
    pub kind: String,
    /// What was wrong.
    pub message: String,
    /// Whether they have gone on to a stage that reads the dead rows of this one.
    pub routed: bool,
    /// How many rows.
    pub rows: u64,
    /// The `__id__` of the first of them, where it has one.
    pub row: Option<String>,
    /// The file that it comes from, where that is known.
    pub uri: Option<String>,
}

impl DeadRows {
    /// All that failed in what the journal in a state folder says that stands. `None` when nothing was run.
    ///
    /// # Errors
    /// The journal can't be read.
    pub fn open(state: &Path) -> Result<Option<Self>, StepError> {
        let history = History::open(state)?;
        history.map(|history| Ok(Self { sources: history.dead()?, row: None })).transpose()
    }

    /// Those of one stage.
    #[must_use]
    pub fn of_stage(&self, stage: &Name) -> Self {
        let sources = self.sources.iter().filter(|source| source.stage == *stage).cloned().collect();
        Self { sources, row: self.row.clone() }
    }

    /// Of them the one with this `__id__`, as often as it has failed: [`each`](Self::each) and what writes rows give no others.
    #[must_use]
    pub fn of_row(self, row: &str) -> Self {
        Self { row: Some(row.to_owned()), ..self }
    }

    /// The stages at which rows failed.
    pub fn stages(&self) -> Vec<Name> {
        let mut stages: Vec<Name> = self.sources.iter().map(|source| source.stage.clone()).collect();
        stages.dedup();
        stages
    }

    /// How many rows there are.
    pub fn rows(&self) -> u64 {
        self.sources.iter().map(|source| source.rows).sum()
    }

    /// What was wrong: of each stage the most frequent first.
    ///
    /// # Errors
    /// A file isn't there or can't be read.
    pub fn groups(&self) -> Result<Vec<DeadGroup>, StepError> {
        let mut groups: BTreeMap<(Name, String, String), DeadGroup> = BTreeMap::new();
        for source in &self.sources {
            for batch in reader(&source.path, Some(&LETTER_COLUMNS))? {
                let batch = batch.map_err(|e| unreadable(&source.path, &e.to_string()))?;
                let texts = |name: &str| texts(&batch, name).map_err(|e| unreadable(&source.path, &e.to_string()));
                let [faults, kinds, messages, ids, uris] =
                    ["error_fault", "error_kind", "error_message", "row", "uri"].map(texts);
                let (faults, kinds, messages, ids, uris) = (faults?, kinds?, messages?, ids?, uris?);
                for i in 0..batch.num_rows() {
                    let of = |texts: &StringArray| texts.is_valid(i).then(|| texts.value(i).to_owned());
                    let (kind, message) = (kinds.value(i).to_owned(), messages.value(i).to_owned());
                    let group = groups.entry((source.stage.clone(), kind.clone(), message.clone()));
                    let group = group.or_insert_with(|| DeadGroup {
                        stage: source.stage.clone(),
                        fault: faults.value(i).to_owned(),
                        kind,
                        message,
                        routed: source.routed,
                        rows: 0,
                        row: of(&ids),
                        uri: of(&uris),
                    });
                    group.rows += 1;
                }
            }
        }
        let mut groups: Vec<DeadGroup> = groups.into_values().collect();
        groups.sort_by(|a, b| (&a.stage, b.rows).cmp(&(&b.stage, a.rows)));
        Ok(groups)
    }

    /// Hands the rows on, batch by batch, until it is told that it is enough: with `stage` and `run`, their columns, and what was wrong.
    ///
    /// # Errors
    /// A file isn't there or can't be read; what it is told.
    pub fn each<E: From<StepError>>(&self, mut given: impl FnMut(&RecordBatch) -> Result<bool, E>) -> Result<(), E> {
        for source in &self.sources {
            for batch in reader(&source.path, None)? {
                let mut batch = batch.map_err(|e| unreadable(&source.path, &e.to_string()))?;
                if let Some(row) = &self.row {
                    batch = only(&batch, row).map_err(|e| unreadable(&source.path, &e.to_string()))?;
                }
                let batch = whole(source, &batch).map_err(|e| unreadable(&source.path, &e.to_string()))?;
                if !given(&batch)? {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// The columns of all of them together: `stage`, `run`, then each row's own, then what was wrong. One that has several types is text.
    ///
    /// # Errors
    /// A file isn't there or can't be read.
    pub fn schema(&self) -> Result<SchemaRef, StepError> {
        let mut fields: Vec<FieldRef> = heads();
        let mut last: Vec<FieldRef> = Vec::new();
        for source in &self.sources {
            for field in builder(&source.path)?.schema().fields().iter().filter(|field| !is_split(field.name())) {
                let told = LETTER_COLUMNS.contains(&field.name().as_str());
                let known = if told { &mut last } else { &mut fields };
                match known.iter_mut().find(|known| known.name() == field.name()) {
                    // Another stage's rows don't have it.
                    None => known.push(Arc::new(Field::clone(field).with_nullable(true))),
                    Some(known) if known.data_type() != field.data_type() => {
                        *known = Arc::new(Field::new(field.name(), DataType::Utf8, true));
                    }
                    Some(_) => {}
                }
            }
        }
        fields.extend(last);
        Ok(Arc::new(Schema::new(fields)))
    }

    /// Writes the first rows as one table in a format.
    ///
    /// # Errors
    /// A file isn't there or can't be read; the format can't hold a column; the output fails.
    pub fn write<W: Write + Send>(&self, format: Format, codec: Codec, most: u64, out: W) -> Result<W, StepError> {
        let schema = self.schema()?;
        let mut encoder = Encoder::packed(format, codec, schema.clone(), out)?;
        self.each(|batch| {
            let left = most - encoder.rows();
            let batch = fitted(batch, &schema).map_err(|e| StepError::new(Fault::Data, e.to_string()))?;
            encoder
                .write(&batch.slice(0, usize::try_from(left).map_or(batch.num_rows(), |n| n.min(batch.num_rows()))))?;
            Ok::<bool, StepError>(encoder.rows() < most)
        })?;
        Ok(encoder.finish()?)
    }

    /// Writes all rows into a file, whole or not at all, in the format that its name says.
    ///
    /// # Errors
    /// As [`write`](Self::write); the name says no format that holds tables.
    pub fn export(&self, to: &Path) -> Result<Prepared, StepError> {
        let name = to.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let format =
            Format::of_name(&name).filter(|format| !matches!(format, Format::Text | Format::Html | Format::Blob));
        let Some(format) = format else {
            let what = format!("the name `{}` says no format that holds rows", to.display());
            return Err(StepError::new(Fault::Outside, what)
                .hint("end it in `.parquet`, `.jsonl`, `.json`, `.csv` or `.arrow`"));
        };
        let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let file = StagedFile::create(folder, &name)?;
        let prepared = self.write(format, Codec::of_name(&name), u64::MAX, file)?.finish()?.with_rows(self.rows());
        prepared.publish().inspect_err(|_| prepared.discard())?;
        Ok(prepared)
    }
}

/// The `__id__`s of the rows in a file of some that failed, of those that have one.
pub(crate) fn row_ids(path: &Path) -> Result<Vec<String>, StepError> {
    let mut ids = Vec::new();
    for batch in reader(path, Some(&["row"]))? {
        let batch = batch.map_err(|e| unreadable(path, &e.to_string()))?;
        let rows = texts(&batch, "row").map_err(|e| unreadable(path, &e.to_string()))?;
        ids.extend(rows.iter().flatten().map(str::to_owned));
    }
    Ok(ids)
}

/// The rows of a batch with this `__id__`.
fn only(batch: &RecordBatch, row: &str) -> Result<RecordBatch, ArrowError> {
    let ids = texts(batch, "row")?;
    filter_record_batch(batch, &ids.iter().map(|id| Some(id == Some(row))).collect::<BooleanArray>())
}

fn heads() -> Vec<FieldRef> {
    ["stage", "run"].iter().map(|name| Arc::new(Field::new(*name, DataType::Utf8, false))).collect()
}

/// A batch with the names of its stage and run.
fn whole(source: &DeadSource, batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let text = |text: &str| -> ArrayRef { Arc::new(StringArray::from(vec![text; batch.num_rows()])) };
    let fields: Vec<FieldRef> = heads().into_iter().chain(batch.schema().fields().iter().cloned()).collect();
    let columns = [text(source.stage.as_str()), text(&source.run)];
    let columns = columns.into_iter().chain(batch.columns().iter().cloned()).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
}

/// A batch with the columns of a schema: those that it hasn't are null.
fn fitted(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let columns = schema.fields().iter().map(|field| match batch.column_by_name(field.name()) {
        Some(column) if column.data_type() == field.data_type() => Ok(column.clone()),
        Some(column) => cast(column, field.data_type()),
        None => Ok(new_null_array(field.data_type(), batch.num_rows())),
    });
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    RecordBatch::try_new(schema.clone(), columns)
}

fn texts(batch: &RecordBatch, name: &str) -> Result<StringArray, ArrowError> {
    let column = batch.column_by_name(name);
    let column = column.ok_or_else(|| ArrowError::SchemaError(format!("it has no column `{name}`")))?;
    Ok(cast(column, &DataType::Utf8)?.as_string::<i32>().clone())
}

fn builder(path: &Path) -> Result<ParquetRecordBatchReaderBuilder<File>, StepError> {
    let file = File::open(path).map_err(|e| unreadable(path, &e.to_string()))?;
    ParquetRecordBatchReaderBuilder::try_new(file).map_err(|e| unreadable(path, &e.to_string()))
}

/// The batches of a file, with some of its columns or all.
fn reader(path: &Path, columns: Option<&[&str]>) -> Result<ParquetRecordBatchReader, StepError> {
    let builder = builder(path)?.with_batch_size(ROWS);
    let wanted = |name: &str| columns.map_or(!is_split(name), |columns| columns.contains(&name));
    let roots = builder.schema().fields().iter().enumerate().filter(|(_, field)| wanted(field.name()));
    let mask = ProjectionMask::roots(builder.parquet_schema(), roots.map(|(i, _)| i).collect::<Vec<_>>());
    builder.with_projection(mask).build().map_err(|e| unreadable(path, &e.to_string()))
}

fn unreadable(path: &Path, why: &str) -> StepError {
    let why = why.lines().next().unwrap_or_default();
    let what = format!("the rows that failed can't be read from `{}`: {why}", path.display());
    StepError::new(Fault::Outside, what).hint("`dflow-host run --fresh` does all again, and writes them anew")
}
