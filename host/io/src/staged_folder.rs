//! Many files that appear together: those whose names nobody knows before they are written.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use crate::{
    IoError, Prepared, StagedFile,
    bucket::is_object,
    staged::{make_folders, sync_folder},
};

/// Files that are being written into a folder under a temporary name, `.NAME.tmp`, below the one where they are to be. So what a
/// crash leaves is found under that one name. Dropped before it is [finished](Self::finish), it removes itself.
#[derive(Debug)]
pub struct StagedFolder {
    temporary: PathBuf,
    folder: PathBuf,
    finished: bool,
}

impl StagedFolder {
    /// Begins files for a folder, which is made. What an earlier attempt left under the temporary name is removed.
    ///
    /// # Errors
    /// The folder can't be made or written to (fault `Outside`).
    pub fn create(folder: &Path, name: &str) -> Result<Self, IoError> {
        let folder = std::path::absolute(folder).map_err(|error| IoError::os("write", folder, error))?;
        let temporary = folder.join(format!(".{name}.tmp"));
        make_folders(&folder)?;
        if temporary.exists() {
            fs::remove_dir_all(&temporary).map_err(|error| IoError::os("remove", &temporary, error))?;
        }
        fs::create_dir(&temporary).map_err(|error| IoError::os("write to", &folder, error))?;
        Ok(Self { temporary, folder, finished: false })
    }

    /// Begins a file of this name (which may have folders: `2024/a.parquet`).
    ///
    /// # Errors
    /// As of [`StagedFile::create`].
    pub fn begin(&self, name: &str) -> Result<StagedFile, IoError> {
        StagedFile::below(&self.temporary, &self.folder, name)
    }

    /// Takes in a file that is there, under this name; it stays where it is, too.
    ///
    /// # Errors
    /// It isn't there; it can't be written here (fault `Outside`).
    pub fn take_in(&self, name: &str, file: &Path) -> Result<Prepared, IoError> {
        let staged = self.begin(name)?.close()?;
        fs::remove_file(&staged.temporary).map_err(|error| IoError::os("write", &staged.path, error))?;
        // Not every file system has files of several names.
        if fs::hard_link(file, &staged.temporary).is_err() {
            fs::copy(file, &staged.temporary).map_err(|error| IoError::os("copy", file, error))?;
        }
        let bytes = fs::metadata(&staged.temporary).map_err(|error| IoError::os("read", file, error))?.len();
        Ok(Prepared { bytes, ..staged })
    }

    /// Syncs the files that were [closed](StagedFile::close).
    ///
    /// # Errors
    /// The disk fails (fault `Outside`).
    pub fn finish(mut self, files: &[Prepared]) -> Result<(), IoError> {
        sync(files)?;
        let folders: BTreeSet<&Path> = files.iter().filter_map(|file| file.temporary.parent()).collect();
        folders.into_iter().chain([self.temporary.as_path()]).try_for_each(sync_folder)?;
        self.finished = true;
        Ok(())
    }
}

/// Writes files to the disk. It is asked for many at once: what it does for one of them takes others along.
fn sync(files: &[Prepared]) -> Result<(), IoError> {
    const AT_ONCE: usize = 16;
    let share = files.len().div_ceil(AT_ONCE).max(1);
    let of = |files: &[Prepared]| {
        files.iter().try_for_each(|file| {
            let synced = File::open(&file.temporary).and_then(|open| open.sync_all());
            synced.map_err(|error| IoError::os("write", &file.path, error))
        })
    };
    std::thread::scope(|scope| {
        let shares: Vec<_> = files.chunks(share).map(|files| scope.spawn(move || of(files))).collect();
        let lost = |_| Err(IoError::internal("a thread that syncs files panicked"));
        shares.into_iter().try_for_each(|share| share.join().unwrap_or_else(lost))
    })
}

impl Drop for StagedFolder {
    fn drop(&mut self) {
        if !self.finished {
            drop(fs::remove_dir_all(&self.temporary));
        }
    }
}

