//! What can be typed about answers of models.

use clap::Subcommand;

use super::JournalArgs;

/// `cache`.
#[derive(Debug, Subcommand)]
pub(crate) enum CacheCommand {
    /// Show how many answers of models are kept, of which stages, and what they cost.
    Stats(JournalArgs),
    /// Remove answers of models: those that no row has any more, and those that are too old.
    Gc(CacheGcArgs),
}

/// `cache gc`.
#[derive(Debug, clap::Args)]
#[command(after_help = "An answer that is removed is asked for, and paid for, once more when a run needs it.

Examples:
  dflow-host cache gc                      answers that no row has any more
  dflow-host cache gc --older-than 30      and all that are older than 30 days")]
pub(crate) struct CacheGcArgs {
    #[command(flatten)]
    pub(crate) journal: JournalArgs,
    /// Also what was answered so many days ago, or longer.
    #[arg(long, value_name = "DAYS")]
    pub(crate) older_than: Option<u64>,
    /// Of that only what this stage asked.
    #[arg(long, value_name = "STAGE", requires = "older_than")]
    pub(crate) stage: Option<String>,
}
