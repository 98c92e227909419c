//! One run of a pipeline at a time.
//!
//! The lock is the operating system's, on an open file, so a process that is dead holds none. What the file says is for people:
//! who holds it.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{Read, Seek, Write},
    path::Path,
    time::Duration,
};

use dflow_io::IoError;
use dflow_operators::StepError;
use dflow_pipeline::Fault;
use serde::{Deserialize, Serialize};

use super::runs::{moment, now};

/// How often a lock is tried that somebody holds, and how long it is waited for in between.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(20);

/// The lock of a state folder, held until it is dropped.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

/// Who holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Holder {
    run: String,
    pid: u32,
    /// Milliseconds since 1970.
    since: u64,
}

impl Lock {
    /// Takes the lock of a state folder for a run.
    ///
    /// # Errors
    /// Another run holds it, or the file can't be written.
    pub(super) fn take(state: &Path, run: &str) -> Result<Self, StepError> {
        let path = state.join("lock");
        let failed = |what: &str, e: std::io::Error| StepError::from(IoError::os(what, &path, e));
        let file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&path);
        let mut file = file.map_err(|e| failed("write", e))?;
        match patiently(&file) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let who = match holder(&mut file) {
                    Some(Holder { run, pid, since }) => {
                        format!("run {run}, process {pid}, since {}", moment(since))
                    }
                    None => format!("it holds `{}`", path.display()),
                };
                let what = format!("another run of this pipeline is going on ({who})");
                return Err(StepError::new(Fault::Outside, what)
                    .hint("wait for it to end, or give this one another folder with `--state`"));
            }
            Err(TryLockError::Error(e)) => return Err(failed("lock", e)),
        }
        let holder = Holder { run: run.to_owned(), pid: std::process::id(), since: now() };
        let mut text = serde_json::to_vec(&holder).map_err(|e| StepError::new(Fault::Internal, e.to_string()))?;
        text.push(b'\n');
        file.set_len(0).and_then(|()| file.write_all(&text)).map_err(|e| failed("write", e))?;
        Ok(Self { _file: file })
    }

    /// The run that holds the lock of a state folder now, if one does.
    pub(super) fn held_by(state: &Path) -> Option<String> {
        let mut file = File::open(state.join("lock")).ok()?;
        match file.try_lock_shared() {
            Err(TryLockError::WouldBlock) => Some(holder(&mut file)?.run),
            _ => None,
        }
    }
}

/// Takes the lock. Who only looks whether it is held holds it for a moment.
fn patiently(file: &File) -> Result<(), TryLockError> {
    for _ in 0..TRIES {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(PAUSE),
            taken => return taken,
        }
    }
    file.try_lock()
}

fn holder(file: &mut File) -> Option<Holder> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}
