//! `dead`: what can be typed.

use std::path::PathBuf;

use clap::Subcommand;
use dflow_pipeline::Name;

use super::{DriveArgs, JournalArgs, PipelineArgs, one_or_more};

/// `dead`.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum DeadCommand {
    /// List what was wrong with rows, by stage, with how many rows each.
    List(DeadListArgs),
    /// Show rows that failed, one after the other.
    #[command(after_help = "Examples:
  dflow-host dead show --stage valid
  dflow-host dead show -n 1000 --json | jq .error_message")]
    Show(DeadShowArgs),
    /// Write the rows that failed into a file: Parquet, JSON lines, JSON, CSV or Arrow, as its name says.
    #[command(after_help = "Examples:
  dflow-host dead export --to failed.parquet
  dflow-host dead export --stage valid --to failed.csv.gz")]
    Export(DeadExportArgs),
    /// Try rows again that failed: what passes goes into the same sinks.
    #[command(after_help = "Rows that passed before are kept as they are, also when a plugin has changed since.
Rows that failed where a model is asked are asked about anew.

Examples:
  dflow-host dead replay
  dflow-host dead replay pages.toml --stage valid")]
    Replay(DeadReplayArgs),
}

/// `dead list`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct DeadListArgs {
    #[command(flatten)]
    pub(crate) journal: JournalArgs,
}

/// `dead show`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct DeadShowArgs {
    #[command(flatten)]
    pub(crate) journal: JournalArgs,
    /// Only rows that failed at this stage.
    #[arg(short, long, value_name = "STAGE", value_parser = Name::whole)]
    pub(crate) stage: Option<Name>,
    /// Only the row with this `__id__`.
    #[arg(long, value_name = "ID")]
    pub(crate) row: Option<String>,
    /// How many rows at most.
    #[arg(short = 'n', long, value_name = "N", default_value = "10", value_parser = one_or_more::<u64>)]
    pub(crate) rows: u64,
}

/// `dead export`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct DeadExportArgs {
    /// The pipeline; it need not be there any more.
    #[arg(value_name = "FILE", default_value = "pipeline.toml")]
    pub(crate) file: PathBuf,
    /// The folder of the journal [default: `.dflow` beside the pipeline].
    #[arg(long, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
    /// Only rows that failed at this stage.
    #[arg(short, long, value_name = "STAGE", value_parser = Name::whole)]
    pub(crate) stage: Option<Name>,
    /// The file; one that is there is replaced.
    #[arg(long, value_name = "FILE")]
    pub(crate) to: PathBuf,
}

/// `dead replay`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct DeadReplayArgs {
    /// The pipeline.
    #[arg(value_name = "FILE", default_value = "pipeline.toml")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) pipeline: PipelineArgs,
    /// Only rows that failed at this stage.
    #[arg(short, long, value_name = "STAGE", value_parser = Name::whole)]
    pub(crate) stage: Option<Name>,
    #[command(flatten)]
    pub(crate) drive: DriveArgs,
}
