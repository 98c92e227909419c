//! What a run tells while it goes on.

use std::collections::BTreeMap;

use dflow_operators::StageCounts;
use dflow_pipeline::Name;
use serde::Serialize;

use crate::report::RunReport;

/// The version of the documents that `--json` prints. Raised when a key changes its meaning or goes; new keys don't.
pub const SCHEMA_VERSION: u32 = 1;

/// Something that happened.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event<'a> {
    /// A run begins.
    Started {
        /// The version of this document.
        schema_version: u32,
        /// The run.
        run: &'a str,
        /// The pipeline's name.
        pipeline: &'a str,
        /// The stages, in the order in which rows pass them.
        stages: Vec<&'a Name>,
        /// How many tasks there are to do.
        tasks: usize,
        /// How many tasks earlier runs have done, whose results stand.
        reused: usize,
        /// Bytes of input that is to be read.
        bytes: u64,
        /// How many sets of stages come on top, of which it isn't known yet what there is to do: they read what is saved before.
        later: usize,
    },
    /// It is known what more of the run has to do, now that what it reads is saved.
    Planned {
        /// The stages at its ends.
        ends: &'a [Name],
        /// How many tasks there are to do.
        tasks: usize,
        /// How many tasks earlier runs have done, whose results stand.
        reused: usize,
        /// Bytes of input that is to be read.
        bytes: u64,
    },
    /// From time to time: what was counted until now, by stage.
    Progress {
        /// By stage.
        stages: &'a BTreeMap<Name, StageCounts>,
        /// Tasks that are done.
        tasks_done: usize,
        /// Seconds since the beginning.
        seconds: f64,
    },
    /// A task is done.
    TaskDone {
        /// The stage at its end.
        sink: &'a Name,
        /// Its number.
        task: u32,
        /// The rows that it wrote.
        rows: u64,
        /// Seconds that it took.
        seconds: f64,
    },
    /// A sink is done: all that it got is at its place.
    SinkDone {
        /// The sink, or the saved stage.
        sink: &'a Name,
        /// Whether it is a saved stage.
        saved: bool,
        /// In how many tasks.
        tasks: usize,
        /// How many of them earlier runs have done.
        reused: usize,
        /// All rows that it wrote.
        rows: u64,
    },
    /// The run is over.
    Finished {
        /// What came of it.
        report: &'a RunReport,
    },
}

/// Who is told.
pub trait Observer: Sync {
    /// Something happened. Must not block.
    fn event(&self, event: &Event<'_>);
}

/// Tells nobody.
#[derive(Clone, Copy, Debug)]
pub struct Silent;

impl Observer for Silent {
    fn event(&self, _event: &Event<'_>) {}
}
