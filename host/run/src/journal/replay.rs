//! Rows that failed and are tried again: which there are, and what their new task changes in what stands.

use std::path::PathBuf;

use dflow_operators::StepError;
use dflow_pipeline::Name;
use rusqlite::{Transaction, params};

use super::{
    open::{Broken, Journal},
    runs::uint,
    tasks::{TaskId, name},
};

/// The fingerprint of what is to be done anew: no segment has it.
pub(crate) const STALE: &str = "stale";

/// Rows of one task that failed at one stage.
#[derive(Clone, Debug)]
pub(crate) struct Dead {
    /// The task.
    pub(crate) task: TaskId,
    /// The run in which they failed.
    pub(crate) run: String,
    /// Whether all outputs of its segment were whole, once: it isn't one of a run that was cut short.
    pub(crate) complete: bool,
    /// Whether it is to be done anew.
    pub(crate) stale: bool,
    /// The stage.
    pub(crate) stage: Name,
    /// The file that holds them.
    pub(crate) path: PathBuf,
    /// Its size.
    pub(crate) bytes: u64,
    /// How many they are.
    pub(crate) rows: u64,
}

impl Journal {
    /// The run that writes.
    pub(crate) fn run(&self) -> &str {
        &self.run
    }

    /// The rows that failed in the tasks of a segment.
    pub(crate) fn dead(&mut self, segment: &Name) -> Result<Vec<Dead>, StepError> {
        let base = self.base.clone();
        self.with(|db| {
            let mut read = db.prepare(
                "SELECT task.id, task.complete IS NOT NULL, task.fingerprint = ?, file.sink, file.path, file.bytes, file.rows, file.run
                 FROM file JOIN task ON task.id = file.task
                 WHERE file.part = 2 AND file.state = 'published'
                 AND task.segment = ? AND task.state = 'done' AND task.fingerprint IS NOT NULL
                 ORDER BY task.id, file.id",
            )?;
            let mut rows = read.query([STALE, segment.as_str()])?;
            let mut dead = Vec::new();
            while let Some(row) = rows.next()? {
                dead.push(Dead {
                    task: TaskId(row.get(0)?),
                    run: row.get(7)?,
                    complete: row.get(1)?,
                    stale: row.get(2)?,
                    stage: name(row, 3)?,
                    path: base.path(row, 4)?,
                    bytes: uint(row.get(5)?),
                    rows: uint(row.get(6)?),
                });
            }
            Ok(dead)
        })
    }

    /// Says of tasks that were begun that they try rows again, and whose.
    pub(crate) fn replay(&mut self, segment: &Name, tasks: &[(TaskId, &Dead)]) -> Result<(), StepError> {
        self.with(|db| {
            let begin = db.transaction()?;
            for (id, dead) in tasks {
                begin.execute(
                    "UPDATE task SET segment = ?, replays = ?, replayed = ? WHERE id = ?",
                    params![segment.as_str(), dead.task.0, dead.stage.as_str(), id.0],
                )?;
            }
            begin.commit()?;
            Ok(())
        })
    }

    /// Says that what tasks did, and all that has tried rows of theirs again, is to be done anew by the next run.
    pub(crate) fn stale(&mut self, tasks: &[TaskId]) -> Result<(), StepError> {
        self.with(|db| {
            let stale = db.transaction()?;
            for task in tasks {
                // Two tasks that belong together go together.
                stale.execute(
                    "WITH RECURSIVE kin (id) AS (
                         SELECT ?2 UNION SELECT task.id FROM task JOIN kin ON task.replays = kin.id
                         UNION SELECT task.replays FROM task JOIN kin ON task.id = kin.id WHERE task.replays IS NOT NULL
                     )
                     UPDATE task SET fingerprint = ?1 WHERE id IN (SELECT id FROM kin)",
                    params![STALE, task.0],
                )?;
            }
            stale.commit()?;
            Ok(())
        })
    }
}

/// What becomes of others when a task is done that has tried rows again: those rows don't count as failed where they were, and
/// what passed before is kept, though the code may have changed since.
pub(super) fn replayed(commit: &Transaction<'_>, id: TaskId) -> Result<(), Broken> {
    let replays = commit.execute(
        "UPDATE task SET complete = (SELECT first.complete FROM task AS first WHERE first.id = task.replays)
         WHERE id = ? AND replays IS NOT NULL",
        [id.0],
    )?;
    if replays == 0 {
        return Ok(());
    }
    commit.execute(
        "DELETE FROM dead WHERE EXISTS
         (SELECT 1 FROM task WHERE task.id = ? AND task.replays = dead.task AND task.replayed = dead.stage)",
        [id.0],
    )?;
    commit.execute(
        "UPDATE task SET fingerprint = own.fingerprint
         FROM (SELECT again.segment, again.fingerprint, first.fingerprint AS before
               FROM task AS again JOIN task AS first ON first.id = again.replays WHERE again.id = ?) AS own
         WHERE task.segment = own.segment AND task.fingerprint = own.before AND task.state IN ('prepared', 'done')",
        [id.0],
    )?;
    Ok(())
}
