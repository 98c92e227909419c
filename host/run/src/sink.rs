//! Where a sink's files go, and what happens to what was there.

mod bucket;
mod own;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use dflow_io::{Place, Prepared, StagedFile, Stores, assemble, is_object};
use dflow_operators::StepError;
use dflow_pipeline::{Codec, Fault, Format, Mode, Name, Write};
use dflow_plan::place_of;

use self::bucket::{By, InBucket};
pub(crate) use self::own::own_files;
use crate::{
    faults::Faults,
    report::OutputFile,
    task::SinkFiles,
    writer::{Files, Merge, TaskOutput},
};

/// A sink of a run.
#[derive(Debug)]
pub(crate) struct Sink {
    pub(crate) name: Name,
    pub(crate) format: Format,
    codec: Codec,
    files: Files,
    /// With names made of rows: what they look like.
    glob: Option<String>,
    merge: Option<Merge>,
    run: String,
    place: Place,
    /// Where parts of a single file wait to be put together.
    parts: PathBuf,
    /// Files of older generations, ours or others', that go when all tasks are done.
    older: Vec<PathBuf>,
    /// Files of others that stay.
    others: BTreeSet<PathBuf>,
    /// What is known of its place, when that is in a bucket.
    bucket: Option<InBucket>,
}

impl Sink {
    /// Looks at a sink's place, and refuses it when others left something there that `mode` doesn't allow for. `own` are the files that
    /// this pipeline has written, and the sink of each.
    pub(crate) fn open(
        name: &Name,
        write: &Write,
        stores: &Stores,
        own: &BTreeMap<PathBuf, Name>,
        run: &str,
        state: &Path,
        first: bool,
    ) -> Result<Self, StepError> {
        let (mut place, names) = place_of(write, stores)?;
        let format = match (&place, write.format) {
            (_, Some(format)) => format,
            (Place::File(path), None) => Format::of_name(&path.to_string_lossy()).unwrap_or(Format::Jsonl),
            (Place::Stdout, None) => Format::Jsonl,
            (Place::Folder(_), None) => Format::Parquet,
        };
        let codec = write.codec.unwrap_or_default();
        let files = match &names {
            Some(names) => Files::Named(names.template.clone()),
            None if write.partition_by.is_empty() => Files::One,
            None => Files::Partitioned(write.partition_by.clone()),
        };
        if first {
            place = elsewhere(&place, name, &state.join("first"))?;
        }
        let mut sink = Self {
            name: name.clone(),
            format,
            codec,
            files,
            glob: names.map(|names| names.glob),
            merge: None,
            run: run.to_owned(),
            place,
            parts: state.join("parts").join(run).join(name.as_str()),
            older: Vec::new(),
            others: BTreeSet::new(),
            bucket: None,
        };
        if let Place::Folder(path) | Place::File(path) = &sink.place
            && is_object(path)
        {
            let staging = state.join("uploads").join(run).join(name.as_str());
            let staging = std::path::absolute(&staging).unwrap_or(staging);
            sink.bucket = Some(InBucket::look(stores, staging, &sink.place)?);
        }
        if !first {
            sink.look(write, own)?;
        }
        Ok(sink)
    }

    /// A saved stage's, whose files are in a folder of ours.
    pub(crate) fn saved(name: &Name, folder: PathBuf, own: &BTreeMap<PathBuf, Name>, run: &str, state: &Path) -> Self {
        let there = std::path::absolute(&folder).unwrap_or_else(|_| folder.clone());
        let older = own.iter().filter(|(path, sink)| *sink == name && path.starts_with(&there));
        Self {
            name: name.clone(),
            format: Format::Parquet,
            codec: Codec::default(),
            files: Files::One,
            glob: None,
            merge: None,
            run: run.to_owned(),
            older: older.map(|(path, _)| path.clone()).collect(),
            place: Place::Folder(folder),
            parts: state.join("parts").join(run).join(name.as_str()),
            others: BTreeSet::new(),
            bucket: None,
        }
    }

