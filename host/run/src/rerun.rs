//! Repeating a run: with the pipeline as it was then, into a place of its own, and what is different.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs,
    path::{Path, PathBuf},
};

use dflow_io::is_object;
use dflow_operators::StepError;
use dflow_pipeline::{Fault, FileNames, Format, Mode, Name, Pipeline, Verb};
use dflow_plan::Plan;
use serde::Serialize;

use crate::{
    compare::{Difference, Rows},
    engine::Engine,
    journal::{History, Known, PastRun, SinkFile, StandingFiles},
    made_of::MadeOf,
};

/// So many changed files of a source are named.
const NAMED: usize = 5;

/// A run that can be repeated.
#[derive(Debug)]
pub struct Recorded {
    /// Its id.
    pub run: String,
    /// When it began.
    pub started: String,
    /// The pipeline, as it was.
    pub pipeline: Pipeline,
    /// What it was made of.
    pub made_of: MadeOf,
    /// The rows of each sink, then.
    rows: BTreeMap<Name, u64>,
    /// The stages that it did.
    stages: BTreeSet<Name>,
}

/// What came of a repetition.
#[derive(Debug, Serialize)]
pub struct Rerun {
    /// The run that was repeated.
    pub run: String,
    /// When it began.
    pub started: String,
    /// Whether all outputs that can be compared are equal, and at least one is.
    pub equal: bool,
    /// What is different about the circumstances.
    pub circumstances: Vec<String>,
    /// By sink.
    pub sinks: Vec<Compared>,
    /// Where the outputs of the repetition are.
    pub place: PathBuf,
}

/// A sink's output, then and now.
#[derive(Debug, Serialize)]
pub struct Compared {
    /// The sink.
    pub sink: Name,
    /// Whether the rows are equal; none when they can't be compared.
    pub equal: Option<bool>,
    /// Rows then.
    pub rows_then: u64,
    /// Rows now.
    pub rows_now: u64,
    /// Where the first difference is, that they are in another order, or why it can't be compared.
    pub note: Option<String>,
}

/// What is recorded of a run; of the last one where none is named.
///
/// # Errors
/// There is no such run, or not all that is needed is known of it (fault `Outside`).
pub fn recorded(state: &Path, run: Option<&str>) -> Result<Recorded, StepError> {
    let refused = |what: String| StepError::new(Fault::Outside, what);
    let history = History::open(state)?.ok_or_else(|| {
        refused(format!("there is no journal in `{}`", state.display()))
            .hint("name the pipeline that was run, or its folder with `--state`")
    })?;
    let found: Option<PastRun> = match run {
        Some(run) => history.run(run)?,
        None => history.runs()?.into_iter().find(|run| run.report.is_some()),
    };
    let found = found.ok_or_else(|| {
        let name = run.unwrap_or("last");
        refused(format!("there is no run `{name}` in this journal")).hint("`dflow-host runs` lists them")
    })?;
    let run = found.run;
    if found.first.is_some() {
        return Err(refused(format!("run {run} had `--first`: its outputs weren't for their places"))
            .hint("repeat a run of all rows"));
    }
    let report = found.report.ok_or_else(|| {
        refused(format!("run {run} didn't come to its end, so there is nothing to compare with"))
            .hint("`dflow-host run` goes on where it ended")
    })?;
    let remembered = history.known().made_of(&run)?.ok_or_else(|| {
        refused(format!("it isn't recorded what run {run} was made of, since an earlier dflow-host did it"))
            .hint("runs from now on can be repeated")
    })?;
    let stages = report.stages.into_iter().map(|stage| stage.stage).collect();
    let mut rows: BTreeMap<Name, u64> = BTreeMap::new();
    for output in report.outputs {
        *rows.entry(output.sink).or_default() += output.rows;
    }
    let (pipeline, made_of) = (remembered.pipeline, remembered.made_of);
    Ok(Recorded { run, started: found.started, pipeline, made_of, rows, stages })
}

impl Recorded {
    /// The pipeline, its sinks under another folder.
    pub fn elsewhere(&self, place: &Path) -> Pipeline {
        let mut pipeline = self.pipeline.clone();
        for (name, stage) in &mut pipeline.stage {
            let Verb::Write(write) = &mut stage.verb else { continue };
            let folder = place.join("outputs").join(name.as_str()).display().to_string();
            let path = write.path.trim_end_matches('/');
            let last = path.rsplit('/').next().unwrap_or_default();
            write.path = match FileNames::of(&write.path) {
                Some(names) => format!("{folder}/{}", names.template),
                None if write.path == "-" => format!("{folder}/stdout.{}", extension(write.format)),
                None if write.path.ends_with('/') || !write.partition_by.is_empty() => format!("{folder}/"),
                None => format!("{folder}/{last}"),
            };
            if write.mode == Mode::Merge {
                write.key = Default::default();
            }
            write.mode = Mode::Replace;
        }
        pipeline
    }
}

