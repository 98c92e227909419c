//! What is kept of stages: `show`, `why`, `load`, `reset`, `gc`, `export`, `import`.

use std::path::PathBuf;

use clap::ValueEnum;

use super::{PipelineArgs, one_or_more};

/// `show`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ShowArgs {
    /// The pipeline.
    #[arg(value_name = "FILE", default_value = "pipeline.toml")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) kept: KeptArgs,
}

/// Of which pipeline something is kept, and where.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct KeptArgs {
    #[command(flatten)]
    pub(crate) pipeline: PipelineArgs,
    /// The folder of the journal [default: `.dflow` beside the pipeline].
    #[arg(long, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `why`.
#[derive(Clone, Debug, clap::Args)]
#[command(override_usage = "dflow-host why [OPTIONS] [FILE.toml] STAGE")]
pub(crate) struct WhyArgs {
    /// A saved stage or a sink; before it the pipeline, where that isn't `pipeline.toml`.
    #[arg(value_name = "STAGE", num_args = 1..=2, required = true)]
    pub(crate) words: Vec<String>,
    #[command(flatten)]
    pub(crate) kept: KeptArgs,
}

/// `load`.
#[derive(Clone, Debug, clap::Args)]
#[command(
    override_usage = "dflow-host load [OPTIONS] [FILE.toml] STAGE",
    after_help = "Examples:
  dflow-host load chunks                       a table of the first 20 rows
  dflow-host load chunks --to chunks.csv       all rows, in the format of the name
  dflow-host load chunks --to - | jq .title    all rows as JSON, one a line"
)]
pub(crate) struct LoadArgs {
    /// A saved stage; before it the pipeline, where that isn't `pipeline.toml`.
    #[arg(value_name = "STAGE", num_args = 1..=2, required = true)]
    pub(crate) words: Vec<String>,
    /// Write all rows there: a file, a folder (`dir/`), or `-` for stdout. What is there already is replaced.
    #[arg(long, value_name = "PLACE")]
    pub(crate) to: Option<String>,
    /// The format [default: by the name; JSON lines on stdout].
    #[arg(long, value_name = "FORMAT", requires = "to")]
    pub(crate) format: Option<TableFormat>,
    /// How many rows are shown.
    #[arg(short = 'n', long, value_name = "N", default_value = "20", conflicts_with = "to")]
    pub(crate) rows: u64,
    #[command(flatten)]
    pub(crate) kept: KeptArgs,
}

/// A format of tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TableFormat {
    /// Apache Parquet.
    Parquet,
    /// Comma-separated values.
    Csv,
    /// One document, a list of objects.
    Json,
    /// An object a line.
    Jsonl,
    /// Arrow IPC.
    Arrow,
}

impl TableFormat {
    /// The word for it in a pipeline.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Csv => "csv",
            Self::Json => "json",
            Self::Jsonl => "jsonl",
            Self::Arrow => "arrow",
        }
    }
}

/// `reset`.
#[derive(Clone, Debug, clap::Args)]
#[command(override_usage = "dflow-host reset [OPTIONS] [FILE.toml] STAGE...")]
pub(crate) struct ResetArgs {
    /// Saved stages or sinks; before them the pipeline, where that isn't `pipeline.toml`.
    #[arg(value_name = "STAGE", required = true)]
    pub(crate) words: Vec<String>,
    /// The folder of the journal [default: `.dflow` beside the pipeline].
    #[arg(long, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
}

/// `gc`.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Of each saved stage there may be as many outputs as there were states of it (parameters, plugins, its own text). \
The last one always stays. Without `--yes` nothing is removed.

Examples:
  dflow-host gc --older-than 30 --yes      what no run has used for 30 days
  dflow-host gc --keep 2                   show what is there beyond the last two of each stage"
)]
pub(crate) struct GcArgs {
    /// The pipeline; it need not be there any more.
    #[arg(value_name = "FILE", default_value = "pipeline.toml")]
    pub(crate) file: PathBuf,
    /// What no run has used for so many days.
    #[arg(long, value_name = "DAYS")]
    pub(crate) older_than: Option<u64>,
    /// What is beyond the last N of each stage.
    #[arg(long, value_name = "N", value_parser = one_or_more::<usize>)]
    pub(crate) keep: Option<usize>,
    /// Remove it.
    #[arg(long)]
    pub(crate) yes: bool,
    /// The folder of the journal [default: `.dflow` beside the pipeline].
    #[arg(long, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
}

/// `export`.
#[derive(Clone, Debug, clap::Args)]
#[command(
    override_usage = "dflow-host export [OPTIONS] --out PACK [FILE.toml] [STAGE]...",
    after_help = "With a stage go the saved stages that it reads. Who takes the pack in needs the same pipeline, and not its \
inputs.

Examples:
  dflow-host export --out chunks.pack chunks
  dflow-host export --out all.pack -p size=200"
)]
pub(crate) struct ExportArgs {
    /// The pipeline, where it isn't `pipeline.toml`, and saved stages [default: all that are complete].
    #[arg(value_name = "FILE.toml] [STAGE")]
    pub(crate) words: Vec<String>,
    /// The file; one that is there is replaced.
    #[arg(short, long, value_name = "PACK")]
    pub(crate) out: PathBuf,
    #[command(flatten)]
    pub(crate) kept: KeptArgs,
}

/// `import`.
#[derive(Clone, Debug, clap::Args)]
#[command(
    override_usage = "dflow-host import [OPTIONS] [FILE.toml] PACK",
    after_help = "What is taken in is COMPLETE when the pipeline and its parameters are those that made it. Inputs that are here must \
have the same content; those that aren't here aren't missed.

Examples:
  dflow-host import chunks.pack
  dflow-host import all.pack -p size=200"
)]
pub(crate) struct ImportArgs {
    /// The pack; before it the pipeline, where that isn't `pipeline.toml`.
    #[arg(value_name = "PACK", num_args = 1..=2, required = true)]
    pub(crate) words: Vec<String>,
    /// Take in what isn't what the pipeline makes now, too: as an earlier state, for `run --accept`.
    #[arg(long)]
    pub(crate) stale: bool,
    #[command(flatten)]
    pub(crate) kept: KeptArgs,
}
