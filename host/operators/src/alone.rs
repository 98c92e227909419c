//! What one row of a batch does to an operator is that row's failure: the rows that aren't done yet are halved, on fresh guests, until the
//! row stands alone.

use std::{
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use datafusion::arrow::array::RecordBatch;
use dflow_pipeline::{BatchLimits, Fault};
use dflow_wasm::{Piece, Processed, Stopped, TIME, WasmError};

use crate::{error::StepError, operator_node::OperatorSpec, worker::Worker};

/// The first wait before something is tried again; each further one is twice as long.
const WAIT: Duration = Duration::from_millis(100);
/// Into how many parts what is asked of a model at a time is cut.
const PARTS: usize = 16;
/// The longest wait.
const LONGEST: Duration = Duration::from_secs(10);

/// A row without result.
#[derive(Clone, Debug)]
pub(crate) struct Lost {
    pub(crate) row: u32,
    pub(crate) fault: Fault,
    pub(crate) kind: String,
    pub(crate) message: String,
    pub(crate) attempts: u32,
}

/// What became of a batch.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Results, parents ascending from piece to piece.
    pub(crate) processed: Processed,
    /// Rows without result, ascending.
    pub(crate) lost: Vec<Lost>,
}

/// What came of a row alone, in the last of so many attempts.
enum Last {
    Done(Processed, u32),
    Failed(WasmError, &'static str, u32),
}

impl Outcome {
    /// Takes in what became of the rows that begin at `start`.
    fn add(&mut self, start: u32, attempts: u32, processed: Processed) {
        let pieces = processed
            .pieces
            .into_iter()
            .map(|piece| Piece { parents: piece.parents.into_iter().map(|parent| parent + start).collect(), ..piece });
        self.processed.pieces.extend(pieces);
        self.lost.extend(processed.errors.into_iter().map(|error| Lost {
            row: error.row + start,
            fault: Fault::Data,
            kind: error.kind,
            message: error.message,
            attempts,
        }));
    }
}

/// How a stage's operator fares with its rows, over all tasks of a run.
#[derive(Debug)]
pub struct Health {
    /// Rows that broke it or met a limit when they were alone.
    poisoned: AtomicU32,
    /// The rows that a batch may have.
    rows: AtomicU32,
    /// Batches that were done.
    pub(crate) batches: AtomicU64,
}

impl Default for Health {
    fn default() -> Self {
        Self { poisoned: AtomicU32::new(0), rows: AtomicU32::new(u32::MAX), batches: AtomicU64::new(0) }
    }
}

impl OperatorSpec {
    /// How batches are cut: smaller than the stage says when they took too long.
    pub(crate) fn batch_limits(&self) -> BatchLimits {
        let rows = match &self.operator {
            Worker::Asker(asker) => self.batch.rows.min((asker.window() / PARTS).max(1) as u32),
            worker if worker.streaming().is_some() => 1,
            _ => self.batch.rows,
        };
        BatchLimits { rows: rows.min(self.health.rows.load(Ordering::Relaxed)), ..self.batch }
    }

    /// What becomes of rows. With `whole`, whatever a row does to the operator ends the batch.
    pub(crate) async fn outcome(&self, input: &RecordBatch, whole: bool) -> Result<Outcome, StepError> {
        let mut outcome = Outcome::default();
        let mut left = vec![(0, input.num_rows())];
        // Whether a part took too long, whether one row alone did, and the largest part that didn't.
        let (mut late, mut late_alone, mut in_time) = (false, false, 0);
        while let Some((start, rows)) = left.pop() {
            let part = input.slice(start, rows);
            let Stopped { error, done, processed } = match self.operator.process(&part).await {
                Ok(processed) => {
                    in_time = in_time.max(rows);
                    self.audit(&part, &processed).await?;
                    outcome.add(start as u32, 1, processed);
                    continue;
                }
                Err(stopped) => stopped,
            };
            let Some(kind) = error.of_a_row else { return Err(error.into()) };
            late |= kind == TIME;
            let again = rows > 1 && (!whole || self.retries > 0);
            if again {
                // Those that were done are, and nobody sees them twice.
                let done = done as usize;
                in_time = in_time.max(done);
                outcome.add(start as u32, 1, processed);
                let (start, rows) = (start + done, rows - done);
                let half = rows / 2;
                let parts = [(start + half, rows - half), (start, half)];
                left.extend(parts.into_iter().filter(|(_, rows)| *rows > 0));
                continue;
            }
            let last = if rows == 1 { self.again(&part, error, kind).await? } else { Last::Failed(error, kind, 1) };
            match last {
                Last::Done(processed, attempts) => outcome.add(start as u32, attempts, processed),
                Last::Failed(error, ..) if whole => return Err(error.into()),
                Last::Failed(error, kind, attempts) => {
                    late_alone |= kind == TIME;
                    self.poisoned(&error)?;
                    let (row, fault, kind) = (start as u32, error.fault, kind.to_owned());
                    outcome.lost.push(Lost { row, fault, kind, message: error.of_lost_row(), attempts });
                }
            }
        }
        if late && !late_alone && in_time > 0 {
            // No row is to blame: the operator is slow, and needs smaller batches to be in time.
            if self.health.rows.fetch_min(in_time as u32, Ordering::Relaxed) > in_time as u32 {
                let (stage, rows) = (&self.stage, input.num_rows());
                tracing::warn!(
                    "stage `{stage}`: a batch of {rows} rows took longer than it may; from now on they have {in_time} at most"
                );
            }
        }
        Ok(outcome)
    }

    /// Tries a row again that failed alone, as often as the stage says.
    async fn again(&self, row: &RecordBatch, error: WasmError, kind: &'static str) -> Result<Last, StepError> {
        let mut last = (error, kind);
        for again in 1..=self.retries {
            tokio::time::sleep(wait(again)).await;
            match self.operator.process(row).await {
                Ok(processed) => return Ok(Last::Done(processed, again + 1)),
                Err(Stopped { error, .. }) => match error.of_a_row {
                    Some(kind) => last = (error, kind),
                    None => return Err(error.into()),
                },
            }
        }
        Ok(Last::Failed(last.0, last.1, self.retries + 1))
    }

    /// Counts a row that failed alone. Each may have cost as much time as a row is allowed, so there mustn't be many.
    pub(crate) fn poisoned(&self, error: &WasmError) -> Result<(), StepError> {
        let most = self.operator.most_poisoned();
        let count = self.health.poisoned.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if count <= most {
            return Ok(());
        }
        let what = format!(
            "stage `{}`: {count} rows broke its operator or met a limit, each alone, and {most} may; the last: {}",
            self.stage, error.message
        );
        Err(StepError::new(error.fault, what).hint(format!(
            "what is done stays done; `limits.poisoned` of the plugin moves it, and `dflow-host dead show --stage {}` shows such rows",
            self.stage
        )))
    }
}

/// How long to wait before something is tried for the so-manyeth time again: half of it by chance, so that not all try at once.
pub(crate) fn wait(again: u32) -> Duration {
    let most = WAIT.saturating_mul(1 << again.saturating_sub(1).min(16)).min(LONGEST);
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.subsec_nanos());
    most / 2 + most.mul_f64(f64::from(nanos % 1_000_003) / 1_000_003.0) / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_limit() {
        for (again, most) in [(1, 100), (2, 200), (4, 800), (40, 10_000)] {
            let wait = wait(again);
            assert!(
                (Duration::from_millis(most / 2)..=Duration::from_millis(most)).contains(&wait),
                "{again}: {wait:?}"
            );
        }
    }
}
