//! What would run, said before it does.

use dflow_operators::{StepError, step_error};
use dflow_pipeline::Name;
use dflow_plan::Plan;
use serde::Serialize;

use crate::{
    driver::specs,
    engine::Engine,
    writer::{Files, TaskOutput},
};

/// One segment of a plan.
#[derive(Clone, Debug, Serialize)]
pub struct Explained {
    /// The stage at its end.
    pub stage: Name,
    /// Whether one task must see all rows.
    pub global: bool,
    /// Its sources: the stage, its splits, their bytes.
    pub sources: Vec<(Name, usize, u64)>,
    /// Tasks.
    pub tasks: usize,
    /// Its optimised logical plan.
    pub logical: String,
    /// The physical plan of its first task.
    pub physical: String,
}

impl Engine {
    /// Says for each segment of a plan what it reads, into how many tasks it is cut, and how they are planned.
    pub fn explain(&self, plan: &Plan) -> Result<Vec<Explained>, StepError> {
        let mut explained = Vec::new();
        for segment in &plan.segments {
            let nowhere = |_| TaskOutput {
                folder: Default::default(),
                name: String::new(),
                format: dflow_pipeline::Format::Jsonl,
                codec: dflow_pipeline::Codec::None,
                files: Files::One,
                merge: None,
            };
            let tasks = specs(&self.settings, plan, segment, "explain", &nowhere);
            let scope = tasks[0].scope(self.cancel.clone());
            let (logical, physical) = self.io().block_on(segment.explain(scope)).map_err(|e| step_error(&e))?;
            let sources = segment
                .sources
                .iter()
                .map(|s| (s.stage.clone(), s.splits.len(), s.splits.iter().map(|s| s.size).sum()));
            explained.push(Explained {
                stage: segment.stage.clone(),
                global: segment.global,
                sources: sources.collect(),
                tasks: tasks.len(),
                logical,
                physical,
            });
        }
        Ok(explained)
    }
}
