//! Files that appear whole or not at all.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    mem,
    path::{Component, Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::IoError;

/// Bytes that are gathered before they are given to the operating system.
const BUFFER: usize = 256 << 10;

/// A file that is being written under a temporary name in its final folder: `.NAME.tmp`. Dropped before it is
/// [finished](Self::finish), it removes itself.
#[derive(Debug)]
pub struct StagedFile {
    /// `None` once finished.
    file: Option<BufWriter<File>>,
    names: Prepared,
}

/// A file that is written and synced, under its temporary name. It can be put into a journal, published, or discarded,
/// also by another process after a crash.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prepared {
    /// Where it is, absolute.
    pub temporary: PathBuf,
    /// Where it is to be, on the same file system.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// The rows in it, as its writer counted them; 0 until it [said so](Self::with_rows).
    pub rows: u64,
    /// The id of the row that it is named by, if it is named by one and that has an id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub row: Option<String>,
    /// Which of its task's splits the rows come from, in their order: its place, and how many rows follow each other; where that is known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub splits: Vec<(u32, u64)>,
}

/// Says which splits more rows come from.
pub fn push_splits(splits: &mut Vec<(u32, u64)>, more: &[u32]) {
    for run in more.chunk_by(|a, b| a == b) {
        match splits.last_mut() {
            Some((split, rows)) if *split == run[0] => *rows += run.len() as u64,
            _ => splits.push((run[0], run.len() as u64)),
        }
    }
}

impl StagedFile {
    /// Begins a file of this name (which may have folders: `2024/a.parquet`) in a folder; the folders are made. What an
    /// earlier attempt left under the temporary name is overwritten.
    ///
    /// # Errors
    /// The folder can't be made or written to (fault `Outside`); the name leads out of the folder (`Internal`).
    pub fn create(folder: &Path, name: &str) -> Result<Self, IoError> {
        let path = path_in(folder, name)?;
        let (Some(above), Some(last)) = (path.parent(), path.file_name()) else {
            return Err(IoError::internal(format!("`{}` is not the name of a file", path.display())));
        };
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(last);
        hidden.push(".tmp");
        Self::at(above.join(hidden), path)
    }

    /// Begins a file in a folder here that is to become an [object](crate::is_object).
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub fn of_object(staging: &Path, object: PathBuf) -> Result<Self, IoError> {
        let name = object.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let temporary = path_in(staging, &format!(".{name}.tmp"))?;
        Self::at(temporary, object)
    }

    /// Begins a file of this name under its own name in a temporary folder.
    pub(crate) fn below(temporary: &Path, folder: &Path, name: &str) -> Result<Self, IoError> {
        Self::at(path_in(temporary, name)?, path_in(folder, name)?)
    }

    fn at(temporary: PathBuf, path: PathBuf) -> Result<Self, IoError> {
        temporary.parent().map_or(Ok(()), make_folders)?;
        let file = File::create(&temporary).map_err(|error| IoError::os("write", &path, error))?;
        let names = Prepared { temporary, path, ..Prepared::default() };
        Ok(Self { file: Some(BufWriter::with_capacity(BUFFER, file)), names })
    }

    /// Where the file is to be.
    pub fn path(&self) -> &Path {
        &self.names.path
    }

    /// How much was written to it.
    pub fn bytes(&self) -> u64 {
        self.names.bytes
    }

    /// Writes out what is left and syncs it to the disk.
    ///
    /// # Errors
    /// The disk is full or fails (fault `Outside`); the temporary file is removed.
    pub fn finish(mut self) -> Result<Prepared, IoError> {
        let result = self.open().flush().and_then(|()| self.open().get_ref().sync_all());
        result.map_err(|error| IoError::os("write", self.path(), error))?;
        Ok(self.closed())
    }

    /// Writes out what is left, without waiting for the disk: what it is staged in is [synced](crate::StagedFolder::finish) later.
    ///
    /// # Errors
    /// As [`finish`](Self::finish).
    pub fn close(mut self) -> Result<Prepared, IoError> {
        self.open().flush().map_err(|error| IoError::os("write", self.path(), error))?;
        Ok(self.closed())
    }