fn extension(format: Option<Format>) -> &'static str {
    format.map_or("jsonl", Format::as_str)
}

impl Engine {
    /// Compares the outputs of a repetition, the last run in this engine's state folder and of this plan, with what a run left, whose
    /// journal is in `then`. Where nothing gives rows an order they may come in any.
    ///
    /// # Errors
    /// A journal or an output can't be read.
    pub fn compare(&self, plan: &Plan, recorded: &Recorded, then: &Path) -> Result<Rerun, StepError> {
        let place = &self.settings.state;
        let gone = || StepError::new(Fault::Internal, "the repetition has no journal");
        let (before, after) = (History::open(then)?.ok_or_else(gone)?, History::open(place)?.ok_or_else(gone)?);
        let again = after.runs()?.into_iter().next().ok_or_else(gone)?;
        let made_of = after.known().made_of(&again.run)?.ok_or_else(gone)?.made_of;
        let mut circumstances = recorded.made_of.differences(&made_of);
        circumstances.extend(inputs(recorded, &made_of, before.known(), after.known(), &again.run)?);
        let order: HashMap<String, usize> =
            after.known().order_of_splits(&again.run)?.into_iter().enumerate().map(|(i, split)| (split, i)).collect();
        let mut sinks = Vec::new();
        for (sink, stage) in &recorded.pipeline.stage {
            let Verb::Write(write) = &stage.verb else { continue };
            let now = match after.known().left_by(sink, &again.run)? {
                StandingFiles::There(files) => files,
                StandingFiles::Superseded(_) => Vec::new(),
            };
            let (rows_then, rows_now) =
                (recorded.rows.get(sink).copied().unwrap_or_default(), now.iter().map(|file| file.rows).sum());
            let mut compared = Compared { sink: sink.clone(), equal: None, rows_then, rows_now, note: None };
            let then = before.known().left_by(sink, &recorded.run)?;
            match comparable(write, recorded, sink, then, rows_then) {
                Err(why) => compared.note = Some(why),
                Ok(files) => {
                    let difference = self.difference(recorded, write, files, now, &order)?;
                    let in_order = plan.segments.iter().any(|segment| segment.in_order.contains(sink));
                    let any_order = difference == Some(Difference::Order) && !in_order;
                    compared.equal = Some(difference.is_none() || any_order);
                    compared.note = difference.map(|difference| difference.to_string());
                }
            }
            sinks.push(compared);
        }
        let known = || sinks.iter().filter_map(|sink| sink.equal);
        let equal = known().next().is_some() && known().all(|equal| equal);
        let (run, started) = (recorded.run.clone(), recorded.started.clone());
        Ok(Rerun { run, started, equal, circumstances, sinks, place: place.join("outputs") })
    }

    /// Where a sink's rows are different first.
    fn difference(
        &self,
        recorded: &Recorded,
        write: &dflow_pipeline::Write,
        then: Vec<SinkFile>,
        now: Vec<SinkFile>,
        order: &HashMap<String, usize>,
    ) -> Result<Option<Difference>, StepError> {
        let depth = common(&then);
        let depth_now = common(&now);
        if FileNames::of(&write.path).is_some() {
            let named = |files: Vec<SinkFile>, folder: &Path| -> BTreeMap<String, PathBuf> {
                files.into_iter().map(|file| (within(&file.path, folder), file.path)).collect()
            };
            return crate::compare::files(&named(then, &depth), &named(now, &depth_now));
        }
        let by_folder = |mut files: Vec<SinkFile>, folder: &Path| -> BTreeMap<String, Vec<PathBuf>> {
            files.sort_by_cached_key(|file| {
                let first = file.first.as_ref();
                first.map(|(identity, from)| (order.get(identity).copied().unwrap_or(usize::MAX), *from))
            });
            let mut folders: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
            for file in files.into_iter().filter(|file| file.rows > 0) {
                let below = file.path.parent().map(|parent| within(parent, folder)).unwrap_or_default();
                folders.entry(below).or_default().push(file.path);
            }
            folders
        };
        let format = write.format.or_else(|| {
            let first = then.iter().chain(&now).next()?;
            Format::of_name(&first.path.to_string_lossy())
        });
        let rows = Rows { pipeline: &recorded.pipeline, format: format.unwrap_or(Format::Jsonl), codec: write.codec };
        let (then, now) = (by_folder(then, &depth), by_folder(now, &depth_now));
        let all = |folders: &BTreeMap<String, Vec<PathBuf>>| folders.values().flatten().cloned().collect::<Vec<_>>();
        match self.first_difference(&rows, &all(&then), &all(&now))? {
            Some(Difference::Cell { .. }) if self.same_rows(&rows, &then, &now)? => Ok(Some(Difference::Order)),
            difference => Ok(difference),
        }
    }
}

