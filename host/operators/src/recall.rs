//! What an operator gave for the same content before: of a saved stage whose operator is pure, rows are known by a key of what goes
//! into its ports, and their results are in the files that were stored.

use std::{
    collections::HashMap,
    fs::File,
    ops::Range,
    path::PathBuf,
    sync::{Arc, OnceLock},
};

use datafusion::arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, UInt32Array},
    compute::{cast, concat_batches, interleave_record_batch, take_record_batch},
    datatypes::{DataType, Field, Schema, UInt32Type},
    error::ArrowError,
};
use dflow_wasm::{Piece, Processed};
use parquet::arrow::{
    ProjectionMask,
    arrow_reader::{ParquetRecordBatchReaderBuilder, RowSelection},
};
use serde::{Deserialize, Serialize};

use crate::{alone::Outcome, error::StepError, operator_node::OperatorSpec};

/// Rows of a file that a saved stage stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredRows {
    /// The file, Parquet.
    pub path: PathBuf,
    /// Which of its rows, ascending.
    pub rows: Vec<Range<u64>>,
}

/// What a stage gave before, read when it is first asked for.
#[derive(Debug)]
pub struct Recall {
    files: Vec<StoredRows>,
    results: OnceLock<Option<Results>>,
}

/// Results by the content that they are of.
#[derive(Debug)]
struct Results {
    /// The operator's columns.
    columns: RecordBatch,
    /// Where the rows are that came of one key.
    by_key: HashMap<u128, Range<usize>>,
}

impl Recall {
    /// What is in these files.
    pub fn new(files: Vec<StoredRows>) -> Self {
        Self { files, results: OnceLock::new() }
    }

    /// What becomes of rows, those left out that are known; and how many those are. `keys` are the rows' keys.
    pub(crate) async fn outcome(
        &self,
        spec: &OperatorSpec,
        key: &str,
        keys: &ArrayRef,
        input: &RecordBatch,
        whole: bool,
    ) -> Result<(Outcome, u64), StepError> {
        // What can't be read is no loss: it is made anew.
        let results =
            self.results.get_or_init(|| Results::read(&self.files, spec, key).ok().filter(|r| !r.by_key.is_empty()));
        let Some(results) = results else { return Ok((spec.outcome(input, whole).await?, 0)) };
        let keys = keys.as_string_view();
        let known: Vec<Option<Range<usize>>> =
            (0..input.num_rows()).map(|row| results.by_key.get(&number(keys.value(row))?).cloned()).collect();
        let left: Vec<u32> = (0u32..).zip(&known).filter(|(_, known)| known.is_none()).map(|(row, _)| row).collect();
        if left.len() == input.num_rows() {
            return Ok((spec.outcome(input, whole).await?, 0));
        }
        let mut outcome = match left.is_empty() {
            true => Outcome::default(),
            false => {
                let rows = take_record_batch(input, &UInt32Array::from(left.clone())).map_err(|e| internal(&e))?;
                spec.outcome(&rows, whole).await?
            }
        };
        outcome.lost.iter_mut().for_each(|lost| lost.row = left[lost.row as usize]);
        let recalled = (known.len() - left.len()) as u64;
        let made = outcome.processed.joined()?;
        let piece = results.with(&known, made.as_ref(), &left).map_err(|e| internal(&e))?;
        outcome.processed = Processed { pieces: vec![piece], ..Processed::default() };
        Ok((outcome, recalled))
    }
}

fn internal(error: &ArrowError) -> StepError {
    StepError::internal(format!("earlier results can't be taken: {error}"))
}

/// An id's digits as a number.
fn number(key: &str) -> Option<u128> {
    u128::from_str_radix(key, 16).ok()
}

