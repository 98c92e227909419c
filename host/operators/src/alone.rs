//! What one row of a batch does to an operator is that row's failure: the batch is halved until the row stands alone.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use datafusion::arrow::array::RecordBatch;
use dflow_pipeline::Fault;
use dflow_wasm::{Piece, Processed, WasmError};

use crate::{error::StepError, operator_node::OperatorSpec};

/// The first wait before something is tried again; each further one is twice as long.
const WAIT: Duration = Duration::from_millis(100);
/// The longest wait.
const LONGEST: Duration = Duration::from_secs(10);

/// A row without result.
#[derive(Debug)]
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

impl OperatorSpec {
    /// What becomes of rows. With `whole`, whatever a row does to the operator ends the batch.
    pub(crate) async fn outcome(&self, input: &RecordBatch, whole: bool) -> Result<Outcome, StepError> {
        let mut outcome = Outcome::default();
        let mut left = vec![(0, input.num_rows())];
        while let Some((start, rows)) = left.pop() {
            let (part, place) = (input.slice(start, rows), start as u32);
            let error = match self.once(&part).await {
                Ok(processed) => {
                    outcome.add(place, 1, processed);
                    continue;
                }
                Err(error) => error,
            };
            let Some(kind) = error.of_a_row else { return Err(error.into()) };
            if rows > 1 && (!whole || self.retries > 0) {
                let half = rows / 2;
                left.extend([(start + half, rows - half), (start, half)]);
                continue;
            }
            let last = if rows == 1 { self.again(&part, error, kind).await? } else { Last::Failed(error, kind, 1) };
            match last {
                Last::Done(processed, attempts) => outcome.add(place, attempts, processed),
                Last::Failed(error, ..) if whole => return Err(error.into()),
                Last::Failed(WasmError { fault, message, .. }, kind, attempts) => {
                    outcome.lost.push(Lost { row: place, fault, kind: kind.to_owned(), message, attempts });
                }
            }
        }
        Ok(outcome)
    }

    /// Tries a row again that failed alone, as often as the stage says.
    async fn again(&self, row: &RecordBatch, error: WasmError, kind: &'static str) -> Result<Last, StepError> {
        let mut last = (error, kind);
        for again in 1..=self.retries {
            tokio::time::sleep(wait(again)).await;
            match self.once(row).await {
                Ok(processed) => return Ok(Last::Done(processed, again + 1)),
                Err(error) => match error.of_a_row {
                    Some(kind) => last = (error, kind),
                    None => return Err(error.into()),
                },
            }
        }
        Ok(Last::Failed(last.0, last.1, self.retries + 1))
    }

    async fn once(&self, part: &RecordBatch) -> Result<Processed, WasmError> {
        self.operator.process(part).await
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
