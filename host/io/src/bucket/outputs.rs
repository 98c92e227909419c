//! What sinks do in a bucket: look, upload, remove, and say what counts.
//!
//! A sink knows an object by its URI as a path, `lake://chunks/a.parquet`: so it stands beside paths of files, in the journal too.
//! Calls wait for the server; they may come from any thread that may block.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::{Arc, PoisonError, mpsc},
};

use bytes::Bytes;
use dflow_pipeline::Fault;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::{
    GetOptions, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, UpdateVersion, aws::AmazonS3,
};
use tokio::{
    fs::File,
    io::{AsyncReadExt, AsyncWriteExt},
    task::JoinSet,
};

use super::{Bucket, Manifest, listing::is_manifest};
use crate::{IoError, Prepared, Stores, staged::make_folders};

/// Bytes of a part of an upload; a file of at most two of them goes as one.
const PART: u64 = 8 << 20;
/// Parts of an upload at most.
const PARTS: u64 = 9_000;
/// Parts of an upload that are under way at once.
const AT_ONCE: usize = 2;

/// Whether a path is an object's: `lake://chunks/a.parquet`.
pub fn is_object(path: &Path) -> bool {
    path.to_str().is_some_and(|path| !path.starts_with('/') && path.contains("://"))
}

/// What there is in a folder of a bucket.
#[derive(Clone, Debug, Default)]
pub struct ObjectFolder {
    /// All objects but the manifest, by their keys from the folder on: size and version.
    pub objects: BTreeMap<String, (u64, Option<String>)>,
    /// What says which of them count; without it all do.
    pub manifest: Option<Manifest>,
}

/// What must be there for an object to be written.
#[derive(Clone, Debug)]
enum Condition {
    /// Whatever is there.
    None,
    /// What was there when somebody looked: this version, or nothing.
    Unchanged(Option<String>),
}

impl Condition {
    fn mode(&self) -> PutMode {
        match self {
            Self::None => PutMode::Overwrite,
            Self::Unchanged(None) => PutMode::Create,
            Self::Unchanged(Some(etag)) => PutMode::Update(UpdateVersion { e_tag: Some(etag.clone()), version: None }),
        }
    }
}

impl Stores {
    /// The bucket that an object is in, and its path there.
    fn holding(&self, object: &Path) -> Result<(Arc<Bucket>, String), IoError> {
        let uri = object.to_str().unwrap_or_default();
        let found = uri
            .split_once("://")
            .filter(|(volume, _)| self.has_volume(volume))
            .and_then(|(volume, path)| Some((Arc::clone(self.bucket(volume)?), path.trim_end_matches('/').to_owned())));
        found.ok_or_else(|| IoError::internal(format!("`{uri}` is in no bucket of this pipeline")))
    }

    /// Whether a path is a file's, or an object's in one of the volumes: those of another day may be gone.
    pub fn reaches(&self, path: &Path) -> bool {
        !is_object(path) || self.holding(path).is_ok()
    }

