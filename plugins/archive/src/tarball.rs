//! The entries of tar archives, names and sizes of pax and GNU included.

use std::{
    cell::Cell,
    io::{self, Read, Seek, SeekFrom},
    rc::Rc,
};

use tar::{Archive, EntryType};

use crate::batch::{Batch, Content, Entry, Kind};
use crate::entries::{Broken, Settings, broken};

/// Those of an archive that lies there as it is: what isn't read is skipped.
pub(crate) fn list_stored(
    stored: impl Read + Seek,
    settings: &Settings,
    batch: &mut Batch<'_, '_>,
) -> Result<(), Broken> {
    let (stored, at_end) = Watched::new(stored);
    let mut archive = Archive::new(stored);
    let entries = archive.entries_with_seek().map_err(|e| broken("the archive can't be read", &e))?;
    list(entries, &at_end, settings, batch)
}

/// Those of an archive that is unpacked on the way.
pub(crate) fn list_packed(content: impl Read, settings: &Settings, batch: &mut Batch<'_, '_>) -> Result<(), Broken> {
    let (content, at_end) = Watched::new(content);
    let mut archive = Archive::new(content);
    let entries = archive.entries().map_err(|e| broken("the archive can't be read", &e))?;
    list(entries, &at_end, settings, batch)
}

/// A file of which is told whether it was read to its end: an archive says itself where it ends, by a block of zeros, and one that has
/// none was cut between two entries.
struct Watched<R> {
    file: R,
    at_end: Rc<Cell<bool>>,
}

impl<R> Watched<R> {
    fn new(file: R) -> (Self, Rc<Cell<bool>>) {
        let at_end = Rc::new(Cell::new(false));
        (Self { file, at_end: at_end.clone() }, at_end)
    }
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(into)?;
        self.at_end.set(read == 0 && !into.is_empty());
        Ok(read)
    }
}

impl<R: Seek> Seek for Watched<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

fn list<'a, R: Read + 'a>(
    entries: impl Iterator<Item = io::Result<tar::Entry<'a, R>>>,
    at_end: &Cell<bool>,
    settings: &Settings,
    batch: &mut Batch<'_, '_>,
) -> Result<(), Broken> {
    let place = |last: Option<&str>| match last {
        Some(last) => format!("after its entry `{last}`"),
        None => "at its first entry".to_owned(),
    };
    let mut last: Option<String> = None;
    for entry in entries {
        let mut stored = entry.map_err(|e| broken(&place(last.as_deref()), &e))?;
        let path = String::from_utf8_lossy(&stored.path_bytes()).into_owned();
        let kind = match stored.header().entry_type() {
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => Kind::File,
            EntryType::Directory => Kind::Folder,
            EntryType::Symlink | EntryType::Link => Kind::Link,
            // Of all that follow, not an entry.
            EntryType::XGlobalHeader => continue,
            _ => Kind::Other,
        };
        let modified = stored.header().mtime().ok().and_then(|seconds| i64::try_from(seconds).ok()?.checked_mul(1000));
        let entry = Entry { path, size: stored.size(), modified, kind };
        if settings.wants(&entry.path) {
            let content = settings.content(&entry, |read| match read(&mut stored)? {
                Content::Bytes(bytes) if (bytes.len() as u64) < entry.size => Err(io::ErrorKind::UnexpectedEof.into()),
                content => Ok(content),
            });
            let content = content.map_err(|e| broken(&format!("in its entry `{}`", entry.path), &e))?;
            if !batch.push(&entry, content)? {
                return Ok(());
            }
        }
        last = Some(entry.path);
    }
    if at_end.get() {
        return Err(broken(&place(last.as_deref()), &io::ErrorKind::UnexpectedEof.into()));
    }
    Ok(())
}
