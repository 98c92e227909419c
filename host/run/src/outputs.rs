//! What is kept of a pipeline, saved stages and sinks, and whether it is what a run would make now.

use std::{collections::BTreeMap, path::PathBuf};

use dflow_io::{Prepared, Split, Stores};
use dflow_operators::StepError;
use dflow_pipeline::{Name, Verb};
use dflow_plan::{Plan, Segment};
use indexmap::IndexMap;
use serde::Serialize;

use crate::{
    driver::{fingerprints, reading},
    engine::Engine,
    fingerprint::Fingerprints,
    journal::{History, Known, PastOutput, PastSplit, STALE},
    reuse::Reuse,
    saved,
    select::{no_saved_stage, unknown},
    sink::{Sink, own_files},
    why::{Change, Inputs, changes},
};

/// Whether an output is what a run would make now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Status {
    /// It is, and a run leaves it alone.
    Complete,
    /// It was whole once; what it depends on has changed since.
    Stale,
    /// It never was whole.
    Pending,
}

impl Status {
    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "COMPLETE",
            Self::Stale => "STALE",
            Self::Pending => "PENDING",
        }
    }
}

/// A saved stage or a sink, and what is kept of it.
#[derive(Clone, Debug, Serialize)]
pub struct Output {
    /// The stage.
    pub stage: Name,
    /// Whether it is what a run would make now.
    pub status: Status,
    /// Where it is.
    pub place: String,
    /// The rows of its files; of one that isn't complete, of those that stand.
    pub rows: u64,
    /// Its files.
    pub files: u64,
    /// Their size in bytes.
    pub bytes: u64,
    /// The last run in which it was whole.
    pub run: Option<String>,
    /// When that began, as `2026-11-25T20:48:14Z`.
    pub started: Option<String>,
}

/// Why an output isn't what a run would make now.
#[derive(Clone, Debug, Serialize)]
pub struct Reasons {
    /// The output.
    #[serde(flatten)]
    pub output: Output,
    /// What has changed since it was whole; nothing of one that never was.
    pub changes: Vec<Change>,
}

/// The rows that are kept of a saved stage.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Their files, Parquet, in order.
    pub files: Vec<PathBuf>,
    /// Whether they are what a run would make now.
    pub status: Status,
    /// The stage's columns, and each one's name in the files.
    pub columns: IndexMap<String, String>,
}

/// What is found of one segment.
pub(crate) struct Found {
    pub(crate) outputs: Vec<Output>,
    /// When it was whole, the last time first.
    pub(crate) past: Vec<PastOutput>,
    /// The files of a saved stage that stand, if all do.
    files: Option<Vec<PathBuf>>,
    /// With the saved files that it reads, where these are there.
    pub(crate) segment: Segment,
}

impl Engine {
    /// All saved stages and sinks of a plan, each after those that it reads.
    ///
    /// # Errors
    /// The journal can't be read.
    pub fn outputs(&self, plan: &Plan) -> Result<Vec<Output>, StepError> {
        Ok(self.look(plan)?.0.into_iter().flat_map(|found| found.outputs).collect())
    }

    /// What has changed since a saved stage or a sink was whole.
    ///
    /// # Errors
    /// Nothing is kept of this stage (fault `Pipeline`); the journal can't be read.
    pub fn why(&self, plan: &Plan, stage: &str) -> Result<Reasons, StepError> {
        let (all, fingerprints, history) = self.look(plan)?;
        let at = all.iter().position(|found| found.segment.ends.iter().any(|end| end.as_str() == stage));
        let found = at.map(|at| &all[at]).ok_or_else(|| unknown(plan, stage))?;
        let output = found.outputs.iter().find(|output| output.stage.as_str() == stage).cloned();
        let output = output.ok_or_else(|| unknown(plan, stage))?;
        let (Some(history), Some(last), Status::Stale) = (&history, found.past.first(), output.status) else {
            return Ok(Reasons { output, changes: Vec::new() });
        };
        let known = history.known();
        // What is saved stands between a stage and the sources that it depends on.
        let mut below: Vec<&Found> = vec![found];
        for other in all[..at.unwrap_or_default()].iter().rev() {
            if below.iter().any(|reader| reader.segment.reads_saved().any(|read| other.segment.ends.contains(read))) {
                below.push(other);
            }
        }
        let mut inputs: BTreeMap<Name, Inputs> = BTreeMap::new();
        for found in below {
            let Some(last) = found.past.first() else { continue };
            inputs.extend(read_then(found, last, known)?);
        }
        if last.fingerprint.as_str() == STALE {
            return Ok(Reasons { output, changes: vec![Change::Replay] });
        }
        let mut changes = changes(plan, &fingerprints, &found.segment, last, &inputs, known)?;
        if changes.is_empty() {
            // Nothing is kept of what is printed, so that what else is made of the same rows is made anew, too.
            let printed = found.outputs.iter().find(|output| output.place == "-");
            changes.push(printed.map_or(Change::Files, |printed| Change::Printed { stage: printed.stage.clone() }));
        }
        Ok(Reasons { output, changes })
    }

