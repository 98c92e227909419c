//! Runs a plan: segments into tasks, tasks onto cores, results into the journal and to their places.
//!
//! The driver alone writes the journal. It talks to tasks through their specs and results, and to who watches through events.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use dflow_io::{Prepared, Stores};
use dflow_operators::{RowFailure, StageCounts, StepError, TaskScope};
use dflow_pipeline::{Fault, Name, Verb, exit};
use dflow_plan::{Plan, Segment};
use futures::{StreamExt, stream};
use indexmap::IndexMap;

use crate::{
    engine::{Engine, EngineSettings},
    events::{Event, Observer, SCHEMA_VERSION},
    grouping,
    journal::{Journal, Record},
    ledger,
    report::{OutputFile, RunReport, StageReport},
    sink::Sink,
    task::{SinkFiles, TaskResult, TaskSpec, run_task},
    writer::{TaskOutput, two_rows},
};

/// How often progress is told.
const PROGRESS: Duration = Duration::from_millis(100);

/// Why a run ended before its end.
#[derive(Clone, Debug)]
pub struct RunError {
    /// What went wrong.
    pub error: StepError,
    /// Whether the user ended it.
    pub interrupted: bool,
}

impl RunError {
    /// The exit code.
    pub fn exit_code(&self) -> u8 {
        if self.interrupted { exit::INTERRUPTED } else { self.error.fault.exit_code() }
    }
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for RunError {}

impl From<StepError> for RunError {
    fn from(error: StepError) -> Self {
        Self { error, interrupted: false }
    }
}

impl Engine {
    /// Runs a plan: all of its sinks, those of one segment together, one segment after the other.
    ///
    /// # Errors
    /// What ended the run. Rows that failed end no run: they are in the report, whose exit code tells.
    pub fn run(&self, plan: &Arc<Plan>, observer: &dyn Observer) -> Result<RunReport, RunError> {
        let result = self.io().block_on(self.drive(plan, observer));
        result.map_err(|error| RunError { error, interrupted: self.cancel.is_raised() && !self.failing() })
    }

    async fn drive(&self, plan: &Arc<Plan>, observer: &dyn Observer) -> Result<RunReport, StepError> {
        let started = Instant::now();
        let run = run_id();
        let stores = self.stores(&plan.pipeline)?;
        let mut journal = Journal::open(&self.settings.state)?;
        journal.recover()?;
        self.memory.sweep()?;
        let sinks = self.sinks(plan, &stores, &journal, &run)?;
        let specs: Vec<Vec<TaskSpec>> = plan
            .segments
            .iter()
            .zip(&sinks)
            .map(|(segment, sinks)| {
                let output = |name: &Name, number| sinks[name].output(number);
                specs(&self.settings, plan, segment, &run, &output)
            })
            .collect();
        journal.append(Record::RunStarted { run: run.clone(), pipeline: plan.pipeline.name.clone() })?;
        let mut stages: Vec<&Name> = Vec::new();
        for stage in plan.segments.iter().flat_map(|s| &s.stages) {
            if !stages.contains(&stage) {
                stages.push(stage);
            }
        }
        let splits = plan.segments.iter().flat_map(|s| &s.sources);
        let splits = splits.flat_map(|s| s.to_read(self.settings.first).iter());
        let tasks = specs.iter().map(Vec::len).sum();
        observer.event(&Event::Started {
            schema_version: SCHEMA_VERSION,
            run: &run,
            pipeline: &plan.pipeline.name,
            stages,
            tasks,
            bytes: splits.map(|s| s.size).sum(),
        });
        let mut state = Totals::new(started);
        for ((segment, sinks), specs) in plan.segments.iter().zip(&sinks).zip(&specs) {
            let result = self.segment(plan, segment, sinks, specs, &run, &mut journal, &mut state, observer).await;
            if let Err(error) = result {
                sinks.values().for_each(Sink::drop_parts);
                let exit = if self.cancel.is_raised() && !self.failing() {
                    exit::INTERRUPTED
                } else {
                    error.fault.exit_code()
                };
                journal.append(Record::RunEnded { run, exit })?;
                return Err(error);
            }
        }
        let failed_beyond = ledger::failed_beyond(plan, &state.stages);
        let exit = if failed_beyond > 0 { exit::ROWS } else { exit::DONE };
        journal.append(Record::RunEnded { run: run.clone(), exit })?;
        let report = RunReport {
            schema_version: SCHEMA_VERSION,
            run,
            pipeline: plan.pipeline.name.clone(),
            stages: state.stages,
            outputs: state.outputs,
            failures: state.failures,
            failed_beyond,
            tasks,
            memory: self.memory.peak(),
            spilled: self.memory.spilled(),
            seconds: started.elapsed().as_secs_f64(),
            exit,
        };
        observer.event(&Event::Finished { report: &report });
        Ok(report)
    }

