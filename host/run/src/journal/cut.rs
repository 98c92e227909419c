//! What is known of a task split by split, for who keeps some of its splits' rows.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use dflow_operators::{BySplit, StepError};
use dflow_pipeline::Name;
use rusqlite::{Connection, OptionalExtension, params};

use super::{
    base::Base,
    known::Known,
    open::Broken,
    runs::uint,
    tasks::{TaskId, name},
};

/// What a task did and made, split by split.
#[derive(Clone, Debug)]
pub(crate) struct SplitTask {
    /// What was counted.
    pub(crate) by_split: BySplit,
    /// The files in its sinks' folders, and of which splits the rows in them are.
    pub(crate) files: Vec<SplitFile>,
    /// Of which splits the rows of its parts of single files are, by sink.
    pub(crate) parts: BTreeMap<Name, Vec<(u32, u64)>>,
    /// The files of rows that failed, by stage.
    pub(crate) dead: Vec<(Name, PathBuf)>,
}

/// A file in a sink's folder.
#[derive(Clone, Debug)]
pub(crate) struct SplitFile {
    pub(crate) sink: Name,
    pub(crate) path: PathBuf,
    pub(crate) splits: Vec<(u32, u64)>,
}

impl Known<'_> {
    /// A task split by split; `None` when that isn't known of all of its rows.
    pub(crate) fn by_split(&self, task: TaskId) -> Result<Option<SplitTask>, StepError> {
        self.with(|db| split_task(db, self.base, task))
    }

    /// The tasks whose rows are in the single file of a sink, in their order, and how many rows each has there.
    pub(crate) fn assembled_of(&self, sink: &Name, path: &Path) -> Result<Vec<(TaskId, u64)>, StepError> {
        self.with(|db| {
            let found = db.query_row(
                "SELECT splits FROM file WHERE sink = ? AND path = ? AND task IS NULL AND state = 'published'",
                params![sink.as_str(), self.base.text(path)?],
                |row| row.get::<_, Option<String>>(0),
            );
            let parts: Vec<(u32, u64)> = match found.optional()?.flatten() {
                Some(parts) => serde_json::from_str(&parts)?,
                None => Vec::new(),
            };
            Ok(parts.into_iter().map(|(task, rows)| (TaskId(task.into()), rows)).collect())
        })
    }
}

fn split_task(db: &Connection, base: &Base, task: TaskId) -> Result<Option<SplitTask>, Broken> {
    let counted: Option<String> = db.query_row("SELECT by_split FROM task WHERE id = ?", [task.0], |row| row.get(0))?;
    let Some(counted) = counted else { return Ok(None) };
    let by_split = serde_json::from_str(&counted)?;
    let (mut files, mut parts, mut dead) = (Vec::new(), BTreeMap::new(), Vec::new());
    let mut read = db.prepare_cached(
        "SELECT sink, path, rows, splits, part FROM file WHERE task = ?
         AND (state = 'published' OR (part = 1 AND state = 'removed')) ORDER BY id",
    )?;
    let mut rows = read.query([task.0])?;
    while let Some(row) = rows.next()? {
        let (sink, path) = (name(row, 0)?, base.path(row, 1)?);
        let part: u8 = row.get(4)?;
        if part == 2 {
            dead.push((sink, path));
            continue;
        }
        let splits: Vec<(u32, u64)> = match row.get::<_, Option<String>>(3)? {
            Some(splits) => serde_json::from_str(&splits)?,
            None => Vec::new(),
        };
        if splits.iter().map(|(_, rows)| rows).sum::<u64>() != uint(row.get(2)?) {
            return Ok(None);
        }
        match part {
            0 => files.push(SplitFile { sink, path, splits }),
            _ => drop(parts.insert(sink, splits)),
        }
    }
    Ok(Some(SplitTask { by_split, files, parts, dead }))
}
