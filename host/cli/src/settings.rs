//! What commands are told: arguments, environment and machine brought together, once.

mod saved;

use std::path::{Component, Path, PathBuf};

use dflow_pipeline::Name;
use dflow_run::{EngineSettings, Faults, Mode, STATE_FOLDER, workers_for};

use crate::{
    allocator,
    args::{
        CheckArgs, DeadReplayArgs, DriveArgs, EvalArgs, ExplainArgs, GraphArgs, GraphFormat, JournalArgs, PipelineArgs,
        ReportArgs, RerunArgs, RunArgs, TestArgs, WorkArgs,
    },
    failure::Failure,
    outside::{self, Outside},
};

pub(crate) use self::saved::{GcSettings, KeptSettings, LoadSettings, PackSettings, ResetSettings};

/// The pipeline that is meant when none is named.
const DEFAULT_FILE: &str = "pipeline.toml";

/// Which pipeline, with which parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PipelineSettings {
    /// The file, as the user gave it.
    pub(crate) file: PathBuf,
    /// The folder it is in, from the root.
    pub(crate) folder: PathBuf,
    /// Values of parameters.
    pub(crate) overrides: Vec<(String, String)>,
    /// The target of a `dflow.toml`.
    pub(crate) target: Option<String>,
}

/// How a run is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Watch {
    /// Not at all; only failures are told.
    Quiet,
    /// As JSON on stdout.
    Json,
    /// By a person.
    Person,
}

/// `run`.
#[derive(Clone, Debug)]
pub(crate) struct RunSettings {
    /// The pipeline.
    pub(crate) pipeline: PipelineSettings,
    /// How it is run.
    pub(crate) engine: EngineSettings,
    /// How it is watched.
    pub(crate) watch: Watch,
    /// The folder in which the command was typed; paths are shown as seen from there.
    pub(crate) seen_from: PathBuf,
}

/// Where the rows of `eval` come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Given {
    /// The command line.
    Texts(Vec<String>),
    /// Lines of stdin.
    Stdin,
    /// It isn't said: lines of stdin, or rows of the pipeline's own sources when it has no `input` stage.
    Unsaid,
    /// A file of JSON objects, one a line.
    Objects(PathBuf),
    /// Lines of a file.
    Lines(PathBuf),
}

/// `eval`.
#[derive(Clone, Debug)]
pub(crate) struct EvalSettings {
    /// The pipeline.
    pub(crate) pipeline: PipelineSettings,
    /// How it is run.
    pub(crate) engine: EngineSettings,
    /// The stage whose rows are shown.
    pub(crate) stage: Option<Name>,
    /// Where rows come from.
    pub(crate) given: Given,
    /// Whether rows are printed as JSON.
    pub(crate) json: bool,
}

/// `check` and `explain`.
#[derive(Clone, Debug)]
pub(crate) struct PlanSettings {
    /// The pipeline.
    pub(crate) pipeline: PipelineSettings,
    /// How it would be run.
    pub(crate) engine: EngineSettings,
    /// Of `explain`: the rows of each source by which it is said what it costs.
    pub(crate) cost: Option<u64>,
    /// Whether JSON is printed.
    pub(crate) json: bool,
}

/// `test`.
#[derive(Clone, Debug)]
pub(crate) struct TestSettings {
    /// The pipeline.
    pub(crate) pipeline: PipelineSettings,
    /// How it is run.
    pub(crate) engine: EngineSettings,
    /// The file of recorded answers.
    pub(crate) answers: PathBuf,
    /// Whether JSON is printed.
    pub(crate) json: bool,
}

/// `rerun`.
#[derive(Clone, Debug)]
pub(crate) struct RerunSettings {
    /// How it is run; its state folder is that of the run that is repeated.
    pub(crate) engine: EngineSettings,
    /// The run; the last one when there is none.
    pub(crate) run: Option<String>,
    /// Whether JSON is printed.
    pub(crate) json: bool,
    /// The folder in which the command was typed; paths are shown as seen from there.
    pub(crate) seen_from: PathBuf,
}

/// `runs` and `report`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct JournalSettings {
    /// The folder of the journal.
    pub(crate) state: PathBuf,
    /// The run that is meant, of `report`.
    pub(crate) run: Option<String>,
    /// Whether JSON is printed.
    pub(crate) json: bool,
    /// Where a page is written, of `report`.
    pub(crate) html: Option<PathBuf>,
    /// The folder in which the command was typed; paths are shown as seen from there.
    pub(crate) seen_from: PathBuf,
}

/// `graph`.
#[derive(Clone, Debug)]
pub(crate) struct GraphSettings {
    /// The pipeline.
    pub(crate) pipeline: PipelineSettings,
    /// The language it is drawn in.
    pub(crate) format: GraphFormat,
}

