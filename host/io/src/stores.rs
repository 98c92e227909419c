//! Where bytes are: the volumes of a pipeline.

use std::{
    collections::BTreeMap,
    fs::{File, Metadata},
    io::{self, Read},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use bytes::Bytes;
use dflow_pipeline::{Codec, Fault, Grant, Pipeline};
use object_store::{ObjectStore, local::LocalFileSystem};
use tokio::runtime::Handle;

use crate::{
    GrantedHttp, IoError, Split,
    bucket::{Bucket, Variables},
    content::Content,
    location::{ABSOLUTE, Location, RELATIVE},
    web::{CHANGED, CHANGED_MEANWHILE, Request, Web},
};

/// The places that a pipeline's paths mean: `volume://path`, `file:///absolute`, `/absolute`, or relative to the pipeline's
/// folder. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Stores {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    roots: BTreeMap<String, Root>,
    disk: Arc<LocalFileSystem>,
    variables: Variables,
    io: Handle,
}

/// Where a volume is.
#[derive(Debug)]
enum Root {
    /// An absolute path.
    Folder(PathBuf),
    Web(Web),
    Bucket(Arc<Bucket>),
}

/// A file on this machine, read from its start to its end. Who writes it anew in its place makes it shorter first: what was read is then
/// of neither version. One that only grows is read as far as it goes, and one that is replaced stays what it was for who has it open.
struct LocalFile {
    file: File,
    opened: Metadata,
}

impl LocalFile {
    fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        Ok(Self { opened: file.metadata()?, file })
    }
}

impl Read for LocalFile {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(into)?;
        if read == 0 && !into.is_empty() {
            let (then, now) = (&self.opened, self.file.metadata()?);
            if now.len() < then.len() || (now.len() == then.len() && now.modified().ok() != then.modified().ok()) {
                return Err(io::Error::other(CHANGED_MEANWHILE));
            }
        }
        Ok(read)
    }
}

/// The stored bytes of a file, of which it is told when they break off.
struct Watched {
    stored: Box<dyn Read + Send>,
    broke_off: Arc<AtomicBool>,
}

impl Read for Watched {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.stored.read(into).inspect_err(|error| {
            if error.kind() != io::ErrorKind::Interrupted {
                self.broke_off.store(true, Relaxed);
            }
        })
    }
}

