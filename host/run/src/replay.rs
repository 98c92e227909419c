//! Rows that failed are tried again: each task's as a task of its own, into the folders where the rows of that task are.
//!
//! A task of a replay is committed as any other, and in the same step the rows that it has tried leave the dead letters of the task
//! where they had failed; those that failed once more are its own. From then on the two stand and go together (`reuse.rs`).
//! What needs all rows (a sort, a join, a group, a limit), or ends in a single file, is left to the next run.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use dflow_io::{Split, Splits};
use dflow_operators::{DeadPlace, RowFailure, StageCounts, StepError};
use dflow_pipeline::{Draft, Fault, Name, OnError, Stage, exit};
use dflow_plan::{DEAD, Plan, Replay, Segment};
use futures::{StreamExt, stream};
use indexmap::IndexMap;
use serde::Serialize;

use crate::{
    dead::row_ids,
    driver::{RunError, begin_asking, fingerprints, landed, run_id},
    engine::Engine,
    events::SCHEMA_VERSION,
    fingerprint::{Fingerprint, Fingerprints},
    journal::{Begun, Dead, Journal, Made, TaskId},
    ledger,
    report::{OutputFile, Reused, RunReport, StageReport},
    sink::{Sink, own_files},
    task::{SinkFiles, TaskResult, TaskSpec, reads, run_attempts},
};

/// What came of a replay.
#[derive(Clone, Debug, Serialize)]
pub struct Replayed {
    /// Rows that were tried again, by the stage at which they had failed and the sinks that they are for.
    pub tried: Vec<Tried>,
    /// Rows that the next run tries again.
    pub stale: Vec<Stale>,
    /// Rows of a run that was cut short.
    pub cut_short: u64,
    /// The report: of what was tried again alone.
    pub report: RunReport,
}

/// Rows that were tried again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Tried {
    /// The stage at which they had failed.
    pub stage: Name,
    /// The sinks that they are for.
    pub sinks: Vec<Name>,
    /// How many.
    pub rows: u64,
    /// How many of them failed at it again.
    pub failed: u64,
}

/// Rows that can't be tried again by themselves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stale {
    /// The stage at which they failed.
    pub stage: Name,
    /// The sinks that they are for.
    pub sinks: Vec<Name>,
    /// How many.
    pub rows: u64,
    /// Why not.
    pub why: &'static str,
}

/// A task that is to be done, whose rows had failed, and which.
struct ReplayTask<'a> {
    spec: TaskSpec,
    dead: &'a Dead,
}

/// What is gathered on the way.
#[derive(Default)]
struct Gathered {
    tried: IndexMap<(Name, Vec<Name>), (u64, u64)>,
    stale: IndexMap<(Name, Vec<Name>, &'static str), u64>,
    cut_short: u64,
    report: Totals,
}

#[derive(Default)]
struct Totals {
    counts: BTreeMap<Name, StageCounts>,
    outputs: Vec<OutputFile>,
    failures: Vec<RowFailure>,
    tasks: usize,
    /// What models cost.
    usd: u64,
}

impl Engine {
    /// Tries rows again that failed: at one stage, or at all. `plan` is that of the whole pipeline, `draft` what it was made of.
    ///
    /// # Errors
    /// What ended it; what was done until then is kept. Rows that fail again end nothing.
    pub fn replay(&self, draft: &Draft, plan: &Plan, stage: Option<&Name>) -> Result<Replayed, RunError> {
        let result = self.try_again(draft, plan, stage);
        result.map_err(|error| RunError { interrupted: self.cancel.is_interrupted(), ..error.into() })
    }

