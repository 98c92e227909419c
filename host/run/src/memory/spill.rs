//! The files for rows that don't fit into memory.
//!
//! Each process has a folder of its own under `tmp` of the state folder, with a file in it that is locked for as long as the
//! process lives. A folder that nobody locks was left behind, and is removed by the next run.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use bytes::Bytes as Chunk;
use datafusion::{
    common::{DataFusionError, Result},
    execution::{
        disk_manager::{DiskManager, DiskManagerBuilder, DiskManagerMode},
        spill_file::{SpillFile, SpillWriter, TempFileFactory},
    },
};
use dflow_operators::StepError;
use dflow_pipeline::Fault;
use futures::Stream;

/// The file in a folder that tells whether its process lives.
const LOCK: &str = "lock";

/// Where rows go that don't fit into memory.
#[derive(Debug)]
pub(crate) struct SpillFolder {
    folder: PathBuf,
    own: Mutex<Option<Own>>,
    bytes: Arc<AtomicU64>,
}

/// The folder of this process.
#[derive(Debug)]
struct Own {
    /// DataFusion's files, which remove themselves.
    files: Arc<DiskManager>,
    path: PathBuf,
    _lock: File,
}

impl Drop for Own {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

impl SpillFolder {
    /// Nothing is made before the first file is.
    pub(crate) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), own: Mutex::default(), bytes: Arc::default() }
    }

    /// Bytes that were written.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    /// Removes folders of processes that don't live any more.
    ///
    /// # Errors
    /// One can't be removed.
    pub(crate) fn sweep(&self) -> Result<(), StepError> {
        let Ok(entries) = fs::read_dir(&self.folder) else { return Ok(()) };
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            let dead = match File::open(path.join(LOCK)) {
                Ok(lock) => lock.try_lock().is_ok(),
                // It was ended while it made the folder, or while it removed it.
                Err(e) => e.kind() == io::ErrorKind::NotFound && old(&path),
            };
            if dead && let Err(e) = fs::remove_dir_all(&path) {
                return Err(failed(&path, "failed to remove what an earlier run left", &e));
            }
        }
        Ok(())
    }

    fn files(&self) -> Result<Arc<DiskManager>> {
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = own.as_ref() {
            return Ok(own.files.clone());
        }
        let path = self.folder.join(std::process::id().to_string());
        let make = || {
            fs::create_dir_all(&path)?;
            let lock = File::create(path.join(LOCK))?;
            lock.lock()?;
            Ok(lock)
        };
        let lock = make().map_err(|e| failed(&path, "failed to make a folder for what doesn't fit into memory", &e))?;
        let builder = DiskManagerBuilder::default().with_max_temp_directory_size(u64::MAX);
        let files = Arc::new(builder.with_mode(DiskManagerMode::Directories(vec![path.clone()])).build()?);
        *own = Some(Own { files: files.clone(), path, _lock: lock });
        Ok(files)
    }
}

/// Whether a folder is from before the last minute: a younger one may be in the making.
fn old(path: &Path) -> bool {
    let made = fs::metadata(path).and_then(|metadata| metadata.modified());
    made.is_ok_and(|made| made.elapsed().is_ok_and(|age| age.as_secs() > 60))
}

fn failed(path: &Path, what: &str, error: &io::Error) -> StepError {
    let error = StepError::new(Fault::Outside, format!("{what}, `{}`: {error}", path.display()));
    error.hint("make room there, choose another disk with `--state`, or raise `--memory` so that less is put on disk")
}

impl TempFileFactory for SpillFolder {
    fn create_temp_file(&self, description: &str) -> Result<Arc<dyn SpillFile>> {
        tracing::debug!("what doesn't fit into memory goes to disk: {description}");
        let file = self.files()?.create_tmp_file(description).map_err(|e| match e {
            DataFusionError::IoError(e) => failed(&self.folder, "failed to make a file for rows", &e).into(),
            e => e,
        })?;
        Ok(Arc::new(Counted { file, folder: self.folder.clone(), bytes: self.bytes.clone() }))
    }
}

/// A file whose bytes are counted and whose errors name the folder.
struct Counted {
    file: Arc<dyn SpillFile>,
    folder: PathBuf,
    bytes: Arc<AtomicU64>,
}

impl SpillFile for Counted {
    fn path(&self) -> Option<&Path> {
        self.file.path()
    }

    fn size(&self) -> Option<u64> {
        self.file.size()
    }

    fn read_stream(&self) -> Result<Pin<Box<dyn Stream<Item = Result<Chunk>> + Send>>> {
        self.file.read_stream()
    }

    fn open_writer(&self) -> Result<Box<dyn SpillWriter>> {
        let (folder, bytes) = (self.folder.clone(), self.bytes.clone());
        Ok(Box::new(CountedWriter { writer: self.file.open_writer()?, folder, bytes }))
    }
}

struct CountedWriter {
    writer: Box<dyn SpillWriter>,
    folder: PathBuf,
    bytes: Arc<AtomicU64>,
}

impl CountedWriter {
    fn failed(&self, error: &io::Error) -> io::Error {
        io::Error::new(
            error.kind(),
            failed(&self.folder, "failed to put rows on disk that don't fit into memory", error),
        )
    }
}

impl Write for CountedWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.writer.write(bytes).map_err(|e| self.failed(&e))?;
        self.bytes.fetch_add(written as u64, Relaxed);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush().map_err(|e| self.failed(&e))
    }
}

impl SpillWriter for CountedWriter {
    fn finish(&mut self) -> Result<()> {
        self.writer.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_counted_and_go_with_their_folder() {
        let ground = tempfile::tempdir().expect("a folder");
        let tmp = ground.path().join("state/tmp");
        let folder = SpillFolder::new(&tmp);
        assert!(!tmp.exists());
        let file = folder.create_temp_file("a test").expect("a file");
        file.open_writer().and_then(|mut writer| Ok(writer.write_all(b"rows")?)).expect("it can be written");
        assert_eq!((folder.bytes(), file.path().map(Path::exists)), (4, Some(true)));
        // Another run beside it leaves it alone.
        SpillFolder::new(&tmp).sweep().expect("it can be read");
        assert_eq!(file.path().map(Path::exists), Some(true));
        drop((file, folder));
        assert_eq!(fs::read_dir(&tmp).expect("it is there").count(), 0);
    }

    #[test]
    fn what_a_dead_process_left_is_removed() {
        let ground = tempfile::tempdir().expect("a folder");
        let left = ground.path().join("123");
        fs::create_dir_all(left.join("datafusion-x")).expect("a folder");
        fs::write(left.join(LOCK), "").expect("a file");
        SpillFolder::new(ground.path()).sweep().expect("it can be removed");
        assert!(!left.exists());
    }
}