impl Stores {
    /// The places of a pipeline that stands in a folder. A volume's `url` is `file://` and an absolute path, or a path
    /// relative to that folder; it need not exist yet; or `http://` and `https://`, or `s3://`, whose keys are looked up in
    /// `variables`. Reading happens on `io`.
    ///
    /// # Errors
    /// A volume on a store that can't be reached (fault `Pipeline`).
    pub fn new(pipeline: &Pipeline, folder: &Path, variables: Variables, io: Handle) -> Result<Self, IoError> {
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
                Some(("http" | "https", _)) => {
                    let web = Web::new(name.as_str(), volume, io.clone())?;
                    roots.insert(name.to_string(), Root::Web(web));
                    continue;
                }
                Some(("s3", _)) => {
                    let bucket = Bucket::new(name.as_str(), volume, variables, io.clone());
                    roots.insert(name.to_string(), Root::Bucket(Arc::new(bucket)));
                    continue;
                }
                Some((scheme, _)) => {
                    let message = format!("no store for `{scheme}://`, the url of the volume `{name}`");
                    return Err(IoError::new(Fault::Pipeline, message)
                        .hint("a volume is a folder, `file://` and an absolute path or a path relative to the pipeline's folder, on the web, `https://`, or a bucket, `s3://`"));
                }
            };
            roots.insert(name.to_string(), Root::Folder(within(&folder, folder.join(path))));
        }
        roots.insert(ABSOLUTE.to_owned(), Root::Folder(PathBuf::from("/")));
        roots.insert(RELATIVE.to_owned(), Root::Folder(folder));
        let disk = Arc::new(LocalFileSystem::new());
        Ok(Self { inner: Arc::new(Inner { roots, disk, variables, io }) })
    }

    /// What makes the requests that a plugin is granted; `None` when it is granted none.
    ///
    /// # Errors
    /// As of [`GrantedHttp::new`].
    pub fn granted_http(&self, plugin: &str, grant: &Grant) -> Result<Option<GrantedHttp>, IoError> {
        GrantedHttp::new(plugin, grant, self.inner.variables, self.inner.io.clone())
    }

    /// The runtime on which reading happens.
    pub fn io(&self) -> &Handle {
        &self.inner.io
    }

    /// Where a split's file is on this machine; `None` when it is on the web or in a bucket.
    ///
    /// # Panics
    /// If the split is of another pipeline: its volume must be one that these stores were made with.
    pub fn local_path(&self, split: &Split) -> Option<PathBuf> {
        self.path_in(&split.volume, &split.path)
    }

    /// Asks for a split's file, if it is on the web or in a bucket: a server takes its time to answer.
    pub(crate) fn request(&self, split: &Split) -> Option<Request> {
        match self.root(&split.volume) {
            Root::Web(web) => Some(web.request(split)),
            Root::Bucket(bucket) => Some(bucket.request(split)),
            Root::Folder(_) => None,
        }
    }

    /// The stored bytes of a split's file, to be read on a thread that may block.
    fn stored(&self, split: &Split, request: Option<Request>) -> io::Result<Box<dyn Read + Send>> {
        let stored: Box<dyn Read + Send> = match (request.or_else(|| self.request(split)), self.local_path(split)) {
            (Some(request), _) => Box::new(request.answer(self.io())?),
            (None, Some(path)) => Box::new(LocalFile::open(&path)?),
            (None, None) => return Err(io::Error::other("it is neither here nor on the web")),
        };
        Ok(stored)
    }

    /// The content of a split's file, to be read on a thread that may block. `request` is one for it that was made before.
    pub(crate) fn open(&self, split: &Split, codec: Codec, request: Option<Request>) -> io::Result<Content> {
        Content::new(codec, self.stored(split, request)?, Some(self.io().clone()))
    }

    /// What is wrong with a split's file on this machine if it isn't what was listed (fault `Outside`): who reads parts of it one after the other
    /// may have those of both versions. So of one that can't be looked at: it may be back when the next run reads it.
    pub fn changed(&self, split: &Split) -> Option<IoError> {
        let why = match self.local_path(split)?.metadata() {
            Ok(now) if Split::of_file(split.location(), &now).etag == split.etag => return None,
            Ok(_) => CHANGED.to_owned(),
            Err(error) => error.to_string(),
        };
        Some(IoError::new(Fault::Outside, format!("can't read `{}`: {why}", split.uri())))
    }

    /// The content of a split's file, decompressed by a codec or by the one that its name says, to be read on a thread that may
    /// block: on the web each read waits for the server. `broke_off` becomes true when it can't be read to its end for a reason
    /// outside: who decodes it can't tell that from what is wrong with its content.
    ///
    /// # Errors
    /// It can't be read (fault `Outside`), or is empty although it should be compressed (`Data`).
    pub fn reader(
        &self,
        split: &Split,
        codec: Option<Codec>,
        broke_off: &Arc<AtomicBool>,
    ) -> Result<impl Read + Send + use<>, IoError> {
        let codec = codec.unwrap_or_else(|| Codec::of_name(&split.path));
        let content = self.stored(split, None).and_then(|stored| {
            let stored = Watched { stored, broke_off: Arc::clone(broke_off) };
            Content::new(codec, Box::new(stored), Some(self.io().clone()))
        });
        content.map_err(|error| {
            let (fault, message) = crate::content::describe(codec, &split.uri(), "", error);
            IoError::new(fault, message)
        })
    }

    /// The whole content of a split's file, as it is stored.
    ///
    /// # Errors
    /// It can't be read (fault `Outside`).
    pub async fn read(&self, split: &Split) -> Result<Bytes, IoError> {
        self.content(split.clone(), Codec::None).await.map(Bytes::from)
    }

    /// The whole content of a file that need not have been listed.
    pub(crate) async fn content_at(&self, location: Location, codec: Codec) -> Result<Vec<u8>, IoError> {
        let Location { volume, path } = location;
        self.content(Split { volume, path, size: 0, modified: 0, range: None, etag: String::new() }, codec).await
    }

    async fn content(&self, split: Split, codec: Codec) -> Result<Vec<u8>, IoError> {
        let stores = self.clone();
        let uri = split.uri();
        let read = move || {
            let mut bytes = Vec::new();
            stores.open(&split, codec, None)?.read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let content = self.io().spawn_blocking(read).await.map_err(IoError::lost)?;
        content.map_err(|error: io::Error| {
            let (fault, message) = crate::content::describe(codec, &uri, "", error);
            IoError::new(fault, message)
        })
    }

    /// The store that has a split's file, and its path there, for readers of tabular formats. All local files are in one
    /// store, so the path there is absolute; the identity is the split's. A store on the web keeps its timeouts by the clock of
    /// the runtime that polls it.
    ///
    /// # Errors
    /// The file's name is none that a store can have (fault `Data`).
    ///
    /// # Panics
    /// As [`local_path`](Self::local_path).
    pub fn object(&self, split: &Split) -> Result<(Arc<dyn ObjectStore>, object_store::path::Path), IoError> {
        match self.root(&split.volume) {
            Root::Web(web) => return Ok((web.store(), web.location(&split.path)?)),
            Root::Bucket(bucket) => return Ok((bucket.store()?, bucket.key(&split.path)?)),
            Root::Folder(_) => {}
        }
        let path = self.local_path(split).unwrap_or_default();
        let location = object_store::path::Path::from_absolute_path(&path).map_err(|error| {
            let message = format!("`{}` has a name that can't be read in this format: {error}", split.uri());
            IoError::new(Fault::Data, message).hint("rename it")
        })?;
        Ok((Arc::<LocalFileSystem>::clone(&self.inner.disk), location))
    }

    /// A file on the disk, as it is now.
    ///
    /// # Errors
    /// It isn't there, or its name isn't UTF-8 (fault `Outside`).
    pub fn split(&self, path: &Path) -> Result<Split, IoError> {
        let path = std::path::absolute(path).map_err(|error| IoError::os("find", path, error))?;
        let metadata = path.metadata().map_err(|error| IoError::os("read", &path, error))?;
        let name = path
            .to_str()
            .ok_or_else(|| IoError::new(Fault::Outside, format!("the path `{}` isn't UTF-8", path.display())))?;
        let location = Location { volume: ABSOLUTE.to_owned(), path: name.trim_start_matches('/').to_owned() };
        Ok(Split::of_file(location, &metadata))
    }

    /// What a path in the user's words means.
    pub(crate) fn locate(&self, text: &str) -> Result<Location, IoError> {
        let named = self.inner.roots.keys().map(String::as_str).filter(|name| !matches!(*name, ABSOLUTE | RELATIVE));
        Location::parse(text, named)
    }

    /// Where a location is on the disk; `None` when it is on the web.
    pub(crate) fn path_of(&self, location: &Location) -> Option<PathBuf> {
        self.path_in(&location.volume, &location.path)
    }

    /// A volume that is on the web.
    pub(crate) fn web(&self, volume: &str) -> Option<&Web> {
        match self.root(volume) {
            Root::Web(web) => Some(web),
            Root::Folder(_) | Root::Bucket(_) => None,
        }
    }

    /// A volume that is a bucket.
    pub(crate) fn bucket(&self, volume: &str) -> Option<&Arc<Bucket>> {
        match self.root(volume) {
            Root::Bucket(bucket) => Some(bucket),
            Root::Folder(_) | Root::Web(_) => None,
        }
    }

    /// Whether a sink's path is in a bucket.
    ///
    /// # Errors
    /// It is, and something is missing without which the server can't be asked, such as a key (fault `Outside`).
    pub fn in_bucket(&self, path: &str) -> Result<bool, IoError> {
        let volume = path.split_once("://").map(|(volume, _)| volume).filter(|volume| self.has_volume(volume));
        match volume.and_then(|volume| self.bucket(volume)) {
            Some(bucket) => bucket.ready().map(|()| true),
            None => Ok(false),
        }
    }

    /// The folders of the volumes, and the pipeline's own. Absolute paths have none.
    pub(crate) fn folders(&self) -> impl Iterator<Item = &Path> {
        self.inner.roots.iter().filter_map(|(name, root)| match root {
            Root::Folder(folder) if name != ABSOLUTE => Some(folder.as_path()),
            Root::Folder(_) | Root::Web(_) | Root::Bucket(_) => None,
        })
    }

    /// Whether there is a volume of this name.
    pub(crate) fn has_volume(&self, name: &str) -> bool {
        name != RELATIVE && self.inner.roots.contains_key(name)
    }

    /// The volume on the web, or in a bucket, that a URL is in, and the rest of the URL; the one that is nearest to it.
    pub(crate) fn web_volume<'a>(&self, url: &'a str) -> Option<(String, &'a str)> {
        let below = self.inner.roots.iter().filter_map(|(name, root)| match root {
            Root::Web(web) => web.below(url).map(|below| (name.clone(), below)),
            Root::Bucket(bucket) => bucket.below(url).map(|below| (name.clone(), below)),
            Root::Folder(_) => None,
        });
        below.min_by_key(|(_, below)| below.len())
    }

    /// Whether there is a volume of this name, or it is one of those that always are.
    pub(crate) fn knows(&self, volume: &str) -> bool {
        self.inner.roots.contains_key(volume)
    }

    fn root(&self, volume: &str) -> &Root {
        self.inner.roots.get(volume).expect("a location's volume is one of its pipeline's")
    }

    fn path_in(&self, volume: &str, path: &str) -> Option<PathBuf> {
        let Root::Folder(root) = self.root(volume) else { return None };
        let (mut root, mut path) = (root.as_path(), path);
        while let Some(rest) = path.strip_prefix("..").filter(|rest| rest.is_empty() || rest.starts_with('/')) {
            root = root.parent().unwrap_or(root);
            path = rest.trim_start_matches('/');
        }
        Some(if path.is_empty() { root.to_owned() } else { root.join(path) })
    }
}