/// The folder that all files are below.
fn common(files: &[SinkFile]) -> PathBuf {
    let mut folder = files.first().and_then(|file| file.path.parent()).unwrap_or(Path::new("")).to_owned();
    while !files.iter().all(|file| file.path.starts_with(&folder)) {
        if !folder.pop() {
            break;
        }
    }
    // A partition's folder is a part of what is told.
    while folder.file_name().is_some_and(|name| name.to_string_lossy().contains('=')) {
        folder.pop();
    }
    folder
}

fn within(path: &Path, folder: &Path) -> String {
    path.strip_prefix(folder).unwrap_or(path).to_string_lossy().into_owned()
}

/// The files of a sink as the run left it, or why they can't be compared.
fn comparable(
    write: &dflow_pipeline::Write,
    recorded: &Recorded,
    sink: &Name,
    then: StandingFiles,
    rows: u64,
) -> Result<Vec<SinkFile>, String> {
    if write.path == "-" {
        return Err("it went to stdout".to_owned());
    }
    if write.mode == Mode::Merge {
        return Err("it merges with what was at its place".to_owned());
    }
    if !recorded.stages.contains(sink) {
        return Err("that run didn't write it".to_owned());
    }
    let files = match then {
        StandingFiles::Superseded(run) => return Err(format!("run {run} has written it anew since")),
        StandingFiles::There(files) => files,
    };
    if files.iter().any(|file| is_object(&file.path)) {
        return Err("it is in a bucket".to_owned());
    }
    if let Some(gone) = files.iter().find(|file| !file.path.exists()) {
        return Err(format!("`{}` isn't there any more", gone.path.display()));
    }
    if files.iter().map(|file| file.rows).sum::<u64>() != rows {
        return Err("its files aren't as that run left them".to_owned());
    }
    Ok(files)
}

/// What has become of the inputs.
fn inputs(
    recorded: &Recorded,
    now: &MadeOf,
    before: Known<'_>,
    after: Known<'_>,
    again: &str,
) -> Result<Vec<String>, StepError> {
    let mut lines = Vec::new();
    let (mut then, mut read) = (BTreeMap::new(), BTreeMap::new());
    if recorded.made_of.inputs != now.inputs {
        (then, read) = (before.read_until(&recorded.run)?, after.read_until(again)?);
    }
    for (source, inputs) in &recorded.made_of.inputs {
        let Some(other) = now.inputs.get(source).filter(|other| *other != inputs) else { continue };
        let (then, now) = (then.remove(source).unwrap_or_default(), read.remove(source).unwrap_or_default());
        let whole = then.len() as u64 == inputs.files;
        let mut told = Vec::new();
        for (what, files) in [
            ("changed", then.iter().filter(|(file, v)| now.get(*file).is_some_and(|other| other != *v)).collect()),
            ("gone", then.iter().filter(|(file, _)| !now.contains_key(*file)).collect()),
            ("new", now.iter().filter(|(file, _)| whole && !then.contains_key(*file)).collect::<Vec<_>>()),
        ] {
            if !files.is_empty() {
                let mut names: Vec<String> = files.iter().take(NAMED).map(|(file, _)| format!("`{file}`")).collect();
                if files.len() > NAMED {
                    names.push(format!("and {} more", files.len() - NAMED));
                }
                told.push(format!("{what}: {}", names.join(", ")));
            }
        }
        if told.is_empty() {
            told.push(format!(
                "{} files of {} bytes then, {} of {} now",
                inputs.files, inputs.bytes, other.files, other.bytes
            ));
        }
        lines.push(format!("source `{source}`: {}", told.join("; ")));
    }
    Ok(lines)
}

/// Removes what an earlier repetition left.
///
/// # Errors
/// It can't be removed.
pub fn make_room(place: &Path) -> Result<(), StepError> {
    match fs::remove_dir_all(place) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(StepError::new(Fault::Outside, format!("can't remove `{}`: {e}", place.display())))
        }
        _ => Ok(()),
    }
}
