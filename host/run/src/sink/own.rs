//! Whose the files are that this pipeline has written. A sink that was renamed finds its own under the old name, and its folder must not
//! hold their rows twice.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    path::{Path, PathBuf},
};

use dflow_io::{Place, Stores, is_object};
use dflow_operators::StepError;
use dflow_pipeline::{Mode, Name, Verb, Write};
use dflow_plan::{Plan, place_of};

use crate::journal::Known;

/// The files that this pipeline has published and not removed, and the sink of each. Those of a sink that it has no longer, or that
/// writes elsewhere now, are of the sink that writes there now, if there is one.
pub(crate) fn own_files(plan: &Plan, stores: &Stores, known: Known<'_>) -> Result<BTreeMap<PathBuf, Name>, StepError> {
    let mut own = known.own()?;
    let sinks = plan.pipeline.stage.iter().filter_map(|(name, stage)| match &stage.verb {
        Verb::Write(write) => Heir::of(name, write, stores),
        _ => None,
    });
    let sinks: Vec<Heir<'_>> = sinks.collect();
    for (path, sink) in &mut own {
        let heir = heir(&sinks, path, sink);
        if let Some(heir) = heir
            && known.is_of(path, &plan.pipeline.name)?
        {
            *sink = heir.clone();
        }
    }
    Ok(own)
}

/// The sink that a file of `by` is left to: of several the one whose place is the narrowest. `None` where it is still that of `by`, or nobody's.
fn heir<'a>(sinks: &[Heir<'a>], path: &Path, by: &Name) -> Option<&'a Name> {
    let mut same = sinks.iter().filter(|sink| sink.name == by).peekable();
    let gone = same.peek().is_none();
    if same.any(|sink| sink.holds(path)) {
        return None;
    }
    let heirs = sinks.iter().filter(|sink| sink.inherits(path, by, gone));
    heirs.max_by_key(|sink| sink.depth()).map(|sink| sink.name)
}

/// A sink to which others may have left files.
struct Heir<'a> {
    name: &'a Name,
    place: Place,
    /// With names made of rows: what they look like.
    glob: Option<String>,
    /// Whether all that is there goes.
    replaces: bool,
}

impl<'a> Heir<'a> {
    /// `None` of one whose rows aren't kept in files. One that has no place at all is refused when it is opened.
    fn of(name: &'a Name, write: &Write, stores: &Stores) -> Option<Self> {
        let (place, names) = place_of(write, stores).ok()?;
        let place = match place {
            Place::Folder(folder) => Place::Folder(absolute(folder)),
            Place::File(file) => Place::File(absolute(file)),
            Place::Stdout => return None,
        };
        Some(Self { name, place, glob: names.map(|names| names.glob), replaces: write.mode == Mode::Replace })
    }

    /// Whether a file is in its place.
    fn holds(&self, path: &Path) -> bool {
        match &self.place {
            Place::Folder(folder) => path.starts_with(folder),
            Place::File(file) => path == file,
            Place::Stdout => false,
        }
    }

    /// Whether a file of `by` is what this sink would have written under that name: in its folder, or in those of values below, and named
    /// as tasks name theirs. What else is below may be a sink's that had a folder of its own there; it stays, unless all of it goes.
    fn inherits(&self, path: &Path, by: &Name, gone: bool) -> bool {
        let Place::Folder(folder) = &self.place else { return self.holds(path) };
        let Ok(below) = path.strip_prefix(folder) else { return false };
        let parts: Vec<_> = below.iter().map(OsStr::to_string_lossy).collect();
        // What is hidden there is no sink's: the rows of saved stages are.
        let Some((file, folders)) = parts.split_last().filter(|_| !parts.iter().any(|part| part.starts_with('.')))
        else {
            return false;
        };
        if let Some(glob) = &self.glob {
            return self.place.would_match(glob, path);
        }
        let of_task = file.strip_prefix(by.as_str()).is_some_and(|rest| rest.starts_with('-'));
        (of_task && folders.iter().all(|folder| folder.contains('='))) || (gone && self.replaces)
    }

    /// How narrow its place is.
    fn depth(&self) -> (usize, bool) {
        match &self.place {
            Place::Folder(path) | Place::File(path) => (path.components().count(), self.glob.is_some()),
            Place::Stdout => (0, false),
        }
    }
}

/// A path as the journal has it.
fn absolute(path: PathBuf) -> PathBuf {
    if is_object(&path) { path } else { std::path::absolute(&path).unwrap_or(path) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_left_to_who_writes_there_now() {
        let name = |text: &str| text.parse::<Name>().expect("a name");
        let (wide, narrow, texts, one) = (name("wide"), name("narrow"), name("texts"), name("one"));
        let (folder, file) = (|path: &str| Place::Folder(path.into()), Place::File("/out/one.csv".into()));
        let heir_of = |path: &str, by: &str, replaces: bool| {
            let sinks = [
                Heir { name: &wide, place: folder("/out"), glob: None, replaces },
                Heir { name: &narrow, place: folder("/out/narrow"), glob: None, replaces: false },
                Heir { name: &texts, place: folder("/out/texts"), glob: Some("*.txt".to_owned()), replaces: false },
                Heir { name: &one, place: file.clone(), glob: None, replaces: false },
            ];
            heir(&sinks, Path::new(path), &name(by)).map(ToString::to_string)
        };
        for (path, by, expected, replaced) in [
            ("/out/old-1f-00000.jsonl", "old", Some("wide"), Some("wide")),
            ("/out/lang=de/year=1/old-1f-00000.jsonl", "old", Some("wide"), Some("wide")),
            ("/out/narrow/old-1f-00000.jsonl", "old", Some("narrow"), Some("narrow")),
            ("/out/texts/a.txt", "old", Some("texts"), Some("texts")),
            ("/out/one.csv", "old", Some("one"), Some("one")),
            // Of a sink that had a place of its own, which nobody has now.
            ("/out/gone/old-1f-00000.jsonl", "old", None, Some("wide")),
            ("/out/other.csv", "old", None, Some("wide")),
            // Of one that has another place now.
            ("/out/narrow-1f-00000.jsonl", "narrow", Some("wide"), Some("wide")),
            ("/out/gone/narrow-1f-00000.jsonl", "narrow", None, None),
            // Its own, hidden, or elsewhere.
            ("/out/narrow/narrow-1f-00000.jsonl", "narrow", None, None),
            ("/out/.dflow/store/saved/1f/saved-1f-00000.parquet", "saved", None, None),
            ("/outside/old-1f-00000.jsonl", "old", None, None),
        ] {
            assert_eq!(heir_of(path, by, false).as_deref(), expected, "{path}");
            assert_eq!(heir_of(path, by, true).as_deref(), replaced, "{path}");
        }
    }
}