impl PipelineSettings {
    fn resolve(file: PathBuf, args: PipelineArgs, outside: &Outside) -> Self {
        let whole = outside.folder.join(&file);
        let folder = whole.parent().map_or_else(|| whole.clone(), Path::to_owned);
        Self { file, folder, overrides: args.param, target: args.target }
    }
}

impl RunSettings {
    /// `run`, as it was typed.
    pub(crate) fn resolve(args: RunArgs, outside: &Outside) -> Self {
        let RunArgs { file, pipeline, first, fresh, select, accept, replay, record, drive } = args;
        let driven = Self::driven(file, pipeline, drive, first, outside);
        let models = if replay.is_some() { Mode::Replay } else { Mode::Ask };
        let answers = replay.or(record).map(|answers| outside.folder.join(answers));
        Self { engine: EngineSettings { fresh, select, accept, models, answers, ..driven.engine }, ..driven }
    }

    /// `dead replay`, as it was typed.
    pub(crate) fn of_replay(args: DeadReplayArgs, outside: &Outside) -> Self {
        Self::driven(args.file, args.pipeline, args.drive, None, outside)
    }

    fn driven(file: PathBuf, pipeline: PipelineArgs, drive: DriveArgs, first: Option<u64>, outside: &Outside) -> Self {
        let DriveArgs { allow_commands, json, crash_at, quiet, work } = drive;
        let pipeline = PipelineSettings::resolve(file, pipeline, outside);
        let engine = engine(&pipeline, work, first, outside);
        let engine = EngineSettings { allow_commands, faults: Faults::from(crash_at), ..engine };
        let watch = match (json, quiet) {
            (true, _) => Watch::Json,
            (false, true) => Watch::Quiet,
            (false, false) => Watch::Person,
        };
        Self { pipeline, engine, watch, seen_from: outside.folder.clone() }
    }
}

impl EvalSettings {
    /// `eval`, as it was typed.
    ///
    /// # Errors
    /// Rows are given in two ways.
    pub(crate) fn resolve(args: EvalArgs, outside: &Outside) -> Result<Self, Failure> {
        let mut words = args.words;
        let named = words.first().is_some_and(|word| word.ends_with(".toml"));
        let file = PathBuf::from(if named { words.remove(0) } else { DEFAULT_FILE.to_owned() });
        words.extend(args.texts);
        let given = match args.input {
            Some(_) if !words.is_empty() => {
                return Err(Failure::usage(format!("rows are given twice: by `--input` and as `{}`", words[0]))
                    .hint("leave one of them out; a pipeline's name ends in `.toml`"));
            }
            Some(input) if input == Path::new("-") => Given::Stdin,
            Some(input) if input.extension().is_some_and(|e| e.eq_ignore_ascii_case("jsonl")) => Given::Objects(input),
            Some(input) => Given::Lines(input),
            None if !words.is_empty() => Given::Texts(words),
            None => Given::Unsaid,
        };
        let pipeline = PipelineSettings::resolve(file, args.pipeline, outside);
        // A few rows don't gain from more cores, and threads that nobody needs cost time at the start.
        let work = WorkArgs {
            state: None,
            workers: Some(outside.cores.min(2)),
            memory: None,
            task_bytes: dflow_pipeline::Bytes(0),
        };
        let engine = engine(&pipeline, work, None, outside);
        let engine = EngineSettings { allow_commands: args.allow_commands, ..engine };
        let json = args.json || !outside.stdout_is_terminal;
        Ok(Self { pipeline, engine, stage: args.stage, given, json })
    }
}

impl PlanSettings {
    /// `check`, as it was typed.
    pub(crate) fn of_check(args: CheckArgs, outside: &Outside) -> Self {
        let work = WorkArgs { state: None, workers: None, memory: None, task_bytes: dflow_pipeline::Bytes(64 << 20) };
        let (file, pipeline) = (args.file, args.pipeline);
        let mut settings =
            Self::of_explain(ExplainArgs { file, pipeline, work, cost: false, sample: 0, json: false }, outside);
        // What is missing for a run is a mistake.
        settings.engine.models = Mode::Ask;
        settings
    }

    /// `explain`, as it was typed.
    pub(crate) fn of_explain(args: ExplainArgs, outside: &Outside) -> Self {
        let pipeline = PipelineSettings::resolve(args.file, args.pipeline, outside);
        // Nothing is run, so that nothing need be allowed, nor a key be there.
        let models = Mode::Rehearse;
        let engine = EngineSettings { allow_commands: true, models, ..engine(&pipeline, args.work, None, outside) };
        Self { pipeline, engine, cost: args.cost.then_some(args.sample), json: args.json }
    }
}

