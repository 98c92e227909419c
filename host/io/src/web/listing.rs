//! Which files of a volume on the web a pattern names.

use std::collections::BTreeMap;

use dflow_pipeline::{Codec, Fault};
use futures::{StreamExt, TryStreamExt, stream};
use object_store::{GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt};

use super::{UNKNOWN, Web, explain, knows_no_head, manifest::Entry, unreachable};
use crate::{
    IoError, Split, Stores,
    listing::glob,
    location::{Location, is_wild},
};

/// How many files a server is asked about at once.
const ASKED: usize = 16;

impl Web {
    /// The files that a pattern names, by path: those of the manifest, or of the listing that the server gives, or one by its
    /// name. What is not known about a file (the server says nothing, or refuses) is left empty, and reading it finds out why.
    pub(crate) async fn list(&self, stores: &Stores, pattern: &str, whole: Location) -> Result<Vec<Split>, IoError> {
        let folder = whole.path.is_empty() || pattern.ends_with('/');
        let named = !folder && !is_wild(&whole.path);
        let entries = match &self.manifest {
            Some(manifest) => Some(self.manifest(stores, manifest).await?),
            None if named => return Ok(vec![self.ask(&whole.path).await?]),
            None => None,
        };
        let parts: Vec<&str> = whole.path.split('/').filter(|part| !part.is_empty()).collect();
        let fixed = if folder || named { parts.len() } else { parts.iter().take_while(|part| !is_wild(part)).count() };
        let (above, rest) = (parts[..fixed].join("/"), parts[fixed..].join("/"));
        let matcher = (!rest.is_empty()).then(|| glob(pattern, &rest)).transpose()?;
        let below = |path: &str| -> Option<String> {
            let below = if above.is_empty() { path } else { path.strip_prefix(&above)?.strip_prefix('/')? };
            let hidden = below.split('/').any(|part| part.starts_with('.'));
            (!hidden && matcher.as_ref().is_none_or(|matcher| matcher.is_match(below))).then(|| below.to_owned())
        };
        let found: BTreeMap<String, Split> = match entries {
            Some(entries) => {
                if named && !entries.iter().any(|entry| below(&entry.path).is_some()) {
                    // A name that isn't in the manifest, or is that of a file.
                    let known = entries.into_iter().find(|entry| entry.path == whole.path);
                    let known = known.unwrap_or(Entry { path: whole.path, size: None, etag: None });
                    return Ok(vec![self.known(known).await?]);
                }
                let count = entries.len();
                let example = entries.first().map(|entry| entry.path.clone());
                let matching = entries.into_iter().filter(|entry| below(&entry.path).is_some());
                let found: BTreeMap<_, _> = stream::iter(matching.map(|entry| self.known(entry)))
                    .buffer_unordered(ASKED)
                    .map_ok(|split| (split.path.clone(), split))
                    .try_collect()
                    .await?;
                if found.is_empty() {
                    let manifest = self.manifest.as_deref().unwrap_or_default();
                    let hint = match example {
                        None => format!("its manifest `{manifest}` is empty"),
                        Some(path) => {
                            let uri = crate::location::uri(&self.name, &path);
                            let files = if count == 1 { "one file" } else { &format!("{count} files") };
                            format!("its manifest `{manifest}` names {files}, such as `{uri}`")
                        }
                    };
                    return Err(IoError::new(Fault::Outside, format!("`{pattern}` matches no file")).hint(hint));
                }
                found
            }
            None => {
                let listed = self.listing(pattern, &above).await?;
                let found: BTreeMap<_, _> = listed
                    .into_iter()
                    .filter(|(path, _)| below(path).is_some())
                    .map(|(path, meta)| (path.clone(), self.split(path, Some(meta))))
                    .collect();
                if found.is_empty() {
                    return Err(IoError::new(Fault::Outside, format!("`{pattern}` matches no file"))
                        .hint(format!("the server of the volume `{}` lists none there", self.name)));
                }
                found
            }
        };
        Ok(found.into_values().collect())
    }

