//! The beginning and the end of a run.

use std::time::{SystemTime, UNIX_EPOCH};

use chrono::DateTime;
use dflow_operators::StepError;
use dflow_pipeline::Name;
use indexmap::IndexMap;
use rusqlite::params;

use super::open::Journal;
use crate::{faults::Step, report::RunReport};

/// What a run begins with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Begun<'a> {
    /// The pipeline's name.
    pub(crate) pipeline: &'a str,
    /// With `--first N`: N.
    pub(crate) first: Option<u64>,
    /// The pipeline's parameters.
    pub(crate) parameters: &'a IndexMap<Name, serde_json::Value>,
    /// JSON: what it is made of.
    pub(crate) made_of: Option<&'a str>,
}

impl Journal {
    /// Says that the run begins.
    pub(crate) fn begin_run(&mut self, begun: &Begun<'_>) -> Result<(), StepError> {
        let run = self.run.clone();
        self.lazily(|db| {
            db.execute(
                "INSERT INTO run (id, pipeline, host, pid, started, first, parameters, made_of) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                params![
                    run,
                    begun.pipeline,
                    env!("CARGO_PKG_VERSION"),
                    std::process::id(),
                    int(now()),
                    begun.first.map(int),
                    serde_json::to_string(begun.parameters)?,
                    begun.made_of
                ],
            )?;
            Ok(())
        })
    }

    /// Says that the run came to its end, and what came of it.
    pub(crate) fn end_run(&mut self, report: &RunReport) -> Result<(), StepError> {
        let (run, faults) = (self.run.clone(), self.faults.clone());
        faults.before(Step::Ended);
        self.lazily(|db| {
            let end = db.transaction()?;
            let text = serde_json::to_string(report)?;
            end.execute(
                "UPDATE run SET ended = ?, exit = ?, report = ? WHERE id = ?",
                params![int(now()), report.exit, text, run],
            )?;
            let mut line = end.prepare_cached("INSERT INTO ledger VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")?;
            for (place, stage) in report.stages.iter().enumerate() {
                line.execute(params![
                    run,
                    place as i64,
                    stage.stage.as_str(),
                    int(stage.rows_in),
                    int(stage.rows_out),
                    int(stage.filtered),
                    int(stage.pruned),
                    int(stage.skipped),
                    int(stage.failed),
                    int(stage.reused),
                    stage.seconds,
                    int(stage.bytes)
                ])?;
            }
            drop(line);
            end.commit()?;
            Ok(())
        })?;
        faults.after(Step::Ended);
        Ok(())
    }

    /// Says that an error ended the run.
    pub(crate) fn fail_run(&mut self, exit: u8, error: &StepError) -> Result<(), StepError> {
        let run = self.run.clone();
        self.with(|db| {
            db.execute(
                "UPDATE run SET ended = ?, exit = ?, message = ? WHERE id = ?",
                params![int(now()), exit, error.message, run],
            )?;
            Ok(())
        })
    }
}

/// A number as SQLite holds it.
pub(super) fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A number as SQLite holds it, that was written by [`int`].
pub(super) fn uint(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}

/// Milliseconds since 1970.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}

/// A moment, given in milliseconds since 1970, as people write it: `2026-11-25T20:48:14Z`.
pub(super) fn moment(millis: u64) -> String {
    match DateTime::from_timestamp(int(millis) / 1000, 0) {
        Some(moment) => format!("{:?}Z", moment.naive_utc()),
        None => millis.to_string(),
    }
}
