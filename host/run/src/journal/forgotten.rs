//! Answers that are forgotten: old ones, those that nobody has any more, and those of which rows have failed that are tried again.

use std::time::Duration;

use dflow_operators::StepError;
use dflow_pipeline::Name;
use rusqlite::params;

use super::{
    open::Journal,
    runs::{int, now, uint},
};

impl Journal {
    /// Forgets what rows (each with the run in which it failed) were answered at a stage until then, also for who shares it. What a replay that was
    /// cut short has asked about them since stays.
    pub(crate) fn forget_answers(&mut self, stage: &Name, rows: &[(String, &str)]) -> Result<(), StepError> {
        self.with(|db| {
            let forget = db.transaction()?;
            forget.execute_batch("CREATE TEMP TABLE forgotten (id INTEGER PRIMARY KEY)")?;
            {
                let mut note = forget.prepare(
                    "INSERT OR IGNORE INTO forgotten SELECT answer FROM answered
                     WHERE stage = ? AND row = ? AND (SELECT run FROM answer WHERE id = answered.answer) <= ?",
                )?;
                let mut leave = forget.prepare(
                    "DELETE FROM answered WHERE stage = ? AND row = ? AND answer IN (SELECT id FROM forgotten)",
                )?;
                for (row, run) in rows {
                    note.execute(params![stage.as_str(), row, run])?;
                    leave.execute(params![stage.as_str(), row])?;
                }
            }
            forget
                .execute_batch("DELETE FROM shared WHERE answer IN (SELECT id FROM forgotten); DROP TABLE forgotten")?;
            forget.commit()?;
            Ok(())
        })
    }

    /// Forgets answers that are older than so long, and of the others those that nobody has. Gives how many, and the bytes of what they said.
    pub(crate) fn collect_answers(
        &mut self,
        older: Option<Duration>,
        stage: Option<&str>,
    ) -> Result<(u64, u64), StepError> {
        let before = older.map_or(0, |older| now().saturating_sub(older.as_millis() as u64));
        self.with(|db| {
            let collect = db.transaction()?;
            let (count, bytes): (i64, i64) = {
                collect.execute_batch("CREATE TEMP TABLE leaving (id INTEGER PRIMARY KEY)")?;
                collect.execute(
                    "INSERT INTO leaving SELECT id FROM answer WHERE (at < ?1 AND (?2 IS NULL OR stage = ?2))
                     OR (id NOT IN (SELECT answer FROM answered) AND id NOT IN (SELECT answer FROM shared))",
                    params![int(before), stage],
                )?;
                collect.query_row(
                    "SELECT count(*), coalesce(sum(coalesce(length(CAST(text AS BLOB)), 0) + coalesce(length(vector), 0)), 0)
                     FROM answer WHERE id IN (SELECT id FROM leaving)",
                    [],
                    |row| Ok((row.get(0)?, row.get(1)?)),
                )?
            };
            let leave = |table| collect.execute(&format!("DELETE FROM {table} IN (SELECT id FROM leaving)"), []);
            leave("answered WHERE answer")?;
            leave("shared WHERE answer")?;
            // SQLite looks whether anybody still has one that leaves; without these it would read both tables for each.
            collect.execute_batch("CREATE INDEX of_rows ON answered (answer); CREATE INDEX of_all ON shared (answer)")?;
            leave("answer WHERE id")?;
            collect.execute_batch("DROP INDEX of_rows; DROP INDEX of_all; DROP TABLE leaving")?;
            collect.commit()?;
            db.execute_batch("VACUUM")?;
            Ok((uint(count), uint(bytes)))
        })
    }
}
