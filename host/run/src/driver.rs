//! Runs a plan: segments into tasks, tasks onto cores, results into the journal and to their places.
//!
//! The driver alone writes the journal, which also says what earlier runs have done and needn't be done again. It talks to tasks through their specs and results, and to who watches through events.

use std::{
    collections::BTreeMap,
    fmt,
    path::PathBuf,
    sync::Arc,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use dflow_io::{Split, Stores};
use dflow_operators::{FirstRows, StepError};
use dflow_pipeline::{Fault, Name, Verb, exit};
use dflow_plan::Plan;
use indexmap::IndexMap;

use crate::{
    engine::Engine,
    events::{Event, Observer, SCHEMA_VERSION},
    fingerprint,
    journal::{Begun, Journal},
    ledger,
    report::RunReport,
    reuse::Reuse,
    segment::SegmentRun,
    sink::Sink,
    specs::specs,
    totals::Totals,
};

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
        let settings = &self.settings;
        let mut journal = Journal::open(&settings.state, &run, &settings.faults)?;
        journal.recover()?;
        self.memory.sweep()?;
        let sinks = self.sinks(plan, &stores, &journal.own()?, &run)?;
        let (pipeline, parameters) = (plan.pipeline.name.as_str(), &plan.pipeline.param);
        journal.begin_run(&Begun { pipeline, first: settings.first, parameters })?;
        if settings.fresh && settings.first.is_none() {
            journal.forget()?;
        }
        let segments = self.segments(plan, sinks, &run, &mut journal)?;
        observer.event(&started_event(plan, &segments, &run));
        let tasks = segments.iter().map(|segment| segment.specs.len()).sum();
        let mut state = Totals::new(started);
        for segment in &segments {
            if let Err(error) = segment.run(&mut journal, &mut state, observer).await {
                let interrupted = self.cancel.is_raised() && !self.failing();
                let exit = if interrupted { exit::INTERRUPTED } else { error.fault.exit_code() };
                // What ended the run is told, and not that this couldn't be written down.
                drop(journal.fail_run(exit, &error));
                return Err(error);
            }
        }
        let failed_beyond = ledger::failed_beyond(plan, &state.stages);
        let exit = if failed_beyond > 0 { exit::ROWS } else { exit::DONE };
        let report = RunReport {
            schema_version: SCHEMA_VERSION,
            run,
            pipeline: plan.pipeline.name.clone(),
            stages: state.stages,
            outputs: state.outputs,
            failures: state.failures,
            failed_beyond,
            tasks,
            reused: state.reused,
            memory: self.memory.peak(),
            spilled: self.memory.spilled(),
            seconds: started.elapsed().as_secs_f64(),
            exit,
        };
        journal.end_run(&report)?;
        observer.event(&Event::Finished { report: &report });
        Ok(report)
    }

    /// What each segment has to do, beside what earlier runs have done.
    fn segments<'a>(
        &'a self,
        plan: &'a Arc<Plan>,
        sinks: Vec<IndexMap<Name, Sink>>,
        run: &str,
        journal: &mut Journal,
    ) -> Result<Vec<SegmentRun<'a>>, StepError> {
        let first_rows: Arc<FirstRows> = Arc::default();
        let segments = plan.segments.iter().zip(sinks).map(|(segment, sinks)| {
            let first = self.settings.first;
            let fingerprint = first.is_none().then(|| fingerprint::of_segment(plan, segment)).transpose()?;
            let reuse = match &fingerprint {
                Some(fingerprint) => Reuse::find(plan, segment, &sinks, fingerprint, journal)?,
                None => Reuse::nothing(segment, first),
            };
            let output = |name: &Name, number| sinks[name].output(number);
            let specs = specs(&self.settings, plan, segment, run, &output, &reuse);
            let first_rows = first_rows.clone();
            Ok(SegmentRun { engine: self, plan, segment, sinks, fingerprint, reuse, specs, first_rows })
        });
        segments.collect()
    }

    /// The sinks of each of the plan's segments, by name; two on one place are refused.
    pub(crate) fn sinks(
        &self,
        plan: &Plan,
        stores: &Stores,
        own: &BTreeMap<PathBuf, Name>,
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
                let sink = Sink::open(end, write, stores, own, run, state, first)?;
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
}

/// What is told when a run begins.
fn started_event<'a>(plan: &'a Plan, segments: &[SegmentRun<'a>], run: &'a str) -> Event<'a> {
    let mut stages: Vec<&Name> = Vec::new();
    for stage in segments.iter().flat_map(|s| &s.segment.stages) {
        if !stages.contains(&stage) {
            stages.push(stage);
        }
    }
    let splits = segments.iter().flat_map(|s| &s.reuse.left).flat_map(BTreeMap::values).flatten();
    Event::Started {
        schema_version: SCHEMA_VERSION,
        run,
        pipeline: &plan.pipeline.name,
        stages,
        tasks: segments.iter().map(|s| s.specs.len()).sum(),
        reused: segments.iter().map(|s| s.reuse.standing.len()).sum(),
        bytes: splits.map(Split::bytes).sum(),
    }
}

/// A run's id: when it began, in a form that sorts, and who ran it.
pub(crate) fn run_id() -> String {
    let millis = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis());
    format!("{millis:011x}{:04x}", std::process::id() & 0xffff)
}
