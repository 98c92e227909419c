//! Runs a plan: segments into tasks, tasks onto cores, results into the journal and to their places.
//!
//! The driver alone writes the journal, which also says what earlier runs have done and needn't be done again. It talks to tasks through their specs and results, and to who watches through events.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use dflow_io::{Split, Stores};
use dflow_models::{Mode, Models, money::Usd};
use dflow_operators::{FirstRows, StepError};
use dflow_pipeline::{Fault, Name, Stage, Verb, exit};
use dflow_plan::{Plan, Segment};
use indexmap::IndexMap;

use crate::{
    engine::Engine,
    events::{Event, Observer, SCHEMA_VERSION},
    fingerprint::{Fingerprint, Fingerprints, Printed},
    handing::refuse_absent,
    journal::{Begun, Journal, Known},
    ledger,
    made_of::{Remembered, made_of},
    outputs::splits,
    recall::Stored,
    recorded::{Beside as Recording, Recorded},
    report::RunReport,
    reuse::Reuse,
    saved,
    segment::SegmentRun,
    select::{Chosen, chosen, unknown},
    sink::{Sink, own_files},
    specs::specs,
    totals::Totals,
};

/// How long answers that are on their way are waited for when a run ends.
const LANDING: Duration = Duration::from_secs(30);

/// Why a run ended before its end, or not all of it was done.
#[derive(Clone, Debug)]
pub struct RunError {
    /// What went wrong first.
    pub error: StepError,
    /// Whether the user ended it.
    pub interrupted: bool,
    /// What became of the rest: what doesn't depend on what failed runs nevertheless.
    pub beside: Box<Beside>,
}

/// What became of the rest of a run, of which something failed.
#[derive(Clone, Debug, Default)]
pub struct Beside {
    /// What else went wrong.
    pub others: Vec<StepError>,
    /// The saved stages and sinks that are whole.
    pub done: Vec<Name>,
    /// Those that weren't begun, as they read what failed.
    pub not_reached: Vec<Name>,
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
        Self { error, interrupted: false, beside: Box::default() }
    }
}

impl Engine {
    /// Runs a plan: its segments one after the other. When one fails, those that don't depend on it run nevertheless.
    ///
    /// # Errors
    /// What ended the run, or a part of it. Rows that failed end no run: they are in the report, whose exit code tells.
    pub fn run(&self, plan: &Arc<Plan>, observer: &dyn Observer) -> Result<RunReport, RunError> {
        let result = self.io().block_on(self.drive(plan, observer));
        result.map_err(|error| RunError { interrupted: self.cancel.is_interrupted(), ..error })
    }

    async fn drive(&self, plan: &Arc<Plan>, observer: &dyn Observer) -> Result<RunReport, RunError> {
        let run = run_id();
        let chosen = chosen(plan, &self.settings.select)?;
        let mut journal = Journal::open(&self.settings.state, &run, &self.settings.faults)?;
        let done = self.drive_with(plan, &run, &chosen, &mut journal, observer).await;
        landed(&plan.models).await;
        done
    }

