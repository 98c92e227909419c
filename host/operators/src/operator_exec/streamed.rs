//! Rows of which more comes than is to be held: results flow on while their row isn't done.
//!
//! As long as nothing of a row has flowed on, it fails as any other. After that its failure ends the task's attempt, and the next one leaves
//! the row out ([`LeftOut`]).

use std::sync::Arc;

use datafusion::{
    arrow::array::{Array, AsArray},
    common::{Result, runtime::SpawnedTask},
};
use dflow_pipeline::{Fault, OnError};
use dflow_wasm::{Operator, Piece, Processed, Stopped, WasmError};
use futures::{StreamExt, stream, stream::BoxStream};
use tokio::sync::mpsc;

use super::{Part, Results, Work, joined::Siblings};
use crate::{
    alone::{Lost, wait},
    error::StepError,
    held::{Held, memory_of},
    left_out::LeftOut,
    scope::{Failed, StageCounts},
    split_column::splits_of,
};

/// A row in work.
struct Row {
    work: Arc<Work>,
    operator: Arc<Operator>,
    part: Part,
    siblings: Siblings,
    /// What flows, and what is left at the end.
    flow: mpsc::Receiver<Vec<Piece>>,
    running: Option<SpawnedTask<Result<Processed, Stopped>>>,
    flowed: bool,
    /// The attempts that were begun.
    attempts: u32,
}

impl Work {
    /// The results of a part of one row, as they come.
    pub(super) fn streamed(self: Arc<Self>, part: Result<Part>) -> BoxStream<'static, Result<Results>> {
        match part.and_then(|part| self.begin(part)) {
            Ok(Ok(row)) => stream::try_unfold(Some(row), |row| async {
                match row {
                    Some(row) => row.next().await.map(Some),
                    None => Ok(None),
                }
            })
            .boxed(),
            Ok(Err(dead)) => stream::iter([Ok(dead)]).boxed(),
            Err(error) => stream::iter([Err(error)]).boxed(),
        }
    }

    /// Begins with a row; one that is dead already is.
    fn begin(self: Arc<Self>, part: Part) -> Result<Result<Row, Results>> {
        if self.scope.cancel.is_raised() {
            return Err(StepError::new(Fault::Outside, "interrupted").into());
        }
        let Some(operator) = self.spec.operator.streaming().cloned() else {
            return Err(StepError::new(Fault::Internal, "a row streams whose operator doesn't").into());
        };
        let one = StageCounts { rows_in: 1, ..StageCounts::default() };
        self.counters.add_each(&one, part.rows.num_rows(), splits_of(&part.rows));
        let (name, placed) = self.name_of(&part);
        let same = |row: &&LeftOut| row.stage == self.spec.stage && row.row == name && row.placed == placed;
        let left_out = self.scope.left_out.iter().find(same);
        let lost = left_out.map(|LeftOut { fault, kind, message, .. }| Lost {
            row: 0,
            fault: *fault,
            kind: kind.clone(),
            message: message.clone(),
            attempts: 1,
        });
        if let Some(lost) = lost.or_else(|| self.too_large(&part)) {
            return self.dead(&part, lost).map(Err);
        }
        let (_, flow) = mpsc::channel(1);
        let siblings = Siblings::default();
        let mut row = Row { work: self, operator, part, siblings, flow, running: None, flowed: false, attempts: 0 };
        row.start()?;
        Ok(Ok(row))
    }

    /// By what a row is found again in the next attempt, and whether that is its place.
    fn name_of(&self, part: &Part) -> (String, bool) {
        match &part.ids {
            Some(ids) if ids.is_valid(0) => (ids.as_string_view().value(0).to_owned(), false),
            _ => (format!("{}:{}", self.partition, part.place), true),
        }
    }

    /// A row that failed before anything of it flowed on.
    fn dead(&self, part: &Part, lost: Lost) -> Result<Results> {
        let failed = self.failures(&part.rows, part.ids.as_ref(), &[lost])?;
        let one = match self.spec.on_error {
            OnError::Skip => StageCounts { skipped: 1, ..StageCounts::default() },
            _ => StageCounts { failed: 1, ..StageCounts::default() },
        };
        self.counters.add_each(&one, 1, splits_of(&part.rows));
        let held = Held::new(&self.pool, self.holder());
        Ok(Results { ready: [].into(), failed, held: (held, part.held.clone()) })
    }
}

