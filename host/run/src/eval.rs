//! One stage's rows, given back; nothing is written.

use std::{collections::BTreeMap, sync::Arc};

use datafusion::{arrow::array::RecordBatch, physical_plan::execute_stream};
use dflow_operators::{RowFailure, StageCounts, StepError, TaskScope, split_column, step_error};
use dflow_pipeline::{Fault, Name};
use dflow_plan::{EndPlan, Plan};

use crate::{
    engine::Engine,
    task::{computing, next},
};

/// The rows of a stage.
#[derive(Clone, Debug)]
pub struct Evaluated {
    /// Its rows.
    pub rows: Vec<RecordBatch>,
    /// Rows that failed on the way.
    pub failures: Vec<RowFailure>,
    /// What was counted, by stage.
    pub counts: BTreeMap<Name, StageCounts>,
}

impl Engine {
    /// Gives the rows of the one stage that a plan was made for.
    ///
    /// # Errors
    /// What ended it.
    pub fn eval(&self, plan: &Plan) -> Result<Evaluated, StepError> {
        self.eval_first(plan, self.settings.first)
    }

    /// As [`eval`](Self::eval), with so many rows of each source.
    pub(crate) fn eval_first(&self, plan: &Plan, first: Option<u64>) -> Result<Evaluated, StepError> {
        let [segment] = plan.segments.as_slice() else {
            return Err(StepError::new(
                Fault::Internal,
                format!("{} stages are asked for, one can be evaluated", plan.segments.len()),
            ));
        };
        let splits = segment.sources.iter().map(|s| (s.stage.clone(), s.to_read(first).clone())).collect();
        let scope = Arc::new(TaskScope::new(splits, 1, 1, first, plan.pipeline.batch, self.cancel.clone()));
        let task = async {
            let mut rows = Vec::new();
            for EndPlan { plan, context, .. } in segment.physical(scope.clone()).await.map_err(|e| step_error(&e))? {
                let mut stream = execute_stream(plan, context).map_err(|e| step_error(&e))?;
                while let Some(mut batch) = next(&mut stream, &self.cancel).await? {
                    if let Some(split) = split_column(batch.schema_ref()) {
                        batch.remove_column(split);
                    }
                    rows.push(batch);
                }
            }
            Ok::<_, StepError>(rows)
        };
        let _compute = self.compute().enter();
        let named = |e: StepError| e.of_expressions(&computing(&plan.pipeline, Some(segment)));
        let rows = self.io().block_on(task).map_err(named)?;
        if self.cancel.is_raised() {
            return Err(StepError::new(Fault::Outside, "interrupted"));
        }
        Ok(Evaluated { rows, failures: scope.failures(), counts: scope.counts() })
    }
}