    fn try_again(&self, draft: &Draft, plan: &Plan, stage: Option<&Name>) -> Result<Replayed, StepError> {
        let started = Instant::now();
        if let Some(stage) = stage.filter(|stage| !plan.pipeline.stage.contains_key(*stage)) {
            let known: Vec<_> = plan.pipeline.stage.keys().map(Name::as_str).collect();
            return Err(StepError::new(Fault::Pipeline, format!("there is no stage `{stage}`"))
                .hint(format!("there is: {}", known.join(", "))));
        }
        let run = run_id();
        let stores = self.stores(&plan.pipeline)?;
        let mut journal = Journal::open(&self.settings.state, &run, &self.settings.faults)?;
        journal.stores = Some(stores.clone());
        journal.recover()?;
        self.memory.sweep()?;
        let prints = fingerprints(plan, journal.known())?;
        let own = own_files(plan, &stores, journal.known())?;
        let sinks = self.sinks(plan, &stores, &own, &run, &prints)?;
        let (pipeline, parameters) = (plan.pipeline.name.as_str(), &plan.pipeline.param);
        journal.begin_run(&Begun { pipeline, first: None, parameters, made_of: None })?;
        let mut gathered = Gathered::default();
        let mut failed_beyond = 0;
        for (segment, sinks) in plan.segments.iter().zip(&sinks) {
            let done = self.segment_again((draft, plan, stage), segment, sinks, &prints, &mut journal, &mut gathered);
            failed_beyond += done.inspect_err(|error| {
                let exit = if self.cancel.is_interrupted() { exit::INTERRUPTED } else { error.fault.exit_code() };
                // What ended it is told, and not that this couldn't be written down.
                drop(journal.fail_run(exit, error));
            })?;
        }
        let Gathered { tried, stale, cut_short, report } = gathered;
        let report = RunReport {
            schema_version: SCHEMA_VERSION,
            run,
            pipeline: plan.pipeline.name.clone(),
            stages: stages(plan, &report.counts),
            outputs: report.outputs,
            failures: report.failures,
            failed_beyond,
            tasks: report.tasks,
            reused: Reused::default(),
            memory: self.memory.peak(),
            spilled: self.memory.spilled(),
            seconds: started.elapsed().as_secs_f64(),
            journal_seconds: journal.spent.as_secs_f64(),
            exit: if failed_beyond > 0 { exit::ROWS } else { exit::DONE },
            usd: report.usd,
            made_of: None,
        };
        journal.end_run(&report)?;
        let tried =
            tried.into_iter().map(|((stage, sinks), (rows, failed))| Tried { stage, sinks, rows, failed }).collect();
        let stale = stale.into_iter().map(|((stage, sinks, why), rows)| Stale { stage, sinks, rows, why }).collect();
        Ok(Replayed { tried, stale, cut_short, report })
    }

    /// What failed in a segment's tasks. Gives how many rows are dead there now, beyond what is allowed.
    fn segment_again(
        &self,
        (draft, plan, only): (&Draft, &Plan, Option<&Name>),
        segment: &Segment,
        sinks: &IndexMap<Name, Sink>,
        prints: &Fingerprints,
        journal: &mut Journal,
        gathered: &mut Gathered,
    ) -> Result<u64, StepError> {
        let mut dead = journal.dead(&segment.ends[0])?;
        // Those that others read have gone on, unless they are asked for by name.
        let routed = |stage: &Name| plan.pipeline.dead_of(stage).is_some();
        dead.retain(|dead| only.map_or_else(|| !routed(&dead.stage), |stage| dead.stage == *stage));
        gathered.cut_short += dead.iter().filter(|dead| !dead.complete).map(|dead| dead.rows).sum::<u64>();
        dead.retain(|dead| dead.complete);
        let (anew, again): (Vec<Dead>, Vec<Dead>) =
            dead.into_iter().partition(|dead| why_not(plan, segment, sinks, dead).is_some());
        for dead in &anew {
            let why = why_not(plan, segment, sinks, dead).unwrap_or_default();
            *gathered.stale.entry((dead.stage.clone(), segment.ends.clone(), why)).or_default() += dead.rows;
        }
        journal.stale(&anew.iter().map(|dead| dead.task).collect::<Vec<_>>())?;
        forget_answers(plan, anew.iter().chain(&again), journal)?;
        // What is done anew is done with all that failed in it.
        let again: Vec<Dead> =
            again.into_iter().filter(|dead| !anew.iter().any(|other| other.task == dead.task)).collect();
        if again.is_empty() {
            return Ok(0);
        }
        let fingerprint = prints.of_segment(segment);
        let mut by_stage: IndexMap<&Name, Vec<&Dead>> = IndexMap::new();
        again.iter().for_each(|dead| by_stage.entry(&dead.stage).or_default().push(dead));
        let mut number = 0;
        for (stage, dead) in by_stage {
            let ends: Vec<Name> = segment.ends.iter().filter(|end| reads(plan, end, stage)).cloned().collect();
            let replay = Replay { stage: stage.clone(), ends };
            let again = self.planned(draft, None, None, Some(replay.clone())).map_err(|mistakes| {
                let first = mistakes.list.first().map_or_else(String::new, |mistake| mistake.message.clone());
                StepError::new(Fault::Internal, format!("rows that failed at `{stage}` can't be planned: {first}"))
            })?;
            let before = begin_asking(&again, journal, &[], false, None, None)?;
            let of = Of { plan, segment, sinks, replay: &replay, fingerprint: &fingerprint };
            let tasks: Vec<ReplayTask<'_>> = dead
                .into_iter()
                .map(|dead| {
                    number += 1;
                    ReplayTask { spec: self.spec(&of, &again, number - 1, journal.run(), dead), dead }
                })
                .collect();
            let again = Arc::new(again);
            let done = self.io().block_on(async {
                let done = self.tasks_again(&of, &again, tasks, journal, gathered).await;
                landed(&again.models).await;
                done
            });
            gathered.report.usd += again.models.spent().0.saturating_sub(before.0);
            done?;
        }
        let past = journal.known().past_tasks(&fingerprint)?;
        let mut counts: BTreeMap<Name, StageCounts> = BTreeMap::new();
        for task in past.iter().filter(|task| task.complete).flat_map(|task| std::iter::once(task).chain(&task.replays))
        {
            task.result.counts.iter().for_each(|(name, more)| counts.entry(name.clone()).or_default().add(more));
        }
        Ok(ledger::failed_beyond(plan, &ledger::stages(plan, segment, &counts)))
    }