    /// Waits for something that is done on the IO runtime.
    fn wait<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, IoError>> + Send + 'static,
    ) -> Result<T, IoError> {
        let (send, receive) = mpsc::sync_channel(1);
        self.io().spawn(async move { send.send(work.await) });
        receive.recv().map_err(|error| IoError::internal(format!("a job of the io runtime was lost: {error}")))?
    }

    /// What is in a folder of a bucket now. What is written there as a manifest later must find the one that is seen here.
    ///
    /// # Errors
    /// The server gives nothing; somebody else's file has the manifest's name (fault `Outside`).
    pub fn look_in(&self, folder: &Path) -> Result<ObjectFolder, IoError> {
        let (bucket, path) = self.holding(folder)?;
        self.wait(async move {
            let begin = if path.is_empty() { String::new() } else { format!("{path}/") };
            let mut objects = bucket.folder(&begin).await?;
            let name = format!("{begin}{}", Manifest::NAME);
            let found = match objects.contains_key(Manifest::NAME) {
                true => bucket.manifest(&name).await?,
                false => None,
            };
            if found.is_none() && objects.contains_key(Manifest::NAME) {
                let what = format!("`{}` is no manifest of dflow's, and would be replaced by one", bucket.uri(&name));
                return Err(IoError::new(Fault::Outside, what).hint("remove it, or write to another place"));
            }
            objects.remove(Manifest::NAME);
            let (manifest, etag) = found.unzip();
            bucket.note(name, etag.flatten());
            Ok(ObjectFolder { objects, manifest })
        })
    }

    /// The size and the version of an object, if it is there. What is uploaded under its name later must find it as it is seen here.
    ///
    /// # Errors
    /// The server gives nothing (fault `Outside`).
    pub fn look_at(&self, object: &Path) -> Result<Option<u64>, IoError> {
        let (bucket, path) = self.holding(object)?;
        self.wait(async move {
            let found = bucket.head(&path).await?;
            let (size, etag) = found.unzip();
            bucket.note(path, etag.flatten());
            Ok(size)
        })
    }

    /// The size of an object, if it is there.
    ///
    /// # Errors
    /// The server gives nothing (fault `Outside`).
    pub fn size_of(&self, object: &Path) -> Result<Option<u64>, IoError> {
        let (bucket, path) = self.holding(object)?;
        self.wait(async move { Ok(bucket.head(&path).await?.map(|(size, _)| size)) })
    }

    /// Uploads files that are staged here and belong into a bucket, and removes them here. Others are left alone.
    ///
    /// # Errors
    /// The server refuses or fails; what is there isn't what was [looked at](Self::look_at) (fault `Outside`).
    pub async fn upload(&self, files: &[Prepared]) -> Result<(), IoError> {
        for file in files.iter().filter(|file| is_object(&file.path)) {
            let (bucket, path) = self.holding(&file.path)?;
            let temporary = file.temporary.clone();
            let upload = async move {
                if !temporary.exists() {
                    return Ok(());
                }
                let seen = bucket.seen.lock().unwrap_or_else(PoisonError::into_inner).get(&path).cloned();
                let condition = seen.map_or(Condition::None, Condition::Unchanged);
                bucket.put_file(&path, &temporary, condition).await?;
                fs::remove_file(&temporary).map_err(|error| IoError::os("remove", &temporary, error))
            };
            self.io().spawn(upload).await.map_err(IoError::lost)??;
        }
        Ok(())
    }

    /// Downloads an object into a file here, whose folder is made.
    ///
    /// # Errors
    /// It isn't there, the server fails, or the file can't be written (fault `Outside`).
    pub async fn download(&self, object: &Path, file: &Path) -> Result<(), IoError> {
        let (bucket, path) = self.holding(object)?;
        let file = file.to_owned();
        let download = async move {
            file.parent().map_or(Ok(()), make_folders)?;
            bucket.get_file(&path, &file).await
        };
        self.io().spawn(download).await.map_err(IoError::lost)?
    }

    /// Gives files their final names, wherever they are to be; doing it again does nothing.
    ///
    /// # Errors
    /// As of [`Prepared::publish_all`] and [`upload`](Self::upload).
    pub fn publish_all(&self, files: &[Prepared]) -> Result<(), IoError> {
        let (objects, here): (Vec<_>, Vec<_>) = files.iter().cloned().partition(|file| is_object(&file.path));
        Prepared::publish_all(&here)?;
        if objects.is_empty() {
            return Ok(());
        }
        let stores = self.clone();
        self.wait(async move { stores.upload(&objects).await })
    }

    /// Removes objects, as far as they are there.
    ///
    /// # Errors
    /// The server refuses or fails (fault `Outside`).
    pub fn remove_objects<'a>(&self, objects: impl IntoIterator<Item = &'a Path>) -> Result<(), IoError> {
        let mut by_volume: BTreeMap<String, (Arc<Bucket>, Vec<String>)> = BTreeMap::new();
        for object in objects {
            let (bucket, path) = self.holding(object)?;
            by_volume.entry(bucket.name.clone()).or_insert_with(|| (bucket, Vec::new())).1.push(path);
        }
        by_volume.into_values().try_for_each(|(bucket, paths)| self.wait(async move { bucket.remove(&paths).await }))
    }

    /// Writes the manifest of a folder, if it is still as it was [seen](Self::look_in). Sizes and versions of its objects are
    /// filled in where they aren't known.
    ///
    /// # Errors
    /// Another has written one meanwhile, an object isn't there, or the server fails (fault `Outside`).
    pub fn put_manifest(&self, folder: &Path, mut manifest: Manifest) -> Result<(), IoError> {
        let (bucket, path) = self.holding(folder)?;
        self.wait(async move {
            let begin = if path.is_empty() { String::new() } else { format!("{path}/") };
            if manifest.files.iter().any(|file| file.etag.is_none()) {
                let objects = bucket.folder(&begin).await?;
                for file in &mut manifest.files {
                    let Some((bytes, etag)) = objects.get(&file.key) else {
                        let what =
                            format!("`{}{}` was uploaded, and isn't there any more", bucket.uri(&begin), file.key);
                        return Err(IoError::new(Fault::Outside, what).hint("run again: it is made anew"));
                    };
                    (file.bytes, file.etag) = (*bytes, etag.clone());
                }
            }
            let name = format!("{begin}{}", Manifest::NAME);
            let mut text = serde_json::to_vec_pretty(&manifest).map_err(IoError::internal)?;
            text.push(b'\n');
            bucket.replace(&name, text.into()).await
        })
    }
}

