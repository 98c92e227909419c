//! What earlier runs have done that needn't be done again. One mechanism: for going on where a run was cut short, for running again when
//! nothing or little has changed.
//!
//! A task's result stands when its segment has the same fingerprint, all of its splits are listed now as they were, and all of its
//! files are still there. Where rows go their way one by one into folders, tasks stand each for itself. What needs all tasks (a
//! single file, files named by rows, `merge`, a segment that regroups) stands as a whole or not at all; of one that was cut
//! short the parts that are there are taken. What goes to stdout is written again. A stage that opens files depends on more than its
//! splits, so its results count only for going on with what was cut short.

use std::collections::BTreeMap;

use dflow_io::{Prepared, Split};
use dflow_operators::{StageCounts, StepError};
use dflow_pipeline::{Name, Verb};
use dflow_plan::{Plan, Segment};
use indexmap::IndexMap;

use crate::{
    coverage::{Coverage, Position},
    fingerprint::Fingerprint,
    handing::is_absent,
    journal::{Known, PastTask, TaskId},
    saved::holds_columns,
    sink::Sink,
    task::TaskResult,
};

/// A task of an earlier run whose result stands.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    /// Where in the source it begins.
    pub(crate) position: Position,
    /// The task.
    pub(crate) id: TaskId,
    /// What came of it, the time that it took then left out.
    pub(crate) result: TaskResult,
}

/// What needn't be done again of a segment, and what is left.
#[derive(Clone, Debug)]
pub(crate) struct Reuse {
    /// The tasks whose results stand.
    pub(crate) standing: Vec<Standing>,
    /// The splits that are left, by source; `None` when nothing is.
    pub(crate) left: Option<BTreeMap<Name, Vec<Split>>>,
    /// The single files that stand as they are, by sink: then they all do.
    pub(crate) whole: Option<BTreeMap<Name, Prepared>>,
}

impl Reuse {
    /// Nothing stands.
    pub(crate) fn nothing(segment: &Segment, first: Option<u64>) -> Self {
        let left = segment.sources.iter().map(|s| (s.stage.clone(), s.to_read(first).to_vec()));
        Self { standing: Vec::new(), left: Some(left.collect()), whole: None }
    }

    /// What stands of a segment.
    pub(crate) fn find(
        plan: &Plan,
        segment: &Segment,
        sinks: &IndexMap<Name, Sink>,
        fingerprint: &Fingerprint,
        journal: Known<'_>,
    ) -> Result<Self, StepError> {
        let mut past = journal.past_tasks(fingerprint)?;
        for task in past.iter_mut().flat_map(|task| {
            std::iter::once(&mut task.result).chain(task.replays.iter_mut().map(|replay| &mut replay.result))
        }) {
            let counts = task.counts.values_mut().chain(task.again.values_mut());
            counts.for_each(|counts| *counts = StageCounts { nanos: 0, aside: 0, ..*counts });
        }
        let opens = segment.operators.iter().any(|stage| matches!(plan.pipeline.stage[stage].verb, Verb::Open(_)));
        let columns = segment.ends.first().and_then(|end| plan.saved.get(end)).map(Vec::as_slice);
        let looked = Looked { segment, sinks, past: &past, opens, columns };
        if is_absent(plan, segment) {
            return Ok(looked.without_sources().unwrap_or_else(|| Self::nothing(segment, None)));
        }
        if let Some(singles) = singles(sinks, journal)?
            && let Some(whole) = looked.whole(singles)
        {
            return Ok(whole);
        }
        Ok(looked.tasks().unwrap_or_else(|| Self::nothing(segment, None)))
    }
}

/// The single files that are there as they were put together; `None` when one of them isn't, or rows go to stdout.
fn singles(sinks: &IndexMap<Name, Sink>, journal: Known<'_>) -> Result<Option<BTreeMap<Name, Prepared>>, StepError> {
    let mut singles = BTreeMap::new();
    for (name, sink) in sinks.iter().filter(|(_, sink)| !sink.is_folder()) {
        let Some(path) = sink.single() else { return Ok(None) };
        match journal.assembled(name, &path)? {
            Some(file) if sink.is_there(&file) => singles.insert(name.clone(), file),
            _ => return Ok(None),
        };
    }
    Ok(Some(singles))
}

struct Looked<'a> {
    segment: &'a Segment,
    sinks: &'a IndexMap<Name, Sink>,
    past: &'a [PastTask],
    /// Whether a stage opens files that rows name.
    opens: bool,
    /// Of a saved stage: the columns that its files must hold, as others read them.
    columns: Option<&'a [String]>,
}