    /// The entries of the manifest.
    async fn manifest(&self, stores: &Stores, manifest: &str) -> Result<Vec<Entry>, IoError> {
        let location = stores.locate(manifest)?;
        let name = manifest.to_owned();
        let content = stores.content_at(location, Codec::of_name(manifest)).await.map_err(|error| {
            IoError::new(error.fault, format!("the manifest of the volume `{}`: {}", self.name, error.message))
                .hint("`manifest` is a path like that of `read`")
        })?;
        self.entries(&name, content.as_slice())
    }

    /// What the server lists under a path (WebDAV).
    async fn listing(&self, pattern: &str, above: &str) -> Result<Vec<(String, ObjectMeta)>, IoError> {
        let prefix = self.location(above)?;
        let listed: Result<Vec<ObjectMeta>, _> = {
            let (store, io) = (self.store(), self.io.clone());
            let prefix = (!above.is_empty()).then_some(prefix);
            let listing = io.spawn(async move { store.list(prefix.as_ref()).try_collect().await });
            listing.await.map_err(IoError::lost)?
        };
        let listed = listed.map_err(|error| {
            let unreachable = unreachable(&error);
            let message = format!("can't list `{pattern}`: {}", explain(&error));
            let error = IoError::new(Fault::Outside, message);
            match unreachable {
                true => error.hint(format!("the volume `{}` is `{}`", self.name, self.url)),
                false => error.hint(format!(
                    "few servers list their files: name them in one and say `manifest = \"files.txt\"` in `[volume.{}]`, or read a file by its name",
                    self.name
                )),
            }
        })?;
        // The store gives paths from the server's root.
        let root = self.url.split("//").nth(1).and_then(|rest| rest.split_once('/')).map_or("", |(_, path)| path);
        let below = |path: &str| Some(path.strip_prefix(root)?.trim_start_matches('/').to_owned());
        Ok(listed.into_iter().filter_map(|meta| Some((below(meta.location.as_ref())?, meta))).collect())
    }

    /// A file of the manifest. The server is asked about what isn't said there.
    async fn known(&self, entry: Entry) -> Result<Split, IoError> {
        if entry.size.is_some() && entry.etag.is_some() {
            let mut split = self.split(entry.path, None);
            (split.size, split.etag) = (entry.size.unwrap_or_default(), entry.etag.unwrap_or_default());
            return Ok(split);
        }
        let mut split = self.ask(&entry.path).await?;
        split.size = entry.size.unwrap_or(split.size);
        split.etag = entry.etag.unwrap_or(split.etag);
        Ok(split)
    }

    /// Asks the server about a file.
    async fn ask(&self, path: &str) -> Result<Split, IoError> {
        let (location, store) = (self.location(path)?, self.store());
        let asking = async move {
            let head = store.head(&location).await;
            let told = match &head {
                Ok(meta) => meta.size != UNKNOWN,
                Err(error) => !knows_no_head(error),
            };
            if told {
                return head;
            }
            // With a part of a file a server says how large it is.
            let part = GetOptions { range: Some(GetRange::Bounded(0..1)), ..GetOptions::default() };
            store.get_opts(&location, part).await.map(|part| part.meta).or(head)
        };
        let meta = self.io.spawn(asking).await.map_err(IoError::lost)?;
        match meta {
            Ok(meta) => Ok(self.split(path.to_owned(), Some(meta))),
            Err(error) if unreachable(&error) => {
                let uri = crate::location::uri(&self.name, path);
                let message = format!("can't reach the server of `{uri}`: {}", explain(&error));
                Err(IoError::new(Fault::Outside, message).hint(format!("the volume `{}` is `{}`", self.name, self.url)))
            }
            Err(_) => Ok(self.split(path.to_owned(), None)),
        }
    }

    fn split(&self, path: String, meta: Option<ObjectMeta>) -> Split {
        let (size, modified, etag) = match meta {
            None => (0, 0, String::new()),
            Some(meta) => {
                let size = if meta.size == UNKNOWN { 0 } else { meta.size };
                let modified = meta.last_modified.timestamp_millis();
                // Without both there is nothing that would tell one content from the next.
                let made = || if modified == 0 { String::new() } else { format!("{size:x}-{modified:x}") };
                (size, modified, meta.e_tag.unwrap_or_else(made))
            }
        };
        Split { volume: self.name.clone(), path, size, modified, range: None, etag }
    }
}
