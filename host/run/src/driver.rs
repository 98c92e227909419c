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

use crate::{
    engine::{Engine, EngineSettings},
    events::{Event, Observer, SCHEMA_VERSION},
    grouping,
    journal::{Journal, Record},
    ledger,
    report::{OutputFile, RunReport, StageReport},
    sink::Sink,
    task::{TaskResult, TaskSpec, run_task},
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
    /// Runs a plan: all of its sinks, one segment after the other.
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
        let sinks = self.sinks(plan, &stores, &journal, &run)?;
        let specs: Vec<Vec<TaskSpec>> = plan
            .segments
            .iter()
            .zip(&sinks)
            .map(|(segment, sink)| specs(&self.settings, plan, segment, &run, &|number| sink.output(number)))
            .collect();
        journal.append(Record::RunStarted { run: run.clone(), pipeline: plan.pipeline.name.clone() })?;
        let mut stages: Vec<&Name> = Vec::new();
        for stage in plan.segments.iter().flat_map(|s| &s.stages) {
            if !stages.contains(&stage) {
                stages.push(stage);
            }
        }
        let splits = plan.segments.iter().flat_map(|s| &s.sources).flat_map(|s| s.splits.iter());
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
        for ((segment, sink), specs) in plan.segments.iter().zip(&sinks).zip(&specs) {
            let result = self.segment(plan, segment, sink, specs, &run, &mut journal, &mut state, observer).await;
            if let Err(error) = result {
                sink.drop_parts();
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
            seconds: started.elapsed().as_secs_f64(),
            exit,
        };
        observer.event(&Event::Finished { report: &report });
        Ok(report)
    }

    /// The sinks of the plan's segments; two on one place are refused.
    fn sinks(&self, plan: &Plan, stores: &Stores, journal: &Journal, run: &str) -> Result<Vec<Sink>, StepError> {
        let mut sinks: Vec<Sink> = Vec::new();
        for segment in &plan.segments {
            let Verb::Write(write) = &plan.pipeline.stage[&segment.stage].verb else {
                return Err(StepError::new(Fault::Internal, format!("`{}` isn't a sink", segment.stage)));
            };
            let sink = Sink::open(
                &segment.stage,
                write,
                stores,
                journal,
                run,
                &self.settings.state,
                self.settings.first.is_some(),
            )?;
            if let Some(other) = sinks.iter().find(|s| s.place() == sink.place()) {
                let what =
                    format!("stages `{}` and `{}` write to the same place, `{}`", other.name, sink.name, write.path);
                return Err(StepError::new(Fault::Pipeline, what).hint("give each a place of its own"));
            }
            sinks.push(sink);
        }
        if sinks.is_empty() {
            return Err(StepError::new(Fault::Pipeline, "this pipeline writes nothing")
                .hint("add a stage with `write`, or look at a stage's rows with `dflow-host eval`"));
        }
        Ok(sinks)
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
        sink: &Sink,
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
            let file = std::path::absolute(spec.output.folder.join(&spec.output.name)).unwrap_or_default();
            let kept = spec.output.kept().map(|name| file.with_file_name(name));
            for file in std::iter::once(file).chain(kept) {
                let (run, sink) = (run.to_owned(), sink.name.clone());
                journal.write(Record::TaskStarted { run, sink, task: spec.number, file })?;
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
                            match result.rows() {
                                _ if sink.publishes_last() => {}
                                0 if sink.is_folder() && spec.number == 0 && result.replaced.is_empty() => {}
                                0 if sink.is_folder() && result.replaced.is_empty() => Prepared::discard_all(&result.files),
                                _ => self.publish(sink, &result, run, journal)?,
                            }
                            observer.event(&Event::TaskDone { sink: &sink.name, task: spec.number, rows: result.rows(), seconds: result.elapsed.as_secs_f64() });
                        } else {
                            Prepared::discard_all(&result.files);
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
        if sink.publishes_last() {
            let together = if error.is_none() { together(sink, &done) } else { Ok(Vec::new()) };
            match together {
                Ok(files) if error.is_none() => journal.publish(run, &sink.name, files, Vec::new())?,
                refused => {
                    done.values().for_each(|result| Prepared::discard_all(&result.files));
                    error = error.or(refused.err());
                }
            }
        }
        // The first task's file without rows was kept back: it shows the columns when nothing has any rows.
        let empty = done.get(&0).filter(|first| sink.is_folder() && first.rows() == 0 && first.replaced.is_empty());
        let alone = done.values().all(|result| result.rows() == 0);
        match empty.filter(|_| sink.one_file_a_task()) {
            Some(first) if error.is_none() && alone => self.publish(sink, first, run, journal)?,
            Some(first) => Prepared::discard_all(&first.files),
            None => {}
        }
        if let Some(error) = error {
            return Err(error);
        }
        let mut counts: BTreeMap<Name, StageCounts> = BTreeMap::new();
        for result in done.values() {
            result.counts.iter().for_each(|(name, c)| counts.entry(name.clone()).or_default().add(c));
        }
        let stages = ledger::stages(plan, segment, &counts);
        ledger::check(plan, segment, &stages)?;
        let replaced: Vec<_> = done.values().flat_map(|r| r.replaced.clone()).collect();
        sink.drop_empty_folders(&replaced);
        let parts: Vec<Prepared> = done
            .into_iter()
            .filter(|(number, r)| r.rows() > 0 || (*number == 0 && alone) || !sink.is_folder())
            .flat_map(|(_, r)| r.files)
            .collect();
        let assembled = sink.assemble(&parts)?;
        if let Some(file) = &assembled {
            journal.publish(run, &sink.name, vec![file.clone()], Vec::new())?;
        }
        let written: Vec<_> = parts.iter().map(|p| p.path.clone()).chain(sink.single()).collect();
        let removed = sink.clean(&written)?;
        if !removed.is_empty() {
            journal.append(Record::Removed { run: run.to_owned(), sink: sink.name.clone(), paths: removed })?;
        }
        totals.outputs.extend(sink.outputs(&parts, assembled.as_ref()));
        totals.close(stages);
        Ok(())
    }

    /// Publishes a task's files: into their folder, or among the parts of a single file.
    fn publish(&self, sink: &Sink, result: &TaskResult, run: &str, journal: &mut Journal) -> Result<(), StepError> {
        if !sink.is_folder() {
            return Ok(Prepared::publish_all(&result.files)?);
        }
        journal.publish(run, &sink.name, result.files.clone(), result.replaced.clone())
    }
}

/// The files of all tasks of a sink that publishes them together: no two of one name, and none that others have.
fn together(sink: &Sink, done: &BTreeMap<u32, TaskResult>) -> Result<Vec<Prepared>, StepError> {
    let mut names: HashMap<&Path, &Prepared> = HashMap::new();
    for file in done.values().flat_map(|result| &result.files) {
        if let Some(first) = names.insert(&file.path, file) {
            let name = file.path.strip_prefix(sink.folder()).unwrap_or(&file.path).to_string_lossy().into_owned();
            return Err(two_rows(&sink.name, &name, first.row.as_deref(), file.row.as_deref()));
        }
    }
    let files: Vec<Prepared> = done.values().flat_map(|result| result.files.clone()).collect();
    sink.refuse_taken(&files)?;
    Ok(files)
}

/// A segment's tasks, and the file that each makes.
pub(crate) fn specs(
    settings: &EngineSettings,
    plan: &Plan,
    segment: &Segment,
    run: &str,
    output: &dyn Fn(u32) -> TaskOutput,
) -> Vec<TaskSpec> {
    let spec = |number: u32, splits, partitions, tasks: usize| TaskSpec {
        version: TaskSpec::VERSION,
        run: run.to_owned(),
        number,
        pipeline: plan.pipeline.clone(),
        pins: plan.plugins.iter().map(|(name, plugin)| (name.clone(), plugin.digest().to_owned())).collect(),
        segment: segment.stage.clone(),
        splits,
        partitions,
        parallel: settings.workers.div_ceil(partitions * tasks),
        first: settings.first,
        output: output(number),
    };
    // A global task sees all rows; where their order counts, or each source gives only its first rows, in one partition.
    let merges = output(0).merge.is_some();
    if segment.global || merges || settings.first.is_some() {
        let splits = segment.sources.iter().map(|s| (s.stage.clone(), s.splits.to_vec())).collect();
        let partitions = if segment.ordered || merges || settings.first.is_some() { 1 } else { settings.workers };
        return vec![spec(0, splits, partitions, 1)];
    }
    let source = &segment.sources[0];
    let tasks = grouping::tasks(&source.splits, settings.workers, settings.task_bytes, source.cut);
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
