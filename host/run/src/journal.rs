//! What has happened: one JSON line for each event, appended and synced before what it announces is done.
//!
//! A task's files are written under temporary names; `prepared` names them all; they are published; `done` says so. After a
//! crash, what was prepared is published, and what was merely begun is swept. (A later version keeps this in a database.)

use std::{
    collections::BTreeSet,
    fs::{self, File, OpenOptions},
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use dflow_io::{IoError, Prepared};
use dflow_operators::StepError;
use dflow_pipeline::{Fault, Name, exit};
use serde::{Deserialize, Serialize};

use crate::task::SinkFiles;

/// One event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum Record {
    /// A run begins.
    RunStarted { run: String, pipeline: String },
    /// A task will write this file under its temporary name, or files in a folder of that name.
    TaskStarted { run: String, sink: Name, task: u32, file: PathBuf },
    /// Files of a sink are written and synced, and about to be published; those that they replace go with it.
    Prepared {
        run: String,
        sink: Name,
        files: Vec<Prepared>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        replaced: Vec<PathBuf>,
    },
    /// They are published.
    Done { run: String, sink: Name, paths: Vec<PathBuf> },
    /// Files of an older generation were removed.
    Removed { run: String, sink: Name, paths: Vec<PathBuf> },
    /// A run ended; `exit` is its exit code.
    RunEnded { run: String, exit: u8 },
}

#[derive(Serialize, Deserialize)]
struct Line {
    /// Milliseconds since 1970.
    at: u64,
    #[serde(flatten)]
    record: Record,
}

/// The journal of a pipeline, open for one run: nobody else can open it meanwhile.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    records: Vec<Record>,
    _lock: File,
}

impl Journal {
    /// Opens the journal in a state folder, which is made if it isn't there, for one run alone.
    ///
    /// # Errors
    /// Another run holds it; the folder can't be written to; a line that isn't the last can't be read.
    pub fn open(state: &Path) -> Result<Self, StepError> {
        let failed = |what: &str, path: &Path, e: std::io::Error| StepError::from(IoError::os(what, path, e));
        fs::create_dir_all(state).map_err(|e| failed("make the folder", state, e))?;
        let lock_path = state.join("lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_path)
            .map_err(|e| failed("write", &lock_path, e))?;
        if let Err(e) = lock.try_lock() {
            return Err(match e {
                fs::TryLockError::WouldBlock => StepError::new(
                    Fault::Outside,
                    format!("another run of this pipeline is going on (it holds `{}`)", lock_path.display()),
                )
                .hint("wait for it to end, or give this one another folder with `--state`"),
                fs::TryLockError::Error(e) => failed("lock", &lock_path, e),
            });
        }
        let path = state.join("journal.jsonl");
        let (records, length) = match File::open(&path) {
            Ok(file) => read(&path, file)?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => (Vec::new(), 0),
            Err(e) => return Err(failed("read", &path, e)),
        };
        let file = OpenOptions::new().create(true).append(true).open(&path).map_err(|e| failed("write", &path, e))?;
        // What a crash cut off goes, so that the next line isn't written behind it.
        file.set_len(length).map_err(|e| failed("write", &path, e))?;
        Ok(Self { path, file, records, _lock: lock })
    }

    /// Appends an event and syncs it.
    pub(crate) fn append(&mut self, record: Record) -> Result<(), StepError> {
        self.write(record)?;
        self.sync()
    }

    /// Appends an event that is synced with a later one.
    pub(crate) fn write(&mut self, record: Record) -> Result<(), StepError> {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64);
        let line = Line { at, record };
        let mut text = serde_json::to_vec(&line).map_err(|e| StepError::new(Fault::Internal, e.to_string()))?;
        text.push(b'\n');
        self.file.write_all(&text).map_err(|e| StepError::from(IoError::os("write", &self.path, e)))?;
        self.records.push(line.record);
        Ok(())
    }

    /// Syncs what was appended.
    pub(crate) fn sync(&self) -> Result<(), StepError> {
        self.file.sync_data().map_err(|e| StepError::from(IoError::os("write", &self.path, e)))
    }

