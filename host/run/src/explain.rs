//! What would run, said before it does.

use dflow_operators::{StepError, step_error};
use dflow_pipeline::Name;
use dflow_plan::{PartText, Plan};
use serde::Serialize;

use crate::{
    engine::Engine,
    reuse::Reuse,
    specs::specs,
    writer::{Files, TaskOutput},
};

/// One segment of a plan.
#[derive(Clone, Debug, Serialize)]
pub struct Explained {
    /// The stages at its ends.
    pub ends: Vec<Name>,
    /// Whether one task must see all rows.
    pub global: bool,
    /// Its sources.
    pub sources: Vec<ExplainedSource>,
    /// Tasks.
    pub tasks: usize,
    /// Stages that run more than once although somebody else runs them, and for whom: the sink, or the shared stage, that reads
    /// them.
    pub again: Vec<(Name, Name, Why)>,
    /// Its plans: those of shared stages, each before those that read it, and those of its ends.
    pub parts: Vec<PartText>,
}

/// A source of a segment.
#[derive(Clone, Debug, Serialize)]
pub struct ExplainedSource {
    /// The stage.
    pub stage: Name,
    /// The splits that are read.
    pub splits: usize,
    /// The splits that aren't, since a filter lets none of their rows through.
    pub pruned: usize,
    /// The bytes of those that are read.
    pub bytes: u64,
}

/// Why a stage that several read isn't read once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// Branches meet again in who reads it: through bounded queues they would wait for each other.
    Meets,
    /// Another segment runs it too.
    Apart,
}

impl Engine {
    /// Says for each segment of a plan what it reads, into how many tasks it is cut, and how they are planned.
    pub fn explain(&self, plan: &Plan) -> Result<Vec<Explained>, StepError> {
        let (mut explained, first) = (Vec::new(), self.settings.first);
        for (i, segment) in plan.segments.iter().enumerate() {
            let nowhere = |_: &Name, _| TaskOutput {
                folder: Default::default(),
                staging: None,
                name: String::new(),
                format: dflow_pipeline::Format::Jsonl,
                codec: dflow_pipeline::Codec::None,
                files: Files::One,
                merge: None,
            };
            let all = Reuse::nothing(segment, first);
            let tasks = specs(&self.settings, plan, segment, "explain", &nowhere, &all);
            let scope = tasks[0].1.scope(self.cancel.clone(), None);
            let parts = self.io().block_on(segment.explain(scope)).map_err(|e| step_error(&e))?;
            let sources = segment.sources.iter().map(|s| ExplainedSource {
                stage: s.stage.clone(),
                splits: s.to_read(first).len(),
                pruned: s.splits.len() - s.to_read(first).len(),
                bytes: s.to_read(first).iter().map(|s| s.size).sum(),
            });
            let meet = segment.again.iter().map(|again| (again.stage.clone(), again.reader.clone(), Why::Meets));
            let before = &plan.segments[..i];
            let saved = |stage: &&Name| segment.sources.iter().any(|s| s.saved.is_some() && s.stage == **stage);
            let apart = segment.stages.iter().filter(|stage| !saved(stage)).filter_map(|stage| {
                let other = before.iter().find(|other| other.stages.contains(stage))?;
                Some((stage.clone(), other.ends[0].clone(), Why::Apart))
            });
            explained.push(Explained {
                ends: segment.ends.clone(),
                global: segment.global,
                sources: sources.collect(),
                tasks: tasks.len(),
                again: meet.chain(apart).collect(),
                parts,
            });
        }
        Ok(explained)
    }
}
