//! Where a sink's files go, and what happens to what was there.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use dflow_io::{Place, Prepared, StagedFile, Stores, assemble};
use dflow_operators::StepError;
use dflow_pipeline::{Fault, Format, Mode, Name, Write};

use crate::{journal::Journal, report::OutputFile, task::TaskOutput};

/// A sink of a run.
#[derive(Debug)]
pub(crate) struct Sink {
    pub(crate) name: Name,
    pub(crate) format: Format,
    run: String,
    place: Place,
    /// Where parts of a single file wait to be put together.
    parts: PathBuf,
    /// Files of older generations, ours or others', that go when all tasks are done.
    older: Vec<PathBuf>,
}

impl Sink {
    /// Looks at a sink's place, and refuses it when others left something there that `mode` doesn't allow for.
    pub(crate) fn open(
        name: &Name,
        write: &Write,
        stores: &Stores,
        journal: &Journal,
        run: &str,
        state: &Path,
        first: bool,
    ) -> Result<Self, StepError> {
        let mut place = stores.place(&write.path)?;
        let format = match (&place, write.format) {
            (_, Some(format)) => format,
            (Place::File(path), None) => Format::of_name(&path.to_string_lossy()).unwrap_or(Format::Jsonl),
            (Place::Stdout, None) => Format::Jsonl,
            (Place::Folder(_), None) => Format::Parquet,
        };
        if matches!(place, Place::Stdout) && format == Format::Parquet {
            let what = format!("stage `{name}`: parquet can't be written to stdout");
            return Err(
                StepError::new(Fault::Pipeline, what).hint("`format = \"jsonl\"` or `\"csv\"`, or write to a file")
            );
        }
        if first {
            place = elsewhere(&place, name, &state.join("first"))?;
        }
        let mut older = Vec::new();
        if !first {
            let own = journal.own(name);
            let folder = match &place {
                Place::Folder(path) => path.clone(),
                Place::File(path) => path.parent().map(Path::to_owned).unwrap_or_default(),
                Place::Stdout => PathBuf::new(),
            };
            let folder = std::path::absolute(&folder).unwrap_or(folder);
            let there: BTreeSet<PathBuf> = place.existing()?.into_iter().map(|name| folder.join(name)).collect();
            let others: Vec<&PathBuf> = there.difference(&own).collect();
            match write.mode {
                Mode::Error if !others.is_empty() => {
                    let what = format!(
                        "stage `{name}`: `{}` holds {} that this pipeline didn't write (such as `{}`)",
                        write.path,
                        count(others.len(), "file"),
                        others[0].display()
                    );
                    return Err(StepError::new(Fault::Pipeline, what)
                        .hint("`mode = \"replace\"` removes them, `mode = \"append\"` keeps them"));
                }
                Mode::Append if matches!(place, Place::File(_)) && !others.is_empty() => {
                    let what = format!(
                        "stage `{name}`: `{}` is one file that this pipeline didn't write, and can't be appended to",
                        write.path
                    );
                    return Err(StepError::new(Fault::Pipeline, what)
                        .hint("append to a folder (a path that ends in `/`), or replace the file"));
                }
                Mode::Replace => older.extend(others.into_iter().cloned()),
                Mode::Error | Mode::Append => {}
            }
            older.extend(own.into_iter().filter(|path| there.contains(path) && !matches!(place, Place::File(_))));
            if let Place::File(_) = place {
                // A single file is replaced by the rename that publishes its successor.
                older.clear();
            }
        }
        Ok(Self {
            name: name.clone(),
            format,
            run: run.to_owned(),
            place,
            parts: state.join("parts").join(run).join(name.as_str()),
            older,
        })
    }

    /// The place, so that two sinks on one can be told.
    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// The file that a task makes.
    pub(crate) fn output(&self, task: u32) -> TaskOutput {
        let ending = self.format.as_str();
        match &self.place {
            Place::Folder(folder) => TaskOutput {
                folder: folder.clone(),
                name: format!("{}-{}-{task:05}.{ending}", self.name, self.run),
                format: self.format,
            },
            Place::File(_) | Place::Stdout => {
                TaskOutput { folder: self.parts.clone(), name: format!("{task:05}.{ending}"), format: self.format }
            }
        }
    }

