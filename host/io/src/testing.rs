//! A folder with files for tests, and the stores of a pipeline that stands in it.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
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
            ..Pipeline::default()
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

/// A server, `tests/servers/web.py`, for as long as this lives.
pub(crate) struct Server {
    child: Child,
    stdin: Option<ChildStdin>,
    pub(crate) site: String,
}

impl Server {
    pub(crate) fn of(ground: &Ground) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/servers/web.py");
        let mut child = Command::new("python3")
            .arg(script)
            .arg(ground.path("docs"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 is there");
        let mut site = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut site).unwrap();
        let stdin = child.stdin.take();
        Self { child, stdin, site: site.trim().to_owned() }
    }

    /// Stores with a volume for each way of serving.
    pub(crate) fn stores(&self, ground: &Ground, modes: &[&str]) -> Stores {
        let volumes: Vec<_> =
            modes.iter().map(|mode| (mode.replace('-', "_"), format!("{}/{mode}", self.site))).collect();
        let volumes: Vec<_> = volumes.iter().map(|(name, url)| (name.as_str(), url.as_str())).collect();
        ground.stores(&volumes)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stdin.take());
        self.child.wait().unwrap();
    }
}