impl TestSettings {
    /// `test`, as it was typed.
    pub(crate) fn resolve(args: TestArgs, outside: &Outside) -> Self {
        let answers = outside.folder.join(args.file.with_extension("answers.jsonl"));
        let pipeline = PipelineSettings::resolve(args.file, args.pipeline, outside);
        let work = WorkArgs { state: None, workers: None, memory: None, task_bytes: dflow_pipeline::Bytes(64 << 20) };
        let models = if args.record { Mode::Ask } else { Mode::Replay };
        let allow_commands = args.allow_commands;
        let engine = EngineSettings { allow_commands, models, ..engine(&pipeline, work, None, outside) };
        Self { pipeline, engine, answers, json: args.json }
    }
}

impl RerunSettings {
    /// `rerun`, as it was typed.
    pub(crate) fn resolve(args: RerunArgs, outside: &Outside) -> Self {
        let pipeline = PipelineSettings::resolve(args.file, PipelineArgs { param: Vec::new(), target: None }, outside);
        let engine = engine(&pipeline, args.work, None, outside);
        let engine = EngineSettings { allow_commands: args.allow_commands, ..engine };
        let run = Some(args.run).filter(|run| run != "last");
        Self { engine, run, json: args.json, seen_from: outside.folder.clone() }
    }
}

fn state_beside(file: &Path, given: Option<PathBuf>, outside: &Outside) -> PathBuf {
    let pipeline = outside.folder.join(file);
    state(pipeline.parent().unwrap_or(&pipeline), given, outside)
}

impl JournalSettings {
    /// `runs`, as it was typed.
    pub(crate) fn of_runs(args: JournalArgs, outside: &Outside) -> Self {
        let state = state_beside(&args.file, args.state, outside);
        Self { state, run: None, json: args.json, html: None, seen_from: outside.folder.clone() }
    }

    /// `report`, as it was typed.
    pub(crate) fn of_report(args: ReportArgs, outside: &Outside) -> Self {
        let run = Some(args.run).filter(|run| run != "last");
        let html = args.html.map(|html| outside.folder.join(html));
        Self { run, html, ..Self::of_runs(args.journal, outside) }
    }
}

impl GraphSettings {
    /// `graph`, as it was typed.
    pub(crate) fn resolve(args: GraphArgs, outside: &Outside) -> Self {
        Self { pipeline: PipelineSettings::resolve(args.file, args.pipeline, outside), format: args.format }
    }
}

fn engine(pipeline: &PipelineSettings, work: WorkArgs, first: Option<u64>, outside: &Outside) -> EngineSettings {
    let memory = work.memory.map_or_else(|| share(outside), |memory| memory.0);
    EngineSettings {
        folder: pipeline.folder.clone(),
        state: state(&pipeline.folder, work.state, outside),
        cache: compiled(outside),
        workers: work.workers.unwrap_or_else(|| workers_for(memory, outside.cores)).max(1),
        task_bytes: work.task_bytes.0.max(1),
        memory,
        variables: outside::variable,
        tight: allocator::give_back_at_once,
        first,
        fresh: false,
        select: Vec::new(),
        accept: Vec::new(),
        allow_commands: false,
        models: Mode::default(),
        answers: None,
        answered: None,
        faults: Faults::default(),
    }
}

/// The folder of a pipeline's journal.
fn state(folder: &Path, given: Option<PathBuf>, outside: &Outside) -> PathBuf {
    let state = given.map_or_else(|| folder.join(STATE_FOLDER), |state| outside.folder.join(state));
    // Stores have no file whose path says `..`; what comes after the last one need not be there yet.
    let above = state.ancestors().find(|above| above.components().next_back() == Some(Component::ParentDir));
    let real = above.and_then(|above| {
        let mut real = above.canonicalize().ok()?;
        real.extend(state.strip_prefix(above).ok()?);
        Some(real)
    });
    real.unwrap_or(state)
}

/// The memory that is taken when nobody says how much: some is left for the rest of the machine and for the page cache.
fn share(outside: &Outside) -> u64 {
    outside.memory / 4 * 3
}

