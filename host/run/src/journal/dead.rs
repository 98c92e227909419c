//! Files of rows that failed: they are committed with their task, and go with it.

use std::{collections::BTreeMap, path::PathBuf};

use dflow_io::Prepared;
use dflow_operators::{DeadFile, DeadPlace, StepError};
use dflow_pipeline::Name;
use rusqlite::{Transaction, params};

use super::{
    base::Base,
    files::remove,
    history::History,
    known::Known,
    open::{Broken, Journal},
    runs::{int, uint},
    tasks::{TaskId, name},
};

/// A file of rows that failed at a stage, and whose task stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DeadSource {
    /// The stage.
    pub(crate) stage: Name,
    /// The run in which they failed.
    pub(crate) run: String,
    /// The file, Parquet.
    pub(crate) path: PathBuf,
    /// The rows in it.
    pub(crate) rows: u64,
    /// Whether another stage reads them.
    pub(crate) routed: bool,
}

/// Says under which temporary name a task may leave files of rows that failed.
pub(super) fn begin_dead(
    begin: &Transaction<'_>,
    base: &Base,
    run: &str,
    task: i64,
    segment: &Name,
    DeadPlace { folder, name }: &DeadPlace,
) -> Result<(), Broken> {
    let (temporary, path) = (base.text(&folder.join(format!(".{name}.tmp")))?, base.text(&folder.join(name))?);
    begin.execute(
        "INSERT INTO file (run, task, sink, part, state, temporary, path) VALUES (?, ?, ?, 2, 'begun', ?, ?)",
        params![run, task, segment.as_str(), temporary, path],
    )?;
    Ok(())
}

/// Names the files of rows that failed in a task.
pub(super) fn prepared_dead(
    prepare: &Transaction<'_>,
    base: &Base,
    run: &str,
    task: TaskId,
    dead: &[DeadFile],
) -> Result<Vec<(i64, Prepared)>, Broken> {
    prepare.execute("DELETE FROM file WHERE task = ? AND part = 2 AND state = 'begun'", [task.0])?;
    let mut insert = prepare.prepare_cached(
        "INSERT INTO file (run, task, sink, part, state, temporary, path, bytes, rows)
         VALUES (?, ?, ?, 2, 'prepared', ?, ?, ?, ?)",
    )?;
    let mut files = Vec::with_capacity(dead.len());
    for DeadFile { stage, file } in dead {
        let (temporary, path) = (base.text(&file.temporary)?, base.text(&file.path)?);
        let (bytes, rows) = (int(file.bytes), int(file.rows));
        insert.execute(params![run, task.0, stage.as_str(), temporary, path, bytes, rows])?;
        files.push((prepare.last_insert_rowid(), file.clone()));
    }
    Ok(files)
}

impl Journal {
    /// Removes the rows that failed in tasks that are gone, and in runs before this one that had `--first`.
    pub(crate) fn sweep_dead(&mut self) -> Result<(), StepError> {
        let (run, base) = (self.run.clone(), self.base.clone());
        let gone = self.with(|db| {
            db.execute(
                "UPDATE task SET state = 'gone' WHERE fingerprint IS NULL AND state = 'done' AND run <> ?",
                [&run],
            )?;
            let mut read = db.prepare_cached(
                "SELECT path FROM file WHERE part = 2 AND state = 'published'
                 AND task IN (SELECT id FROM task WHERE state = 'gone')",
            )?;
            let paths = read.query_map([], |row| base.path(row, 0))?;
            Ok(paths.collect::<Result<Vec<_>, _>>()?)
        })?;
        if gone.is_empty() {
            return Ok(());
        }
        gone.iter().try_for_each(|path| remove(path))?;
        // Nothing says which run removed them: a recovery does it before its run is in the journal.
        self.with(|db| {
            db.execute(
                "UPDATE file SET state = 'removed' WHERE part = 2 AND state = 'published'
                 AND task IN (SELECT id FROM task WHERE state = 'gone')",
                [],
            )?;
            Ok(())
        })
    }
}

