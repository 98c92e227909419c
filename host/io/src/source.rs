//! Rows of a source: what a reader gives, and how.

use std::{fmt::Debug, sync::Arc};

use arrow::{datatypes::SchemaRef, record_batch::RecordBatch};
use dflow_pipeline::{BatchLimits, Fault};
use futures::stream::BoxStream;

use crate::{IoError, Split};

/// Rows that were read, where each comes from, and what could not be read.
#[derive(Clone, Debug)]
pub struct SourceBatch {
    /// The rows.
    pub rows: RecordBatch,
    /// Where the rows come from, in their order; the counts sum to the rows of `rows`.
    pub runs: Vec<Run>,
    /// What could not be read, by split and position.
    pub failed: Vec<SourceFailure>,
}

/// Consecutive rows of a batch that are consecutive in one split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The index of their split in the list that was given to [`SourceReader::open`].
    pub split: u32,
    /// The position of the first of them in the split; of a split's first row: 0.
    pub position: u64,
    /// How many they are.
    pub rows: u32,
}

/// A row, or the rest of a file, that could not be read. It is counted and named, never silently left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFailure {
    /// The index of its split in the list that was given to [`SourceReader::open`].
    pub split: u32,
    /// Its position in the split: no other row has it.
    pub position: u64,
    /// Whose fault it is.
    pub fault: Fault,
    /// What, as a lowercase phrase that names the split.
    pub message: String,
}

/// Makes rows of splits. Which rows, in which order and at which positions, never depends on where batches are cut.
pub trait SourceReader: Send + Sync + Debug {
    /// All columns that it can give.
    fn schema(&self) -> &SchemaRef;

    /// The index of the column that holds the URI of each row's file, if there is one.
    fn uri_column(&self) -> Option<usize> {
        None
    }

    /// What is known of splits before they are read, under the schema's names: columns that have one value in all rows of a split, and
    /// a row for each split. `None`: nothing is.
    fn known(&self, _splits: &Arc<[Split]>) -> Option<RecordBatch> {
        None
    }

    /// Streams the rows of some splits in order, with only the columns of `projection` (indices into the schema, in any
    /// order; empty: batches that have only a row count). It reads ahead on the IO runtime, within a bound of bytes.
    /// An error ends the stream.
    fn open(
        &self,
        splits: Arc<[Split]>,
        projection: Arc<[usize]>,
        limits: BatchLimits,
    ) -> BoxStream<'static, Result<SourceBatch, IoError>>;
}

/// Appends a row to runs.
pub fn push_row(runs: &mut Vec<Run>, split: u32, position: u64) {
    match runs.last_mut() {
        Some(run) if run.split == split && run.position + u64::from(run.rows) == position => run.rows += 1,
        _ => runs.push(Run { split, position, rows: 1 }),
    }
}

/// The split and position of each row.
pub(crate) fn each_row(runs: &[Run]) -> impl Iterator<Item = (u32, u64)> {
    runs.iter().flat_map(|run| (0..u64::from(run.rows)).map(|i| (run.split, run.position + i)))
}
