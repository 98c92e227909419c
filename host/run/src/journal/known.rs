//! What the journal knows, for who decides what is to be done: read by the run that writes it, or by anybody.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use dflow_io::Prepared;
use dflow_operators::StepError;
use dflow_pipeline::Name;
use rusqlite::{Connection, OptionalExtension, params};
use serde_json::Value;

use super::{
    base::Base,
    history::History,
    open::{Broken, Journal},
    replay::STALE,
    runs::{moment, uint},
    tasks::{PastTask, name, past_task},
};
use crate::{
    fingerprint::{Fingerprint, Printed},
    store::{StoredOutput, time},
};

/// The journal, to be read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known<'a> {
    pub(super) db: &'a Connection,
    pub(super) path: &'a Path,
    /// What paths in it are meant from.
    pub(super) base: &'a Base,
}

/// When a segment was complete with a fingerprint.
#[derive(Clone, Debug)]
pub(crate) struct PastOutput {
    /// Of its segment.
    pub(crate) fingerprint: Fingerprint,
    /// The last run in which it was.
    pub(crate) run: String,
    /// When that run began, as `2026-11-25T20:48:14Z`.
    pub(crate) started: String,
    /// The parameters and their values, then.
    pub(crate) parameters: serde_json::Map<String, Value>,
}

impl Journal {
    /// To be read.
    pub(crate) fn known(&self) -> Known<'_> {
        Known { db: &self.db, path: &self.path, base: &self.base }
    }
}

impl History {
    /// To be read.
    pub(crate) fn known(&self) -> Known<'_> {
        Known { db: &self.db, path: &self.path, base: &self.base }
    }
}

