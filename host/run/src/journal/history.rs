//! What was run: read from the journal, also while a run goes on.

use std::path::{Path, PathBuf};

use dflow_operators::StepError;
use rusqlite::{Connection, OptionalExtension, Row};
use serde::Serialize;

use super::{
    base::Base,
    lock::Lock,
    open::{Broken, open_to_read},
    runs::{moment, uint},
};
use crate::report::RunReport;

/// The runs of a pipeline.
#[derive(Debug)]
pub struct History {
    pub(super) db: Connection,
    pub(super) path: PathBuf,
    /// What paths in it are meant from.
    pub(super) base: Base,
    /// The run that goes on.
    now: Option<String>,
}

/// A run that was.
#[derive(Clone, Debug, Serialize)]
pub struct PastRun {
    /// Its id.
    pub run: String,
    /// The pipeline's name.
    pub pipeline: String,
    /// The version of dflow-host.
    pub host: String,
    /// When it began, as `2026-11-25T20:48:14Z`.
    pub started: String,
    /// Seconds until it ended; none while it goes on, and when it was killed.
    pub seconds: Option<f64>,
    /// Its exit code.
    pub exit: Option<u8>,
    /// Whether it goes on.
    pub going_on: bool,
    /// What ended it, when that was an error.
    pub message: Option<String>,
    /// With `--first N`: N.
    pub first: Option<u64>,
    /// Tasks that it has done.
    pub tasks: u64,
    /// Files that it has published, those of parts aside.
    pub files: u64,
    /// Whether it was an import of saved stages.
    pub imported: bool,
    /// What came of it; none when an error ended it, and while it goes on.
    #[serde(skip)]
    pub report: Option<RunReport>,
}

const RUNS: &str = "SELECT id, pipeline, host, started, ended, exit, message, first, report,
    (SELECT count(*) FROM task WHERE run = run.id AND result IS NOT NULL),
    (SELECT count(*) FROM file WHERE run = run.id AND part = 0 AND state IN ('published', 'removed') AND temporary IS NOT NULL),
    pack IS NOT NULL FROM run";

impl History {
    /// Opens the journal in a state folder. `None` when nothing was run.
    ///
    /// # Errors
    /// It is damaged, or of a newer version.
    pub fn open(state: &Path) -> Result<Option<Self>, StepError> {
        let now = Lock::held_by(state);
        let Some((db, path)) = open_to_read(state)? else { return Ok(None) };
        let base = Base::of(state).of_held(&db).map_err(|broken| broken.named(&path))?;
        Ok(Some(Self { db, path, base, now }))
    }

    /// Does something with the database; its errors name the file.
    pub(super) fn read<T>(&self, work: impl FnOnce(&Connection) -> Result<T, Broken>) -> Result<T, StepError> {
        work(&self.db).map_err(|broken| broken.named(&self.path))
    }

    /// All runs, the last one first.
    ///
    /// # Errors
    /// The journal can't be read.
    pub fn runs(&self) -> Result<Vec<PastRun>, StepError> {
        self.read(|db| {
            let mut read = db.prepare(&format!("{RUNS} ORDER BY started DESC, id DESC"))?;
            let runs = read.query_map([], |row| self.run_of(row))?;
            Ok(runs.collect::<Result<_, _>>()?)
        })
    }

    /// The run with this id.
    ///
    /// # Errors
    /// The journal can't be read.
    pub fn run(&self, id: &str) -> Result<Option<PastRun>, StepError> {
        self.read(|db| Ok(db.query_row(&format!("{RUNS} WHERE id = ?"), [id], |row| self.run_of(row)).optional()?))
    }

    fn run_of(&self, row: &Row<'_>) -> rusqlite::Result<PastRun> {
        let (started, ended): (i64, Option<i64>) = (row.get(3)?, row.get(4)?);
        let run: String = row.get(0)?;
        // A report that an earlier host wrote may have had other keys.
        let report = row.get::<_, Option<String>>(8)?.and_then(|report| serde_json::from_str(&report).ok());
        Ok(PastRun {
            going_on: self.now.as_deref() == Some(&run),
            run,
            pipeline: row.get(1)?,
            host: row.get(2)?,
            started: moment(uint(started)),
            seconds: ended.map(|ended| uint(ended - started) as f64 / 1e3),
            exit: row.get(5)?,
            message: row.get(6)?,
            first: row.get::<_, Option<i64>>(7)?.map(uint),
            report,
            tasks: uint(row.get(9)?),
            files: uint(row.get(10)?),
            imported: row.get(11)?,
        })
    }
}
