//! Where a sink writes.

use std::{
    io,
    path::{Path, PathBuf},
};

use dflow_pipeline::Fault;
use walkdir::WalkDir;

use crate::{IoError, Stores};

/// A place for a sink's output. In a bucket a path is the object's URI, `lake://chunks/`: see [`is_object`](crate::is_object).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A folder of files; it need not exist yet.
    Folder(PathBuf),
    /// One file.
    File(PathBuf),
    /// The standard output.
    Stdout,
}

impl Stores {
    /// The place that a sink's path means: `-` is the standard output; a path that ends in `/`, or is a folder already, is a
    /// folder; anything else is a file. In a bucket nothing is a folder already. Nothing is made there.
    ///
    /// # Errors
    /// An unknown volume, one on the web, or a path that leads out of it (fault `Pipeline`).
    pub fn place(&self, path: &str) -> Result<Place, IoError> {
        if path == "-" {
            return Ok(Place::Stdout);
        }
        let location = self.locate(path)?;
        if self.bucket(&location.volume).is_some() {
            let folder = path.ends_with('/') || location.path.is_empty();
            let uri = PathBuf::from(location.uri());
            return Ok(if folder { Place::Folder(uri) } else { Place::File(uri) });
        }
        let Some(local) = self.path_of(&location) else {
            let message = format!("`{path}` is on the web, where nothing is written");
            return Err(
                IoError::new(Fault::Pipeline, message).hint("write to a folder, and put it there by other means")
            );
        };
        let folder = path.ends_with('/') || local.is_dir();
        Ok(if folder { Place::Folder(local) } else { Place::File(local) })
    }
}

impl Place {
    /// The names of the files that are visible there now, sorted: relative to the folder, `/`-separated, without those that
    /// begin with a dot or lie under such a name; of a file its own name, if it exists.
    ///
    /// # Errors
    /// The place can't be looked at: a part of it is a file, or access is denied (fault `Outside`).
    pub fn existing(&self) -> Result<Vec<String>, IoError> {
        match self {
            Self::Stdout => Ok(Vec::new()),
            Self::File(path) => match path.symlink_metadata() {
                Ok(_) => Ok(vec![name_of(path)?]),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
                Err(error) => Err(IoError::os("look at", path, error)),
            },
            Self::Folder(path) => visible(path),
        }
    }

    /// As [`existing`](Self::existing), of a folder only those that a glob names.
    ///
    /// # Errors
    /// As of [`existing`](Self::existing); the glob is none (fault `Pipeline`).
    pub fn matching(&self, glob: &str) -> Result<Vec<String>, IoError> {
        let matcher = crate::listing::glob(glob, glob)?;
        Ok(self.existing()?.into_iter().filter(|name| matcher.is_match(name)).collect())
    }

    /// Whether [`matching`](Self::matching) would find a file, if it were there.
    pub fn would_match(&self, glob: &str, path: &Path) -> bool {
        let Self::Folder(folder) = self else { return false };
        let below = path.strip_prefix(folder).ok();
        below.is_some_and(|below| crate::listing::glob(glob, glob).is_ok_and(|matcher| matcher.is_match(below)))
    }
}

fn visible(folder: &Path) -> Result<Vec<String>, IoError> {
    match folder.metadata() {
        Ok(metadata) if metadata.is_dir() => {}
        Ok(_) => {
            let message = format!("`{}` is a file, not a folder", folder.display());
            return Err(IoError::new(Fault::Outside, message).hint("remove it, or write to another place"));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(IoError::os("look at", folder, error)),
    }
    let mut names = Vec::new();
    // The folder itself may be a link.
    let walk = WalkDir::new(folder)
        .min_depth(1)
        .into_iter()
        .filter_entry(|entry| !entry.file_name().as_encoded_bytes().starts_with(b"."));
    for entry in walk {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                let path = error.path().unwrap_or(folder).to_owned();
                let error = error.into_io_error().unwrap_or_else(|| io::Error::other("it can't be walked"));
                return Err(IoError::os("list", &path, error));
            }
        };
        if !entry.file_type().is_dir() {
            names.push(name_of(entry.path().strip_prefix(folder).expect("a walk stays under its root"))?);
        }
    }
    names.sort_unstable();
    Ok(names)
}

fn name_of(path: &Path) -> Result<String, IoError> {
    let name = if path.is_absolute() { path.file_name().map(Path::new) } else { Some(path) };
    name.and_then(Path::to_str).map(str::to_owned).ok_or_else(|| {
        IoError::new(Fault::Outside, format!("the name of the file `{}` is not UTF-8", path.display()))
            .hint("remove or rename it, or write to another place")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Ground;

    #[test]
    fn places_and_what_is_there() {
        let ground = Ground::new();
        for name in ["out/b.jsonl", "out/a/c.jsonl", "out/.b.jsonl.tmp", "out/.dflow/x", "file.csv"] {
            ground.write(name, "");
        }
        let stores = ground.stores(&[("lake", "out")]);
        let folder = |name: &str| Place::Folder(ground.path(name));
        let file = |name: &str| Place::File(ground.path(name));
        for (path, place, existing) in [
            ("-", Place::Stdout, &[][..]),
            ("lake://", folder("out"), &["a/c.jsonl", "b.jsonl"]),
            ("out", folder("out"), &["a/c.jsonl", "b.jsonl"]),
            ("lake://a", folder("out/a"), &["c.jsonl"]),
            ("lake://new/", folder("out/new"), &[]),
            ("lake://new/x.csv", file("out/new/x.csv"), &[]),
            ("file.csv", file("file.csv"), &["file.csv"]),
            ("lake://[x]*.csv", file("out/[x]*.csv"), &[]),
        ] {
            assert_eq!(stores.place(path).unwrap(), place, "{path}");
            assert_eq!(place.existing().unwrap(), existing, "{path}");
        }
        for path in ["file.csv/", "file.csv/x/", "file.csv/x"] {
            let error = stores.place(path).unwrap().existing().unwrap_err();
            assert_eq!(error.fault, Fault::Outside);
            assert!(
                error.hint.is_some() && error.message.contains(&ground.path("file.csv").display().to_string()),
                "{error}"
            );
        }
        assert_eq!(stores.place("pond://x").unwrap_err().fault, Fault::Pipeline);
        let found = |path: &str| folder("out").would_match("*.jsonl", &ground.path(path));
        assert_eq!(["out/new.jsonl", "out/a/c.jsonl", "new.jsonl"].map(found), [true, false, false]);
    }
}
