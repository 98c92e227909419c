//! What earlier runs have done that needn't be done again. One mechanism: for going on where a run was cut short, for running again when
//! nothing or little has changed.
//!
//! A task's result stands when its segment has the same fingerprint, all of its splits are listed now as they were, and all of its
//! files are still there. Where rows go their way one by one into folders, tasks stand each for itself. What needs all tasks (a
//! single file, `merge`, a segment that regroups) stands as a whole or not at all; of one that was cut short the parts that are
//! there are taken. Of a task some of whose splits have changed the rows of the others stay ([`Cut`]), also
//! where sinks are single files. What goes to stdout is written again. A stage that opens files depends on more than its
//! splits, so its results count only for going on with what was cut short.

use std::collections::BTreeMap;

use dflow_io::{Prepared, Split, Splits};
use dflow_operators::{StageCounts, StepError};
use dflow_pipeline::{Name, Verb};
use dflow_plan::{Plan, Segment};
use indexmap::IndexMap;

use crate::{
    coverage::{Coverage, Position},
    cut::{Cut, Divisible, Single},
    fingerprint::Fingerprint,
    handing::is_absent,
    journal::{Known, PastSplit, PastTask, TaskId},
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

/// A task of an earlier run, some of whose splits are there as they were.
#[derive(Clone, Debug)]
pub(crate) struct Cutting {
    /// Where in the source the first of them begins.
    pub(crate) position: Position,
    /// They.
    pub(crate) splits: Splits,
    /// What stays of what the task did.
    pub(crate) cut: Cut,
}

/// What needn't be done again of a segment, and what is left.
#[derive(Clone, Debug)]
pub(crate) struct Reuse {
    /// The tasks whose results stand.
    pub(crate) standing: Vec<Standing>,
    /// Those of which a part stands, which is to be copied.
    pub(crate) cuts: Vec<Cutting>,
    /// The splits that are left, by source; `None` when nothing is.
    pub(crate) left: Option<BTreeMap<Name, Splits>>,
    /// The single files that stand as they are, by sink: then they all do.
    pub(crate) whole: Option<BTreeMap<Name, Prepared>>,
}

impl Reuse {
    /// Nothing stands.
    pub(crate) fn nothing(segment: &Segment, first: Option<u64>) -> Self {
        let left = segment.sources.iter().map(|s| (s.stage.clone(), Splits::from(s.to_read(first).clone())));
        Self { standing: Vec::new(), cuts: Vec::new(), left: Some(left.collect()), whole: None }
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
        if past.is_empty() {
            // Of many files it isn't looked up which are covered.
            return Ok(Self::nothing(segment, None));
        }
        for task in past.iter_mut().flat_map(|task| {
            std::iter::once(&mut task.result).chain(task.replays.iter_mut().map(|replay| &mut replay.result))
        }) {
            let counts = task.counts.values_mut().chain(task.again.values_mut());
            counts.for_each(|counts| *counts = StageCounts { nanos: 0, aside: 0, recalled: 0, ..*counts });
        }
        let opens = segment.operators.iter().any(|stage| matches!(plan.pipeline.stage[stage].verb, Verb::Open(_)));
        let columns = segment.ends.first().and_then(|end| plan.saved.get(end)).map(Vec::as_slice);
        let dead = segment.ends.first().and_then(|end| plan.routed.get_key_value(end));
        let looked = Looked { segment, sinks, past: &past, opens, columns, dead, journal };
        if is_absent(plan, segment) {
            return Ok(looked.without_sources().unwrap_or_else(|| Self::nothing(segment, None)));
        }
        let singles = singles(sinks, journal)?;
        if let Some(singles) = &singles
            && let Some(whole) = looked.whole(singles)
        {
            return Ok(whole);
        }
        Ok(looked.tasks(singles.is_some())?.unwrap_or_else(|| Self::nothing(segment, None)))
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
    /// Of one whose dead rows others read: it, and the columns that the files of these must hold.
    dead: Option<(&'a Name, &'a Vec<String>)>,
    journal: Known<'a>,
}

impl Looked<'_> {
    /// All of it stands.
    fn whole(&self, singles: &BTreeMap<Name, Prepared>) -> Option<Reuse> {
        if self.opens {
            return None;
        }
        let tasks: Vec<&PastTask> = self.past.iter().filter(|task| task.complete && self.stands(task, true)).collect();
        (self.covers(&tasks) && self.shows_columns(&tasks))
            .then(|| self.reuse(&tasks, Vec::new(), None, Some(singles.clone())))
    }

    /// All that was complete, when it can't be looked which splits there are.
    fn without_sources(&self) -> Option<Reuse> {
        let tasks: Vec<&PastTask> = self.past.iter().filter(|task| task.complete).collect();
        let stands = !tasks.is_empty() && tasks.iter().all(|task| self.stands(task, false));
        (stands && self.sinks.values().all(Sink::is_folder)).then(|| self.reuse(&tasks, Vec::new(), None, None))
    }

    /// What stands task by task; `singles` says whether single files are there as they were put together.
    fn tasks(&self, singles: bool) -> Result<Option<Reuse>, StepError> {
        let into_folders = self.sinks.values().all(Sink::is_folder);
        // What was complete has no parts any more.
        let counts = |task: &&PastTask| !task.complete || (into_folders && !self.opens);
        let mut past = self.past.iter().filter(counts).filter(|task| self.stands(task, false));
        if self.segment.global || self.sinks.values().any(Sink::merges) {
            let task = past.find(|task| self.covers(&[task]) && self.shows_columns(&[task]));
            return Ok(task.map(|task| self.reuse(&[task], Vec::new(), None, None)));
        }
        let Some(source) = self.segment.sources.first() else { return Ok(None) };
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
        let cuts = match self.opens || !(into_folders || singles) {
            true => Vec::new(),
            false => self.cuts(&source.stage, &standing, &mut coverage)?,
        };
        let rest = coverage.rest();
        let nothing_left = rest.is_empty() && !(standing.is_empty() && cuts.is_empty());
        let all_there = nothing_left && cuts.is_empty();
        if all_there && !self.shows_columns(&standing) {
            return Ok(None);
        }
        let left = (!nothing_left).then(|| BTreeMap::from([(source.stage.clone(), Splits::from(rest))]));
        Ok(Some(self.reuse(&standing, cuts, left, None)))
    }

    /// What of other tasks stays, as far as nothing covers it yet.
    fn cuts(
        &self,
        source: &Name,
        standing: &[&PastTask],
        coverage: &mut Coverage<'_>,
    ) -> Result<Vec<Cutting>, StepError> {
        let mut singles = BTreeMap::new();
        for (name, sink) in self.sinks.iter().filter(|(_, sink)| !sink.is_folder()) {
            let Some(path) = sink.single() else { return Ok(Vec::new()) };
            let tasks = self.journal.assembled_of(name, &path)?;
            singles.insert(name.clone(), Single { path, codec: sink.codec(), tasks });
        }
        // Whoever reads them in order gets them in the source's.
        let in_a_row = !singles.is_empty() || self.columns.is_some();
        let mut cuts = Vec::new();
        for task in self.past.iter().filter(|task| !standing.iter().any(|other| other.id == task.id)) {
            let read = task.splits.get(source).map(Vec::as_slice).unwrap_or_default();
            if (!singles.is_empty() && !task.complete)
                || !read.iter().any(|read| coverage.is_free(read))
                || !self.stands(task, !singles.is_empty())
            {
                continue;
            }
            let Some(divisible) = Divisible::of(task, self.journal, &singles)? else { continue };
            let kept = (0u32..).zip(read).filter(|(_, read)| coverage.cover(std::slice::from_ref(read)));
            let kept: Vec<(u32, &PastSplit)> = kept.collect();
            let follows = |a: &(u32, &PastSplit), b: &(u32, &PastSplit)| {
                !in_a_row || coverage.in_a_row(&[a.1.clone(), b.1.clone()])
            };
            for kept in kept.chunk_by(follows) {
                let places: Vec<u32> = kept.iter().map(|(place, _)| *place).collect();
                let splits: Vec<Split> = kept.iter().filter_map(|(_, read)| coverage.split(read)).collect();
                let position = coverage.position(&[kept[0].1.clone()]);
                cuts.push(Cutting { position, splits: splits.into(), cut: divisible.keeping(&places) });
            }
        }
        Ok(cuts)
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
        let dead = self.dead.is_none_or(|(stage, names)| {
            let mut files = task.result.dead.iter().filter(|dead| dead.stage == *stage);
            files.all(|dead| holds_columns(&dead.file.path, names))
        });
        dead && replays && self.sinks.iter().all(own)
    }

    /// Whether tasks have read all that is listed now, each of it once, and nothing else: a stage that was saved then may not be
    /// a source any more.
    fn covers(&self, tasks: &[&PastTask]) -> bool {
        let is_source = |stage: &Name| self.segment.sources.iter().any(|source| source.stage == *stage);
        let other = |task: &&PastTask| task.splits.iter().any(|(stage, read)| !read.is_empty() && !is_source(stage));
        !tasks.is_empty()
            && !tasks.iter().any(other)
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
        cuts: Vec<Cutting>,
        left: Option<BTreeMap<Name, Splits>>,
        whole: Option<BTreeMap<Name, Prepared>>,
    ) -> Reuse {
        let source = self.segment.sources.first().filter(|_| !self.segment.global && !tasks.is_empty());
        let coverage = source.map(|source| (source, Coverage::of(source.to_read(None))));
        let position = |task: &PastTask| match &coverage {
            Some((source, coverage)) => task.splits.get(&source.stage).map_or((0, 0), |read| coverage.position(read)),
            None => (0, 0),
        };
        let standing = |of: &&PastTask| {
            let position = position(of);
            let standing = move |task: &PastTask| Standing { position, id: task.id, result: task.result.clone() };
            std::iter::once(standing(of)).chain(of.replays.iter().map(standing)).collect::<Vec<_>>()
        };
        Reuse { standing: tasks.iter().flat_map(standing).collect(), cuts, left, whole }
    }
}
