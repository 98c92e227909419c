//! What came of a run.

use dflow_operators::RowFailure;
use dflow_pipeline::Name;
use serde::{Deserialize, Serialize};

use crate::made_of::MadeOf;

/// What came of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunReport {
    /// The version of this document.
    pub schema_version: u32,
    /// The run.
    pub run: String,
    /// The pipeline's name.
    pub pipeline: String,
    /// The stages, in the order in which rows pass them.
    pub stages: Vec<StageReport>,
    /// The files that were written.
    pub outputs: Vec<OutputFile>,
    /// Failed rows, described up to a number.
    pub failures: Vec<RowFailure>,
    /// All failed rows beyond what their stages allow.
    pub failed_beyond: u64,
    /// Tasks that it has done.
    pub tasks: usize,
    /// What earlier runs had done, which is in the counts, the files and the failures.
    pub reused: Reused,
    /// The most memory that rows and plugins took at a time, in bytes.
    pub memory: u64,
    /// Bytes of rows that were put on disk as they didn't fit into memory.
    pub spilled: u64,
    /// Seconds from beginning to end.
    pub seconds: f64,
    /// Processor time that the journal took, in seconds (on Linux).
    #[serde(default)]
    pub journal_seconds: f64,
    /// What models cost in this run, in billionths of a dollar; what failed tasks had asked is in it, what earlier runs paid isn't.
    #[serde(default)]
    pub usd: u64,
    /// The exit code.
    pub exit: u8,
    /// What it was made of; none of runs that an earlier host did.
    #[serde(default)]
    pub made_of: Option<MadeOf>,
}

impl RunReport {
    /// Whether the rows that failed at a stage went on to others.
    pub fn is_routed(&self, stage: &Name) -> bool {
        self.stages.iter().any(|other| other.verb == "dead" && other.from.contains(stage))
    }
}

impl StageReport {
    /// Whether it is one that asks a model.
    pub fn asks(&self) -> bool {
        ["prompt", "embed", "classify"].contains(&self.verb.as_str())
    }
}

/// What a stage asked of models, in tasks of earlier runs too whose results stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// Requests that were sent, those included that were sent again.
    pub calls: u64,
    /// Tokens that went in, those in the provider's cache included.
    pub input_tokens: u64,
    /// Tokens that went in and were in the provider's cache.
    pub cached_tokens: u64,
    /// Tokens that came out.
    pub output_tokens: u64,
    /// What it cost, in billionths of a dollar.
    pub usd: u64,
}

impl Asked {
    /// Whether nothing was asked.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// What earlier runs had done and stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reused {
    /// Tasks.
    pub tasks: usize,
    /// Their files that are at their places, and parts of files that wait.
    pub files: u64,
}

/// What a stage did.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StageReport {
    /// The stage.
    pub stage: Name,
    /// The stages that it reads.
    #[serde(default)]
    pub from: Vec<Name>,
    /// Its verb.
    pub verb: String,
    /// For operators: which.
    pub operator: Option<String>,
    /// Rows in; of a source, rows read.
    pub rows_in: u64,
    /// Rows out.
    pub rows_out: u64,
    /// Rows that a filter dropped, or that a limit cut.
    pub filtered: u64,
    /// Of a source: splits that weren't read, since a filter lets none of their rows through.
    pub pruned: u64,
    /// Rows that came out beyond one for each row that went in and gave any.
    pub expanded: bool,
    /// Failed rows that were dropped because the stage says so.
    pub skipped: u64,
    /// Failed rows.
    pub failed: u64,
    /// Of the rows in: those that earlier runs had seen, in tasks whose results stand.
    pub reused: u64,
    /// Of the rows in: those whose results were known of the same content (saved stages).
    #[serde(default)]
    pub recalled: u64,
    /// What it asked of models; of stages that ask none nothing.
    #[serde(default, skip_serializing_if = "Asked::is_nothing")]
    pub asked: Asked,
    /// Processor time of this stage alone, over all cores, in seconds; that of earlier runs left out.
    pub seconds: f64,
    /// Bytes read (sources) or written (sinks).
    pub bytes: u64,
}

/// A file that was written; of a sink's files in folders named by values, or named by rows, all of them together.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OutputFile {
    /// The sink.
    pub sink: Name,
    /// The file, or what files' names are made of; `-` is stdout.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// Its rows.
    pub rows: u64,
}