    /// The sinks of each of the plan's segments, by name; two on one place are refused.
    fn sinks(
        &self,
        plan: &Plan,
        stores: &Stores,
        journal: &Journal,
        run: &str,
    ) -> Result<Vec<IndexMap<Name, Sink>>, StepError> {
        let mut segments: Vec<IndexMap<Name, Sink>> = Vec::new();
        for segment in &plan.segments {
            let mut sinks: IndexMap<Name, Sink> = IndexMap::new();
            for end in &segment.ends {
                let Verb::Write(write) = &plan.pipeline.stage[end].verb else {
                    return Err(StepError::new(Fault::Internal, format!("`{end}` isn't a sink")));
                };
                let (state, first) = (&self.settings.state, self.settings.first.is_some());
                let sink = Sink::open(end, write, stores, journal, run, state, first)?;
                let same = |other: &&Sink| other.place() == sink.place();
                if let Some(other) = segments.iter().chain([&sinks]).flat_map(IndexMap::values).find(same) {
                    let what = format!(
                        "stages `{}` and `{}` write to the same place, `{}`",
                        other.name, sink.name, write.path
                    );
                    return Err(StepError::new(Fault::Pipeline, what).hint("give each a place of its own"));
                }
                sinks.insert(end.clone(), sink);
            }
            segments.push(sinks);
        }
        if segments.is_empty() {
            return Err(StepError::new(Fault::Pipeline, "this pipeline writes nothing")
                .hint("add a stage with `write`, or look at a stage's rows with `dflow-host eval`"));
        }
        Ok(segments)
    }

