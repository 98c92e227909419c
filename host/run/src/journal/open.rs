//! The database: opened for one run, or to be read.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use dflow_io::{IoError, Stores};
use dflow_operators::StepError;
use dflow_pipeline::Fault;
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior, config::DbConfig};

use super::{
    base::Base,
    lock::Lock,
    migrate::{STEPS, known, migrate},
};
use crate::faults::Faults;

/// The database's name in the state folder.
pub(super) const NAME: &str = "dflow.db";
/// What kept the journal before there was a database.
const LINES: &str = "journal.jsonl";
/// Statements that are kept to be used again: each task needs the same ones.
const STATEMENTS: usize = 64;
/// How long to wait for somebody who reads, or for a `sqlite3` that writes.
const PATIENCE: Duration = Duration::from_secs(5);

/// The journal of a pipeline, open for one run: nobody else can open it meanwhile.
#[derive(Debug)]
pub(crate) struct Journal {
    pub(super) db: Connection,
    pub(super) path: PathBuf,
    /// What paths in it are meant from.
    pub(super) base: Base,
    /// The run that writes.
    pub(super) run: String,
    pub(super) faults: Faults,
    /// Where files are that aren't here: none can be reached before this is said.
    pub(crate) stores: Option<Stores>,
    /// The processor time that was spent on it.
    pub(crate) spent: Duration,
    _lock: Lock,
}

/// Why the database can't be used.
#[derive(Debug)]
pub(super) enum Why {
    /// What SQLite says.
    Sqlite(rusqlite::Error),
    /// It is of a version that this host doesn't know.
    Newer { version: i64, known: usize },
    /// What it says isn't what this host wrote.
    Content(String),
    /// A path that text can't say.
    Path(PathBuf),
}

/// What is wrong with the database.
#[derive(Debug)]
pub(super) struct Broken(Box<Why>);

impl From<Why> for Broken {
    fn from(why: Why) -> Self {
        Self(Box::new(why))
    }
}

impl From<rusqlite::Error> for Broken {
    fn from(error: rusqlite::Error) -> Self {
        Why::Sqlite(error).into()
    }
}

impl From<serde_json::Error> for Broken {
    fn from(error: serde_json::Error) -> Self {
        Why::Content(error.to_string()).into()
    }
}

impl Broken {
    /// The error that a person is told, with the file and what to do next.
    pub(super) fn named(self, path: &Path) -> StepError {
        let file = path.display();
        let damaged = |why: String| {
            StepError::new(Fault::Outside, format!("the journal `{file}` is damaged: {why}")).hint(
                "`sqlite3 dflow.db .recover` may save it; if not, move it away and run again: what the pipeline wrote then \
                 counts as others' files, which `mode = \"replace\"` in a sink removes",
            )
        };
        let error = match *self.0 {
            Why::Newer { version, known } => {
                let what = format!(
                    "the journal `{file}` was written by a newer dflow-host (its version is {version}, this one knows {known})"
                );
                return StepError::new(Fault::Outside, what)
                    .hint("run it with that dflow-host, or give this one another folder with `--state`");
            }
            Why::Content(why) => return damaged(why),
            Why::Path(path) => {
                let what = format!("the path `{}` isn't UTF-8, and can't be put into a journal", path.display());
                return StepError::new(Fault::Outside, what).hint("give the folder another name");
            }
            Why::Sqlite(error) => error,
        };
        let said = match &error {
            rusqlite::Error::SqliteFailure(_, Some(message)) => message.clone(),
            other => other.to_string(),
        };
        let failed = |why: &str| StepError::new(Fault::Outside, format!("can't write the journal `{file}`: {why}"));
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => damaged(said),
            Some(ErrorCode::DiskFull) => {
                failed("the disk is full").hint("make room and run again: it goes on from what is done")
            }
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => failed("another program has locked it")
                .hint("end what has it open, such as a `sqlite3` in the middle of a transaction, and run again"),
            Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
                failed(&said).hint("make the folder and its files writable, or give another folder with `--state`")
            }
            Some(ErrorCode::SystemIoFailure) => failed(&said),
            // What can't be read as what it should be isn't what this host wrote.
            _ => damaged(said),
        }
    }
}