    async fn drive_with(
        &self,
        plan: &Arc<Plan>,
        run: &str,
        chosen: &[Chosen],
        journal: &mut Journal,
        observer: &dyn Observer,
    ) -> Result<RunReport, RunError> {
        let started = Instant::now();
        let stores = self.stores(&plan.pipeline)?;
        let settings = &self.settings;
        journal.stores = Some(stores.clone());
        journal.recover()?;
        self.memory.sweep()?;
        let fingerprints = self.fingerprints(plan, journal)?;
        let own = own_files(plan, &stores, journal.known())?;
        let sinks = self.sinks(plan, &stores, &own, run, &fingerprints)?;
        let (pipeline, parameters) = (plan.pipeline.name.as_str(), &plan.pipeline.param);
        let made_of = made_of(plan, settings.cache.as_deref())?;
        let remembered = Remembered { pipeline: plan.pipeline.clone(), made_of };
        let text = serde_json::to_string(&remembered).map_err(|e| StepError::new(Fault::Internal, e.to_string()))?;
        journal.begin_run(&Begun { pipeline, first: settings.first, parameters, made_of: Some(&text) })?;
        let doing = chosen.iter().enumerate().filter(|(_, chosen)| chosen.is_selected());
        let doing: Vec<&Segment> = doing.map(|(i, chosen)| &chosen.plan(plan).segments[i]).collect();
        if settings.first.is_none() {
            let segments = plan.segments.iter().chain(doing.iter().copied());
            self.print(segments, &fingerprints, journal)?;
            if settings.fresh {
                let begun: Vec<Fingerprint> = doing.iter().map(|segment| fingerprints.of_segment(segment)).collect();
                journal.forget(&begun.iter().collect::<Vec<_>>())?;
            }
        }
        let recorded = match &settings.answers {
            Some(path) => Some(Arc::new(Recorded::read(path)?)),
            None => None,
        };
        // First rows are of no sink: what all rows were answered isn't forgotten for them.
        let fresh = settings.fresh && settings.first.is_none();
        let before = begin_asking(plan, journal, &doing, fresh, settings.answered.as_deref(), recorded.as_ref())?;
        let mut work = Work { plan, run, fingerprints, stored: BTreeMap::new(), stores, first_rows: Arc::default() };
        // How much there is to do is known of what reads nothing that is saved; of the rest when that is there.
        let mut segments = Vec::new();
        for ((i, chosen), sinks) in chosen.iter().enumerate().zip(sinks) {
            let ready = match plan.segments[i].reads_saved().next() {
                None if chosen.is_selected() => Ok(self.ready(&work, i, chosen, sinks, journal)?),
                _ => Err(sinks),
            };
            segments.push((&chosen.plan(plan).segments[i], chosen, ready));
        }
        let later = segments.iter().filter(|(_, chosen, ready)| chosen.is_selected() && ready.is_err()).count();
        let ready = segments.iter().filter_map(|(.., ready)| ready.as_ref().ok());
        observer.event(&started_event(plan, ready, later, run));
        let mut totals = Totals::new(started);
        let mut outcome = Outcome::default();
        for (i, (segment, chosen, ready)) in segments.into_iter().enumerate() {
            let selected = chosen.is_selected();
            let needed =
                || plan.segments[i..].iter().any(|other| other.reads_saved().any(|s| segment.ends.contains(s)));
            if !selected && !needed() {
                continue;
            }
            if segment.reads_saved().any(|stage| !work.stored.contains_key(stage)) {
                outcome.not_reached.extend(chosen.ends.iter().cloned());
                continue;
            }
            let done = async {
                let ready = match ready {
                    Ok(ready) => ready,
                    Err(sinks) => {
                        let ready = self.ready(&work, i, chosen, sinks, journal)?;
                        if selected {
                            observer.event(&planned_event(&ready));
                        }
                        ready
                    }
                };
                match selected {
                    true => ready.run(journal, &mut totals, observer).await.map(Some),
                    // What isn't to be done must be there for those that read it.
                    false => Ok(ready.kept()),
                }
            };
            match done.await {
                Ok(Some(whole)) if plan.saves(segment) => {
                    work.stored.insert(segment.ends[0].clone(), splits(&work.stores, &whole.files)?);
                    if let Some(dead) = plan.pipeline.dead_of(&segment.ends[0]) {
                        let files = journal.known().dead_files(&segment.ends[0], whole.tasks.iter().copied())?;
                        ledger::check_dead(&segment.ends[0], &totals.stages, &files)?;
                        let splits = splits(&work.stores, files.iter().map(|file| &file.path))?;
                        work.stored.insert(dead.clone(), splits);
                    }
                    outcome.done.extend(chosen.ends.iter().cloned());
                }
                Ok(Some(_)) => outcome.done.extend(chosen.ends.iter().cloned()),
                Ok(None) => outcome.incomplete.extend(segment.ends.iter().cloned()),
                Err(error) if self.cancel.is_interrupted() => {
                    drop(journal.fail_run(exit::INTERRUPTED, &error));
                    return Err(error.into());
                }
                Err(error) => {
                    self.cancel.recover();
                    outcome.failed.push(within(plan, segment, error));
                }
            }
        }
        if let Some(error) = outcome.error(plan) {
            // What ended the run is told, and not that this couldn't be written down.
            drop(journal.fail_run(error.exit_code(), &error.error));
            return Err(error);
        }
        let failed_beyond = ledger::failed_beyond(plan, &totals.stages);
        let exit = if failed_beyond > 0 { exit::ROWS } else { exit::DONE };
        let report = RunReport {
            schema_version: SCHEMA_VERSION,
            run: run.to_owned(),
            pipeline: plan.pipeline.name.clone(),
            stages: totals.stages,
            outputs: totals.outputs,
            failures: totals.failures,
            failed_beyond,
            tasks: totals.tasks,
            reused: totals.reused,
            memory: self.memory.peak(),
            spilled: self.memory.spilled(),
            seconds: started.elapsed().as_secs_f64(),
            journal_seconds: journal.spent.as_secs_f64(),
            exit,
            usd: plan.models.spent().0.saturating_sub(before.0),
            made_of: Some(remembered.made_of),
        };
        if let (Some(recorded), Some(path), Mode::Ask) = (&recorded, &settings.answers, settings.models) {
            // Where there was nothing to do nothing is known of what is needed.
            if !recorded.is_unused() {
                recorded.write(path)?;
            }
        }
        journal.end_run(&report)?;
        observer.event(&Event::Finished { report: &report });
        Ok(report)
    }