impl Known<'_> {
    pub(super) fn with<T>(&self, read: impl FnOnce(&Connection) -> Result<T, Broken>) -> Result<T, StepError> {
        read(self.db).map_err(|broken| broken.named(self.path))
    }

    /// The tasks of earlier runs that are done, of segments with this fingerprint, those of later runs first.
    pub(crate) fn past_tasks(&self, fingerprint: &Fingerprint) -> Result<Vec<PastTask>, StepError> {
        self.with(|db| {
            let mut tasks: Vec<PastTask> = Vec::new();
            let mut replays: BTreeMap<i64, Vec<PastTask>> = BTreeMap::new();
            let mut done = db.prepare(
                "SELECT id, complete IS NOT NULL, result, replays, replayed FROM task WHERE fingerprint = ? AND state = 'done'
                 ORDER BY id DESC",
            )?;
            let mut rows = done.query([fingerprint.as_str()])?;
            // A task has a greater id than the one whose rows it has tried again.
            while let Some(row) = rows.next()? {
                let (id, complete, result): (i64, bool, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
                let replayed = row.get::<_, Option<String>>(4)?.map(|_| name(row, 4)).transpose()?;
                let mut task = past_task(db, self.base, id, complete, &result)?;
                let own = replays.remove(&id).unwrap_or_default();
                task.replayed = replayed;
                match row.get::<_, Option<i64>>(3)? {
                    Some(of) => replays.entry(of).or_default().extend([task].into_iter().chain(own)),
                    None => {
                        task.replays = own;
                        tasks.push(task);
                    }
                }
            }
            Ok(tasks)
        })
    }

    /// Whether a file was published by a run of the pipeline of this name: others may have the same state folder.
    pub(crate) fn is_of(&self, path: &Path, pipeline: &str) -> Result<bool, StepError> {
        self.with(|db| {
            let mut read = db.prepare_cached(
                "SELECT 1 FROM file JOIN run ON run.id = file.run
                 WHERE path = ? AND state = 'published' AND part = 0 AND pipeline = ?",
            )?;
            Ok(read.exists(params![self.base.text(path)?, pipeline])?)
        })
    }

    /// The files that were published and not removed, and the sink of each. A single file's name says nothing of who wrote it: another's
    /// may be there where the journal was copied without its outputs. So it is ours as long as it has the size that it had.
    pub(crate) fn own(&self) -> Result<BTreeMap<PathBuf, Name>, StepError> {
        self.with(|db| {
            let mut own = BTreeMap::new();
            let mut read =
                db.prepare("SELECT sink, path, task IS NULL, bytes FROM file WHERE state = 'published' AND part = 0")?;
            let mut rows = read.query([])?;
            while let Some(row) = rows.next()? {
                let (path, single, bytes): (_, bool, _) = (self.base.path(row, 1)?, row.get(2)?, uint(row.get(3)?));
                if !single || fs::metadata(&path).map_or(true, |found| found.len() == bytes) {
                    own.insert(path, name(row, 0)?);
                }
            }
            Ok(own)
        })
    }

    /// The single file of this name that was put together for a sink, if none has taken its place.
    pub(crate) fn assembled(&self, sink: &Name, path: &Path) -> Result<Option<Prepared>, StepError> {
        self.with(|db| {
            let found = db.query_row(
                "SELECT bytes, rows FROM file WHERE sink = ? AND path = ? AND task IS NULL AND state = 'published'",
                params![sink.as_str(), self.base.text(path)?],
                |row| Ok((row.get(0)?, row.get(1)?)),
            );
            let found = found.optional()?;
            Ok(found.map(|(bytes, rows)| Prepared {
                temporary: path.to_owned(),
                path: path.to_owned(),
                bytes: uint(bytes),
                rows: uint(rows),
                ..Prepared::default()
            }))
        })
    }

    /// The files of a segment's tasks that were to be done anew, and are by now.
    pub(crate) fn files_of_stale(&self, segment: &Name) -> Result<Vec<PathBuf>, StepError> {
        self.with(|db| {
            let mut read = db.prepare(
                "SELECT path FROM file JOIN task ON task.id = file.task
                 WHERE segment = ? AND fingerprint = ? AND file.state = 'published' AND part = 0",
            )?;
            let paths = read.query_map([segment.as_str(), STALE], |row| self.base.path(row, 0))?;
            Ok(paths.collect::<Result<_, _>>()?)
        })
    }

    /// The fingerprints with which a segment was complete and whose outputs may still be there, the last one first.
    pub(crate) fn outputs(&self, segment: &Name) -> Result<Vec<PastOutput>, StepError> {
        self.with(|db| {
            let mut outputs = Vec::new();
            let mut read = db.prepare(
                // With `max` the other columns are those of the row that has it.
                "SELECT task.fingerprint, run.id, max(run.started) AS began, run.parameters
                 FROM task JOIN run ON run.id = task.complete
                 WHERE task.segment = ? AND task.state = 'done' AND task.fingerprint IS NOT NULL
                 GROUP BY task.fingerprint ORDER BY began DESC, run.id DESC",
            )?;
            let mut rows = read.query([segment.as_str()])?;
            while let Some(row) = rows.next()? {
                let parameters: String = row.get(3)?;
                outputs.push(PastOutput {
                    fingerprint: Fingerprint::written(row.get(0)?),
                    run: row.get(1)?,
                    started: moment(uint(row.get(2)?)),
                    parameters: serde_json::from_str(&parameters)?,
                });
            }
            Ok(outputs)
        })
    }

    /// All that is kept, by segment and fingerprint; of each segment what was used last first.
    pub(crate) fn stored(&self) -> Result<Vec<StoredOutput>, StepError> {
        self.with(|db| {
            let mut outputs = Vec::new();
            let mut read = db.prepare(
                "SELECT segment, fingerprint, max(run.started) AS used FROM task JOIN run ON run.id = coalesce(complete, run)
                 WHERE state = 'done' AND fingerprint IS NOT NULL GROUP BY segment, fingerprint ORDER BY segment, used DESC",
            )?;
            let mut files = db.prepare(
                "SELECT path, file.rows, bytes FROM file JOIN task ON task.id = file.task
                 WHERE segment = ? AND fingerprint = ? AND task.state = 'done' AND file.state = 'published'
                 AND file.part = 0 ORDER BY file.id",
            )?;
            let mut rows = read.query([])?;
            while let Some(row) = rows.next()? {
                let (stage, fingerprint, used) = (name(row, 0)?, row.get::<_, String>(1)?, uint(row.get(2)?));
                let of = files.query_map(params![stage.as_str(), fingerprint], |row| {
                    Ok((self.base.path(row, 0)?, uint(row.get(1)?), uint(row.get(2)?)))
                })?;
                let of: Vec<(PathBuf, u64, u64)> = of.collect::<Result<_, _>>()?;
                outputs.push(StoredOutput {
                    stage,
                    fingerprint: Fingerprint::written(fingerprint),
                    used: time(used),
                    started: moment(used),
                    saved: false,
                    rows: of.iter().map(|file| file.1).sum(),
                    bytes: of.iter().map(|file| file.2).sum(),
                    files: of.into_iter().map(|file| file.0).collect(),
                });
            }
            Ok(outputs)
        })
    }

    /// What a stage's or a segment's fingerprint is of; of a segment the form is null, and what it reads are its ends.
    pub(crate) fn printed(&self, fingerprint: &Fingerprint) -> Result<Option<(Name, Printed)>, StepError> {
        self.with(|db| {
            let mut read = db.prepare("SELECT stage, form, reads FROM fingerprint WHERE id = ?")?;
            let mut rows = read.query([fingerprint.as_str()])?;
            let Some(row) = rows.next()? else { return Ok(None) };
            let form = row.get::<_, Option<String>>(1)?.map(|form| serde_json::from_str(&form)).transpose()?;
            let reads: Vec<String> = serde_json::from_str(&row.get::<_, String>(2)?)?;
            let printed = Printed {
                fingerprint: fingerprint.clone(),
                form: form.unwrap_or_default(),
                reads: reads.into_iter().map(Fingerprint::written).collect(),
            };
            Ok(Some((name(row, 0)?, printed)))
        })
    }

    /// For fingerprints of stages that the user takes for others: which these are.
    pub(crate) fn accepted(&self) -> Result<BTreeMap<String, Fingerprint>, StepError> {
        self.with(|db| {
            let mut read = db.prepare("SELECT fingerprint, stands_for FROM accepted")?;
            let rows = read.query_map([], |row| Ok((row.get(0)?, Fingerprint::written(row.get(1)?))))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }
}