impl Row {
    /// Gives the row to a guest.
    fn start(&mut self) -> Result<()> {
        let (sender, flow) = mpsc::channel(1);
        let (operator, input) = (self.operator.clone(), self.work.input(&self.part)?);
        self.flow = flow;
        self.attempts += 1;
        self.running = Some(SpawnedTask::spawn(async move {
            // A guest that can't be made is no matter of rows.
            let made = operator.instance().await;
            let mut instance = made.map_err(|error| WasmError { of_a_row: None, ..error })?;
            let processed = instance.stream(&input, sender).await?;
            instance.release();
            Ok(processed)
        }));
        Ok(())
    }

    /// The next results, and the row unless it is done.
    async fn next(mut self) -> Result<(Results, Option<Self>)> {
        loop {
            if let Some(pieces) = self.flow.recv().await {
                self.flowed = true;
                let results = self.results(pieces)?;
                return Ok((results, Some(self)));
            }
            let Some(running) = self.running.take() else {
                return Err(StepError::new(Fault::Internal, "a row is done twice").into());
            };
            let ended = running.join_unwind().await;
            self.work.bill();
            let ended = ended.map_err(|e| StepError::new(Fault::Internal, format!("a task ended: {e}")))?;
            let error = match ended {
                Ok(processed) => match processed.errors.into_iter().next() {
                    None => return Ok((self.results(processed.pieces)?, None)),
                    Some(error) => {
                        let (attempts, fault) = (self.attempts, Fault::Data);
                        let lost = Lost { row: 0, fault, kind: error.kind, message: error.message, attempts };
                        return Ok((self.failed(lost)?, None));
                    }
                },
                Err(stopped) => stopped.error,
            };
            let Some(kind) = error.of_a_row else { return Err(StepError::from(error).into()) };
            let spec = &self.work.spec;
            if !self.flowed && self.attempts <= spec.retries {
                tokio::time::sleep(wait(self.attempts)).await;
                self.start()?;
                continue;
            }
            if spec.on_error == OnError::Fail {
                return Err(StepError::from(error).into());
            }
            spec.poisoned(&error)?;
            let (fault, kind, attempts) = (error.fault, kind.to_owned(), self.attempts);
            let lost = Lost { row: 0, fault, kind, message: error.of_lost_row(), attempts };
            return Ok((self.failed(lost)?, None));
        }
    }

    /// Some of the row's results as batches.
    fn results(&mut self, pieces: Vec<Piece>) -> Result<Results> {
        let (work, part) = (&self.work, &self.part);
        let rows = pieces.iter().map(|piece| piece.parents.len()).sum();
        let splits = splits_of(&part.rows).map(|splits| vec![splits[0]; rows]);
        work.counters.add_each(&StageCounts { rows_made: 1, ..StageCounts::default() }, rows, splits.as_deref());
        let mut ready = Vec::with_capacity(pieces.len());
        for piece in pieces {
            ready.push(work.piece(&part.rows, part.ids.as_ref(), &piece, &mut self.siblings)?);
        }
        let held = Held::new(&work.pool, work.holder());
        held.set(memory_of(ready.iter().chain([&part.rows])).saturating_sub(memory_of([&part.rows])))?;
        Ok(Results {
            ready: ready.into(),
            failed: Failed { of: 1, ..Failed::default() },
            held: (held, part.held.clone()),
        })
    }

    /// The row fails; when a part of it has flowed on, so does the attempt.
    fn failed(&self, lost: Lost) -> Result<Results> {
        if !self.flowed {
            return self.work.dead(&self.part, lost);
        }
        // Where a failed row ends the run, this one does.
        self.work.failures(&self.part.rows, self.part.ids.as_ref(), std::slice::from_ref(&lost))?;
        let Lost { fault, kind, message, .. } = lost;
        let (stage, (row, placed)) = (self.work.spec.stage.clone(), self.work.name_of(&self.part));
        let what = format!(
            "stage `{stage}`: row `{row}` failed when a part of what comes of it was gone already: {kind}: {message}"
        );
        let row = Some(Box::new(LeftOut { stage, row, placed, fault, kind, message }));
        Err(StepError { row, ..StepError::new(fault, what) }.into())
    }
}