    /// The rows that are kept of a saved stage: those that a run would make now, or else those that were whole last.
    ///
    /// # Errors
    /// The stage isn't saved, or there are none (fault `Pipeline`); the journal can't be read.
    pub fn kept(&self, plan: &Plan, stage: &str) -> Result<Kept, StepError> {
        let (all, _, history) = self.look(plan)?;
        let found = all.into_iter().find(|found| found.segment.ends.iter().any(|end| end.as_str() == stage));
        let found = found.ok_or_else(|| unknown(plan, stage))?;
        if !plan.saves(&found.segment) {
            return Err(no_saved_stage(stage).hint("rows can be loaded of stages with `save = true`"));
        }
        let output = &found.outputs[0];
        let columns = plan.stages.get(&output.stage).map(|planned| {
            planned.columns.visible.iter().map(|(name, column)| (name.clone(), column.flat.clone())).collect()
        });
        let columns = columns.unwrap_or_default();
        if let (Status::Complete, Some(files)) = (output.status, found.files) {
            return Ok(Kept { files, status: Status::Complete, columns });
        }
        let nothing = || {
            StepError::new(dflow_pipeline::Fault::Pipeline, format!("nothing is kept of stage `{stage}` yet"))
                .hint(format!("`dflow-host run --select +{stage}` makes it"))
        };
        let (Some(history), Some(last)) = (history, found.past.first()) else { return Err(nothing()) };
        let mut tasks = history.known().past_tasks(&last.fingerprint)?;
        tasks.retain(|task| task.complete);
        tasks.sort_by_key(|task| task.id);
        let files: Vec<PathBuf> =
            tasks.into_iter().flat_map(|task| files_of(task.result.files)).map(|f| f.path).collect();
        match files.is_empty() || !files.iter().all(|file| file.exists()) {
            true => Err(nothing()),
            false => Ok(Kept { files, status: Status::Stale, columns }),
        }
    }

