//! Rows of the journal about a saved stage, for handing over: out of one journal, into another.

use std::path::{Path, PathBuf};

use dflow_operators::{BySplit, StepError};
use dflow_pipeline::{Fault, Name, SourceSchema};
use indexmap::IndexMap;
use rusqlite::{OptionalExtension, params};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    known::Known,
    open::{Broken, Journal},
    runs::{int, now, uint},
    tasks::{Kept, forget_splits, name},
};
use crate::fingerprint::Fingerprint;

/// A task of a saved stage.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct PackedTask {
    number: i64,
    started: i64,
    ended: Option<i64>,
    result: Value,
    /// The same split by split, as the journal says it.
    #[serde(default)]
    by_split: Option<String>,
    /// The task before this one whose failed rows it has tried again, counted from 0.
    pub(crate) replays: Option<usize>,
    replayed: Option<String>,
    pub(crate) splits: Vec<PackedSplit>,
    pub(crate) files: Vec<PackedFile>,
    dead: Vec<PackedDead>,
}

/// A split that was read.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct PackedSplit {
    pub(crate) stage: Name,
    place: i64,
    pub(crate) identity: String,
    pub(crate) version: String,
    pub(crate) range: Option<(u64, u64)>,
    /// SHA-256 of its file, where that was there and as it was read: versions of local files mean nothing elsewhere.
    pub(crate) digest: Option<String>,
}

/// A file of rows: of the stage, or of those that failed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct PackedFile {
    sink: Name,
    pub(crate) dead: bool,
    pub(crate) name: String,
    pub(crate) bytes: u64,
    pub(crate) rows: u64,
    /// Of which splits they are.
    #[serde(default)]
    splits: Option<Vec<(u32, u64)>>,
    /// SHA-256.
    pub(crate) digest: String,
    /// Where it is here.
    #[serde(skip)]
    pub(crate) path: PathBuf,
}

/// A row that failed.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct PackedDead {
    stage: Name,
    row: Option<String>,
    uri: Option<String>,
    fault: Fault,
    kind: String,
    message: String,
    attempts: i64,
    at: i64,
    #[serde(default)]
    split: Option<u32>,
}

/// What is taken in of a saved stage.
#[derive(Debug)]
pub(crate) struct TakenIn<'a> {
    pub(crate) stage: &'a Name,
    pub(crate) fingerprint: &'a Fingerprint,
    pub(crate) tasks: &'a [PackedTask],
    /// The parameters with which it was made.
    pub(crate) parameters: &'a Map<String, Value>,
}

/// What stages are of, and the columns of sources, as a pack says it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct PackedPrint {
    pub(crate) id: String,
    pub(crate) stage: Name,
    pub(crate) form: Option<Value>,
    pub(crate) reads: Vec<String>,
}

impl PackedTask {
    /// Whether what it says can stand in a journal.
    pub(crate) fn is_sound(&self, place: usize) -> bool {
        serde_json::from_value::<Kept>(self.result.clone()).is_ok()
            && self.by_split.as_ref().is_none_or(|counts| serde_json::from_str::<BySplit>(counts).is_ok())
            && self.replays.is_none_or(|of| of < place)
    }
}

