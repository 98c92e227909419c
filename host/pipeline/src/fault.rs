//! Whose fault an error is. Retry and the exit code follow from it.

use serde::{Deserialize, Serialize};

/// Whose an error is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// The pipeline file's, or the command line's parameters.
    Pipeline,
    /// The data's: a row or a file that isn't what it should be.
    Data,
    /// A plugin's: a trap, a lie about its output, a broken component.
    Plugin,
    /// The outside world's: a disk, a network, a server.
    Outside,
    /// A limit's or a budget's that the user can move.
    Limit,
    /// Ours. The message asks for a report.
    Internal,
}

/// Documented, stable exit codes of `dflow-host`.
pub mod exit {
    /// All done.
    pub const DONE: u8 = 0;
    /// An error of ours.
    pub const INTERNAL: u8 = 1;
    /// The command line.
    pub const USAGE: u8 = 2;
    /// The pipeline file.
    pub const PIPELINE: u8 = 3;
    /// Rows failed beyond what was allowed.
    pub const ROWS: u8 = 4;
    /// A plugin.
    pub const PLUGIN: u8 = 5;
    /// The outside world.
    pub const OUTSIDE: u8 = 6;
    /// A limit or a budget.
    pub const LIMIT: u8 = 7;
    /// Interrupted; the run can be resumed.
    pub const INTERRUPTED: u8 = 130;
}

impl Fault {
    /// The exit code of a run that an error of this kind ended.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Pipeline => exit::PIPELINE,
            Self::Data => exit::ROWS,
            Self::Plugin => exit::PLUGIN,
            Self::Outside => exit::OUTSIDE,
            Self::Limit => exit::LIMIT,
            Self::Internal => exit::INTERNAL,
        }
    }

    /// The word that reports use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pipeline => "pipeline",
            Self::Data => "data",
            Self::Plugin => "plugin",
            Self::Outside => "outside",
            Self::Limit => "limit",
            Self::Internal => "internal",
        }
    }
}