    /// Looks at all segments of a plan.
    pub(crate) fn look(&self, plan: &Plan) -> Result<(Vec<Found>, Fingerprints, Option<History>), StepError> {
        let history = History::open(&self.settings.state)?;
        let known = history.as_ref().map(History::known);
        let stores = self.stores(&plan.pipeline)?;
        let fingerprints = match known {
            Some(known) => fingerprints(plan, known)?,
            None => Fingerprints::of(plan, &|_, _| None)?,
        };
        let own = known.map(|known| own_files(plan, &stores, known)).transpose()?.unwrap_or_default();
        let mut stored: BTreeMap<Name, Vec<Split>> = BTreeMap::new();
        let mut found = Vec::new();
        for segment in &plan.segments {
            let fingerprint = fingerprints.of_segment(segment);
            let mut sinks: IndexMap<Name, Sink> = IndexMap::new();
            for end in &segment.ends {
                let sink = match &plan.pipeline.stage[end].verb {
                    Verb::Write(write) => Sink::open(end, write, &stores, &own, "", &self.settings.state, false),
                    _ => {
                        let folder = saved::store(&self.settings.state, end, &fingerprint);
                        Ok(Sink::saved(end, folder, &own, "", &self.settings.state))
                    }
                };
                // One whose place others have taken can't be complete.
                if let Ok(sink) = sink {
                    sinks.insert(end.clone(), sink);
                }
            }
            let ready =
                sinks.len() == segment.ends.len() && segment.reads_saved().all(|stage| stored.contains_key(stage));
            let segment = reading(segment, &stored);
            let reuse = match known.filter(|_| ready) {
                Some(known) => Reuse::find(plan, &segment, &sinks, &fingerprint, known)?,
                None => Reuse::nothing(&segment, None),
            };
            let past = known.map(|known| known.outputs(&segment.ends[0])).transpose()?.unwrap_or_default();
            let complete = reuse.left.is_none();
            // Of sinks that run together one may have come later.
            let before = match (known, past.first()) {
                (Some(_), Some(last)) if last.fingerprint.as_str() == STALE => segment.ends.clone(),
                (Some(known), Some(last)) => ends_of(known, last)?,
                _ => Vec::new(),
            };
            let status = |end: &Name| match complete {
                true => Status::Complete,
                false if before.contains(end) => Status::Stale,
                false => Status::Pending,
            };
            let mut standing: Vec<_> = reuse.standing.iter().collect();
            standing.sort_by_key(|task| (task.position, task.id));
            let now = past.iter().find(|output| output.fingerprint == fingerprint);
            let last = if complete { now } else { past.first() };
            let outputs = segment.ends.iter().map(|end| {
                let whole = reuse.whole.as_ref().and_then(|singles| singles.get(end));
                let files = standing.iter().filter_map(|task| task.result.files.get(end)).flat_map(|made| &made.files);
                let files: Vec<&Prepared> = match whole {
                    Some(file) => vec![file],
                    None => files.collect(),
                };
                Output {
                    stage: end.clone(),
                    status: status(end),
                    place: place(plan, end, sinks.get(end).filter(|_| complete)),
                    rows: files.iter().map(|file| file.rows).sum(),
                    files: files.len() as u64,
                    bytes: files.iter().map(|file| file.bytes).sum(),
                    run: last.map(|last| last.run.clone()),
                    started: last.map(|last| last.started.clone()),
                }
            });
            let outputs = outputs.collect();
            let files = plan.saves(&segment) && complete;
            let files = files.then(|| {
                let made = standing.iter().flat_map(|task| task.result.files.values());
                made.flat_map(|made| &made.files).map(|file| file.path.clone()).collect::<Vec<_>>()
            });
            if let Some(files) = &files {
                let files = splits(&stores, files)?;
                stored.insert(segment.ends[0].clone(), files);
                if let (Some(dead), Some(known)) = (plan.pipeline.dead_of(&segment.ends[0]), known) {
                    let files = known.dead_files(&segment.ends[0], standing.iter().map(|task| task.id))?;
                    stored.insert(dead.clone(), splits(&stores, files.iter().map(|file| &file.path))?);
                }
            }
            found.push(Found { outputs, past, files, segment });
        }
        Ok((found, fingerprints, history))
    }
}

/// Files as splits.
pub(crate) fn splits<'a>(
    stores: &Stores,
    files: impl IntoIterator<Item = &'a PathBuf>,
) -> Result<Vec<Split>, StepError> {
    Ok(files.into_iter().map(|file| stores.split(file)).collect::<Result<Vec<_>, _>>()?)
}

/// What a segment read of its sources when it was whole last, and what there is to read now.
fn read_then(found: &Found, last: &PastOutput, known: Known<'_>) -> Result<BTreeMap<Name, Inputs>, StepError> {
    let mut then: BTreeMap<Name, BTreeMap<String, String>> = BTreeMap::new();
    for task in known.past_tasks(&last.fingerprint)?.into_iter().filter(|task| task.complete) {
        for (source, splits) in task.splits {
            let known = then.entry(source).or_default();
            known.extend(splits.into_iter().map(|PastSplit { identity, version, .. }| (identity, version)));
        }
    }
    let sources = found.segment.sources.iter().filter(|source| source.saved.is_none());
    let inputs = sources.map(|source| {
        let now = source.to_read(None).iter().map(|split| (split.identity(), split.etag.clone())).collect();
        (source.stage.clone(), Inputs { then: then.remove(&source.stage).unwrap_or_default(), now })
    });
    Ok(inputs.collect())
}

/// The stages that a segment ended in.
fn ends_of(known: Known<'_>, output: &PastOutput) -> Result<Vec<Name>, StepError> {
    let printed = known.printed(&output.fingerprint)?.map(|(_, printed)| printed.reads).unwrap_or_default();
    let ends = printed.iter().map(|end| Ok(known.printed(end)?.map(|(stage, _)| stage)));
    Ok(ends.collect::<Result<Vec<_>, StepError>>()?.into_iter().flatten().collect())
}

fn files_of(files: BTreeMap<Name, crate::task::SinkFiles>) -> impl Iterator<Item = Prepared> {
    files.into_values().flat_map(|made| made.files)
}

/// Where an output is, as the pipeline says it; of a saved stage its folder.
fn place(plan: &Plan, end: &Name, sink: Option<&Sink>) -> String {
    match (&plan.pipeline.stage[end].verb, sink) {
        (Verb::Write(write), _) => write.path.clone(),
        (_, Some(sink)) => sink.folder().display().to_string(),
        (_, None) => String::new(),
    }
}