impl Known<'_> {
    /// The tasks with which a saved stage is complete. Files have no digests yet.
    pub(crate) fn pack(&self, fingerprint: &Fingerprint) -> Result<Vec<PackedTask>, StepError> {
        self.with(|db| {
            let mut ids: Vec<i64> = Vec::new();
            let mut tasks = Vec::new();
            let mut read = db.prepare(
                "SELECT id, number, started, ended, result, replays, replayed, by_split FROM task
                 WHERE fingerprint = ? AND state = 'done' AND complete IS NOT NULL ORDER BY id",
            )?;
            let mut splits = db.prepare(
                "SELECT stage, place, identity, version, range_from, range_to FROM split WHERE task = ? ORDER BY stage, place",
            )?;
            let mut files = db.prepare(
                "SELECT sink, part, path, bytes, rows, splits FROM file WHERE task = ? AND state = 'published' AND part IN (0, 2) ORDER BY id",
            )?;
            let mut dead = db.prepare(
                "SELECT stage, row, uri, fault, kind, message, attempts, at, split FROM dead WHERE task = ? ORDER BY id",
            )?;
            let mut rows = read.query([fingerprint.as_str()])?;
            while let Some(row) = rows.next()? {
                let id: i64 = row.get(0)?;
                let result: String = row.get(4)?;
                let of: Option<i64> = row.get(5)?;
                let replays = of.map(|of| ids.iter().position(|id| *id == of)).unwrap_or_default();
                let mut task = PackedTask {
                    number: row.get(1)?,
                    started: row.get(2)?,
                    ended: row.get(3)?,
                    result: serde_json::from_str(&result)?,
                    by_split: row.get(7)?,
                    replays,
                    replayed: row.get(6)?,
                    splits: Vec::new(),
                    files: Vec::new(),
                    dead: Vec::new(),
                };
                ids.push(id);
                let mut of = splits.query([id])?;
                while let Some(row) = of.next()? {
                    let range = match (row.get::<_, Option<i64>>(4)?, row.get::<_, Option<i64>>(5)?) {
                        (Some(from), Some(to)) => Some((uint(from), uint(to))),
                        _ => None,
                    };
                    let (stage, place) = (name(row, 0)?, row.get(1)?);
                    let (identity, version) = (self.base.identity(row, 2)?, row.get(3)?);
                    task.splits.push(PackedSplit { stage, place, identity, version, range, digest: None });
                }
                let mut of = files.query([id])?;
                while let Some(row) = of.next()? {
                    let path = self.base.path(row, 2)?;
                    task.files.push(PackedFile {
                        sink: name(row, 0)?,
                        dead: row.get::<_, i64>(1)? == 2,
                        name: path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
                        bytes: uint(row.get(3)?),
                        rows: uint(row.get(4)?),
                        splits: row.get::<_, Option<String>>(5)?.map(|splits| serde_json::from_str(&splits)).transpose()?,
                        digest: String::new(),
                        path,
                    });
                }
                let mut of = dead.query([id])?;
                while let Some(row) = of.next()? {
                    let fault: String = row.get(3)?;
                    task.dead.push(PackedDead {
                        stage: name(row, 0)?,
                        row: row.get(1)?,
                        uri: row.get(2)?,
                        fault: serde_json::from_value(fault.into())?,
                        kind: row.get(4)?,
                        message: row.get(5)?,
                        attempts: row.get(6)?,
                        at: row.get(7)?,
                        split: row.get(8)?,
                    });
                }
                tasks.push(task);
            }
            Ok(tasks)
        })
    }

    /// The columns of sources that are remembered, as names and types.
    pub(crate) fn remembered(&self) -> Result<Vec<(Name, SourceSchema)>, StepError> {
        self.with(|db| {
            let mut sources = Vec::new();
            let mut read = db.prepare("SELECT stage, columns FROM source")?;
            let mut rows = read.query([])?;
            while let Some(row) = rows.next()? {
                sources.push((name(row, 0)?, serde_json::from_str(&row.get::<_, String>(1)?)?));
            }
            Ok(sources)
        })
    }
}