/// A path that leads through the pipeline's folder by another way, such as a link, as one below it: then a file there has one name, and
/// the journal knows it when the folder is moved.
fn within(folder: &Path, path: PathBuf) -> PathBuf {
    let same = path.ancestors().find(|above| above.canonicalize().is_ok_and(|real| real == folder));
    match same.and_then(|same| path.strip_prefix(same).ok()) {
        Some(below) => folder.components().chain(below.components()).collect(),
        None => path,
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, time::UNIX_EPOCH};

    use object_store::ObjectStoreExt;

    use super::*;
    use crate::testing::{Ground, block_on};

    #[test]
    fn volumes_are_folders() {
        let ground = Ground::new();
        for (url, message) in [
            (
                "gs://bucket/x",
                "no store for `gs://`, the url of the volume `docs`\n  hint: a volume is a folder, `file://` and an absolute path or a path relative to the pipeline's folder, on the web, `https://`, or a bucket, `s3://`",
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
    fn a_volume_in_the_pipelines_folder_is_below_it_by_whatever_way() {
        let ground = Ground::new();
        let (here, elsewhere) = (ground.path("real/here"), ground.path("elsewhere"));
        fs::create_dir_all(&here).unwrap();
        fs::create_dir_all(&elsewhere).unwrap();
        std::os::unix::fs::symlink(ground.path("real"), ground.path("link")).unwrap();
        for (path, expected) in [
            ("link/here", "real/here"),
            ("link/here/out/none", "real/here/out/none"),
            ("real/../link/here/../here/out", "real/here/out"),
            ("link/none", "link/none"),
            ("elsewhere", "elsewhere"),
        ] {
            assert_eq!(within(&here, ground.path(path)), ground.path(expected), "{path}");
        }
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
            assert_eq!(stores.local_path(&splits[0]), Some(ground.path(odd)));
            assert_eq!(block_on(stores.read(&splits[0])).unwrap().as_ref(), b"hello");
            let (store, path) = stores.object(&splits[0]).unwrap();
            let read = ground.io().block_on(async { store.get(&path).await.unwrap().bytes().await.unwrap() });
            assert_eq!(read.as_ref(), b"hello");
        }
        let nested = Stores::new(&ground.pipeline(&[]), &inner, |_| None, ground.io()).unwrap();
        let split = block_on(nested.list("../../side.txt")).unwrap().remove(0);
        assert_eq!((split.uri().as_str(), split.volume.as_str()), ("../../side.txt", ""));
        assert_eq!(nested.local_path(&split), Some(ground.path("side.txt")));
        let (store, path) = nested.object(&split).unwrap();
        assert!(ground.io().block_on(async { store.head(&path).await }).is_ok());
        fs::remove_file(ground.path("side.txt")).unwrap();
        let error = block_on(nested.read(&split)).unwrap_err();
        assert_eq!(error.to_string(), "can't read `../../side.txt`: No such file or directory (os error 2)");
    }

    #[test]
    fn a_file_that_is_written_anew_while_it_is_read_breaks_off() {
        let ground = Ground::new();
        let path = ground.path("in/a.csv");
        let stores = ground.stores(&[("docs", "in")]);
        let read_while = |change: &dyn Fn()| {
            ground.write("in/a.csv", "0123456789");
            let split = block_on(stores.list("docs://a.csv")).unwrap().remove(0);
            assert!(stores.changed(&split).is_none());
            let broke_off = Arc::default();
            let mut reader = stores.reader(&split, None, &broke_off).unwrap();
            let mut text = "0".to_owned();
            reader.read_exact(&mut [0]).unwrap();
            change();
            let error = reader.read_to_string(&mut text).err().map(|error| error.to_string());
            (text, error, broke_off.load(Relaxed), stores.changed(&split).map(|error| error.message))
        };
        let changed = || Some(format!("can't read `docs://a.csv`: {CHANGED}"));
        let whole = |text: &str| (text.to_owned(), None::<String>, false, changed());
        let broken = |text: &str| (text.to_owned(), Some(CHANGED_MEANWHILE.to_owned()), true, changed());
        let shorter = || fs::write(&path, "abcde").unwrap();
        assert_eq!(read_while(&shorter), broken("0bcde"));
        let as_long = || {
            fs::write(&path, "abcdefghij").unwrap();
            File::options().write(true).open(&path).unwrap().set_modified(UNIX_EPOCH).unwrap();
        };
        assert_eq!(read_while(&as_long), broken("0bcdefghij"));
        let longer = || fs::write(&path, "0123456789\nabc").unwrap();
        assert_eq!(read_while(&longer), whole("0123456789\nabc"));
        let replaced = || {
            ground.write("in/b.csv", "abcde");
            fs::rename(ground.path("in/b.csv"), &path).unwrap();
        };
        assert_eq!(read_while(&replaced), whole("0123456789"));
        let gone = Some("can't read `docs://a.csv`: No such file or directory (os error 2)".to_owned());
        let removed = || fs::remove_file(&path).unwrap();
        assert_eq!(read_while(&removed), ("0123456789".to_owned(), None, false, gone));
    }
}
