//! Runs one segment: what is left of it to do, into its sinks, beside what earlier runs have done.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    path::{Path, PathBuf},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use dflow_io::{Prepared, Split, Stores};
use dflow_operators::{FirstRows, StageCounts, StepError};
use dflow_pipeline::{Fault, Name};
use dflow_plan::{Plan, Segment};
use futures::{StreamExt, TryStreamExt, stream};
use indexmap::IndexMap;

use crate::{
    coverage::Position,
    engine::Engine,
    events::{Event, Observer},
    faults::Step,
    fingerprint::Fingerprint,
    journal::{Journal, Made, TaskId, drop_empty_folders},
    ledger,
    report::StageReport,
    reuse::{Reuse, Standing},
    sink::Sink,
    task::{SinkFiles, TaskResult, TaskSpec, run_attempts, upload},
    totals::{Live, Totals},
    writer::two_rows,
};

/// Objects that are fetched at a time, so that rows of theirs can be copied.
const DOWNLOADS: usize = 8;
/// How often progress is told.
const PROGRESS: Duration = Duration::from_millis(100);

/// A segment that is about to run.
pub(crate) struct SegmentRun<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) plan: &'a Arc<Plan>,
    pub(crate) segment: Segment,
    pub(crate) sinks: IndexMap<Name, Sink>,
    /// Of what is done; none with `--first`, from which nobody goes on.
    pub(crate) fingerprint: Option<Fingerprint>,
    /// What needn't be done.
    pub(crate) reuse: Reuse,
    /// What is to be done, and where in the source each task begins.
    pub(crate) specs: Vec<(Position, TaskSpec)>,
    /// What became of each stage's first rows, over all tasks of the run.
    pub(crate) first_rows: Arc<FirstRows>,
}

/// What a segment has made that is whole.
pub(crate) struct Whole {
    /// Its files, in the order of their rows.
    pub(crate) files: Vec<PathBuf>,
    /// Its tasks, in the same order.
    pub(crate) tasks: Vec<TaskId>,
}

/// Where objects are here that rows are copied of. They go when it is dropped.
#[derive(Default)]
struct Fetched(BTreeMap<PathBuf, PathBuf>);

impl Drop for Fetched {
    fn drop(&mut self) {
        // What can't be removed goes with all that is staged there.
        self.0.values().for_each(|file| drop(std::fs::remove_file(file)));
    }
}

/// A task that is done, in this run or an earlier one.
struct Finished<'a> {
    position: Position,
    id: TaskId,
    /// `None` of an earlier run's.
    spec: Option<&'a TaskSpec>,
    /// Whether its rows are those of an earlier run: it is one of that, or a copy of a part of one.
    reused: bool,
    /// What came of it; its files are those that are published, or are going to be.
    result: TaskResult,
}