    /// Runs a segment's tasks and publishes what they made.
    #[expect(
        clippy::too_many_arguments,
        reason = "the parts of one run; a struct of them would be made and taken apart here alone"
    )]
    async fn segment(
        &self,
        plan: &Arc<Plan>,
        segment: &Segment,
        sinks: &IndexMap<Name, Sink>,
        specs: &[TaskSpec],
        run: &str,
        journal: &mut Journal,
        totals: &mut Totals,
        observer: &dyn Observer,
    ) -> Result<(), StepError> {
        let live: Arc<Live> = Arc::default();
        let tasks = stream::iter(specs.iter().cloned()).map(|spec| {
            let (plan, live, cancel, compute) =
                (plan.clone(), live.clone(), self.cancel.clone(), self.compute().clone());
            async move {
                if cancel.is_raised() {
                    return Err(StepError::new(Fault::Outside, "interrupted"));
                }
                let scope = spec.scope(cancel);
                live.add(spec.number, scope.clone());
                let number = spec.number;
                let task =
                    compute.spawn(async move { run_task(&spec, &plan, scope).await.map(|result| (spec, result)) });
                let result = task.await.unwrap_or_else(|e| {
                    Err(StepError::new(Fault::Internal, format!("a task panicked: {e}"))
                        .hint("this is a mistake of dflow's; please report it"))
                });
                live.remove(number);
                result
            }
        });
        for spec in specs {
            for (sink, output) in &spec.outputs {
                let file = std::path::absolute(output.folder.join(&output.name)).unwrap_or_default();
                let kept = output.kept().map(|name| file.with_file_name(name));
                for file in std::iter::once(file).chain(kept) {
                    let (run, sink) = (run.to_owned(), sink.clone());
                    journal.write(Record::TaskStarted { run, sink, task: spec.number, file })?;
                }
            }
        }
        journal.sync()?;
        let mut tasks = std::pin::pin!(tasks.buffer_unordered(self.settings.workers.max(1)));
        let mut done: BTreeMap<u32, TaskResult> = BTreeMap::new();
        let mut error: Option<StepError> = None;
        let mut ticks = tokio::time::interval(PROGRESS);
        loop {
            tokio::select! {
                task = tasks.next() => match task {
                    None => break,
                    Some(Ok((spec, result))) => {
                        if error.is_none() {
                            self.keep(sinks, &spec, &result, run, journal)?;
                            let seconds = result.elapsed.as_secs_f64();
                            for (sink, made) in sinks.keys().filter_map(|sink| result.files.get_key_value(sink)) {
                                observer.event(&Event::TaskDone { sink, task: spec.number, rows: made.rows(), seconds });
                            }
                        } else {
                            result.files.values().for_each(SinkFiles::discard);
                        }
                        totals.add(&result);
                        done.insert(spec.number, result);
                    }
                    // The first error ends the run; the others' tasks are told to stop, and what they say then is no news.
                    Some(Err(e)) => if error.is_none() {
                        if !self.cancel.is_raised() {
                            self.fail();
                        }
                        error = Some(e);
                    },
                },
                _ = ticks.tick() => {
                    let counts = totals.with(&live);
                    observer.event(&Event::Progress { stages: &counts, tasks_done: totals.tasks, seconds: totals.started.elapsed().as_secs_f64() });
                }
            }
        }
        for sink in sinks.values().filter(|sink| sink.publishes_last()) {
            let together = if error.is_none() { together(sink, &done) } else { Ok(Vec::new()) };
            match together {
                Ok(files) if error.is_none() => journal.publish(run, vec![(sink.name.clone(), files.into())])?,
                refused => {
                    done.values().for_each(|result| result.files[&sink.name].discard());
                    error = error.or(refused.err());
                }
            }
        }
        // The first task's files without rows were kept back: they show the columns when nothing has any rows.
        let alone = |sink: &Name| done.values().all(|result| result.files[sink].rows() == 0);
        let first = done.get(&0).into_iter().flat_map(|first| &first.files);
        for (name, made) in first.filter(|(name, made)| sinks[*name].keeps_back(made)) {
            match error {
                None if alone(name) => self.publish(&[(&sinks[name], made)], run, journal)?,
                _ => made.discard(),
            }
        }
        if let Some(error) = error {
            return Err(error);
        }
        let mut counts: BTreeMap<Name, StageCounts> = BTreeMap::new();
        let mut add = |name: &Name, more| counts.entry(name.clone()).or_default().add(more);
        done.values().flat_map(|result| &result.counts).for_each(|(name, more)| add(name, more));
        let mut stages = ledger::stages(plan, segment, &counts);
        for source in &segment.sources {
            let pruned = source.splits.len() - source.to_read(self.settings.first).len();
            stages.iter_mut().filter(|s| s.stage == source.stage).for_each(|s| s.pruned = pruned as u64);
        }
        // The report tells of each stage once, but the books are of all that was done.
        let mut add = |name: &Name, more| counts.entry(name.clone()).or_default().add(more);
        done.values().flat_map(|result| &result.again).for_each(|(name, more)| add(name, more));
        ledger::check(plan, segment, &counts)?;
        for sink in sinks.values() {
            let alone = alone(&sink.name);
            let made = || done.iter().map(|(number, result)| (*number, &result.files[&sink.name]));
            let replaced: Vec<_> = made().flat_map(|(_, made)| made.replaced.clone()).collect();
            sink.drop_empty_folders(&replaced);
            let parts: Vec<Prepared> = made()
                .filter(|(number, made)| made.rows() > 0 || (*number == 0 && alone) || !sink.is_folder())
                .flat_map(|(_, made)| made.files.clone())
                .collect();
            self.close(sink, &parts, run, journal, totals)?;
            let rows = parts.iter().map(|file| file.rows).sum();
            observer.event(&Event::SinkDone { sink: &sink.name, tasks: specs.len(), rows });
        }
        totals.close(stages);
        Ok(())
    }

    /// Publishes what a task made, but files without rows.
    fn keep(
        &self,
        sinks: &IndexMap<Name, Sink>,
        spec: &TaskSpec,
        result: &TaskResult,
        run: &str,
        journal: &mut Journal,
    ) -> Result<(), StepError> {
        let mut published = Vec::new();
        for (sink, made) in sinks.iter().filter_map(|(name, sink)| Some((sink, result.files.get(name)?))) {
            match made.rows() {
                _ if sink.publishes_last() => {}
                0 if sink.keeps_back(made) && spec.number == 0 => {}
                0 if sink.is_folder() && made.replaced.is_empty() => made.discard(),
                _ => published.push((sink, made)),
            }
        }
        self.publish(&published, run, journal)
    }

    /// Publishes a task's files: into their folders, or among the parts of a single file. All are prepared before any is seen.
    fn publish(&self, made: &[(&Sink, &SinkFiles)], run: &str, journal: &mut Journal) -> Result<(), StepError> {
        for (_, parts) in made.iter().filter(|(sink, _)| !sink.is_folder()) {
            Prepared::publish_all(&parts.files)?;
        }
        let folders = made.iter().filter(|(sink, _)| sink.is_folder());
        journal.publish(run, folders.map(|(sink, made)| (sink.name.clone(), (*made).clone())).collect())
    }

    /// Puts a sink's files together, where they are one, and removes older ones.
    fn close(
        &self,
        sink: &Sink,
        parts: &[Prepared],
        run: &str,
        journal: &mut Journal,
        totals: &mut Totals,
    ) -> Result<(), StepError> {
        let assembled = sink.assemble(parts)?;
        if let Some(file) = &assembled {
            journal.publish(run, vec![(sink.name.clone(), vec![file.clone()].into())])?;
        }
        let written: Vec<_> = parts.iter().map(|p| p.path.clone()).chain(sink.single()).collect();
        let removed = sink.clean(&written)?;
        if !removed.is_empty() {
            journal.append(Record::Removed { run: run.to_owned(), sink: sink.name.clone(), paths: removed })?;
        }
        totals.outputs.extend(sink.outputs(parts, assembled.as_ref()));
        Ok(())
    }
}

