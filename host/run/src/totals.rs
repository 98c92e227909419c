//! What was counted until now, over all segments and tasks of a run.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use dflow_operators::{RowFailure, StageCounts, TaskScope};
use dflow_pipeline::Name;

use crate::{
    report::{OutputFile, Reused, StageReport},
    task::TaskResult,
};

/// Tasks that run now.
#[derive(Default)]
pub(crate) struct Live(Mutex<BTreeMap<u32, Arc<TaskScope>>>);

impl Live {
    pub(crate) fn add(&self, number: u32, scope: Arc<TaskScope>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(number, scope);
    }

    pub(crate) fn remove(&self, number: u32) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
    }
}

/// What was counted until now.
pub(crate) struct Totals {
    pub(crate) started: Instant,
    /// Tasks that this run has done.
    pub(crate) tasks: usize,
    /// What earlier runs had done.
    pub(crate) reused: Reused,
    counts: BTreeMap<Name, StageCounts>,
    pub(crate) stages: Vec<StageReport>,
    pub(crate) outputs: Vec<OutputFile>,
    pub(crate) failures: Vec<RowFailure>,
}

impl Totals {
    pub(crate) fn new(started: Instant) -> Self {
        Self {
            started,
            tasks: 0,
            reused: Reused::default(),
            counts: BTreeMap::new(),
            stages: Vec::new(),
            outputs: Vec::new(),
            failures: Vec::new(),
        }
    }

    /// Whether a segment before this one has told of a stage: what several sinks read is run for each, and told of once.
    fn told(&self, stage: &Name) -> bool {
        self.stages.iter().any(|s| s.stage == *stage)
    }

    /// Takes in what a task of this run has done.
    pub(crate) fn add(&mut self, result: &TaskResult) {
        self.tasks += 1;
        for (name, counts) in &result.counts {
            if !self.told(name) {
                self.counts.entry(name.clone()).or_default().add(counts);
            }
        }
        self.add_failures(result);
    }

    /// Takes in which rows failed in a task.
    pub(crate) fn add_failures(&mut self, result: &TaskResult) {
        let new: Vec<_> = result.failures.iter().filter(|f| !self.told(&f.stage)).cloned().collect();
        self.failures.extend(new);
    }

    /// With what the running tasks have counted.
    pub(crate) fn with(&self, live: &Live) -> BTreeMap<Name, StageCounts> {
        let mut counts = self.counts.clone();
        for scope in live.0.lock().unwrap_or_else(PoisonError::into_inner).values() {
            for (name, more) in scope.counts() {
                if !self.told(&name) {
                    counts.entry(name).or_default().add(&more);
                }
            }
        }
        counts
    }

    /// Takes a segment's stages in.
    pub(crate) fn close(&mut self, stages: Vec<StageReport>) {
        let new: Vec<_> = stages.into_iter().filter(|s| !self.told(&s.stage)).collect();
        self.stages.extend(new);
    }
}
