//! Whether an operator that says so gives the same answer for the same row: now and then a row is given once more, alone, to a fresh guest.

use std::sync::atomic::Ordering;

use datafusion::arrow::{array::RecordBatch, compute::concat_batches};
use dflow_pipeline::Fault;
use dflow_wasm::{Processed, Profile};

use crate::{error::StepError, operator_node::OperatorSpec, worker::Worker};

impl OperatorSpec {
    /// Gives the last row of a batch again, after the first batch of a run, the second, the fourth, and so on. Rows that weren't the same
    /// alone are the plugin's fault.
    pub(crate) async fn audit(&self, batch: &RecordBatch, processed: &Processed) -> Result<(), StepError> {
        let Worker::Operator(operator) = &self.operator else { return Ok(()) };
        let number = self.health.batches.fetch_add(1, Ordering::Relaxed) + 1;
        let determined = operator.description().profile != Profile::Open;
        // Before the last row there are most others: there it shows if something is kept from row to row.
        let Some(row) = batch.num_rows().checked_sub(1).filter(|_| determined && number.is_power_of_two()) else {
            return Ok(());
        };
        // Where there is no room for one more guest, or the row alone meets a limit, nothing is said about the operator.
        let Ok(mut fresh) = operator.fresh_instance().await else { return Ok(()) };
        let Ok(again) = fresh.process(&batch.slice(row, 1)).await else { return Ok(()) };
        if answer(processed, row as u32) == answer(&again, 0) {
            return Ok(());
        }
        let (stage, label) = (&self.stage, self.operator.label());
        let says = if operator.description().profile == Profile::Pure { "pure" } else { "seeded" };
        let what = format!(
            "stage `{stage}`: `{label}` says that it is {says}, and for row {row} of a batch it gave another answer than for the same row alone"
        );
        let hint = "it keeps something from row to row; that is a mistake of the plugin's, tell its author (its profile would be `open`)";
        Err(StepError::new(Fault::Plugin, what).hint(hint))
    }
}

/// What was given for a row: the kind of its error, and its rows.
fn answer(processed: &Processed, row: u32) -> (Option<&str>, Option<RecordBatch>) {
    let error = processed.errors.iter().find(|error| error.row == row).map(|error| error.kind.as_str());
    let pieces = processed.pieces.iter().filter_map(|piece| {
        let start = piece.parents.partition_point(|parent| *parent < row);
        let end = piece.parents.partition_point(|parent| *parent <= row);
        (start < end).then(|| piece.columns.slice(start, end - start))
    });
    let pieces: Vec<_> = pieces.collect();
    let rows = pieces.first().and_then(|first| concat_batches(&first.schema(), &pieces).ok());
    (error, rows)
}