impl SegmentRun<'_> {
    /// The tasks that there are to do, those that earlier runs have done, and the bytes of input that is to be read.
    pub(crate) fn size(&self) -> (usize, usize, u64) {
        let (cuts, specs): (Vec<_>, Vec<_>) =
            self.specs.iter().map(|(_, spec)| spec).partition(|spec| spec.cut.is_some());
        let splits = specs.iter().flat_map(|spec| spec.splits.values().flat_map(|splits| splits.iter()));
        (specs.len(), self.reuse.standing.len() + cuts.len(), splits.map(Split::bytes).sum())
    }

    /// What earlier runs have made, when it is all that there is to be made.
    pub(crate) fn kept(&self) -> Option<Whole> {
        if !self.specs.is_empty() {
            return None;
        }
        let mut standing: Vec<&Standing> = self.reuse.standing.iter().collect();
        standing.sort_by_key(|task| (task.position, task.id));
        let files = standing.iter().flat_map(|task| task.result.files.values()).flat_map(|made| &made.files);
        let files = files.map(|file| file.path.clone()).collect();
        Some(Whole { files, tasks: standing.iter().map(|task| task.id).collect() })
    }

    /// Runs its tasks, publishes what they make, and makes its outputs whole.
    pub(crate) async fn run(
        &self,
        journal: &mut Journal,
        totals: &mut Totals,
        observer: &dyn Observer,
    ) -> Result<Whole, StepError> {
        let mut done: Vec<Finished<'_>> = Vec::new();
        for Standing { position, id, result } in &self.reuse.standing {
            self.reused(result, totals);
            done.push(Finished { position: *position, id: *id, spec: None, reused: true, result: result.clone() });
        }
        totals.reused.files += self.reuse.whole.as_ref().map_or(0, |singles| singles.len() as u64);
        let error = self.tasks(&mut done, journal, totals, observer).await;
        done.sort_by_key(|task| (task.position, task.id));
        let error = self.publish_last(&mut done, journal, error);
        let error = self.show_columns(&mut done, journal, error);
        if let Some(error) = error {
            return Err(error);
        }
        let stages = self.books(&done)?;
        let written = self.close(&done, journal, totals, observer)?;
        totals.close(stages);
        Ok(Whole { files: written, tasks: done.iter().map(|task| task.id).collect() })
    }

    /// Takes in what earlier runs have done.
    fn reused(&self, result: &TaskResult, totals: &mut Totals) {
        totals.add_failures(result);
        let through = result.counts.iter().filter(|(_, counts)| counts.rows_out > 0);
        through.for_each(|(stage, _)| self.first_rows.through(stage));
        totals.reused.tasks += 1;
        totals.reused.files += result.files.values().map(|made| made.files.len() as u64).sum::<u64>();
    }

    /// Runs the tasks that are left. Gives the error that ended them, if one did.
    async fn tasks<'a>(
        &'a self,
        done: &mut Vec<Finished<'a>>,
        journal: &mut Journal,
        totals: &mut Totals,
        observer: &dyn Observer,
    ) -> Option<StepError> {
        if self.specs.is_empty() {
            return None;
        }
        let live: Arc<Live> = Arc::default();
        let specs: Vec<&TaskSpec> = self.specs.iter().map(|(_, spec)| spec).collect();
        let part = |sink: &Name| !self.sinks[sink].is_folder();
        let fingerprint = self.fingerprint.as_ref().map(Fingerprint::as_str);
        let ids = match journal.begin_tasks(fingerprint, &specs, &part) {
            Ok(ids) => ids,
            Err(e) => return Some(e),
        };
        let stores = journal.stores.clone();
        let fetched = match self.fetched(stores.as_ref()).await {
            Ok(fetched) => Arc::new(fetched),
            Err(e) => return Some(e),
        };
        let tasks = stream::iter(specs.into_iter().enumerate()).map(|(i, spec)| {
            // Each when it begins: of many files, all specs at once would be much.
            let mut spec = spec.clone();
            if let Some(cut) = &mut spec.cut {
                cut.read_from(&fetched.0);
            }
            let (plan, live, cancel) = (self.plan.clone(), live.clone(), self.engine.cancel.clone());
            let (compute, faults) = (self.engine.compute().clone(), self.engine.settings.faults.clone());
            let stores = stores.clone();
            let first_rows = self.first_rows.clone();
            async move {
                if cancel.is_raised() {
                    return Err(StepError::new(Fault::Outside, "interrupted"));
                }
                let (number, seen) = (spec.number, live.clone());
                let begun = move |spec: &TaskSpec| {
                    // What an attempt before has counted isn't counted again.
                    let first_rows = spec.left_out.is_empty().then(|| first_rows.clone());
                    let scope = spec.scope(cancel.clone(), first_rows);
                    seen.add(number, scope.clone());
                    scope
                };
                let task = compute.spawn(async move {
                    let result = run_attempts(&mut spec, &plan, &faults, begun).await?;
                    if let Some(stores) = stores {
                        upload(&result, &stores, &faults).await?;
                    }
                    Ok((i, result))
                });
                let result = task.await.unwrap_or_else(|e| {
                    Err(StepError::new(Fault::Internal, format!("a task panicked: {e}"))
                        .hint("this is a mistake of dflow's; please report it"))
                });
                live.remove(number);
                result
            }
        });
        let mut tasks = std::pin::pin!(tasks.buffer_unordered(self.engine.settings.workers.max(1)));
        let mut error: Option<StepError> = None;
        let mut ticks = tokio::time::interval(PROGRESS);
        let mut waiting = VecDeque::new();
        loop {
            let next = match waiting.pop_front() {
                Some(ended) => Some(ended),
                None => tokio::select! {
                    task = tasks.next() => task,
                    _ = ticks.tick() => {
                        let (counts, seconds) = (totals.with(&live), totals.started.elapsed().as_secs_f64());
                        observer.event(&Event::Progress { stages: &counts, tasks_done: totals.tasks, seconds });
                        continue;
                    }
                },
            };
            let Some(ended) = next else { return error };
            // The next task begins before this one's result is written down: to be looked for is what makes it begin.
            while let Poll::Ready(Some(more)) = futures::poll!(tasks.next()) {
                waiting.push_back(more);
            }
            let kept = ended.and_then(|(i, mut result)| {
                if error.is_some() {
                    result.discard();
                    return Ok(());
                }
                let (position, spec) = &self.specs[i];
                let kept = self.keep(ids[i], spec, &mut result, journal);
                // It is in the journal now, unless that waits for the others.
                if !self.waits() {
                    result.by_split = None;
                    result
                        .files
                        .values_mut()
                        .flat_map(|made| &mut made.files)
                        .for_each(|file| file.splits = Vec::new());
                }
                let reused = spec.cut.is_some();
                if reused {
                    self.reused(&result, totals);
                } else if kept.is_ok() {
                    let seconds = result.elapsed.as_secs_f64();
                    for (sink, made) in self.sinks.keys().filter_map(|sink| result.files.get_key_value(sink)) {
                        observer.event(&Event::TaskDone { sink, task: spec.number, rows: made.rows(), seconds });
                    }
                    totals.add(&result);
                }
                done.push(Finished { position: *position, id: ids[i], spec: Some(spec), reused, result });
                kept
            });
            // The first error ends the run; the others' tasks are told to stop, and what they say then is no news.
            if let Err(e) = kept
                && error.is_none()
            {
                if !self.engine.cancel.is_raised() {
                    self.engine.cancel.fail();
                }
                error = Some(e);
            }
        }
    }

    /// Fetches the objects that rows are copied of.
    async fn fetched(&self, stores: Option<&Stores>) -> Result<Fetched, StepError> {
        let mut here = Fetched::default();
        let Some(stores) = stores else { return Ok(here) };
        let fetched = &mut here.0;
        for (name, sink) in &self.sinks {
            let Some(staging) = sink.staging() else { continue };
            let cuts = self.specs.iter().filter_map(|(_, spec)| spec.cut.as_ref());
            for object in cuts.flat_map(|cut| cut.objects_of(name)) {
                let file = staging.join(format!(".{}.was.tmp", fetched.len()));
                fetched.entry(object.clone()).or_insert(file);
            }
        }
        let downloads = stream::iter(&here.0).map(|(object, file)| stores.download(object, file));
        downloads.buffer_unordered(DOWNLOADS).try_collect::<Vec<()>>().await?;
        Ok(here)
    }

    /// Publishes what a task made, but files without rows.
    fn keep(
        &self,
        id: TaskId,
        spec: &TaskSpec,
        result: &mut TaskResult,
        journal: &mut Journal,
    ) -> Result<(), StepError> {
        for (name, made) in &mut result.files {
            let sink = &self.sinks[name];
            let kept_back = sink.keeps_back(made) && spec.number == 0;
            if made.rows() == 0 && sink.is_folder() && made.replaced.is_empty() && !kept_back {
                made.discard();
                made.files.clear();
            }
        }
        let files = result.files.iter().filter(|(name, made)| {
            let sink = &self.sinks[*name];
            !sink.publishes_last() && !sink.keeps_back(made)
        });
        let made: Vec<Made<'_>> = files.map(|(sink, files)| self.made(Some(id), sink, files)).collect();
        let done = [(id, spec, &*result)];
        journal.commit(if self.waits() { &[] } else { &done }, &made)
    }

    /// Whether tasks have files that are published with those of others: before that they aren't done.
    fn waits(&self) -> bool {
        self.sinks.values().any(Sink::publishes_last)
    }

    fn made<'b>(&self, task: Option<TaskId>, sink: &'b Name, files: &'b SinkFiles) -> Made<'b> {
        Made { task, sink, part: task.is_some() && !self.sinks[sink].is_folder(), files }
    }

    /// Publishes the files of those sinks whose files are published when all tasks are done.
    fn publish_last(
        &self,
        done: &mut [Finished<'_>],
        journal: &mut Journal,
        error: Option<StepError>,
    ) -> Option<StepError> {
        let last = || self.sinks.iter().filter(|(_, sink)| sink.publishes_last());
        let new: Vec<&Finished<'_>> = done.iter().filter(|task| task.spec.is_some()).collect();
        if !self.waits() || new.is_empty() {
            return error;
        }
        let refused = error.or_else(|| last().find_map(|(name, sink)| together(sink, name, done).err()));
        if refused.is_some() {
            new.iter().for_each(|task| {
                last().for_each(|(name, _)| task.result.files[name].discard());
                Prepared::discard_all(&task.result.dead_files());
            });
            return refused;
        }
        let tasks: Vec<_> = new.iter().filter_map(|task| Some((task.id, task.spec?, &task.result))).collect();
        let made: Vec<_> = new
            .iter()
            .flat_map(|task| last().map(|(name, _)| self.made(Some(task.id), name, &task.result.files[name])))
            .collect();
        journal.commit(&tasks, &made).err()
    }

    /// Publishes the first task's files without rows, which show the columns, where nothing has any rows.
    fn show_columns(
        &self,
        done: &mut [Finished<'_>],
        journal: &mut Journal,
        mut error: Option<StepError>,
    ) -> Option<StepError> {
        for (name, sink) in &self.sinks {
            let alone = done.iter().all(|task| task.result.files[name].rows() == 0);
            let shown = |task: &Finished<'_>| task.spec.is_none() && !task.result.files[name].files.is_empty();
            let shown = done.iter().any(shown);
            let kept_back = |task: &&mut Finished<'_>| {
                let made = &task.result.files[name];
                task.spec.is_some() && sink.keeps_back(made) && !made.files.is_empty()
            };
            for task in done.iter_mut().filter(kept_back) {
                let made = &task.result.files[name];
                if error.is_none() && alone && !shown {
                    error = journal.commit(&[], &[self.made(Some(task.id), name, made)]).err();
                } else {
                    made.discard();
                    task.result.files.insert(name.clone(), SinkFiles::default());
                }
            }
        }
        error
    }

    /// What each stage did, over all tasks. The books must balance.
    fn books(&self, done: &[Finished<'_>]) -> Result<Vec<StageReport>, StepError> {
        let sum = |earlier: bool| {
            let mut counts: BTreeMap<Name, StageCounts> = BTreeMap::new();
            let tasks = done.iter().filter(|task| !earlier || task.reused);
            for (name, more) in tasks.flat_map(|task| &task.result.counts) {
                counts.entry(name.clone()).or_default().add(more);
            }
            counts
        };
        let mut counts = sum(false);
        let mut stages = ledger::stages(self.plan, &self.segment, &counts);
        let earlier = ledger::stages(self.plan, &self.segment, &sum(true));
        for (stage, earlier) in stages.iter_mut().zip(earlier) {
            stage.reused = earlier.rows_in;
        }
        for source in &self.segment.sources {
            let pruned = source.splits.len() - source.to_read(self.engine.settings.first).len();
            stages.iter_mut().filter(|s| s.stage == source.stage).for_each(|s| s.pruned = pruned as u64);
        }
        // The report tells of each stage once, but the books are of all that was done.
        for (name, more) in done.iter().flat_map(|task| &task.result.again) {
            counts.entry(name.clone()).or_default().add(more);
        }
        ledger::check(self.plan, &self.segment, &counts)?;
        Ok(stages)
    }

    /// Makes the outputs whole: puts single files together, and removes what they and the new files replace.
    fn close(
        &self,
        done: &[Finished<'_>],
        journal: &mut Journal,
        totals: &mut Totals,
        observer: &dyn Observer,
    ) -> Result<Vec<PathBuf>, StepError> {
        let mut written: Vec<PathBuf> = Vec::new();
        for (name, sink) in &self.sinks {
            let made = || done.iter().map(|task| &task.result.files[name]);
            let replaced: Vec<_> = made().flat_map(|made| made.replaced.clone()).collect();
            sink.drop_empty_folders(&replaced);
            let alone = made().all(|made| made.rows() == 0);
            // An earlier run's file without rows has shown the columns until now.
            let counts = |made: &&SinkFiles| made.rows() > 0 || alone || !sink.shows_columns();
            let parts: Vec<Prepared> = made().filter(counts).flat_map(|made| made.files.clone()).collect();
            let whole = self.reuse.whole.as_ref().and_then(|singles| singles.get(name).cloned());
            let assembled = match whole {
                Some(file) => Some(file),
                None => {
                    let assembled = sink.assemble(&parts)?;
                    if let Some(file) = &assembled {
                        // Of it is known which task's rows are where.
                        let splits = done.iter().map(|task| (task.id.number(), task.result.files[name].rows()));
                        let file = Prepared { splits: splits.collect(), ..file.clone() };
                        let files = SinkFiles::from(vec![file]);
                        journal.commit(&[], &[self.made(None, name, &files)])?;
                    }
                    assembled
                }
            };
            sink.publish_manifest(&self.plan.pipeline.name, &parts, &self.engine.settings.faults)?;
            written.extend(parts.iter().map(|part| part.path.clone()).chain(sink.single()));
            totals.outputs.extend(sink.outputs(&parts, assembled.as_ref()));
            let rows = assembled.map_or_else(|| parts.iter().map(|file| file.rows).sum(), |file| file.rows);
            let reused = done.iter().filter(|task| task.reused).count();
            let saved = self.plan.saves(&self.segment);
            observer.event(&Event::SinkDone { sink: name, saved, tasks: done.len(), reused, rows });
        }
        let tasks: Vec<TaskId> = done.iter().map(|task| task.id).collect();
        if let Some(fingerprint) = &self.fingerprint {
            journal.complete(&self.segment.ends[0], fingerprint, &tasks, self.plan.saves(&self.segment))?;
        }
        self.clean(&written, &tasks, journal)?;
        journal.sweep_dead()?;
        Ok(written)
    }

    /// Removes parts, and what older generations left, now that the new one is whole.
    fn clean(&self, written: &[PathBuf], tasks: &[TaskId], journal: &mut Journal) -> Result<(), StepError> {
        let faults = &self.engine.settings.faults;
        let singles: Vec<&Name> =
            self.sinks.iter().filter(|(_, sink)| !sink.is_folder()).map(|(name, _)| name).collect();
        let mut parts = journal.parts(&singles)?;
        if self.fingerprint.is_none() {
            // Those of a run that was cut short wait for one that goes on from it.
            parts.retain(|part| self.sinks.values().any(|sink| sink.made_part(part)));
        }
        let mut older: Vec<PathBuf> = self.sinks.values().flat_map(|sink| sink.older(written)).collect();
        if self.plan.saves(&self.segment) {
            // Files of other states stay, but for those of tasks that this run has done anew.
            let stale = journal.known().files_of_stale(&self.segment.ends[0])?;
            older.extend(stale.into_iter().filter(|path| !written.contains(path)));
            older.sort();
            older.dedup();
        }
        if parts.is_empty() && older.is_empty() {
            return Ok(());
        }
        faults.before(Step::Cleaned);
        journal.remove(&older)?;
        self.sinks.values().for_each(|sink| sink.drop_empty_folders(&older));
        for part in &parts {
            // What can't be removed is no harm to anybody.
            drop(std::fs::remove_file(part));
            drop_empty_folders(part);
        }
        faults.after(Step::Cleaned);
        let removed: Vec<PathBuf> = older.into_iter().chain(parts).collect();
        journal.removed(&removed, tasks)
    }
}

/// Looks whether the files of all tasks of a sink can be published together: no two of one name, and none that others have.
fn together(sink: &Sink, name: &Name, done: &[Finished<'_>]) -> Result<(), StepError> {
    let files = || done.iter().flat_map(|task| &task.result.files[name].files);
    let mut names: HashMap<&Path, &Prepared> = HashMap::new();
    for file in files() {
        if let Some(first) = names.insert(&file.path, file) {
            let name = file.path.strip_prefix(sink.folder()).unwrap_or(&file.path).to_string_lossy().into_owned();
            return Err(two_rows(&sink.name, &name, first.row.as_deref(), file.row.as_deref()));
        }
    }
    sink.refuse_taken(files())
}