    /// Looks at what is there already.
    fn look(&mut self, write: &Write, own: &BTreeMap<PathBuf, Name>) -> Result<(), StepError> {
        let refused = |what: String| StepError::new(Fault::Pipeline, format!("stage `{}`: {what}", self.name));
        let folder = match &self.place {
            Place::Folder(path) => path.clone(),
            Place::File(path) => path.parent().map(Path::to_owned).unwrap_or_default(),
            Place::Stdout => PathBuf::new(),
        };
        let folder = std::path::absolute(&folder).unwrap_or(folder);
        let there: BTreeSet<PathBuf> = match (&self.bucket, &self.glob) {
            (Some(bucket), _) => bucket.there(write.mode, &self.place, own),
            (None, Some(glob)) => self.place.matching(glob)?.into_iter().map(|name| folder.join(name)).collect(),
            (None, None) => self.place.existing()?.into_iter().map(|name| folder.join(name)).collect(),
        };
        let others: Vec<&PathBuf> = there.iter().filter(|path| !own.contains_key(*path)).collect();
        let single = matches!(self.place, Place::File(_));
        match write.mode {
            Mode::Error if !others.is_empty() => {
                let what = format!(
                    "`{}` holds {} that this pipeline didn't write (such as `{}`)",
                    write.path,
                    count(others.len(), "file"),
                    others[0].display()
                );
                return Err(refused(what).hint("`mode = \"replace\"` removes them, `mode = \"append\"` keeps them"));
            }
            Mode::Append if single && !others.is_empty() => {
                let what =
                    format!("`{}` is one file that this pipeline didn't write, and can't be appended to", write.path);
                return Err(refused(what).hint("append to a folder (a path that ends in `/`), or replace the file"));
            }
            Mode::Merge if !matches!(self.files, Files::Named(_)) => {
                let of_another = |path: &&PathBuf| Format::of_name(&path.to_string_lossy()) != Some(self.format);
                if let Some(other) = there.iter().find(of_another) {
                    let what =
                        format!("`{}` isn't {}, and can't be merged with", other.display(), self.format.as_str());
                    return Err(refused(what).hint("move it away"));
                }
                let root = if single { PathBuf::new() } else { folder };
                self.merge = Some(Merge { key: write.key.clone(), files: there.into_iter().collect(), root });
                return Ok(());
            }
            // Files of the same names are replaced by those that the rows make.
            Mode::Merge => return Ok(()),
            Mode::Replace => self.older.extend(others.into_iter().cloned()),
            Mode::Append => self.others = others.into_iter().cloned().collect(),
            Mode::Error => {}
        }
        self.older.extend(there.iter().filter(|path| own.get(*path) == Some(&self.name)).cloned());
        if single {
            // A single file is replaced by the rename that publishes its successor.
            self.older.clear();
        }
        Ok(())
    }

    /// Where it writes, so that two sinks on one place can be told.
    pub(crate) fn place(&self) -> (&Place, Option<&str>) {
        (&self.place, self.glob.as_deref())
    }

    /// What a task makes.
    pub(crate) fn output(&self, task: u32) -> TaskOutput {
        let ending = self.format.as_str();
        let (format, files, merge) = (self.format, self.files.clone(), self.merge.clone());
        match &self.place {
            Place::Folder(folder) => {
                let name = format!("{}-{}-{task:05}.{ending}{}", self.name, self.run, self.codec.ending());
                let merge = merge.map(|merge| Merge { root: folder.clone(), ..merge });
                let staging = self.bucket.as_ref().map(|bucket| bucket.staging.clone());
                TaskOutput { folder: folder.clone(), staging, name, format, codec: self.codec, files, merge }
            }
            // Parts are put together as they are, and what comes of it is compressed.
            Place::File(_) | Place::Stdout => {
                let (folder, name) = (self.parts.clone(), format!("{task:05}.{ending}"));
                TaskOutput { folder, staging: None, name, format, codec: Codec::None, files, merge }
            }
        }
    }

    /// Whether files are published when all tasks are done, since their names don't tell tasks and generations apart.
    pub(crate) fn publishes_last(&self) -> bool {
        matches!(self.files, Files::Named(_))
    }

    /// Whether a task's file without rows waits for what the others give: it shows the columns when nothing has any rows.
    pub(crate) fn keeps_back(&self, made: &SinkFiles) -> bool {
        self.shows_columns() && made.rows() == 0 && made.replaced.is_empty()
    }

