//! What is known of a run that is to be repeated: what it was made of, what it read, what is still there of its outputs.

use std::{collections::BTreeMap, path::PathBuf};

use dflow_operators::StepError;
use dflow_pipeline::Name;
use rusqlite::{OptionalExtension, params};

use super::{known::Known, runs::uint, tasks::name};
use crate::made_of::Remembered;

/// A file of a sink.
#[derive(Clone, Debug)]
pub(crate) struct SinkFile {
    pub(crate) path: PathBuf,
    pub(crate) rows: u64,
    /// The first split that its task read, and where in it; none of a file that all tasks made.
    pub(crate) first: Option<(String, u64)>,
}

/// What is there of a sink's output of a run.
#[derive(Clone, Debug)]
pub(crate) enum Standing {
    /// Its files, in the order in which they were made.
    There(Vec<SinkFile>),
    /// Another run has made it anew since.
    Superseded(String),
}

impl Known<'_> {
    /// What a run was made of; `None` when that wasn't written down.
    pub(crate) fn made_of(&self, run: &str) -> Result<Option<Remembered>, StepError> {
        self.with(|db| {
            let there = db.prepare("SELECT made_of FROM run LIMIT 0").is_ok();
            if !there {
                return Ok(None);
            }
            let found: Option<Option<String>> =
                db.query_row("SELECT made_of FROM run WHERE id = ?", [run], |row| row.get(0)).optional()?;
            // The form of an earlier host may have had other keys.
            Ok(found.flatten().and_then(|text| serde_json::from_str(&text).ok()))
        })
    }

    /// The output of a sink as a run left it.
    pub(crate) fn left_by(&self, sink: &Name, run: &str) -> Result<Standing, StepError> {
        self.with(|db| {
            // Runs' ids sort by when they began. What some first rows were made into is no output of a whole run, nor the other way round.
            let later = db.query_row(
                "SELECT min(CASE WHEN run > ?2 THEN run ELSE replaced END) FROM file WHERE sink = ?1 AND part = 0
                 AND (SELECT first IS NULL FROM run WHERE id = file.run) = (SELECT first IS NULL FROM run WHERE id = ?2)
                 AND ((run > ?2 AND state IN ('published', 'removed')) OR (run <= ?2 AND state = 'removed' AND replaced > ?2))",
                params![sink.as_str(), run],
                |row| row.get::<_, Option<String>>(0),
            )?;
            if let Some(later) = later {
                return Ok(Standing::Superseded(later));
            }
            let mut read = db.prepare(
                "SELECT path, rows, identity, range_from FROM file LEFT JOIN split ON split.task = file.task
                 AND (split.stage, split.place) = (SELECT stage, place FROM split WHERE task = file.task ORDER BY stage, place LIMIT 1)
                 WHERE sink = ?1 AND part = 0 AND state = 'published'
                 AND (SELECT first IS NULL FROM run WHERE id = file.run) = (SELECT first IS NULL FROM run WHERE id = ?2) ORDER BY file.id",
            )?;
            let files = read.query_map([sink.as_str(), run], |row| {
                let from = row.get::<_, Option<i64>>(3)?.map_or(0, uint);
                Ok(SinkFile {
                    path: self.base.path(row, 0)?,
                    rows: uint(row.get(1)?),
                    first: row.get::<_, Option<String>>(2)?.map(|identity| (identity, from)),
                })
            })?;
            Ok(Standing::There(files.collect::<Result<_, _>>()?))
        })
    }

    /// The files that stand as read by runs up to this one, and their versions, by source.
    pub(crate) fn read_until(&self, run: &str) -> Result<BTreeMap<Name, BTreeMap<String, String>>, StepError> {
        self.with(|db| {
            let mut sources: BTreeMap<Name, BTreeMap<String, String>> = BTreeMap::new();
            let mut read = db.prepare(
                "SELECT DISTINCT split.stage, identity, version FROM split JOIN task ON task.id = split.task
                 WHERE task.run <= ?1 AND task.complete >= ?1 AND task.state = 'done'",
            )?;
            let mut rows = read.query([run])?;
            while let Some(row) = rows.next()? {
                sources.entry(name(row, 0)?).or_default().insert(row.get(1)?, row.get(2)?);
            }
            Ok(sources)
        })
    }

    /// The splits that a run read, in the order of its tasks.
    pub(crate) fn order_of_splits(&self, run: &str) -> Result<Vec<String>, StepError> {
        self.with(|db| {
            let mut read = db.prepare(
                "SELECT identity FROM split JOIN task ON task.id = split.task WHERE task.run = ?
                 ORDER BY segment, number, split.stage, place",
            )?;
            let splits = read.query_map([run], |row| row.get(0))?;
            Ok(splits.collect::<Result<_, _>>()?)
        })
    }
}
