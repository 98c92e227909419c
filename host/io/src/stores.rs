//! Where bytes are: the volumes of a pipeline.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use dflow_pipeline::{Fault, Pipeline};
use object_store::{ObjectStore, local::LocalFileSystem};
use tokio::runtime::Handle;

use crate::{
    IoError, Split,
    location::{ABSOLUTE, Location, RELATIVE},
};

/// The places that a pipeline's paths mean: `volume://path`, `file:///absolute`, `/absolute`, or relative to the pipeline's
/// folder. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Stores {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// The root of each volume, absolute.
    roots: BTreeMap<String, PathBuf>,
    disk: Arc<LocalFileSystem>,
    io: Handle,
}

impl Stores {
    /// The places of a pipeline that stands in a folder. A volume's `url` is `file://` and an absolute path, or a path
    /// relative to that folder; it need not exist yet. Reading happens on `io`.
    ///
    /// # Errors
    /// A volume on a store that can't be reached (fault `Pipeline`).
    pub fn new(pipeline: &Pipeline, folder: &Path, io: Handle) -> Result<Self, IoError> {
        // The real folder, so that a leading `..` means the same to us as to the operating system.
        let folder = folder
            .canonicalize()
            .or_else(|_| std::path::absolute(folder))
            .map_err(|error| IoError::os("find", folder, error))?;
        let mut roots = BTreeMap::new();
        for (name, volume) in &pipeline.volume {
            if name.as_str() == ABSOLUTE {
                return Err(IoError::new(Fault::Pipeline, "a volume can't be named `file`")
                    .hint("`file://` stands for absolute paths; choose another name"));
            }
            let path = match volume.url.split_once("://") {
                None => volume.url.as_str(),
                Some((ABSOLUTE, path)) if path.starts_with('/') => path,
                Some((ABSOLUTE, path)) => {
                    let message = format!("the url `{}` of the volume `{name}` is not an absolute path", volume.url);
                    return Err(IoError::new(Fault::Pipeline, message).hint(format!(
                        "write `file:///{path}`, or `{path}` for a path relative to the pipeline's folder"
                    )));
                }
                Some((scheme, _)) => {
                    let message = format!("no store for `{scheme}://`, the url of the volume `{name}`");
                    return Err(IoError::new(Fault::Pipeline, message)
                        .hint("a volume is a folder: `file://` and an absolute path, or a path relative to the pipeline's folder"));
                }
            };
            roots.insert(name.to_string(), folder.join(path));
        }
        roots.insert(ABSOLUTE.to_owned(), PathBuf::from("/"));
        roots.insert(RELATIVE.to_owned(), folder);
        Ok(Self { inner: Arc::new(Inner { roots, disk: Arc::new(LocalFileSystem::new()), io }) })
    }

    /// The runtime on which reading happens.
    pub fn io(&self) -> &Handle {
        &self.inner.io
    }

    /// Where a split's file is.
    ///
    /// # Panics
    /// If the split is of another pipeline: its volume must be one that these stores were made with.
    pub fn local_path(&self, split: &Split) -> PathBuf {
        self.path_in(&split.volume, &split.path)
    }

    /// The whole content of a split's file.
    ///
    /// # Errors
    /// It can't be read (fault `Outside`).
    pub async fn read(&self, split: &Split) -> Result<Bytes, IoError> {
        let (path, uri) = (self.local_path(split), split.uri());
        self.io()
            .spawn_blocking(move || fs::read(path))
            .await
            .map_err(IoError::lost)?
            .map(Bytes::from)
            .map_err(|error| IoError::os_named("read", &uri, error))
    }

    /// The store that has a split's file, and its path there, for readers of tabular formats. All local files are in one
    /// store, so the path there is absolute; the identity is the split's.
    ///
    /// # Panics
    /// As [`local_path`](Self::local_path).
    pub fn object_store(&self, split: &Split) -> (Arc<dyn ObjectStore>, object_store::path::Path) {
        let path = self.local_path(split);
        // What the store has no path for (control characters) it doesn't find: reading gives its error, with the name.
        let location = object_store::path::Path::from_absolute_path(&path)
            .unwrap_or_else(|_| object_store::path::Path::from(path.to_string_lossy().as_ref()));
        (Arc::<LocalFileSystem>::clone(&self.inner.disk), location)
    }

