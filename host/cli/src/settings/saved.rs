//! What commands about saved stages are to do.

use std::path::PathBuf;

use dflow_run::{EngineSettings, Mode};

use super::{DEFAULT_FILE, PipelineSettings, engine, state_beside};
use crate::{
    args::{ExportArgs, GcArgs, ImportArgs, KeptArgs, LoadArgs, ResetArgs, ShowArgs, TableFormat, WhyArgs, WorkArgs},
    failure::Failure,
    outside::Outside,
};

/// `show`, `why` and `load`.
#[derive(Clone, Debug)]
pub(crate) struct KeptSettings {
    /// The pipeline.
    pub(crate) pipeline: PipelineSettings,
    /// How it would be run.
    pub(crate) engine: EngineSettings,
    /// The stage that is meant, of `why` and `load`.
    pub(crate) stage: Option<String>,
    /// Whether JSON is printed.
    pub(crate) json: bool,
    /// The folder in which the command was typed; paths are shown as seen from there.
    pub(crate) seen_from: PathBuf,
}

/// `load`.
#[derive(Clone, Debug)]
pub(crate) struct LoadSettings {
    /// What is kept, and where.
    pub(crate) kept: KeptSettings,
    /// Where all rows go.
    pub(crate) to: Option<String>,
    /// In which format.
    pub(crate) format: Option<TableFormat>,
    /// How many are shown, when they aren't written.
    pub(crate) rows: u64,
}

/// `export` and `import`.
#[derive(Clone, Debug)]
pub(crate) struct PackSettings {
    /// What is kept, and where.
    pub(crate) kept: KeptSettings,
    /// The stages that are meant, of `export`; all when there is none.
    pub(crate) stages: Vec<String>,
    /// The pack.
    pub(crate) pack: PathBuf,
    /// Whether `import` takes in what isn't what the pipeline makes now.
    pub(crate) stale: bool,
}

/// `reset`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ResetSettings {
    /// The folder of the journal.
    pub(crate) state: PathBuf,
    /// The stages.
    pub(crate) stages: Vec<String>,
}

/// `gc`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GcSettings {
    /// The folder of the journal.
    pub(crate) state: PathBuf,
    /// What no run has used for so many days goes.
    pub(crate) older_than: Option<u64>,
    /// What is beyond so many of each stage goes.
    pub(crate) keep: Option<usize>,
    /// Whether it does.
    pub(crate) yes: bool,
}

impl KeptSettings {
    fn resolve(file: PathBuf, args: KeptArgs, stage: Option<String>, outside: &Outside) -> Self {
        let work =
            WorkArgs { state: args.state, workers: None, memory: None, task_bytes: dflow_pipeline::Bytes(64 << 20) };
        let pipeline = PipelineSettings::resolve(file, args.pipeline, outside);
        // Nothing is run.
        // Nothing is run, so that neither need anything be allowed nor a key be there.
        let engine =
            EngineSettings { allow_commands: true, models: Mode::Rehearse, ..engine(&pipeline, work, None, outside) };
        Self { pipeline, engine, stage, json: args.json, seen_from: outside.folder.clone() }
    }

    /// `show`, as it was typed.
    pub(crate) fn of_show(args: ShowArgs, outside: &Outside) -> Self {
        Self::resolve(args.file, args.kept, None, outside)
    }

    /// `why`, as it was typed.
    ///
    /// # Errors
    /// No stage is named.
    pub(crate) fn of_why(args: WhyArgs, outside: &Outside) -> Result<Self, Failure> {
        let (file, stage) = file_and_stage(args.words)?;
        Ok(Self::resolve(file, args.kept, Some(stage), outside))
    }
}

impl LoadSettings {
    /// `load`, as it was typed.
    ///
    /// # Errors
    /// No stage is named.
    pub(crate) fn resolve(args: LoadArgs, outside: &Outside) -> Result<Self, Failure> {
        if let Some(format @ (TableFormat::Parquet | TableFormat::Arrow)) = args.format
            && args.to.as_deref() == Some("-")
        {
            return Err(Failure::usage(format!("{} can't be written to stdout", format.word()))
                .hint("`--format jsonl` or `csv`, or write to a file"));
        }
        let (file, stage) = file_and_stage(args.words)?;
        let kept = KeptSettings::resolve(file, args.kept, Some(stage), outside);
        Ok(Self { kept, to: args.to, format: args.format, rows: args.rows })
    }
}

impl PackSettings {
    /// `export`, as it was typed.
    pub(crate) fn of_export(args: ExportArgs, outside: &Outside) -> Self {
        let (file, stages) = file_and_stages(args.words);
        let kept = KeptSettings::resolve(file, args.kept, None, outside);
        Self { kept, stages, pack: outside.folder.join(args.out), stale: false }
    }

    /// `import`, as it was typed.
    ///
    /// # Errors
    /// No pack is named.
    pub(crate) fn of_import(args: ImportArgs, outside: &Outside) -> Result<Self, Failure> {
        let (file, mut packs) = file_and_stages(args.words);
        let pack = match (packs.pop(), packs.pop()) {
            (Some(pack), None) => outside.folder.join(pack),
            (Some(_), Some(first)) => {
                return Err(Failure::usage(format!("`{first}` is no pipeline file: its name ends in `.toml`")));
            }
            (None, _) => {
                return Err(Failure::usage("no pack is named").hint("`dflow-host export --out PACK` writes one"));
            }
        };
        let kept = KeptSettings::resolve(file, args.kept, None, outside);
        Ok(Self { kept, stages: Vec::new(), pack, stale: args.stale })
    }
}

impl ResetSettings {
    /// `reset`, as it was typed.
    ///
    /// # Errors
    /// No stage is named.
    pub(crate) fn resolve(args: ResetArgs, outside: &Outside) -> Result<Self, Failure> {
        let (file, stages) = file_and_stages(args.words);
        if stages.is_empty() {
            return Err(no_stage());
        }
        Ok(Self { state: state_beside(&file, args.state, outside), stages })
    }
}

impl GcSettings {
    /// `gc`, as it was typed.
    pub(crate) fn resolve(args: GcArgs, outside: &Outside) -> Self {
        let state = state_beside(&args.file, args.state, outside);
        Self { state, older_than: args.older_than, keep: args.keep, yes: args.yes }
    }
}

/// A pipeline's file, where the first word is one, and the other words.
fn file_and_stages(mut words: Vec<String>) -> (PathBuf, Vec<String>) {
    let named = words.first().is_some_and(|word| word.ends_with(".toml"));
    let file = if named { words.remove(0) } else { DEFAULT_FILE.to_owned() };
    (PathBuf::from(file), words)
}

fn file_and_stage(words: Vec<String>) -> Result<(PathBuf, String), Failure> {
    let (file, mut stages) = file_and_stages(words);
    match (stages.pop(), stages.pop()) {
        (Some(stage), None) => Ok((file, stage)),
        (None, _) => Err(no_stage()),
        (Some(_), Some(first)) => {
            Err(Failure::usage(format!("`{first}` is no pipeline file: its name ends in `.toml`")))
        }
    }
}

fn no_stage() -> Failure {
    Failure::usage("no stage is named").hint("`dflow-host show` lists those of which something is kept")
}