impl Bucket {
    fn note(&self, path: String, etag: Option<String>) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).insert(path, etag);
    }

    /// What is under a path, by what follows it; names that begin with a dot are nobody's.
    async fn folder(&self, begin: &str) -> Result<BTreeMap<String, (u64, Option<String>)>, IoError> {
        let found = self.objects(begin, &self.uri(begin)).await?;
        let below = found.into_iter().filter_map(|(path, meta)| {
            let key = path.strip_prefix(begin)?.to_owned();
            // Each folder below has a manifest of its own, if any.
            let other = is_manifest(&key) && key != Manifest::NAME;
            let hidden = key.split('/').any(|part| part.starts_with('.'));
            (!other && !hidden).then_some((key, (meta.size, meta.e_tag)))
        });
        Ok(below.collect())
    }

    /// The size and the version of an object, if it is there.
    async fn head(&self, path: &str) -> Result<Option<(u64, Option<String>)>, IoError> {
        let (store, key) = (self.here()?, self.key(path)?);
        match store.head(&key).await {
            Ok(meta) => Ok(Some((meta.size, meta.e_tag))),
            Err(error) => {
                // An answer to HEAD has no words: whether the key or the bucket are wrong is said by who lists.
                self.objects(path, &self.uri(path)).await?;
                match self.refusal(&error).missing {
                    true => Ok(None),
                    false => Err(self.refused("look at", &self.uri(path), &error)),
                }
            }
        }
    }

    /// Writes an object that must be as it was seen.
    async fn replace(&self, path: &str, content: Bytes) -> Result<(), IoError> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner).get(path).cloned();
        let condition = Condition::Unchanged(seen.flatten());
        let (store, key) = (self.here()?, self.key(path)?);
        match put(&store, &key, content.clone(), &condition).await {
            Ok(etag) => {
                self.note(path.to_owned(), etag);
                Ok(())
            }
            Err(error) if changed(&error) => match self.content(path).await? {
                // An answer that was lost, and the request that was tried again.
                Some((there, etag)) if there == content => {
                    self.note(path.to_owned(), etag);
                    Ok(())
                }
                _ => Err(self.overtaken(path)),
            },
            Err(error) => Err(self.refused("write", &self.uri(path), &error)),
        }
    }

    fn overtaken(&self, path: &str) -> IoError {
        let what = format!("`{}` was written by another while this run went on", self.uri(path));
        IoError::new(Fault::Outside, what)
            .hint("give each its own place; or run again when the other is done: what this run has made is kept")
    }

    /// Uploads a file: a small one at once, a large one in parts.
    async fn put_file(&self, path: &str, file: &Path, condition: Condition) -> Result<(), IoError> {
        let failed = |error: object_store::Error| match changed(&error) {
            true => self.overtaken(path),
            false => self.refused("write", &self.uri(path), &error),
        };
        let unread = |error| IoError::os("read", file, error);
        let (store, key) = (self.here()?, self.key(path)?);
        let mut open = File::open(file).await.map_err(unread)?;
        let size = open.metadata().await.map_err(unread)?.len();
        if size <= 2 * PART {
            let mut content = Vec::with_capacity(size as usize);
            open.read_to_end(&mut content).await.map_err(unread)?;
            let etag = put(&store, &key, content.into(), &condition).await.map_err(failed)?;
            if let Condition::Unchanged(_) = condition {
                self.note(path.to_owned(), etag);
            }
            return Ok(());
        }
        let mut upload = store.put_multipart(&key).await.map_err(failed)?;
        let part = PART.max(size.div_ceil(PARTS));
        let sent = async {
            let mut running = JoinSet::new();
            let mut left = size;
            while left > 0 {
                let mut content = vec![0; left.min(part) as usize];
                open.read_exact(&mut content).await.map_err(unread)?;
                left -= content.len() as u64;
                while running.len() >= AT_ONCE {
                    arrived(&mut running).await?.map_err(failed)?;
                }
                running.spawn(upload.put_part(PutPayload::from(content)));
            }
            while !running.is_empty() {
                arrived(&mut running).await?.map_err(failed)?;
            }
            // The parts become an object without a condition: what is left is a moment between this look and that.
            if let Condition::Unchanged(seen) = &condition
                && self.head(path).await?.and_then(|(_, etag)| etag) != *seen
            {
                return Err(self.overtaken(path));
            }
            Ok(())
        };
        let sent = match sent.await {
            Ok(()) => upload.complete().await.map_err(failed),
            Err(error) => Err(error),
        };
        match sent {
            Ok(done) => {
                if let Condition::Unchanged(_) = condition {
                    self.note(path.to_owned(), done.e_tag);
                }
                Ok(())
            }
            Err(error) => {
                // What can't be aborted is swept by the bucket's own rules.
                drop(upload.abort().await);
                Err(error)
            }
        }
    }

    async fn get_file(&self, path: &str, file: &Path) -> Result<(), IoError> {
        let unwritten = |error| IoError::os("write", file, error);
        let refused = |error: object_store::Error| self.refused("read", &self.uri(path), &error);
        let (store, key) = (self.here()?, self.key(path)?);
        let mut parts = store.get(&key).await.map_err(refused)?.into_stream();
        let mut into = File::create(file).await.map_err(unwritten)?;
        while let Some(part) = parts.try_next().await.map_err(refused)? {
            into.write_all(&part).await.map_err(unwritten)?;
        }
        into.flush().await.map_err(unwritten)
    }

    async fn remove(&self, paths: &[String]) -> Result<(), IoError> {
        let store = self.here()?;
        let keys = paths.iter().map(|path| self.key(path).map(Ok)).collect::<Result<Vec<_>, _>>()?;
        let removed = store.delete_stream(stream::iter(keys).boxed()).try_collect::<Vec<_>>().await;
        match removed {
            Ok(_) => Ok(()),
            Err(error) if self.refusal(&error).missing => Ok(()),
            Err(error) => {
                let some = self.uri(paths.first().map_or("", String::as_str));
                Err(self.refused("remove", &some, &error))
            }
        }
    }
}

/// Waits for a part.
async fn arrived(running: &mut JoinSet<object_store::Result<()>>) -> Result<object_store::Result<()>, IoError> {
    running.join_next().await.map_or(Ok(Ok(())), |part| part.map_err(IoError::lost))
}

async fn put(
    store: &AmazonS3,
    key: &object_store::path::Path,
    content: Bytes,
    condition: &Condition,
) -> object_store::Result<Option<String>> {
    let options = PutOptions { mode: condition.mode(), ..PutOptions::default() };
    let etag = store.put_opts(key, PutPayload::from(content), options).await?.e_tag;
    match etag {
        Some(etag) => Ok(Some(etag)),
        // Not every server says it.
        None => Ok(store.get_opts(key, GetOptions { head: true, ..GetOptions::default() }).await?.meta.e_tag),
    }
}

/// Whether a condition wasn't met.
fn changed(error: &object_store::Error) -> bool {
    matches!(error, object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. })
}