    /// Refuses names that files of others have, which stay.
    pub(crate) fn refuse_taken<'a>(&self, mut files: impl Iterator<Item = &'a Prepared>) -> Result<(), StepError> {
        match files.find(|file| self.others.contains(&file.path)) {
            None => Ok(()),
            Some(file) => {
                let what = format!(
                    "stage `{}`: `{}` is there already, and this pipeline didn't write it",
                    self.name,
                    file.path.display()
                );
                Err(StepError::new(Fault::Pipeline, what)
                    .hint("`mode = \"merge\"` replaces files of the same names, `mode = \"replace\"` all"))
            }
        }
    }

    /// How its files are compressed.
    pub(crate) fn codec(&self) -> Codec {
        self.codec
    }

    /// The folder of its files, if it is one.
    pub(crate) fn folder(&self) -> &Path {
        match &self.place {
            Place::Folder(path) => path,
            Place::File(_) | Place::Stdout => Path::new(""),
        }
    }

    /// Of a place in a bucket: where files are staged here.
    pub(crate) fn staging(&self) -> Option<&Path> {
        self.bucket.as_ref().map(|bucket| bucket.staging.as_path())
    }

    /// Whether its place is in a bucket.
    pub(crate) fn is_in_bucket(&self) -> bool {
        self.bucket.is_some()
    }

    /// Whether new rows take the place of those that are there.
    pub(crate) fn merges(&self) -> bool {
        self.merge.is_some()
    }

    /// Whether a file is where this sink's are now: in its folder, or, of a part, in that of the parts of this run or earlier ones.
    pub(crate) fn holds(&self, file: &Prepared) -> bool {
        let folder = match &self.place {
            Place::Folder(folder) if is_object(folder) => return file.path.starts_with(folder),
            Place::Folder(folder) => Some(folder.as_path()),
            Place::File(_) | Place::Stdout => self.parts.ancestors().nth(2),
        };
        folder.and_then(|folder| std::path::absolute(folder).ok()).is_some_and(|folder| file.path.starts_with(folder))
    }

    /// Whether a file is there, of the size that it had.
    pub(crate) fn is_there(&self, file: &Prepared) -> bool {
        match &self.bucket {
            Some(bucket) if is_object(&file.path) => bucket.has(file),
            _ => fs::metadata(&file.path).is_ok_and(|found| found.is_file() && found.len() == file.bytes),
        }
    }

    /// Whether a path is that of a part of this run.
    pub(crate) fn made_part(&self, path: &Path) -> bool {
        std::path::absolute(&self.parts).is_ok_and(|parts| path.starts_with(parts))
    }

    /// Whether a file without rows shows the columns when nothing has any rows.
    pub(crate) fn shows_columns(&self) -> bool {
        self.is_folder() && self.files == Files::One
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
                let staged = match &self.bucket {
                    Some(bucket) => StagedFile::of_object(&bucket.staging, path.clone())?,
                    None => StagedFile::create(folder, &name.to_string_lossy())?,
                };
                Ok(Some(assemble(self.format, self.codec, &paths, staged)?.finish()?.with_rows(rows)))
            }
            Place::Stdout => {
                match assemble(self.format, self.codec, &paths, std::io::stdout()) {
                    Ok(_) => {}
                    // Whoever reads has seen enough.
                    Err(e) if e.io_kind() == Some(std::io::ErrorKind::BrokenPipe) => {}
                    Err(e) => return Err(e.into()),
                }
                Ok(None)
            }
        }
    }

    /// Makes the files of a folder in a bucket visible, all at once; nothing where files are here.
    pub(crate) fn publish_manifest(
        &self,
        pipeline: &str,
        written: &[Prepared],
        faults: &Faults,
    ) -> Result<(), StepError> {
        let Some(bucket) = &self.bucket else { return Ok(()) };
        if let Place::Folder(folder) = &self.place {
            let by = By { pipeline, sink: &self.name, run: &self.run };
            bucket.publish(folder, &self.others, written, &by, faults)?;
        }
        bucket.drop_empty_folders();
        Ok(())
    }

    /// What was written, for the report.
    pub(crate) fn outputs(&self, parts: &[Prepared], assembled: Option<&Prepared>) -> Vec<OutputFile> {
        let of = |path: String, file: &Prepared| OutputFile {
            sink: self.name.clone(),
            path,
            bytes: file.bytes,
            rows: file.rows,
        };
        let sum = |path: String| {
            let (bytes, rows) = parts.iter().fold((0, 0), |sum, p| (sum.0 + p.bytes, sum.1 + p.rows));
            OutputFile { sink: self.name.clone(), path, bytes, rows }
        };
        match (&self.place, assembled) {
            // As many as there are rows, or values: nobody wants to read them all.
            (Place::Folder(folder), _) if self.files != Files::One => {
                let below = match &self.files {
                    Files::Named(template) => template.clone(),
                    Files::Partitioned(columns) => columns.iter().map(|column| format!("{column}=…/")).collect(),
                    Files::One => String::new(),
                };
                vec![sum(folder.join(below).display().to_string())]
            }
            (Place::Folder(_), _) => parts.iter().map(|p| of(p.path.display().to_string(), p)).collect(),
            (_, Some(file)) => vec![of(file.path.display().to_string(), file)],
            (_, None) => vec![sum("-".to_owned())],
        }
    }

    /// The files of older generations that go when the new one, `written`, is whole.
    pub(crate) fn older(&self, written: &[PathBuf]) -> Vec<PathBuf> {
        let written: BTreeSet<&PathBuf> = written.iter().collect();
        self.older.iter().filter(|path| !written.contains(path)).cloned().collect()
    }

    /// Removes the folders in which nothing is left, now that files in them are gone. One that isn't empty can't be removed.
    pub(crate) fn drop_empty_folders(&self, removed: &[PathBuf]) {
        let Place::Folder(root) = &self.place else { return };
        if is_object(root) {
            return;
        }
        let root = std::path::absolute(root).unwrap_or_default();
        let folders: BTreeSet<&Path> = removed.iter().filter_map(|path| path.parent()).collect();
        for folder in folders.into_iter().rev() {
            for folder in folder.ancestors().take_while(|folder| *folder != root && folder.starts_with(&root)) {
                if fs::remove_dir(folder).is_err() {
                    break;
                }
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