    /// Publishes files of sinks, and removes those that they replace: all of it, also after a crash in its middle. All are
    /// prepared before any is seen.
    pub(crate) fn publish(&mut self, run: &str, made: Vec<(Name, SinkFiles)>) -> Result<(), StepError> {
        for (_, files) in &made {
            if let Err(e) = Prepared::make_room(&files.files) {
                made.iter().for_each(|(_, files)| files.discard());
                return Err(e.into());
            }
        }
        let prepared =
            |(sink, SinkFiles { files, replaced })| Record::Prepared { run: run.to_owned(), sink, files, replaced };
        let prepared: Vec<Record> = made.into_iter().map(prepared).collect();
        for record in &prepared {
            self.write(record.clone())?;
        }
        self.sync()?;
        prepared.into_iter().try_for_each(|record| self.roll_forward(record))
    }

    fn roll_forward(&mut self, prepared: Record) -> Result<(), StepError> {
        let Record::Prepared { run, sink, files, replaced } = prepared else { return Ok(()) };
        Prepared::publish_all(&files)?;
        if !replaced.is_empty() {
            replaced.iter().try_for_each(|path| remove(path))?;
            self.write(Record::Removed { run: run.clone(), sink: sink.clone(), paths: replaced })?;
        }
        self.append(Record::Done { run, sink, paths: files.into_iter().map(|file| file.path).collect() })
    }

    /// After a crash: publishes what was prepared, sweeps what was merely begun.
    pub(crate) fn recover(&mut self) -> Result<(), StepError> {
        // A path may be published by many runs: what is done is so for one run.
        let mut prepared: Vec<Record> = Vec::new();
        for record in &self.records {
            match record {
                Record::Prepared { .. } => prepared.push(record.clone()),
                Record::Done { run: ended, sink: of, paths } => prepared.retain(|open| match open {
                    Record::Prepared { run, sink, files, .. } => {
                        run != ended || sink != of || !paths.iter().all(|path| files.iter().any(|f| f.path == *path))
                    }
                    _ => false,
                }),
                _ => {}
            }
        }
        // A run that ended well left nothing behind.
        let ended: BTreeSet<&str> = self
            .records
            .iter()
            .filter_map(|r| match r {
                Record::RunEnded { run, exit: exit::DONE | exit::ROWS } => Some(run.as_str()),
                _ => None,
            })
            .collect();
        let begun = self.records.iter().filter_map(|r| match r {
            Record::TaskStarted { run, file, .. } if !ended.contains(run.as_str()) => Some(file.clone()),
            _ => None,
        });
        let begun: Vec<PathBuf> = begun.collect();
        for mut record in prepared {
            if let Record::Prepared { files, .. } = &mut record {
                // Neither name is there when somebody removed the file meanwhile; then there is nothing to roll forward.
                files.retain(|file| file.temporary.exists() || file.path.exists());
            }
            self.roll_forward(record)?;
        }
        for path in begun {
            if let (Some(folder), Some(name)) = (path.parent(), path.file_name()) {
                let temporary = folder.join(format!(".{}.tmp", name.to_string_lossy()));
                // It is gone when its task cleaned up after itself.
                drop(fs::remove_file(&temporary));
                drop(fs::remove_dir_all(temporary));
            }
        }
        Ok(())
    }

    /// The sinks that have published anything.
    pub(crate) fn sinks(&self) -> BTreeSet<&Name> {
        self.records.iter().filter_map(|r| if let Record::Done { sink, .. } = r { Some(sink) } else { None }).collect()
    }

    /// The files of a sink that this pipeline has published and not removed.
    pub(crate) fn own(&self, sink: &Name) -> BTreeSet<PathBuf> {
        let mut own = BTreeSet::new();
        for record in &self.records {
            match record {
                Record::Done { sink: of, paths, .. } if of == sink => own.extend(paths.iter().cloned()),
                Record::Removed { sink: of, paths, .. } if of == sink => paths.iter().for_each(|p| {
                    own.remove(p);
                }),
                _ => {}
            }
        }
        own
    }
}