    /// What a path in the user's words means.
    pub(crate) fn locate(&self, text: &str) -> Result<Location, IoError> {
        let named = self.inner.roots.keys().map(String::as_str).filter(|name| !matches!(*name, ABSOLUTE | RELATIVE));
        Location::parse(text, named)
    }

    /// Where a location is on the disk.
    pub(crate) fn path_of(&self, location: &Location) -> PathBuf {
        self.path_in(&location.volume, &location.path)
    }

    fn path_in(&self, volume: &str, path: &str) -> PathBuf {
        let root = self.inner.roots.get(volume).expect("a location's volume is one of its pipeline's");
        let (mut root, mut path) = (root.as_path(), path);
        while let Some(rest) = path.strip_prefix("..").filter(|rest| rest.is_empty() || rest.starts_with('/')) {
            root = root.parent().unwrap_or(root);
            path = rest.trim_start_matches('/');
        }
        if path.is_empty() { root.to_owned() } else { root.join(path) }
    }
}

#[cfg(test)]
mod tests {
    use object_store::ObjectStoreExt;

    use super::*;
    use crate::testing::{Ground, block_on};

    #[test]
    fn volumes_are_folders() {
        let ground = Ground::new();
        for (url, message) in [
            (
                "s3://bucket/x",
                "no store for `s3://`, the url of the volume `docs`\n  hint: a volume is a folder: `file://` and an absolute path, or a path relative to the pipeline's folder",
            ),
            (
                "file://x/y",
                "the url `file://x/y` of the volume `docs` is not an absolute path\n  hint: write `file:///x/y`, or `x/y` for a path relative to the pipeline's folder",
            ),
        ] {
            let error = ground.try_stores(&[("docs", url)]).unwrap_err();
            assert_eq!((error.fault, error.to_string().as_str()), (Fault::Pipeline, message));
        }
        assert!(ground.try_stores(&[("file", "x")]).is_err());
    }

    #[test]
    fn a_split_is_found_by_path_and_by_store() {
        let ground = Ground::new();
        let odd = "in/ü #[x] 1%20.txt";
        ground.write(odd, "hello");
        ground.write("side.txt", "side");
        let inner = ground.path("in/sub");
        fs::create_dir_all(&inner).unwrap();
        let stores = ground.stores(&[("docs", "in")]);
        let absolute = format!("{}/{odd}", ground.root().display());
        for pattern in [odd, &format!("docs://{}", &odd[3..]), &absolute] {
            let splits = block_on(stores.list(pattern)).unwrap();
            assert_eq!(splits.len(), 1, "{pattern}");
            assert_eq!(stores.local_path(&splits[0]), ground.path(odd));
            assert_eq!(block_on(stores.read(&splits[0])).unwrap().as_ref(), b"hello");
            let (store, path) = stores.object_store(&splits[0]);
            let read = ground.io().block_on(async { store.get(&path).await.unwrap().bytes().await.unwrap() });
            assert_eq!(read.as_ref(), b"hello");
        }
        let nested = Stores::new(&ground.pipeline(&[]), &inner, ground.io()).unwrap();
        let split = block_on(nested.list("../../side.txt")).unwrap().remove(0);
        assert_eq!((split.uri().as_str(), split.volume.as_str()), ("../../side.txt", ""));
        assert_eq!(nested.local_path(&split), ground.path("side.txt"));
        let (store, path) = nested.object_store(&split);
        assert!(ground.io().block_on(async { store.head(&path).await }).is_ok());
        fs::remove_file(ground.path("side.txt")).unwrap();
        let error = block_on(nested.read(&split)).unwrap_err();
        assert_eq!(error.to_string(), "can't read `../../side.txt`: No such file or directory (os error 2)");
    }
}