impl Known<'_> {
    /// The files of rows that failed at a stage in tasks, in the order of these.
    pub(crate) fn dead_files(
        &self,
        stage: &Name,
        tasks: impl Iterator<Item = TaskId>,
    ) -> Result<Vec<Prepared>, StepError> {
        let read = || -> Result<Vec<Prepared>, Broken> {
            let mut files = Vec::new();
            let mut read = self.db.prepare_cached(
                "SELECT path, bytes, rows FROM file
                 WHERE task = ? AND sink = ? AND part = 2 AND state = 'published' ORDER BY id",
            )?;
            for task in tasks {
                let mut rows = read.query(params![task.0, stage.as_str()])?;
                while let Some(row) = rows.next()? {
                    let path = self.base.path(row, 0)?;
                    let (bytes, rows) = (uint(row.get(1)?), uint(row.get(2)?));
                    files.push(Prepared { temporary: path.clone(), path, bytes, rows, row: None, splits: Vec::new() });
                }
            }
            Ok(files)
        };
        read().map_err(|broken| broken.named(self.path))
    }
}

impl History {
    /// The rows that failed in what stands now: of each segment with its last fingerprint, of a stage that several segments run in one of
    /// them.
    ///
    /// # Errors
    /// The journal can't be read.
    pub(crate) fn dead(&self) -> Result<Vec<DeadSource>, StepError> {
        let read = || -> Result<Vec<(String, DeadSource)>, Broken> {
            let mut read = self.db.prepare_cached(
                "WITH last AS (
                     SELECT segment, fingerprint,
                            max((fingerprint IS NOT 'stale') || coalesce(complete, run) || printf('%012d', id))
                     FROM task WHERE state IN ('prepared', 'done') GROUP BY segment
                 )
                 SELECT task.segment, file.sink, file.run, file.path, file.rows,
                        EXISTS (SELECT 1 FROM ledger WHERE stage = file.sink || '.dead'
                                AND run = (SELECT max(run) FROM ledger WHERE stage = file.sink))
                 FROM file JOIN task ON task.id = file.task JOIN last ON last.segment = task.segment
                 WHERE file.part = 2 AND file.state = 'published' AND task.state IN ('prepared', 'done')
                 AND (task.fingerprint IS last.fingerprint OR task.fingerprint = 'stale')
                 ORDER BY file.sink, task.id, file.id",
            )?;
            let mut sources = Vec::new();
            let mut rows = read.query([])?;
            while let Some(row) = rows.next()? {
                let (segment, path) = (row.get::<_, String>(0)?, self.base.path(row, 3)?);
                let (stage, run, rows) = (name(row, 1)?, row.get(2)?, uint(row.get(4)?));
                sources.push((segment, DeadSource { stage, run, path, rows, routed: row.get(5)? }));
            }
            Ok(sources)
        };
        Ok(once(read().map_err(|broken| broken.named(&self.path))?))
    }
}

/// Of each stage those of one segment: the one with the most of them.
fn once(sources: Vec<(String, DeadSource)>) -> Vec<DeadSource> {
    let mut rows: BTreeMap<(&Name, &str), u64> = BTreeMap::new();
    for (segment, source) in &sources {
        *rows.entry((&source.stage, segment)).or_default() += source.rows;
    }
    let mut most: BTreeMap<Name, (u64, String)> = BTreeMap::new();
    for ((stage, segment), rows) in rows {
        let found = most.entry(stage.clone()).or_default();
        if rows > found.0 {
            *found = (rows, segment.to_owned());
        }
    }
    let kept =
        |(segment, source): &(String, DeadSource)| most.get(&source.stage).is_some_and(|most| most.1 == *segment);
    sources.iter().filter(|source| kept(source)).map(|(_, source)| source.clone()).collect()
}