    fn closed(&mut self) -> Prepared {
        self.file = None;
        mem::take(&mut self.names)
    }

    fn open(&mut self) -> &mut BufWriter<File> {
        self.file.as_mut().expect("only `finish` closes it, and that consumes it")
    }

    /// The system's error with the path in its words, for writers in between that know of no path.
    fn named(&self, error: io::Error) -> io::Error {
        io::Error::new(error.kind(), IoError::os("write", self.path(), error))
    }
}

impl Write for StagedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.open().write(bytes) {
            Ok(written) => {
                self.names.bytes += written as u64;
                Ok(written)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => Err(self.named(error)),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        let result = self.open().flush();
        result.map_err(|error| self.named(error))
    }
}

impl Drop for StagedFile {
    fn drop(&mut self) {
        if let Some(file) = self.file.take() {
            // Taken apart, so that what is still gathered isn't written any more.
            drop(file.into_parts());
            self.names.discard();
        }
    }
}

impl Prepared {
    /// With the number of rows in it.
    #[must_use]
    pub fn with_rows(self, rows: u64) -> Self {
        Self { rows, ..self }
    }

    /// Gives the file its final name, replacing what has it, and syncs the folder. Once published, publishing it again does
    /// nothing: a recovery can't know how far the run before came.
    ///
    /// # Errors
    /// The file is under neither name, or can't be renamed (fault `Outside`).
    pub fn publish(&self) -> Result<(), IoError> {
        self.rename()?;
        self.path.parent().map_or(Ok(()), sync_folder)
    }

    /// Gives the file its final name, and makes the folders for it.
    pub(crate) fn rename(&self) -> Result<(), IoError> {
        self.path.parent().map_or(Ok(()), make_folders)?;
        match fs::rename(&self.temporary, &self.path) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.path.is_file() => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(IoError::os("publish", &self.path, error)
                .hint("somebody has removed it before it was whole; run again: what is done stays, the rest is made")),
            Err(error) => Err(IoError::os("publish", &self.path, error)),
        }
    }

    /// Removes the file under its temporary name, if it is there. (If it can't be removed it stays: nobody reads it, and the
    /// next attempt overwrites it.)
    pub fn discard(&self) {
        drop(fs::remove_file(&self.temporary));
    }
}

/// The path of a file in a folder, or below it.
fn path_in(folder: &Path, name: &str) -> Result<PathBuf, IoError> {
    let inside = !name.is_empty()
        && !name.ends_with('/')
        && Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
    if !inside {
        return Err(IoError::internal(format!("`{name}` is not the name of a file in `{}`", folder.display())));
    }
    std::path::absolute(folder.join(name)).map_err(|error| IoError::os("write", folder, error))
}

/// Makes a folder and those above it that are missing, and syncs the folders that they were made in.
pub(crate) fn make_folders(folder: &Path) -> Result<(), IoError> {
    if folder.is_dir() {
        return Ok(());
    }
    let missing: Vec<_> = folder.ancestors().take_while(|folder| !folder.exists()).collect();
    fs::create_dir_all(folder).map_err(|error| IoError::os("make the folder", folder, error))?;
    missing.iter().filter_map(|made| made.parent()).try_for_each(sync_folder)
}