impl Looked<'_> {
    /// All of it stands.
    fn whole(&self, singles: BTreeMap<Name, Prepared>) -> Option<Reuse> {
        if self.opens {
            return None;
        }
        let tasks: Vec<&PastTask> = self.past.iter().filter(|task| task.complete && self.stands(task, true)).collect();
        (self.covers(&tasks) && self.shows_columns(&tasks)).then(|| self.reuse(&tasks, None, Some(singles)))
    }

    /// All that was complete, when it can't be looked which splits there are.
    fn without_sources(&self) -> Option<Reuse> {
        let tasks: Vec<&PastTask> = self.past.iter().filter(|task| task.complete).collect();
        let stands = !tasks.is_empty() && tasks.iter().all(|task| self.stands(task, false));
        (stands && self.sinks.values().all(Sink::is_folder)).then(|| self.reuse(&tasks, None, None))
    }

    /// What stands task by task.
    fn tasks(&self) -> Option<Reuse> {
        let into_folders = self.sinks.values().all(Sink::is_folder);
        // What was complete has no parts any more.
        let counts = |task: &&PastTask| !task.complete || (into_folders && !self.opens);
        let mut past = self.past.iter().filter(counts).filter(|task| self.stands(task, false));
        if self.segment.global || self.sinks.values().any(Sink::merges) {
            let task = past.find(|task| self.covers(&[task]) && self.shows_columns(&[task]))?;
            return Some(self.reuse(&[task], None, None));
        }
        let source = self.segment.sources.first()?;
        let splits = source.to_read(None);
        let mut coverage = Coverage::of(splits);
        let mut standing: Vec<&PastTask> = Vec::new();
        for task in past {
            let read = task.splits.get(&source.stage).map(Vec::as_slice).unwrap_or_default();
            // One without splits stands for a source without any.
            let useful = if splits.is_empty() { standing.is_empty() } else { !read.is_empty() };
            if useful && (into_folders || coverage.in_a_row(read)) && coverage.cover(read) {
                standing.push(task);
            }
        }
        let rest = coverage.rest();
        let nothing_left = rest.is_empty() && !standing.is_empty();
        let last = self.sinks.values().any(Sink::publishes_last);
        if (last && !nothing_left) || (nothing_left && !self.shows_columns(&standing)) {
            return None;
        }
        let left = (!nothing_left).then(|| BTreeMap::from([(source.stage.clone(), rest)]));
        Some(self.reuse(&standing, left, None))
    }

    /// Whether all of a task's files are there; `whole` says that single files were put together, and are looked at apart.
    /// With them, those of tasks that have tried its failed rows again must be.
    fn stands(&self, task: &PastTask, whole: bool) -> bool {
        let replays = task.replays.iter().all(|replay| self.stands(replay, whole));
        let own = |(name, sink): (&Name, &Sink)| {
            let (Some(made), Some(rows)) = (task.result.files.get(name), task.rows.get(name)) else { return false };
            let whole_file = |file: &Prepared| {
                sink.holds(file)
                    && sink.is_there(file)
                    && self.columns.is_none_or(|names| holds_columns(&file.path, names))
            };
            let all = || made.rows() == *rows && made.files.iter().all(whole_file);
            (whole && !sink.is_folder()) || all()
        };
        replays && self.sinks.iter().all(own)
    }

    /// Whether tasks have read all that is listed now, each of it once.
    fn covers(&self, tasks: &[&PastTask]) -> bool {
        !tasks.is_empty()
            && self.segment.sources.iter().all(|source| {
                let mut coverage = Coverage::of(source.to_read(None));
                let read = |task: &&PastTask| task.splits.get(&source.stage).cloned().unwrap_or_default();
                tasks.iter().all(|task| coverage.cover(&read(task))) && coverage.is_whole()
            })
    }

    /// Whether each folder has a file, if only one without rows that shows the columns: which of the tasks left it was for their
    /// run to say.
    fn shows_columns(&self, tasks: &[&PastTask]) -> bool {
        self.sinks.iter().filter(|(_, sink)| sink.shows_columns()).all(|(name, _)| {
            tasks.iter().any(|task| task.result.files.get(name).is_some_and(|made| !made.files.is_empty()))
        })
    }

    fn reuse(
        &self,
        tasks: &[&PastTask],
        left: Option<BTreeMap<Name, Vec<Split>>>,
        whole: Option<BTreeMap<Name, Prepared>>,
    ) -> Reuse {
        let coverage = self.segment.sources.first().map(|source| (source, Coverage::of(source.to_read(None))));
        let position = |task: &PastTask| match &coverage {
            Some((source, coverage)) if !self.segment.global => {
                task.splits.get(&source.stage).map_or((0, 0), |read| coverage.position(read))
            }
            _ => (0, 0),
        };
        let standing = |of: &&PastTask| {
            let position = position(of);
            let standing = move |task: &PastTask| Standing { position, id: task.id, result: task.result.clone() };
            std::iter::once(standing(of)).chain(of.replays.iter().map(standing)).collect::<Vec<_>>()
        };
        Reuse { standing: tasks.iter().flat_map(standing).collect(), left, whole }
    }
}
