//! A stage whose first rows all fail is broken, and not the rows: it ends the run before it has failed for all of them.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use dflow_pipeline::Name;

use crate::{error::StepError, scope::RowFailure};

/// How many rows of a stage must have failed, and none have come through.
const FIRST: u64 = 1_000;

/// What became of each stage's first rows, over all tasks of a run.
#[derive(Debug, Default)]
pub struct FirstRows(Mutex<BTreeMap<Name, First>>);

#[derive(Debug)]
enum First {
    /// A row has come through.
    Through,
    /// All have failed until now: how many, and how often which failure.
    Failed(u64, BTreeMap<String, (u64, RowFailure)>),
}

impl FirstRows {
    /// A row of a stage has come through, in this run or an earlier one that it goes on from.
    pub fn through(&self, stage: &Name) {
        let mut stages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !matches!(stages.get(stage), Some(First::Through)) {
            stages.insert(stage.clone(), First::Through);
        }
    }

    /// Rows of a stage have failed.
    ///
    /// # Errors
    /// They are the first ones, and enough.
    pub(crate) fn failed(&self, failures: &[RowFailure]) -> Result<(), StepError> {
        let mut stages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for failure in failures {
            let first = stages.entry(failure.stage.clone()).or_insert_with(|| First::Failed(0, BTreeMap::new()));
            let First::Failed(count, said) = first else { return Ok(()) };
            *count += 1;
            said.entry(format!("{}: {}", failure.kind, failure.message)).or_insert_with(|| (0, failure.clone())).0 += 1;
            if *count >= FIRST {
                return Err(all_failed(said));
            }
        }
        Ok(())
    }
}

fn all_failed(said: &BTreeMap<String, (u64, RowFailure)>) -> StepError {
    let most = said.iter().rev().max_by_key(|(_, (count, _))| *count);
    let Some((message, (count, failure))) = most else {
        return StepError::new(dflow_pipeline::Fault::Internal, "rows failed and nobody knows why");
    };
    let stage = &failure.stage;
    let how_many = match *count {
        FIRST => "all of them".to_owned(),
        1 => "each in another way, such as".to_owned(),
        count => format!("{count} of them"),
    };
    let what = format!("stage `{stage}`: its first 1,000 rows all failed, {how_many} with {message}");
    StepError::new(failure.fault, what).hint(format!(
        "look at some with `dflow-host run --first 10` and `dflow-host dead show --stage {stage}`; \
         `on_error = \"skip\"` says that such rows are to be left out"
    ))
}

#[cfg(test)]
mod tests {
    use dflow_pipeline::Fault;

    use super::*;

    fn failures(kind: &str, count: usize) -> Vec<RowFailure> {
        let failure = RowFailure {
            split: None,
            stage: "valid".parse().unwrap(),
            id: None,
            uri: None,
            fault: Fault::Data,
            kind: kind.to_owned(),
            message: "no title".to_owned(),
            attempts: 1,
        };
        vec![failure; count]
    }

    #[test]
    fn a_thousand_failures_in_a_row_from_the_first_on_end_the_run() {
        let first = FirstRows::default();
        first.failed(&failures("schema", 600)).unwrap();
        first.failed(&failures("other", 399)).unwrap();
        let error = first.failed(&failures("other", 5)).unwrap_err();
        assert_eq!(
            (error.fault, error.message.as_str()),
            (Fault::Data, "stage `valid`: its first 1,000 rows all failed, 600 of them with schema: no title")
        );
    }

    #[test]
    fn one_row_that_comes_through_is_enough() {
        let first = FirstRows::default();
        first.failed(&failures("schema", 999)).unwrap();
        first.through(&"valid".parse().unwrap());
        first.failed(&failures("schema", 5000)).unwrap();
    }
}