    /// Whether tasks' files are the sink's, and not parts of one.
    pub(crate) fn is_folder(&self) -> bool {
        matches!(self.place, Place::Folder(_))
    }

    /// Where the journal's own files of this sink are recorded: folders' files and single files, not stdout.
    pub(crate) fn single(&self) -> Option<PathBuf> {
        match &self.place {
            Place::File(path) => Some(path.clone()),
            Place::Folder(_) | Place::Stdout => None,
        }
    }

    /// Puts the parts of a single file together, in the order of tasks, under its temporary name.
    pub(crate) fn assemble(&self, parts: &[Prepared]) -> Result<Option<Prepared>, StepError> {
        let paths: Vec<PathBuf> = parts.iter().map(|p| p.path.clone()).collect();
        let rows = parts.iter().map(|p| p.rows).sum();
        match &self.place {
            Place::Folder(_) => Ok(None),
            Place::File(path) => {
                let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
                    return Err(StepError::new(Fault::Pipeline, format!("`{}` isn't a file's name", path.display())));
                };
                let staged = StagedFile::create(folder, &name.to_string_lossy())?;
                Ok(Some(assemble(self.format, &paths, staged)?.finish()?.with_rows(rows)))
            }
            Place::Stdout => {
                match assemble(self.format, &paths, std::io::stdout()) {
                    Ok(_) => {}
                    // Whoever reads has seen enough.
                    Err(e) if e.io_kind() == Some(std::io::ErrorKind::BrokenPipe) => {}
                    Err(e) => return Err(e.into()),
                }
                Ok(None)
            }
        }
    }

    /// What was written, for the report.
    pub(crate) fn outputs(&self, parts: &[Prepared], assembled: Option<&Prepared>) -> Vec<OutputFile> {
        let of = |path: String, file: &Prepared| OutputFile {
            sink: self.name.clone(),
            path,
            bytes: file.bytes,
            rows: file.rows,
        };
        match (&self.place, assembled) {
            (Place::Folder(_), _) => parts.iter().map(|p| of(p.path.display().to_string(), p)).collect(),
            (_, Some(file)) => vec![of(file.path.display().to_string(), file)],
            (_, None) => {
                let (bytes, rows) = parts.iter().fold((0, 0), |sum, p| (sum.0 + p.bytes, sum.1 + p.rows));
                vec![OutputFile { sink: self.name.clone(), path: "-".to_owned(), bytes, rows }]
            }
        }
    }

    /// Removes parts, and what older generations left, now that the new one is whole. Gives back what was removed.
    pub(crate) fn clean(&self, written: &[PathBuf]) -> Result<Vec<PathBuf>, StepError> {
        self.drop_parts();
        let mut removed = Vec::new();
        for path in self.older.iter().filter(|p| !written.contains(p)) {
            match fs::remove_file(path) {
                Ok(()) => {}
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                Err(e) => {
                    return Err(StepError::new(
                        Fault::Outside,
                        format!("can't remove `{}`, which was replaced: {e}", path.display()),
                    ));
                }
            }
            removed.push(path.clone());
        }
        Ok(removed)
    }

    /// Removes the parts of a single file. What can't be removed is no harm to anybody.
    pub(crate) fn drop_parts(&self) {
        if !self.is_folder() {
            drop(fs::remove_dir_all(&self.parts));
            for folder in self.parts.ancestors().skip(1).take(2) {
                drop(fs::remove_dir(folder));
            }
        }
    }
}

/// With `--first N` a sink writes under `first/` in the state folder, and that anew each time; stdout stays stdout.
fn elsewhere(place: &Place, name: &Name, first: &Path) -> Result<Place, StepError> {
    let gone = |path: &Path, result: std::io::Result<()>| match result {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(StepError::new(Fault::Outside, format!("can't remove `{}`: {e}", path.display())))
        }
        _ => Ok(()),
    };
    match place {
        Place::Stdout => Ok(Place::Stdout),
        Place::Folder(_) => {
            let folder = first.join(name.as_str());
            gone(&folder, fs::remove_dir_all(&folder))?;
            Ok(Place::Folder(folder))
        }
        Place::File(path) => {
            let file = first.join(path.file_name().unwrap_or(std::ffi::OsStr::new(name.as_str())));
            gone(&file, fs::remove_file(&file))?;
            Ok(Place::File(file))
        }
    }
}

/// `1 file`, `2 files`.
fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}