impl Journal {
    /// Takes in what a pack says, all of it or nothing. The files are where `place` says. Gives the files that were here before of the
    /// same states, which these replace.
    pub(crate) fn take_in(
        &mut self,
        pipeline: &str,
        pack: &str,
        stages: &[TakenIn<'_>],
        prints: &[PackedPrint],
        sources: &[(Name, IndexMap<String, String>)],
        place: &dyn Fn(&TakenIn<'_>, &PackedFile) -> PathBuf,
    ) -> Result<Vec<PathBuf>, StepError> {
        let (run, base) = (self.run.clone(), self.base.clone());
        self.with(|db| {
            let take = db.transaction()?;
            let mut replaced = Vec::new();
            let mut runs: Vec<(&Map<String, Value>, String)> = Vec::new();
            for of in stages {
                let mut older = take.prepare(
                    "SELECT path FROM file WHERE state = 'published' AND part IN (0, 2)
                     AND task IN (SELECT id FROM task WHERE fingerprint = ? AND state = 'done')",
                )?;
                let paths = older.query_map([of.fingerprint.as_str()], |row| base.path(row, 0))?;
                replaced.extend(paths.collect::<Result<Vec<_>, _>>()?);
                take.execute(
                    "UPDATE file SET state = 'removed' WHERE state = 'published' AND part IN (0, 2)
                     AND task IN (SELECT id FROM task WHERE fingerprint = ? AND state = 'done')",
                    [of.fingerprint.as_str()],
                )?;
                take.execute(
                    "UPDATE task SET state = 'gone' WHERE fingerprint = ? AND state = 'done'",
                    [of.fingerprint.as_str()],
                )?;
                // Stages of one pack may have been made with different parameters: each of these is a run.
                let known = runs.iter().find(|(parameters, _)| *parameters == of.parameters);
                let run = match known {
                    Some((_, run)) => run.clone(),
                    None => {
                        let id = match runs.len() {
                            0 => run.clone(),
                            more => format!("{run}-{more}"),
                        };
                        take.execute(
                            "INSERT INTO run (id, pipeline, host, pid, started, ended, exit, parameters, pack)
                             VALUES (?, ?, ?, ?, ?, ?, 0, ?, ?)",
                            params![
                                id,
                                pipeline,
                                env!("CARGO_PKG_VERSION"),
                                std::process::id(),
                                int(now()),
                                int(now()),
                                serde_json::to_string(of.parameters)?,
                                pack
                            ],
                        )?;
                        runs.push((of.parameters, id.clone()));
                        id
                    }
                };
                let mut ids: Vec<i64> = Vec::new();
                for task in of.tasks {
                    take.execute(
                        "INSERT INTO task (run, segment, fingerprint, number, state, started, ended, result, complete, replays, replayed, by_split)
                         VALUES (?, ?, ?, ?, 'done', ?, ?, ?, ?, ?, ?, ?)",
                        params![
                            run,
                            of.stage.as_str(),
                            of.fingerprint.as_str(),
                            task.number,
                            task.started,
                            task.ended,
                            task.result.to_string(),
                            run,
                            task.replays.and_then(|of| ids.get(of)),
                            task.replayed,
                            task.by_split
                        ],
                    )?;
                    let id = take.last_insert_rowid();
                    ids.push(id);
                    for split in &task.splits {
                        let (from, to) = split.range.map_or((None, None), |(from, to)| (Some(int(from)), Some(int(to))));
                        let identity = base.identity_text(&split.identity);
                        take.execute(
                            "INSERT INTO split VALUES (?, ?, ?, ?, ?, ?, ?)",
                            params![id, split.stage.as_str(), split.place, identity, split.version, from, to],
                        )?;
                    }
                    for file in &task.files {
                        let path = place(of, file);
                        take.execute(
                            "INSERT INTO file (run, task, sink, part, state, path, bytes, rows, splits)
                             VALUES (?, ?, ?, ?, 'published', ?, ?, ?, ?)",
                            params![
                                run,
                                id,
                                file.sink.as_str(),
                                if file.dead { 2 } else { 0 },
                                base.text(&path)?,
                                int(file.bytes),
                                int(file.rows),
                                file.splits.as_ref().map(serde_json::to_string).transpose()?
                            ],
                        )?;
                        replaced.retain(|older| *older != path);
                    }
                    for dead in &task.dead {
                        let PackedDead { stage, row, uri, fault, kind, message, attempts, at, split } = dead;
                        take.execute(
                            "INSERT INTO dead (run, task, stage, row, uri, fault, kind, message, attempts, at, split)
                             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                            params![run, id, stage.as_str(), row, uri, fault.as_str(), kind, message, attempts, at, split],
                        )?;
                    }
                }
            }
            for print in prints {
                take.execute(
                    "INSERT OR IGNORE INTO fingerprint VALUES (?, ?, ?, ?)",
                    params![
                        print.id,
                        print.stage.as_str(),
                        print.form.as_ref().map(Value::to_string),
                        serde_json::to_string(&print.reads)?
                    ],
                )?;
            }
            for (stage, columns) in sources {
                take.execute(
                    "INSERT OR REPLACE INTO source VALUES (?, ?)",
                    params![stage.as_str(), serde_json::to_string(columns)?],
                )?;
            }
            forget_splits(&take)?;
            take.commit()?;
            Ok(replaced)
        })
    }

    /// Says which versions of files are the ones that tasks of a state have read: their content is the same.
    pub(crate) fn same_content(&mut self, fingerprint: &Fingerprint, splits: &[PackedSplit]) -> Result<(), StepError> {
        let base = self.base.clone();
        self.with(|db| {
            let same = db.transaction()?;
            {
                let mut update = same.prepare(
                    "UPDATE split SET version = ?1 WHERE stage = ?2 AND identity = ?3 AND version <> ?1
                     AND task IN (SELECT id FROM task WHERE fingerprint = ?4 AND state = 'done')",
                )?;
                for split in splits {
                    let identity = base.identity_text(&split.identity);
                    update.execute(params![split.version, split.stage.as_str(), identity, fingerprint.as_str()])?;
                }
            }
            same.commit()?;
            Ok(())
        })
    }

    /// Whether a state of a stage is here with just these files.
    pub(crate) fn has(&mut self, fingerprint: &Fingerprint, paths: &[PathBuf]) -> Result<bool, StepError> {
        let base = self.base.clone();
        self.with(|db| {
            let mut here = db.prepare(
                "SELECT path FROM file JOIN task ON task.id = file.task WHERE fingerprint = ? AND task.state = 'done'
                 AND complete IS NOT NULL AND file.state = 'published' AND part = 0",
            )?;
            let here = here.query_map([fingerprint.as_str()], |row| base.path(row, 0))?;
            let mut here: Vec<PathBuf> = here.collect::<Result<_, _>>()?;
            let mut paths = paths.to_vec();
            here.sort();
            paths.sort();
            let done: Option<i64> = db
                .query_row(
                    "SELECT 1 FROM task WHERE fingerprint = ? AND state = 'done' AND complete IS NOT NULL LIMIT 1",
                    [fingerprint.as_str()],
                    |row| row.get(0),
                )
                .optional()?;
            Ok::<_, Broken>(done.is_some() && here == paths && here.iter().all(|path: &PathBuf| Path::exists(path)))
        })
    }
}