    /// A task for rows that failed.
    fn spec(&self, of: &Of<'_>, plan: &Plan, number: u32, run: &str, dead: &Dead) -> TaskSpec {
        let split = Split {
            volume: DEAD.to_owned(),
            path: dead.path.display().to_string(),
            size: dead.bytes,
            modified: 0,
            range: None,
            etag: String::new(),
        };
        let ends = &of.replay.ends;
        TaskSpec {
            version: TaskSpec::VERSION,
            run: run.to_owned(),
            number,
            pipeline: plan.pipeline.clone(),
            pins: plan.plugins.iter().map(|(name, plugin)| (name.clone(), plugin.digest().to_owned())).collect(),
            segment: ends.first().cloned().unwrap_or_else(|| of.segment.ends[0].clone()),
            splits: BTreeMap::from([(of.replay.source(), Splits::from(vec![split]))]),
            partitions: 1,
            parallel: 1,
            first: None,
            outputs: ends.iter().map(|end| (end.clone(), of.sinks[end].output(number))).collect(),
            dead: Some(DeadPlace {
                folder: self.settings.state.join("dead"),
                name: format!("{run}-{}-{number:05}", of.segment.ends[0]),
            }),
            stored: Vec::new(),
            cut: None,
            left_out: Vec::new(),
        }
    }

    /// Runs tasks of one stage, and publishes what they make. The first error ends them.
    async fn tasks_again(
        &self,
        of: &Of<'_>,
        plan: &Arc<Plan>,
        tasks: Vec<ReplayTask<'_>>,
        journal: &mut Journal,
        gathered: &mut Gathered,
    ) -> Result<(), StepError> {
        let specs: Vec<TaskSpec> = tasks.iter().map(|task| task.spec.clone()).collect();
        let ids = journal.begin_tasks(Some(of.fingerprint.as_str()), &specs, &|_| false)?;
        let replays: Vec<_> = ids.iter().copied().zip(tasks.iter().map(|task| task.dead)).collect();
        journal.replay(&of.segment.ends[0], &replays)?;
        let running = stream::iter(specs.into_iter().enumerate()).map(|(i, spec)| {
            let (plan, cancel, faults) = (plan.clone(), self.cancel.clone(), self.settings.faults.clone());
            let compute = self.compute().clone();
            async move {
                if cancel.is_raised() {
                    return Err(StepError::new(Fault::Outside, "interrupted"));
                }
                let mut spec = spec;
                let begun = move |spec: &TaskSpec| spec.scope(cancel.clone(), None);
                let task = compute.spawn(async move { run_attempts(&mut spec, &plan, &faults, begun).await });
                let result = task.await.unwrap_or_else(|e| {
                    Err(StepError::new(Fault::Internal, format!("a task panicked: {e}"))
                        .hint("this is a mistake of dflow's; please report it"))
                });
                result.map(|result| (i, result))
            }
        });
        let mut running = std::pin::pin!(running.buffer_unordered(self.settings.workers.max(1)));
        let mut error: Option<StepError> = None;
        while let Some(ended) = running.next().await {
            let kept = ended.and_then(|(i, result)| {
                if error.is_some() {
                    result.discard();
                    return Ok(());
                }
                of.keep(ids[i], &tasks[i], result, journal, gathered)
            });
            if let Err(e) = kept
                && error.is_none()
            {
                if !self.cancel.is_raised() {
                    self.cancel.fail();
                }
                error = Some(e);
            }
        }
        error.map_or(Ok(()), Err)
    }
}

/// What the tasks of one stage have in common.
struct Of<'a> {
    /// The plan of the whole pipeline, and the segment in which the rows failed.
    plan: &'a Plan,
    segment: &'a Segment,
    sinks: &'a IndexMap<Name, Sink>,
    replay: &'a Replay,
    fingerprint: &'a Fingerprint,
}