/// The files of all tasks of a sink that publishes them together: no two of one name, and none that others have.
fn together(sink: &Sink, done: &BTreeMap<u32, TaskResult>) -> Result<Vec<Prepared>, StepError> {
    let files: Vec<&Prepared> = done.values().flat_map(|result| &result.files[&sink.name].files).collect();
    let mut names: HashMap<&Path, &Prepared> = HashMap::new();
    for file in &files {
        if let Some(first) = names.insert(&file.path, file) {
            let name = file.path.strip_prefix(sink.folder()).unwrap_or(&file.path).to_string_lossy().into_owned();
            return Err(two_rows(&sink.name, &name, first.row.as_deref(), file.row.as_deref()));
        }
    }
    let files: Vec<Prepared> = files.into_iter().cloned().collect();
    sink.refuse_taken(&files)?;
    Ok(files)
}

/// A segment's tasks, and the files that each makes.
pub(crate) fn specs(
    settings: &EngineSettings,
    plan: &Plan,
    segment: &Segment,
    run: &str,
    output: &dyn Fn(&Name, u32) -> TaskOutput,
) -> Vec<TaskSpec> {
    let spec = |number: u32, splits, partitions, tasks: usize| TaskSpec {
        version: TaskSpec::VERSION,
        run: run.to_owned(),
        number,
        pipeline: plan.pipeline.clone(),
        pins: plan.plugins.iter().map(|(name, plugin)| (name.clone(), plugin.digest().to_owned())).collect(),
        segment: segment.ends[0].clone(),
        splits,
        partitions,
        parallel: settings.workers.div_ceil(partitions * tasks),
        first: settings.first,
        outputs: segment.ends.iter().map(|end| (end.clone(), output(end, number))).collect(),
    };
    // A global task sees all rows; where their order counts, or each source gives only its first rows, in one partition.
    let merges = segment.ends.iter().any(|end| output(end, 0).merge.is_some());
    if segment.global || merges || settings.first.is_some() {
        let splits = segment.sources.iter().map(|s| (s.stage.clone(), s.to_read(settings.first).to_vec()));
        let splits = splits.collect();
        let partitions = if segment.ordered || merges || settings.first.is_some() { 1 } else { settings.workers };
        return vec![spec(0, splits, partitions, 1)];
    }
    let source = &segment.sources[0];
    let tasks = grouping::tasks(&source.kept, settings.workers, settings.task_bytes, source.cut);
    let count = tasks.len();
    let splits = tasks.into_iter().map(|splits| BTreeMap::from([(source.stage.clone(), splits)]));
    splits.enumerate().map(|(number, splits)| spec(number as u32, splits, 1, count)).collect()
}

/// Tasks that run now.
#[derive(Default)]
struct Live(Mutex<BTreeMap<u32, Arc<TaskScope>>>);

impl Live {
    fn add(&self, number: u32, scope: Arc<TaskScope>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(number, scope);
    }

    fn remove(&self, number: u32) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
    }
}

/// What was counted until now.
struct Totals {
    started: Instant,
    tasks: usize,
    counts: BTreeMap<Name, StageCounts>,
    stages: Vec<StageReport>,
    outputs: Vec<OutputFile>,
    failures: Vec<RowFailure>,
}

impl Totals {
    fn new(started: Instant) -> Self {
        Self {
            started,
            tasks: 0,
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

    fn add(&mut self, result: &TaskResult) {
        self.tasks += 1;
        for (name, counts) in &result.counts {
            if !self.told(name) {
                self.counts.entry(name.clone()).or_default().add(counts);
            }
        }
        let new: Vec<_> = result.failures.iter().filter(|f| !self.told(&f.stage)).cloned().collect();
        self.failures.extend(new);
    }

    /// With what the running tasks have counted.
    fn with(&self, live: &Live) -> BTreeMap<Name, StageCounts> {
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
    fn close(&mut self, stages: Vec<StageReport>) {
        let new: Vec<_> = stages.into_iter().filter(|s| !self.told(&s.stage)).collect();
        self.stages.extend(new);
    }
}

/// A run's id: when it began, in a form that sorts, and who ran it.
fn run_id() -> String {
    let millis = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis());
    format!("{millis:011x}{:04x}", std::process::id() & 0xffff)
}