impl Prepared {
    /// Makes the folders that files are to be in, and looks whether a folder has one of their names: what would prevent them from being
    /// published is found out before the first of them is. Objects need no room.
    ///
    /// # Errors
    /// A folder can't be made, or a name is taken by a folder (fault `Outside`).
    pub fn make_room(files: &[Self]) -> Result<(), IoError> {
        let here = || files.iter().filter(|file| !is_object(&file.path));
        let folders: BTreeSet<&Path> = here().filter_map(|file| file.path.parent()).collect();
        folders.into_iter().try_for_each(make_folders)?;
        match here().find(|file| file.path.is_dir()) {
            None => Ok(()),
            Some(file) => Err(IoError::os("write", &file.path, io::ErrorKind::IsADirectory.into())),
        }
    }

    /// Gives files their final names, then syncs the folders that they are in; what they were staged in goes. As with one
    /// [file](Self::publish), doing it again does nothing.
    ///
    /// # Errors
    /// A file is under neither name, or can't be renamed (fault `Outside`).
    pub fn publish_all(files: &[Self]) -> Result<(), IoError> {
        for file in files {
            file.rename()?;
        }
        let folders: BTreeSet<&Path> = files.iter().filter_map(|file| file.path.parent()).collect();
        folders.into_iter().try_for_each(sync_folder)?;
        Self::clear(files);
        Ok(())
    }

    /// Removes files under their temporary names, as far as they are there.
    pub fn discard_all(files: &[Self]) {
        files.iter().for_each(Self::discard);
        Self::clear(files);
    }

    /// Removes the folders in which files were staged.
    fn clear(files: &[Self]) {
        let folders: BTreeSet<&Path> = files.iter().filter_map(Self::staging).collect();
        // What can't be removed is no harm: its name is a temporary one.
        folders.into_iter().for_each(|folder| drop(fs::remove_dir_all(folder)));
    }

    /// The folder in which it is staged, if it is in one.
    fn staging(&self) -> Option<&Path> {
        let (mut temporary, mut path) = (self.temporary.as_path(), self.path.as_path());
        while temporary.file_name() == path.file_name() {
            (temporary, path) = (temporary.parent()?, path.parent()?);
        }
        (temporary != self.temporary).then_some(temporary)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::testing::Ground;

    fn write(folder: &StagedFolder, name: &str) -> Prepared {
        let mut file = folder.begin(name).unwrap();
        file.write_all(name.as_bytes()).unwrap();
        file.close().unwrap()
    }

    #[test]
    fn files_appear_together_and_leave_nothing_behind() {
        let ground = Ground::new();
        let out = ground.path("out");
        let staged = StagedFolder::create(&out, "x").unwrap();
        let files = [write(&staged, "a.txt"), write(&staged, "b=1/c=2/a.txt")];
        staged.finish(&files).unwrap();
        assert!(!out.join("a.txt").exists() && out.join(".x.tmp/b=1/c=2/a.txt").exists());
        for _ in 0..2 {
            Prepared::publish_all(&files).unwrap();
            assert_eq!(fs::read_to_string(out.join("b=1/c=2/a.txt")).unwrap(), "b=1/c=2/a.txt");
            assert!(out.join("a.txt").exists() && !out.join(".x.tmp").exists());
        }
        // Given up before or after it is finished, and begun again over what a crash left.
        let staged = StagedFolder::create(&out, "y").unwrap();
        write(&staged, "z/a.txt");
        drop(staged);
        assert!(!out.join(".y.tmp").exists() && !out.join("z").exists());
        ground.write("out/.z.tmp/old/b.txt", "");
        let staged = StagedFolder::create(&out, "z").unwrap();
        let files = [write(&staged, "n/a.txt")];
        staged.finish(&files).unwrap();
        assert!(!out.join(".z.tmp/old").exists());
        Prepared::discard_all(&files);
        assert!(!out.join(".z.tmp").exists() && !out.join("n").exists());
    }
}