impl Of<'_> {
    /// Publishes what a task made, in the place of the rows that it has tried.
    fn keep(
        &self,
        id: TaskId,
        ReplayTask { spec, dead }: &ReplayTask<'_>,
        mut result: TaskResult,
        journal: &mut Journal,
        gathered: &mut Gathered,
    ) -> Result<(), StepError> {
        let stage = &self.replay.stage;
        let failed = result.counts.get(stage).map_or(0, |counts| counts.failed);
        for counts in [&mut result.counts, &mut result.again] {
            counts.remove(&self.replay.source());
        }
        for (name, more) in &result.counts {
            gathered.report.counts.entry(name.clone()).or_default().add(more);
        }
        for counts in [&mut result.counts, &mut result.again] {
            counts.entry(stage.clone()).and_modify(|counts| counts.replayed = counts.rows_in);
        }
        let mut all = result.counts.clone();
        for (name, more) in &result.again {
            all.entry(name.clone()).or_default().add(more);
        }
        ledger::check(self.plan, self.segment, &all).inspect_err(|_| result.discard())?;
        for made in result.files.values_mut().filter(|made| made.rows() == 0) {
            made.discard();
            made.files.clear();
        }
        for end in &self.segment.ends {
            result.files.entry(end.clone()).or_default();
        }
        let tried = SinkFiles { files: Vec::new(), replaced: vec![dead.path.clone()] };
        let files = result.files.iter().map(|(sink, files)| Made { task: Some(id), sink, part: false, files });
        let made: Vec<Made<'_>> =
            files.chain([Made { task: Some(id), sink: stage, part: false, files: &tried }]).collect();
        // Of what it has read nothing is listed as a source's.
        let spec = TaskSpec { splits: BTreeMap::new(), ..spec.clone() };
        journal.commit(&[(id, &spec, &result)], &made)?;
        let counts = gathered.tried.entry((stage.clone(), self.replay.ends.clone())).or_default();
        *counts = (counts.0 + dead.rows, counts.1 + failed);
        let totals = &mut gathered.report;
        for (name, made) in &result.files {
            totals.outputs.extend(self.sinks[name].outputs(&made.files, None).into_iter().filter(|file| file.rows > 0));
        }
        totals.failures.extend(result.failures);
        totals.tasks += 1;
        Ok(())
    }
}

/// Sees to it that a model is asked anew about rows that failed at a stage that asks one: what it answered is what most of them failed of.
fn forget_answers<'a>(
    plan: &Plan,
    dead: impl Iterator<Item = &'a Dead>,
    journal: &mut Journal,
) -> Result<(), StepError> {
    let mut rows: BTreeMap<&Name, Vec<(String, &str)>> = BTreeMap::new();
    for dead in dead {
        let asks = |stage: &Stage| !plan.pipeline.asked(stage).is_empty();
        if plan.pipeline.stage.get(&dead.stage).is_some_and(asks) {
            let ids = row_ids(&dead.path)?.into_iter().map(|id| (id, dead.run.as_str()));
            rows.entry(&dead.stage).or_default().extend(ids);
        }
    }
    rows.iter().try_for_each(|(stage, rows)| journal.forget_answers(stage, rows))
}

/// Why rows that failed can't be tried again alone.
fn why_not(plan: &Plan, segment: &Segment, sinks: &IndexMap<Name, Sink>, dead: &Dead) -> Option<&'static str> {
    let Some(stage) = plan.pipeline.stage.get(&dead.stage) else {
        return Some("the pipeline has no such stage any more");
    };
    if dead.stale {
        return Some("an earlier replay left them to the next run");
    }
    if !segment.stages.contains(&dead.stage) {
        return Some("its rows go elsewhere now");
    }
    if stage.verb.is_source() {
        return Some("what a source couldn't read is read again by a run");
    }
    if stage.on_error != OnError::DeadLetter {
        return Some("the stage has another `on_error` now");
    }
    if plan.saves(segment) {
        return Some("they are for a saved stage, which others read");
    }
    if segment.global {
        return Some("their sinks need all rows (a sort, a join, a group, a limit)");
    }
    let folder = |sink: &Sink| sink.is_folder() && !sink.publishes_last() && !sink.merges();
    if !sinks.values().all(folder) {
        return Some("a sink of theirs is made in one piece (a single file, files named by rows, `merge`)");
    }
    if sinks.values().any(Sink::is_in_bucket) {
        return Some("a sink of theirs is in a bucket, whose manifest a run writes");
    }
    None
}

/// What each stage did with the rows that were tried again.
fn stages(plan: &Plan, counts: &BTreeMap<Name, StageCounts>) -> Vec<StageReport> {
    let mut stages: Vec<StageReport> = Vec::new();
    for segment in &plan.segments {
        let more = ledger::stages(plan, segment, counts);
        let new = more.into_iter().filter(|stage| counts.contains_key(&stage.stage));
        for stage in new {
            if !stages.iter().any(|other| other.stage == stage.stage) {
                stages.push(stage);
            }
        }
    }
    stages
}