/// Writes to the disk which names a folder has. (Elsewhere than on Unix a folder can't be opened like a file.)
pub(crate) fn sync_folder(folder: &Path) -> Result<(), IoError> {
    if cfg!(unix) {
        File::open(folder).and_then(|file| file.sync_all()).map_err(|error| IoError::os("sync", folder, error))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use dflow_pipeline::Fault;

    use super::*;
    use crate::testing::Ground;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_appears_whole() {
        let ground = Ground::new();
        let folder = ground.path("new/out");
        let mut file = StagedFile::create(&folder, "a.txt").unwrap();
        file.write_all(b"hello").unwrap();
        assert_eq!(names(&folder), [".a.txt.tmp"]);
        assert_eq!((file.bytes(), file.path()), (5, folder.join("a.txt").as_path()));
        let prepared = file.finish().unwrap().with_rows(1);
        assert_eq!(names(&folder), [".a.txt.tmp"]);
        // Through the journal and back, as a recovery does.
        let prepared: Prepared = serde_json::from_str(&serde_json::to_string(&prepared).unwrap()).unwrap();
        assert_eq!((prepared.bytes, prepared.rows), (5, 1));
        for _ in 0..2 {
            prepared.publish().unwrap();
            assert_eq!(names(&folder), ["a.txt"]);
        }
        assert_eq!(fs::read(&prepared.path).unwrap(), b"hello");
        prepared.discard();
        assert_eq!(names(&folder), ["a.txt"]);
        // A newer one takes its place; until then the old one stays.
        let mut file = StagedFile::create(&folder, "a.txt").unwrap();
        file.write_all(b"new").unwrap();
        let newer = file.finish().unwrap();
        assert_eq!(fs::read(&newer.path).unwrap(), b"hello");
        newer.publish().unwrap();
        assert_eq!(fs::read(&newer.path).unwrap(), b"new");
        fs::remove_file(&newer.path).unwrap();
        let error = newer.publish().unwrap_err();
        assert_eq!(
            error.message,
            format!("can't publish `{}`: No such file or directory (os error 2)", newer.path.display())
        );
    }

    #[test]
    fn an_unfinished_or_discarded_file_leaves_nothing() {
        let ground = Ground::new();
        let folder = ground.path("out");
        let mut file = StagedFile::create(&folder, "sub/a.txt").unwrap();
        file.write_all(&[1; 1_000_000]).unwrap();
        assert_eq!(names(&folder.join("sub")), [".a.txt.tmp"]);
        drop(file);
        assert!(names(&folder.join("sub")).is_empty());
        StagedFile::create(&folder, "sub/a.txt").unwrap().finish().unwrap().discard();
        assert!(names(&folder.join("sub")).is_empty());
    }

    #[test]
    fn what_can_t_be_written_is_an_error() {
        let ground = Ground::new();
        ground.write("file", "");
        let error = StagedFile::create(&ground.path("file/out"), "a.txt").unwrap_err();
        let folder = ground.path("file/out");
        assert_eq!(
            (error.fault, error.to_string()),
            (
                Fault::Outside,
                format!(
                    "can't make the folder `{}`: Not a directory (os error 20)\n  hint: a part of this path is a file, not a folder",
                    folder.display()
                )
            )
        );
        fs::create_dir_all(ground.path("out/.a.txt.tmp")).unwrap();
        let error = StagedFile::create(&ground.path("out"), "a.txt").unwrap_err();
        assert_eq!(
            error.message,
            format!("can't write `{}`: Is a directory (os error 21)", ground.path("out/a.txt").display())
        );
        for name in ["../a", "/a", "", "a/"] {
            assert_eq!(StagedFile::create(&ground.path("out"), name).unwrap_err().fault, Fault::Internal, "{name}");
        }
    }

    /// `/dev/full` is Linux's own disk that is always full.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_an_error_with_the_path() {
        let ground = Ground::new();
        let folder = ground.path("out");
        fs::create_dir(&folder).unwrap();
        std::os::unix::fs::symlink("/dev/full", folder.join(".a.txt.tmp")).unwrap();
        let mut file = StagedFile::create(&folder, "a.txt").unwrap();
        let error = file.write_all(&[1; 1_000_000]).unwrap_err();
        let expected = format!(
            "can't write `{}`: No space left on device (os error 28)\n  hint: free some space there, or write elsewhere",
            folder.join("a.txt").display()
        );
        assert_eq!((error.kind(), error.to_string()), (io::ErrorKind::StorageFull, expected.clone()));
        drop(file);
        assert!(names(&folder).is_empty());
        std::os::unix::fs::symlink("/dev/full", folder.join(".b.txt.tmp")).unwrap();
        let mut file = StagedFile::create(&folder, "b.txt").unwrap();
        file.write_all(b"little").unwrap();
        let error = file.finish().unwrap_err();
        assert_eq!(
            (error.io_kind(), error.to_string()),
            (Some(io::ErrorKind::StorageFull), expected.replace("a.txt", "b.txt"))
        );
    }
}
