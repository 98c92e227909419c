//! The entries of zip archives, those with sizes and places of 64 bits included.

use std::io::{self, Read, Seek};

use zip::{ExtraField, ZipArchive, read::ZipFile, result::ZipError};

use crate::batch::{Batch, Content, Entry, Kind};
use crate::entries::{Broken, Settings, broken};

/// Lists them in the order of the archive's directory.
pub(crate) fn list(file: impl Read + Seek, settings: &Settings, batch: &mut Batch<'_, '_>) -> Result<(), Broken> {
    let mut file = file;
    let size = file.seek(io::SeekFrom::End(0)).map_err(|e| broken("the archive can't be read", &e))?;
    let mut archive = ZipArchive::new(file).map_err(|e| broken("its directory", &told(e)))?;
    let mut stored = 0u64;
    for index in 0..archive.len() {
        let raw =
            archive.by_index_raw(index).map_err(|e| broken(&format!("at entry {index} of its directory"), &told(e)))?;
        let entry = entry(&raw);
        // Those of bombs share their bytes.
        stored = stored.saturating_add(raw.compressed_size());
        if stored > size {
            let why = format!(
                "up to its entry `{}` more bytes are said to be stored than it has: entries overlap",
                entry.path
            );
            return Err(Broken::Archive("broken-archive", why));
        }
        let encrypted = raw.encrypted();
        drop(raw);
        if !settings.wants(&entry.path) {
            continue;
        }
        let content = settings.content(&entry, |read| {
            if encrypted {
                return Ok(Content::LeftOut("it is encrypted".to_owned()));
            }
            match archive.by_index(index) {
                Ok(mut stored) => read(&mut stored),
                Err(ZipError::UnsupportedArchive(what)) => Ok(Content::LeftOut(what.to_string())),
                Err(error) => Err(told(error)),
            }
        });
        let content = content.map_err(|e| broken(&format!("in its entry `{}`", entry.path), &e))?;
        if !batch.push(&entry, content)? {
            return Ok(());
        }
    }
    Ok(())
}

fn entry<R: Read>(raw: &ZipFile<'_, R>) -> Entry {
    let kind = match () {
        () if raw.is_dir() => Kind::Folder,
        () if raw.is_symlink() => Kind::Link,
        () => Kind::File,
    };
    let exact = raw.extra_data_fields().find_map(|field| match field {
        ExtraField::ExtendedTimestamp(times) => times.mod_time(),
        _ => None,
    });
    let modified =
        exact.map(|seconds| i64::from(seconds) * 1000).or_else(|| raw.last_modified().and_then(milliseconds));
    Entry { path: raw.name().to_owned(), size: raw.size(), modified, kind }
}

/// A time without a zone, taken for one of UTC.
fn milliseconds(time: zip::DateTime) -> Option<i64> {
    let (year, month, day) = (i64::from(time.year()), i64::from(time.month()), i64::from(time.day()));
    if month == 0 || day == 0 {
        return None;
    }
    // Days since 1970, years beginning in March so that a leap day is the last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1 - 719_468;
    let seconds = i64::from(time.hour()) * 3600 + i64::from(time.minute()) * 60 + i64::from(time.second());
    Some((days * 86_400 + seconds) * 1000)
}

fn told(error: ZipError) -> io::Error {
    match error {
        ZipError::Io(error) => error,
        error => io::Error::new(io::ErrorKind::InvalidData, error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_without_a_zone_are_of_utc() {
        for (time, seconds) in [
            ((1980, 1, 1, 0, 0, 0), 315_532_800),
            ((2000, 2, 29, 12, 30, 58), 951_827_458),
            ((2024, 12, 31, 23, 59, 58), 1_735_689_598),
        ] {
            let (year, month, day, hour, minute, second) = time;
            let time = zip::DateTime::from_date_and_time(year, month, day, hour, minute, second).unwrap();
            assert_eq!(milliseconds(time), Some(seconds * 1000));
        }
    }
}