/// Removes a file, if it is there.
pub(crate) fn remove(path: &Path) -> Result<(), StepError> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            let what = format!("can't remove `{}`, which was replaced: {e}", path.display());
            Err(StepError::new(Fault::Outside, what))
        }
        _ => Ok(()),
    }
}

/// Reads a journal, and the length of what could be read. A last line that was cut off by a crash announces nothing.
fn read(path: &Path, file: File) -> Result<(Vec<Record>, u64), StepError> {
    let failed = |e| StepError::from(IoError::os("read", path, e));
    let (mut records, mut length) = (Vec::new(), 0);
    let mut reader = BufReader::new(file);
    let mut line = Vec::new();
    loop {
        line.clear();
        let bytes = reader.read_until(b'\n', &mut line).map_err(failed)?;
        if bytes == 0 || !line.ends_with(b"\n") {
            return Ok((records, length));
        }
        let read: Line = serde_json::from_slice(&line).map_err(|e| {
            let what = format!("line {} of the journal `{}` can't be read: {e}", records.len() + 1, path.display());
            StepError::new(Fault::Outside, what)
                .hint("move the folder away to start over, or name another with `--state`")
        })?;
        records.push(read.record);
        length += bytes as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("dflow-journal-{name}-{}", std::process::id()));
        drop(fs::remove_dir_all(&folder));
        fs::create_dir_all(&folder).expect("the temporary folder can be written to");
        folder
    }

    fn file(folder: &Path, name: &str) -> Prepared {
        let temporary = folder.join(format!(".{name}.tmp"));
        fs::write(&temporary, name).expect("can be written");
        Prepared { temporary, path: folder.join(name), bytes: name.len() as u64, rows: 1, row: None }
    }

    #[test]
    fn prepared_files_roll_forward_and_begun_ones_are_swept() {
        let folder = folder("recover");
        let sink: Name = "sink".parse().expect("a name");
        let (prepared, begun) = (file(&folder, "a"), file(&folder, "b"));
        fs::write(folder.join("old"), "what a replaces").expect("can be written");
        fs::create_dir_all(folder.join(".c.tmp/k=1")).expect("can be made");
        {
            let mut journal = Journal::open(&folder).expect("opens");
            let started = |task, path: &Path| Record::TaskStarted {
                run: "r".into(),
                sink: "sink".parse().expect("a name"),
                task,
                file: path.to_owned(),
            };
            journal.append(started(0, &prepared.path)).expect("written");
            journal.append(started(1, &begun.path)).expect("written");
            journal.append(started(2, &folder.join("c"))).expect("written");
            journal
                .append(Record::Prepared {
                    run: "r".into(),
                    sink: sink.clone(),
                    files: vec![prepared.clone()],
                    replaced: vec![folder.join("old")],
                })
                .expect("written");
        }
        // The crash cut a line off.
        let mut journal = OpenOptions::new().append(true).open(folder.join("journal.jsonl")).expect("opens");
        journal.write_all(b"{\"at\":1,\"event\":\"do").expect("written");
        drop(journal);
        let mut journal = Journal::open(&folder).expect("a line that was cut off is no mistake");
        journal.recover().expect("recovers");
        drop(journal);
        let journal = Journal::open(&folder).expect("what was written after the line that was cut off can be read");
        assert!(
            prepared.path.exists() && !prepared.temporary.exists() && !begun.temporary.exists() && !begun.path.exists()
        );
        assert!(!folder.join("old").exists() && !folder.join(".c.tmp").exists());
        assert_eq!(journal.own(&sink).into_iter().collect::<Vec<_>>(), [prepared.path]);
        fs::remove_dir_all(folder).expect("can be removed");
    }

    #[test]
    fn one_run_at_a_time() {
        let folder = folder("lock");
        let first = Journal::open(&folder).expect("opens");
        let message = Journal::open(&folder).expect_err("it is held").to_string();
        assert!(message.contains("another run"), "{message}");
        drop(first);
        Journal::open(&folder).expect("nobody holds it any more");
        fs::remove_dir_all(folder).expect("can be removed");
    }
}