pub(crate) fn compiled(outside: &Outside) -> Option<PathBuf> {
    outside.cache().map(|folder| folder.join("compiled"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::{
        args::{Args, Command},
        outside::tests::outside,
    };

    fn run(typed: &[&str]) -> RunSettings {
        let words = ["dflow-host", "run"].iter().chain(typed);
        match Args::try_parse_from(words).expect("it is typed well").command {
            Command::Run(args) => RunSettings::resolve(args, &outside(&[("HOME", "/home/me")])),
            other => panic!("{other:?}"),
        }
    }

    fn eval(typed: &[&str], outside: &Outside) -> Result<EvalSettings, Failure> {
        let words = ["dflow-host", "eval"].iter().chain(typed);
        match Args::try_parse_from(words).expect("it is typed well").command {
            Command::Eval(args) => EvalSettings::resolve(args, outside),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_run_has_defaults_for_everything() {
        let settings = run(&[]);
        assert_eq!(settings.pipeline.file, Path::new("pipeline.toml"));
        assert_eq!(settings.engine.folder, Path::new("/here"));
        assert_eq!(settings.engine.state, Path::new("/here/.dflow"));
        assert_eq!(settings.engine.cache.as_deref(), Some(Path::new("/home/me/.cache/dflow/compiled")));
        assert_eq!((settings.engine.workers, settings.engine.task_bytes, settings.engine.first), (4, 64 << 20, None));
        assert_eq!(settings.engine.memory, 6 << 30);
        assert_eq!(settings.watch, Watch::Person);
    }

    #[test]
    fn a_run_does_as_it_is_told() {
        let settings = run(&[
            "jobs/p.toml",
            "-p",
            "a=1",
            "-p",
            "b=x=y",
            "--first",
            "10",
            "--json",
            "--state",
            "s",
            "--workers",
            "2",
            "--task-bytes",
            "1KiB",
            "--memory",
            "512MB",
            "--quiet",
            "--target",
            "prod",
        ]);
        assert_eq!(settings.pipeline.target.as_deref(), Some("prod"));
        assert_eq!(settings.pipeline.overrides, [("a".into(), "1".into()), ("b".into(), "x=y".into())]);
        assert_eq!(settings.engine.folder, Path::new("/here/jobs"));
        assert_eq!(settings.engine.state, Path::new("/here/s"));
        assert_eq!((settings.engine.workers, settings.engine.task_bytes, settings.engine.first), (2, 1024, Some(10)));
        assert_eq!(settings.engine.memory, 512_000_000);
        assert_eq!(settings.watch, Watch::Json);
        assert_eq!(run(&["-q"]).watch, Watch::Quiet);
        assert_eq!(run(&["/abs/p.toml"]).engine.state, Path::new("/abs/.dflow"));
        // A folder that is there wherever this runs.
        assert_eq!(run(&["--state", "/proc/sys/.."]).engine.state, Path::new("/proc"));
        assert_eq!(run(&["--state", "/proc/sys/../none/s"]).engine.state, Path::new("/proc/none/s"));
    }

    #[test]
    fn the_first_word_of_eval_is_the_pipeline_when_it_ends_like_one() {
        let outside = outside(&[]);
        for (typed, file, texts) in [
            (&["a", "b"][..], "pipeline.toml", &["a", "b"][..]),
            (&["p.toml", "a"], "p.toml", &["a"]),
            (&["p.toml", "q.toml"], "p.toml", &["q.toml"]),
            (&["--", "q.toml"], "pipeline.toml", &["q.toml"]),
            (&["p.toml", "--", "q.toml", "--json"], "p.toml", &["q.toml", "--json"]),
        ] {
            let settings = eval(typed, &outside).expect("rows are given");
            assert_eq!(settings.pipeline.file, Path::new(file), "{typed:?}");
            assert_eq!(settings.given, Given::Texts(texts.iter().map(|t| (*t).to_owned()).collect()), "{typed:?}");
        }
    }

    #[test]
    fn rows_of_eval_come_from_one_place() {
        let here = outside(&[]);
        for (typed, given) in [
            (&[][..], Given::Unsaid),
            (&["p.toml"], Given::Unsaid),
            (&["--input", "-"], Given::Stdin),
            (&["--input", "r.jsonl"], Given::Objects("r.jsonl".into())),
            (&["--input", "r.txt"], Given::Lines("r.txt".into())),
        ] {
            assert_eq!(eval(typed, &here).expect("rows are given").given, given, "{typed:?}");
        }
        let twice = eval(&["--input", "r.txt", "a"], &here).expect_err("that is twice");
        assert_eq!(twice.exit_code(), 2);
    }

    #[test]
    fn eval_prints_a_table_for_a_person_only() {
        for (typed, terminal, json) in
            [(&["a"][..], true, false), (&["a"], false, true), (&["a", "--json"], true, true)]
        {
            let outside = Outside { stdout_is_terminal: terminal, ..outside(&[]) };
            assert_eq!(eval(typed, &outside).expect("rows are given").json, json, "{typed:?} {terminal}");
        }
    }
}
