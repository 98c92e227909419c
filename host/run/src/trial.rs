//! A pipeline's own tests: rows in, and what is to come out. Models aren't asked: their answers are those that were recorded.

use std::{path::PathBuf, sync::Arc};

use datafusion::arrow::{
    array::{Array, AsArray, RecordBatch},
    json::LineDelimitedWriter,
};
use dflow_models::Mode;
use dflow_operators::StepError;
use dflow_pipeline::{Draft, Fault, Mistakes, Name, Test, Values, Verb};
use dflow_plan::Plan;
use serde::Serialize;
use serde_json::Value;

use crate::{cost::NoCost, driver::landed, engine::Engine, recorded::Recorded};

/// How many rows that are wrong are shown of a test.
const SHOWN: usize = 5;
/// The stage that holds conditions.
const HOLDS: &str = "__holds__";

/// What came of a test.
#[derive(Clone, Debug, Serialize)]
pub struct Trial {
    /// What it shows.
    pub name: String,
    /// What is wrong; nothing, when it passed.
    pub wrong: Vec<String>,
    /// What to do.
    pub hint: Option<String>,
    /// Rows that came out.
    pub rows: u64,
    /// Requests that were sent to models, to be recorded.
    pub asked: u64,
}

impl Engine {
    /// Runs the tests of a pipeline. Their recorded answers are in `answers`; with models that are asked ([`Mode::Ask`]) these are written anew, with those
    /// alone that were needed.
    ///
    /// # Errors
    /// Mistakes in the pipeline; the file of answers can't be read or written. What goes wrong in one test is that test's.
    pub fn trials(&self, draft: &Draft, answers: &PathBuf) -> Result<Vec<Trial>, NoCost> {
        let recorded = Arc::new(Recorded::read(answers)?);
        let trials: Vec<Trial> = draft
            .pipeline
            .test
            .iter()
            .map(|test| self.trial(draft, test, &recorded).map_err(NoCost::from))
            .collect::<Result<_, _>>()?;
        let asks = |stage| !draft.pipeline.asked(stage).is_empty();
        if self.settings.models == Mode::Ask && draft.pipeline.stage.values().any(asks) {
            recorded.write(answers)?;
        }
        Ok(trials)
    }

    fn trial(&self, draft: &Draft, test: &Test, recorded: &Arc<Recorded>) -> Result<Trial, Mistakes> {
        let mut given = draft.clone();
        for (name, rows) in &test.input {
            if let Some(stage) = given.pipeline.stage.get_mut(name) {
                stage.verb = Verb::Values(Values(rows.clone()));
                stage.from.clear();
                stage.id = None;
            }
        }
        let plan = self.plan(&given, Some(&test.stage), None)?;
        let name = test.name.clone().unwrap_or_else(|| test.stage.to_string());
        let mut trial = Trial { name, wrong: Vec::new(), hint: None, rows: 0, asked: 0 };
        let failed = |trial: &mut Trial, error: StepError| {
            trial.wrong.push(error.message);
            trial.hint = error.hint;
        };
        let evaluated = match self.evaluated(&plan, recorded) {
            Ok(evaluated) => evaluated,
            Err(error) => {
                failed(&mut trial, error);
                return Ok(trial);
            }
        };
        trial.asked = evaluated.counts.values().map(|counts| counts.calls).sum();
        trial.rows = evaluated.rows.iter().map(|batch| batch.num_rows() as u64).sum();
        let lost: u64 = evaluated.counts.values().map(|counts| counts.failed + counts.skipped).sum();
        if lost != test.failed {
            let first = evaluated.failures.iter().take(SHOWN);
            let why = first.map(|failure| format!("\n  `{}`: {}: {}", failure.stage, failure.kind, failure.message));
            trial.wrong.push(format!("{lost} rows failed, {} were to{}", test.failed, why.collect::<String>()));
        }
        if let Some(count) = test.count.filter(|count| *count != trial.rows) {
            trial.wrong.push(format!("{} rows came out, {count} were to", trial.rows));
        }
        if let Some(expected) = &test.rows {
            match objects(&evaluated.rows) {
                Ok(rows) => trial.wrong.extend(differences(expected, &rows)),
                Err(error) => failed(&mut trial, error),
            }
        }
        for condition in &test.every {
            match self.holds(&given, &test.stage, condition, recorded)? {
                Ok(None) => {}
                Ok(Some(wrong)) => trial.wrong.push(wrong),
                Err(error) => failed(&mut trial, error),
            }
        }
        Ok(trial)
    }

    fn evaluated(&self, plan: &Plan, recorded: &Arc<Recorded>) -> Result<crate::eval::Evaluated, StepError> {
        if !plan.models.is_empty() {
            plan.models.begin(recorded.clone(), &Default::default());
        }
        let evaluated = self.eval(plan);
        self.io().block_on(landed(&plan.models));
        evaluated
    }

