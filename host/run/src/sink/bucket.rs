//! A sink's place in a bucket: what is there, and what makes new objects count.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use dflow_io::{Manifest, ManifestFile, Place, Prepared, Stores};
use dflow_operators::StepError;
use dflow_pipeline::{Mode, Name};

use crate::faults::{Faults, Step};

/// A sink's place in a bucket.
#[derive(Debug)]
pub(super) struct InBucket {
    stores: Stores,
    /// Where files are staged here before they are uploaded.
    pub(super) staging: PathBuf,
    /// The objects that were there when the run began, counted or not: size and version.
    objects: BTreeMap<PathBuf, (u64, Option<String>)>,
    /// What said which of them count.
    manifest: Option<Manifest>,
}

/// Who writes.
pub(super) struct By<'a> {
    pub(super) pipeline: &'a str,
    pub(super) sink: &'a Name,
    pub(super) run: &'a str,
}

impl InBucket {
    /// Looks at a place. What is written there later must find it as it is seen here.
    pub(super) fn look(stores: &Stores, staging: PathBuf, place: &Place) -> Result<Self, StepError> {
        let (mut objects, mut manifest) = (BTreeMap::new(), None);
        match place {
            Place::Folder(folder) => {
                let found = stores.look_in(folder)?;
                objects.extend(found.objects.into_iter().map(|(key, about)| (folder.join(key), about)));
                manifest = found.manifest;
            }
            Place::File(path) => objects.extend(stores.look_at(path)?.map(|size| (path.clone(), (size, None)))),
            Place::Stdout => {}
        }
        Ok(Self { stores: stores.clone(), staging, objects, manifest })
    }

    /// The objects that count as being there: those that the manifest names, and our own. What is replaced is all of it.
    pub(super) fn there(&self, mode: Mode, place: &Place, own: &BTreeMap<PathBuf, Name>) -> BTreeSet<PathBuf> {
        let counted: Option<BTreeSet<PathBuf>> = match (&self.manifest, place) {
            (Some(manifest), Place::Folder(folder)) => {
                Some(manifest.files.iter().map(|file| folder.join(&file.key)).collect())
            }
            _ => None,
        };
        let counts = |path: &&PathBuf| {
            mode == Mode::Replace || own.contains_key(*path) || counted.as_ref().is_none_or(|c| c.contains(*path))
        };
        self.objects.keys().filter(counts).cloned().collect()
    }

    /// Whether an object was there, of the size that it had.
    pub(super) fn has(&self, file: &Prepared) -> bool {
        self.objects.get(&file.path).is_some_and(|(size, _)| *size == file.bytes)
    }

    /// Writes the manifest that names what was written and what stays of others, unless it says so already.
    pub(super) fn publish(
        &self,
        folder: &Path,
        others: &BTreeSet<PathBuf>,
        written: &[Prepared],
        by: &By<'_>,
        faults: &Faults,
    ) -> Result<(), StepError> {
        let others = others.iter().map(|path| self.listed(folder, path));
        let own = written.iter().map(|file| {
            let listed = self.listed(folder, &file.path);
            ManifestFile { bytes: file.bytes, rows: Some(file.rows), ..listed }
        });
        let mut files: Vec<ManifestFile> = others.chain(own).collect();
        files.sort_by(|a, b| a.key.cmp(&b.key));
        let (pipeline, sink, run) = (by.pipeline.to_owned(), by.sink.to_string(), by.run.to_owned());
        let old = self.manifest.as_ref();
        if old.is_some_and(|old| old.files == files && old.sink == sink && old.pipeline == pipeline) {
            return Ok(());
        }
        let generation = old.map_or(0, |old| old.generation) + 1;
        let (format, version) = (Manifest::FORMAT.to_owned(), Manifest::VERSION);
        faults.before(Step::Manifest);
        self.stores.put_manifest(folder, Manifest { format, version, generation, pipeline, sink, run, files })?;
        faults.after(Step::Manifest);
        Ok(())
    }

    /// Removes the folders in which files were staged, as far as they are empty.
    pub(super) fn drop_empty_folders(&self) {
        self.staging.ancestors().take(3).for_each(|folder| drop(fs::remove_dir(folder)));
    }

    /// An object as a manifest lists it.
    fn listed(&self, folder: &Path, path: &Path) -> ManifestFile {
        let key = path.strip_prefix(folder).unwrap_or(path).to_string_lossy().into_owned();
        let old = self.manifest.as_ref().and_then(|manifest| manifest.files.iter().find(|file| file.key == key));
        let (bytes, etag) = self.objects.get(path).cloned().unwrap_or_default();
        ManifestFile { rows: old.and_then(|file| file.rows), key, bytes, etag }
    }
}