    /// What stages depend on. Those that are to be accepted are taken for what is complete of them.
    fn fingerprints(&self, plan: &Plan, journal: &mut Journal) -> Result<Fingerprints, StepError> {
        for stage in &self.settings.accept {
            accept(plan, stage, journal)?;
        }
        fingerprints(plan, journal.known())
    }

    /// Remembers what fingerprints are of.
    fn print<'a>(
        &self,
        segments: impl Iterator<Item = &'a Segment>,
        fingerprints: &'a Fingerprints,
        journal: &mut Journal,
    ) -> Result<(), StepError> {
        let segments = segments.map(|segment| {
            let reads =
                fingerprints.ends(segment).into_iter().map(|end| Fingerprint::written(end.to_owned())).collect();
            let fingerprint = fingerprints.of_segment(segment);
            (&segment.ends[0], Printed { fingerprint, form: serde_json::Value::Null, reads })
        });
        let stages = fingerprints.stages.iter().map(|(stage, printed)| (stage, printed.clone()));
        journal.print(&stages.chain(segments).collect::<Vec<_>>())
    }

    /// What there is to do of what is chosen of a segment.
    fn ready<'a>(
        &'a self,
        work: &Work<'a>,
        segment: usize,
        chosen: &'a Chosen,
        mut sinks: IndexMap<Name, Sink>,
        journal: &mut Journal,
    ) -> Result<SegmentRun<'a>, StepError> {
        // What stands with all its ends isn't done again for some of them: then the others would have to be.
        let plan = match &chosen.part {
            Some(part) if !self.stands(work, &work.plan.segments[segment], &sinks, journal.known())? => {
                sinks.retain(|name, _| chosen.ends.contains(name));
                part
            }
            _ => work.plan,
        };
        self.segment(work, plan, &plan.segments[segment], sinks, journal)
    }

    /// Whether earlier runs have done all of a segment.
    fn stands(
        &self,
        work: &Work<'_>,
        segment: &Segment,
        sinks: &IndexMap<Name, Sink>,
        journal: Known<'_>,
    ) -> Result<bool, StepError> {
        let is_known = segment.reads_saved().all(|stage| work.stored.contains_key(stage));
        if self.settings.fresh || self.settings.first.is_some() || !is_known {
            return Ok(false);
        }
        let segment = reading(segment, &work.stored);
        let reuse = Reuse::find(work.plan, &segment, sinks, &work.fingerprints.of_segment(&segment), journal)?;
        Ok(reuse.left.is_none() && reuse.cuts.is_empty())
    }

    /// What a segment has to do, beside what earlier runs have done.
    fn segment<'a>(
        &'a self,
        work: &Work<'a>,
        plan: &'a Arc<Plan>,
        segment: &Segment,
        sinks: IndexMap<Name, Sink>,
        journal: &mut Journal,
    ) -> Result<SegmentRun<'a>, StepError> {
        let first = self.settings.first;
        let segment = reading(segment, &work.stored);
        let fingerprint = first.is_none().then(|| work.fingerprints.of_segment(&segment));
        let mut reuse = match &fingerprint {
            Some(fingerprint) => Reuse::find(plan, &segment, &sinks, fingerprint, journal.known())?,
            None => Reuse::nothing(&segment, first),
        };
        if reuse.left.is_some() {
            refuse_absent(plan, &segment)?;
        }
        let output = |name: &Name, number| sinks[name].output(number);
        let mut specs = specs(&self.settings, plan, &segment, work.run, &output, &reuse);
        if first.is_none() && !specs.is_empty() && !self.settings.fresh {
            let stored = Stored::find(plan, &segment, &work.fingerprints, journal.known())?;
            specs
                .iter_mut()
                .filter(|(_, spec)| spec.cut.is_none())
                .for_each(|(_, spec)| spec.stored = stored.of(&spec.splits));
        }
        // They have what is left of the splits.
        reuse.left = None;
        let first_rows = work.first_rows.clone();
        Ok(SegmentRun { engine: self, plan, segment, sinks, fingerprint, reuse, specs, first_rows })
    }

    /// The sinks of each of the plan's segments, by name; two on one place are refused.
    pub(crate) fn sinks(
        &self,
        plan: &Plan,
        stores: &Stores,
        own: &BTreeMap<PathBuf, Name>,
        run: &str,
        fingerprints: &Fingerprints,
    ) -> Result<Vec<IndexMap<Name, Sink>>, StepError> {
        let state = &self.settings.state;
        let mut segments: Vec<IndexMap<Name, Sink>> = Vec::new();
        for segment in &plan.segments {
            let mut sinks: IndexMap<Name, Sink> = IndexMap::new();
            for end in &segment.ends {
                let sink = match &plan.pipeline.stage[end].verb {
                    Verb::Write(write) => {
                        let sink = Sink::open(end, write, stores, own, run, state, self.settings.first.is_some())?;
                        let same = |other: &&Sink| other.place() == sink.place();
                        if let Some(other) = segments.iter().chain([&sinks]).flat_map(IndexMap::values).find(same) {
                            let what = format!(
                                "stages `{}` and `{}` write to the same place, `{}`",
                                other.name, sink.name, write.path
                            );
                            return Err(StepError::new(Fault::Pipeline, what).hint("give each a place of its own"));
                        }
                        sink
                    }
                    _ if plan.saved.contains_key(end) => {
                        let folder = saved::store(state, end, &fingerprints.of_segment(segment));
                        Sink::saved(end, folder, own, run, state)
                    }
                    _ => return Err(StepError::new(Fault::Internal, format!("`{end}` isn't a sink"))),
                };
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

/// Says where answers of models are kept, if any are asked, and which may be asked in the segments that are done (none, where only failed rows are
/// tried again); what rows were answered there is forgotten when that is done `fresh`. Gives what was spent before by the runs that this one goes on with.
pub(crate) fn begin_asking(
    plan: &Plan,
    journal: &mut Journal,
    segments: &[&Segment],
    fresh: bool,
    other: Option<&Path>,
    recorded: Option<&Arc<Recorded>>,
) -> Result<Usd, StepError> {
    if plan.models.is_empty() {
        return Ok(Usd(0));
    }
    let running = segments.iter().flat_map(|segment| segment.running());
    let running = running.filter_map(|name| plan.pipeline.stage.get_key_value(name));
    let asking: Vec<(&Name, &Stage)> = running.filter(|(_, stage)| !plan.pipeline.asked(stage).is_empty()).collect();
    let asked = asking.iter().flat_map(|(_, stage)| plan.pipeline.may_ask(stage));
    let asked: BTreeSet<&str> = asked.map(Name::as_str).collect();
    // What a model has cost counts on until all stages that ask it have come to their end in one run.
    let may_ask = |name: &Name, model: &str| {
        plan.pipeline
            .stage
            .get(name)
            .is_some_and(|stage| plan.pipeline.may_ask(stage).any(|other| other.as_str() == model))
    };
    let whole = |model: &&str| {
        let mut all = plan.segments.iter().flat_map(|segment| segment.running());
        all.all(|name| !may_ask(name, model) || asking.iter().any(|(running, _)| *running == name))
    };
    journal.may_ask(&asked.iter().copied().filter(|model| whole(model)).collect())?;
    let mut spent = journal.spent()?;
    let mut forgotten = Vec::new();
    if fresh {
        // Who begins anew goes on with nothing.
        spent.retain(|model, _| !asked.contains(model.as_str()));
        forgotten.extend(asking.iter().map(|(name, _)| name.as_str()));
    }
    let keeper = journal.answers(&forgotten, other)?;
    match recorded {
        Some(recorded) => {
            plan.models.begin(Arc::new(Recording { journal: keeper, recorded: recorded.clone() }), &spent)
        }
        None => plan.models.begin(keeper, &spent),
    }
    Ok(plan.models.spent())
}

/// Asks nothing more, and waits for what is under way: it will be paid for, so it is kept.
pub(crate) async fn landed(models: &Models) {
    models.close();
    if tokio::time::timeout(LANDING, models.drained()).await.is_err() {
        tracing::warn!("some requests to models had no answer yet when the run ended; what they will answer is lost");
    }
}

/// What segments have in common.
struct Work<'a> {
    plan: &'a Arc<Plan>,
    run: &'a str,
    fingerprints: Fingerprints,
    /// The files of saved stages that are whole.
    stored: BTreeMap<Name, Vec<Split>>,
    stores: Stores,
    /// What became of each stage's first rows, over all segments.
    first_rows: Arc<FirstRows>,
}

/// What became of the segments.
#[derive(Debug, Default)]
struct Outcome {
    failed: Vec<StepError>,
    done: Vec<Name>,
    not_reached: Vec<Name>,
    /// Saved stages that weren't to be done, and aren't complete.
    incomplete: Vec<Name>,
}

impl Outcome {
    /// Why not all is done that was to be.
    fn error(self, plan: &Plan) -> Option<RunError> {
        let mut failed = self.failed.into_iter();
        let error = failed.next().or_else(|| {
            let (needed, by) = (self.incomplete.first()?, self.not_reached.first()?);
            let reads = plan.segments.iter().find(|segment| segment.ends.contains(by))?;
            let direct = reads.reads_saved().any(|stage| stage == needed);
            let how = if direct { "reads" } else { "depends on" };
            let what = format!("`{by}` {how} the saved stage `{needed}`, which isn't complete");
            Some(StepError::new(Fault::Pipeline, what).hint(format!("`--select +{by}` runs what it needs, too")))
        })?;
        let beside = Beside { others: failed.collect(), done: self.done, not_reached: self.not_reached };
        Some(RunError { beside: Box::new(beside), ..error.into() })
    }
}

/// An error that names no stage, with that which was made when it came up, where there are several.
fn within(plan: &Plan, segment: &Segment, mut error: StepError) -> StepError {
    let named = segment.stages.iter().any(|stage| error.message.contains(&format!("`{stage}`")));
    if !named && plan.segments.len() > 1 {
        error.message = format!("while `{}` was made: {}", segment.ends[0], error.message);
    }
    error
}

/// A segment that reads the files of saved stages.
pub(crate) fn reading(segment: &Segment, stored: &BTreeMap<Name, Vec<Split>>) -> Segment {
    let mut reading = segment.clone();
    for (stage, files) in stored {
        reading = reading.reading(stage, files);
    }
    reading
}

/// What stages depend on, those that the user takes for others as these.
pub(crate) fn fingerprints(plan: &Plan, journal: Known<'_>) -> Result<Fingerprints, StepError> {
    let accepted = journal.accepted()?;
    Fingerprints::of(plan, &|_, own| accepted.get(own.as_str()).cloned())
}

/// Takes a stage for what is complete of it, whatever has changed in it since.
fn accept(plan: &Plan, stage: &Name, journal: &mut Journal) -> Result<(), StepError> {
    let segment = plan.segments.iter().find(|segment| segment.ends.contains(stage));
    let segment = segment.ok_or_else(|| unknown(plan, stage.as_str()))?;
    let fingerprints = fingerprints(plan, journal.known())?;
    let now = fingerprints.of_segment(segment);
    let outputs = journal.known().outputs(&segment.ends[0])?;
    let Some(last) = outputs.first() else {
        return Err(StepError::new(
            Fault::Pipeline,
            format!("stage `{stage}` was never complete, so there is nothing to accept"),
        ));
    };
    if outputs.iter().any(|output| output.fingerprint == now) {
        return Ok(());
    }
    let ends = journal.known().printed(&last.fingerprint)?.map(|(_, printed)| printed.reads).unwrap_or_default();
    for (end, old) in segment.ends.iter().zip(ends) {
        if let Some(new) = fingerprints.stages.get(end) {
            journal.accept(end, &new.fingerprint, &old)?;
        }
    }
    Ok(())
}

/// What is told when a run begins.
fn started_event<'a>(
    plan: &'a Plan,
    ready: impl Iterator<Item = &'a SegmentRun<'a>>,
    later: usize,
    run: &'a str,
) -> Event<'a> {
    let mut stages: Vec<&Name> = Vec::new();
    for stage in plan.segments.iter().flat_map(|segment| &segment.stages) {
        if !stages.contains(&stage) {
            stages.push(stage);
        }
    }
    let (mut tasks, mut reused, mut bytes) = (0, 0, 0);
    for segment in ready {
        let (more, again, read) = segment.size();
        (tasks, reused, bytes) = (tasks + more, reused + again, bytes + read);
    }
    let (schema_version, pipeline) = (SCHEMA_VERSION, plan.pipeline.name.as_str());
    Event::Started { schema_version, run, pipeline, stages, tasks, reused, bytes, later }
}

/// What is told when it is known what there is to do for more of a run.
fn planned_event<'a>(segment: &'a SegmentRun<'_>) -> Event<'a> {
    let (tasks, reused, bytes) = segment.size();
    Event::Planned { ends: &segment.segment.ends, tasks, reused, bytes }
}

/// A run's id: when it began, in a form that sorts, and who ran it.
pub(crate) fn run_id() -> String {
    let millis = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis());
    format!("{millis:011x}{:04x}", std::process::id() & 0xffff)
}