    /// Whether a condition holds for each row of a stage; if not, for how many it doesn't, and the first of them.
    fn holds(
        &self,
        draft: &Draft,
        stage: &Name,
        condition: &str,
        recorded: &Arc<Recorded>,
    ) -> Result<Result<Option<String>, StepError>, Mistakes> {
        let mut held = draft.clone();
        let name = Name::made(HOLDS);
        let set = Verb::Set(dflow_pipeline::Set([(HOLDS.to_owned(), condition.to_owned())].into_iter().collect()));
        held.pipeline.stage.insert(name.clone(), crate::cost::stage(stage, set));
        let plan = self.plan(&held, Some(&name), None).map_err(|mut mistakes| {
            // It stands in the test, and not in a stage.
            for mistake in &mut mistakes.list {
                mistake.message = format!("the condition `{condition}` of a test: {}", mistake.message);
            }
            mistakes
        })?;
        Ok(self.evaluated(&plan, recorded).and_then(|evaluated| {
            let (mut wrong, mut first) = (0, None);
            for batch in &evaluated.rows {
                let Some(column) = batch.column_by_name(HOLDS).and_then(|column| column.as_boolean_opt()) else {
                    return Err(StepError::new(Fault::Pipeline, format!("`{condition}` is neither true nor false")));
                };
                for row in (0..batch.num_rows()).filter(|row| column.is_null(*row) || !column.value(*row)) {
                    wrong += 1;
                    if first.is_none() {
                        first = objects(&[batch.slice(row, 1)])?.into_iter().next();
                    }
                }
            }
            Ok(first.map(|row| {
                let row = row.as_object().map(|row| {
                    row.iter().filter(|(key, _)| *key != HOLDS).map(|(k, v)| (k.clone(), v.clone())).collect::<Value>()
                });
                format!(
                    "`{condition}` isn't true of {wrong} of {} rows; the first: {}",
                    evaluated.rows.iter().map(RecordBatch::num_rows).sum::<usize>(),
                    row.unwrap_or_default()
                )
            }))
        }))
    }
}

/// Rows as JSON objects.
fn objects(rows: &[RecordBatch]) -> Result<Vec<Value>, StepError> {
    let failed = |e: &dyn std::fmt::Display| StepError::new(Fault::Internal, format!("rows can't be shown: {e}"));
    let mut text = Vec::new();
    let mut writer: LineDelimitedWriter<_> = LineDelimitedWriter::new(&mut text);
    writer.write_batches(&rows.iter().collect::<Vec<_>>()).map_err(|e| failed(&e))?;
    writer.finish().map_err(|e| failed(&e))?;
    drop(writer);
    let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).map_err(|e| failed(&e))).collect()
}

/// What is different between the rows that were expected and those that came, in the columns that are named.
fn differences(expected: &[dflow_pipeline::Row], rows: &[Value]) -> Vec<String> {
    let mut wrong = Vec::new();
    if expected.len() != rows.len() {
        wrong.push(format!("{} rows came out, {} were to", rows.len(), expected.len()));
    }
    for (i, (expected, row)) in expected.iter().zip(rows).enumerate() {
        for (column, value) in expected {
            let found = row.get(column).unwrap_or(&Value::Null);
            if !same(value, found) && wrong.len() <= SHOWN {
                wrong.push(format!("row {}: `{column}` is {found}, {value} was to come", i + 1));
            }
        }
    }
    if let Some(more) = rows.get(expected.len()).filter(|_| wrong.len() <= SHOWN) {
        wrong.push(format!("row {}, which was not to come: {more}", expected.len() + 1));
    }
    wrong
}

/// Whether two values are the same; numbers but for what their last digits say.
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(a), Value::Number(b)) => match (a.as_f64(), b.as_f64()) {
            (Some(a), Some(b)) => (a - b).abs() <= 1e-6 * a.abs().max(b.abs()),
            _ => a == b,
        },
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => a.iter().all(|(key, a)| same(a, b.get(key).unwrap_or(&Value::Null))),
        _ => one == other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_is_named_is_compared() {
        let row = |value: Value| value.as_object().expect("an object").clone().into_iter().collect();
        let expected = [row(json!({ "a": 1 })), row(json!({ "b": [0.1, 2] }))];
        assert!(differences(&expected, &[json!({ "a": 1.0, "x": 5 }), json!({ "b": [0.100000001, 2] })]).is_empty());
        let wrong = differences(&expected, &[json!({ "a": 2 })]);
        assert_eq!(wrong, ["1 rows came out, 2 were to", "row 1: `a` is 2, 1 was to come"]);
        let wrong = differences(&expected[..1], &[json!({ "a": 1 }), json!({ "a": 7 })]);
        assert_eq!(wrong[1], "row 2, which was not to come: {\"a\":7}");
    }
}