impl Journal {
    /// Opens the journal in a state folder for one run alone; both are made if they aren't there.
    ///
    /// # Errors
    /// Another run holds it; the folder can't be written to; the journal is damaged, or of a newer version. (All fault `Outside`.)
    pub(crate) fn open(state: &Path, run: &str, faults: &Faults) -> Result<Self, StepError> {
        fs::create_dir_all(state).map_err(|e| StepError::from(IoError::os("make the folder", state, e)))?;
        let lock = Lock::take(state, run)?;
        let path = state.join(NAME);
        let lines = state.join(LINES);
        if !path.exists() && lines.exists() {
            let what = format!("`{}` was written by an earlier dflow-host, and isn't read any more", lines.display());
            return Err(StepError::new(Fault::Outside, what).hint(
                "move it away and run again: what the pipeline wrote then counts as others' files, which \
                 `mode = \"replace\"` in a sink removes",
            ));
        }
        let open = || -> Result<(Connection, Base), Broken> {
            let db = opened(&path)?;
            let base = Base::of(state).of_held(&db)?;
            Ok((db, base))
        };
        let (db, base) = open().map_err(|broken| broken.named(&path))?;
        Ok(Self {
            db,
            path,
            base,
            run: run.to_owned(),
            faults: faults.clone(),
            stores: None,
            spent: Duration::ZERO,
            _lock: lock,
        })
    }

    /// Does something with the database; its errors name the file.
    pub(super) fn with<T>(&mut self, work: impl FnOnce(&mut Connection) -> Result<T, Broken>) -> Result<T, StepError> {
        let before = on_processor();
        let done = work(&mut self.db).map_err(|broken| broken.named(&self.path));
        self.spent += on_processor().saturating_sub(before);
        done
    }

    /// As [`with`](Self::with), for what may be lost to a power failure, since the next run finds it out again. It is on the disk with
    /// the next commit that is waited for.
    pub(super) fn lazily<T>(
        &mut self,
        work: impl FnOnce(&mut Connection) -> Result<T, Broken>,
    ) -> Result<T, StepError> {
        self.with(|db| {
            db.pragma_update(None, "synchronous", "NORMAL")?;
            let done = work(db);
            db.pragma_update(None, "synchronous", "FULL")?;
            done
        })
    }
}

/// The processor time of this thread until now; nothing where the system doesn't say.
fn on_processor() -> Duration {
    let said = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = said.split(' ').next().and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(nanos.unwrap_or_default())
}

pub(super) fn opened(path: &Path) -> Result<Connection, Broken> {
    let empty = fs::metadata(path).map_or(true, |file| file.len() == 0);
    let mut db = Connection::open(path)?;
    db.busy_timeout(PATIENCE)?;
    // Nothing relies on what is done here before there is a commit that is waited for, with which it is on the disk, too.
    db.pragma_update(None, "synchronous", "NORMAL")?;
    let log = |mode| db.pragma_update_and_check(None, "journal_mode", mode, |row| row.get::<_, String>(0));
    if empty {
        // There is nothing to go back to: a file for that would be made, waited for, and removed.
        log("MEMORY")?;
    }
    // One file of changes beside the database: who reads it doesn't wait for who writes, nor the other way round.
    let mode = log("WAL")?;
    tracing::debug!(mode, "the journal is open");
    db.pragma_update(None, "foreign_keys", true)?;
    db.set_prepared_statement_cache_capacity(STATEMENTS);
    // A statement is planned once, whatever its parameters: planning costs more than running it.
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    // Answers are written beside: who begins to read, and is then to write, would be too late.
    db.set_transaction_behavior(TransactionBehavior::Immediate);
    migrate(&mut db, &Base::of(path.parent().unwrap_or(path)))?;
    // What is committed from now on is on the disk, before anything is done that relies on it.
    db.pragma_update(None, "synchronous", "FULL")?;
    Ok(db)
}

/// Opens the journal in a state folder to read it, also while a run writes. One of an earlier version is brought up to date. `None` when
/// there is none.
pub(super) fn open_to_read(state: &Path) -> Result<Option<(Connection, PathBuf)>, StepError> {
    let path = state.join(NAME);
    if !path.exists() {
        return Ok(None);
    }
    let open = || -> Result<Connection, Broken> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let db = Connection::open_with_flags(&path, flags)?;
        db.busy_timeout(PATIENCE)?;
        if known(&db)? < STEPS.len() {
            let mut older = Connection::open(&path)?;
            older.busy_timeout(PATIENCE)?;
            migrate(&mut older, &Base::of(state))?;
        }
        Ok(db)
    };
    match open() {
        Ok(db) => Ok(Some((db, path))),
        Err(broken) => Err(broken.named(&path)),
    }
}
