//! A folder with files for tests, and the stores of a pipeline that stands in it.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use dflow_pipeline::{BatchLimits, Bytes, Pipeline, Volume};
use futures::StreamExt;
use indexmap::IndexMap;
use tempfile::TempDir;
use tokio::runtime::{Handle, Runtime};

use crate::{IoError, SourceBatch, SourceReader, Split, Stores};

/// A temporary folder and an IO runtime.
pub(crate) struct Ground {
    folder: TempDir,
    root: PathBuf,
    runtime: Runtime,
}

impl Ground {
    pub(crate) fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        Self { folder, root, runtime }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    pub(crate) fn io(&self) -> Handle {
        self.runtime.handle().clone()
    }

    /// Writes a file and the folders above it.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub(crate) fn pipeline(&self, volumes: &[(&str, &str)]) -> Pipeline {
        let volume = |url: &str| Volume { url: url.to_owned(), ..Volume::default() };
        Pipeline {
            name: "test".to_owned(),
            param: IndexMap::new(),
            volume: volumes.iter().map(|(name, url)| (name.parse().unwrap(), volume(url))).collect(),
            plugin: IndexMap::new(),
            stage: IndexMap::new(),
            batch: BatchLimits::default(),
        }
    }

    pub(crate) fn try_stores(&self, volumes: &[(&str, &str)]) -> Result<Stores, IoError> {
        Stores::new(&self.pipeline(volumes), self.folder.path(), |_| None, self.io())
    }

    pub(crate) fn stores(&self, volumes: &[(&str, &str)]) -> Stores {
        self.try_stores(volumes).unwrap()
    }
}

/// Waits for what runs on the IO runtime.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// Limits in rows, bytes and bytes of a row.
pub(crate) fn limits(rows: u32, bytes: u64, max_row: u64) -> BatchLimits {
    BatchLimits { rows, bytes: Bytes(bytes), max_row: Bytes(max_row) }
}

/// All batches that a reader gives.
pub(crate) fn read_all(
    reader: &dyn SourceReader,
    splits: &[Split],
    projection: &[usize],
    limits: BatchLimits,
) -> Vec<SourceBatch> {
    block_on(reader.open(Arc::from(splits), Arc::from(projection), limits).map(Result::unwrap).collect())
}