impl Results {
    fn read(files: &[StoredRows], spec: &OperatorSpec, key: &str) -> Result<Self, ArrowError> {
        let fields = spec.columns.iter().map(|field| Field::clone(field).with_nullable(true));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let (mut batches, mut by_key) = (Vec::new(), HashMap::<u128, Range<usize>>::new());
        let (mut at, mut open) = (0, None);
        for StoredRows { path, rows } in files {
            let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path)?)?;
            let index = spec.children.as_ref().map(|children| children.index.as_str());
            let names = [key].into_iter().chain(index).chain(schema.fields().iter().map(|field| field.name().as_str()));
            let places = names.map(|name| reader.schema().index_of(name)).collect::<Result<Vec<_>, _>>()?;
            let all = reader.metadata().file_metadata().num_rows() as usize;
            let ranges = rows.iter().map(|rows| rows.start as usize..(rows.end as usize).min(all));
            let selection = RowSelection::from_consecutive_ranges(ranges, all);
            let mask = ProjectionMask::roots(reader.parquet_schema(), places);
            for batch in reader.with_projection(mask).with_row_selection(selection).build()? {
                let batch = batch?;
                let column = |name: &str| {
                    batch.column_by_name(name).ok_or_else(|| ArrowError::SchemaError(format!("no column {name}")))
                };
                let keys = cast(column(key)?, &DataType::Utf8View)?;
                let index = index.map(|index| cast(column(index)?, &DataType::UInt32)).transpose()?;
                let index = index.as_ref().map(|index| index.as_primitive::<UInt32Type>());
                for row in 0..batch.num_rows() {
                    let own = keys.is_valid(row).then(|| number(keys.as_string_view().value(row))).flatten();
                    // Two rows of one content may follow each other: each has a first child of its own.
                    let more = index.is_some_and(|index| index.value(row) > 0);
                    match (own, open) {
                        (Some(own), Some(last)) if more && own == last => {
                            by_key.entry(own).and_modify(|rows| rows.end = at + 1);
                        }
                        (Some(own), _) if !more && !by_key.contains_key(&own) => {
                            by_key.insert(own, at..at + 1);
                            open = Some(own);
                        }
                        _ => open = None,
                    }
                    at += 1;
                }
                let columns = schema.fields().iter().map(|field| cast(column(field.name())?, field.data_type()));
                let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
                let columns = columns.collect::<Result<Vec<_>, _>>()?;
                batches.push(RecordBatch::try_new_with_options(schema.clone(), columns, &options)?);
            }
            open = None;
        }
        Ok(Self { columns: concat_batches(&schema, &batches)?, by_key })
    }

    /// The results of all rows in their order: those that are known, and those that were made of the rows that were `left`.
    fn with(
        &self,
        known: &[Option<Range<usize>>],
        made: Option<&(RecordBatch, Vec<u32>)>,
        left: &[u32],
    ) -> Result<Piece, ArrowError> {
        let (mut places, mut parents) = (Vec::new(), Vec::new());
        let mut new =
            made.iter().flat_map(|(_, parents)| parents).map(|parent| left[*parent as usize]).enumerate().peekable();
        for (row, known) in (0u32..).zip(known) {
            let before = places.len();
            match known {
                Some(rows) => places.extend(rows.clone().map(|at| (0, at))),
                None => {
                    while let Some((at, _)) = new.next_if(|(_, parent)| *parent == row) {
                        places.push((1, at));
                    }
                }
            }
            parents.resize(parents.len() + places.len() - before, row);
        }
        let schema = self.columns.schema();
        let columns = match made {
            // An operator that only filters has none.
            _ if schema.fields().is_empty() => {
                let options = RecordBatchOptions::new().with_row_count(Some(places.len()));
                RecordBatch::try_new_with_options(schema, Vec::new(), &options)?
            }
            Some((made, _)) => {
                let made = RecordBatch::try_new(schema, made.columns().to_vec())?;
                interleave_record_batch(&[&self.columns, &made], &places)?
            }
            None => interleave_record_batch(&[&self.columns], &places)?,
        };
        Ok(Piece { columns, parents })
    }
}
