//! Which objects of a bucket a pattern names.

use std::collections::{BTreeMap, BTreeSet};

use dflow_pipeline::Fault;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::{
    ObjectMeta, ObjectStoreExt,
    list::{PaginatedListOptions, PaginatedListStore},
};

use super::{Bucket, Manifest};
use crate::{
    IoError, Split,
    listing::glob,
    location::{Location, is_wild},
};

/// How many manifests are asked for at once.
const ASKED: usize = 16;

/// Objects, by their paths in the volume.
pub(super) type Found = BTreeMap<String, ObjectMeta>;

impl Bucket {
    /// The objects that a pattern names, by path. In a folder with a manifest of an output only those count that it names.
    pub(crate) async fn list(&self, pattern: &str, whole: Location) -> Result<Vec<Split>, IoError> {
        let folder = whole.path.is_empty() || pattern.ends_with('/');
        let named = !folder && !is_wild(&whole.path);
        if named {
            let (store, key) = (self.here()?, self.key(&whole.path)?);
            let found = self.io.spawn(async move { store.head(&key).await }).await.map_err(IoError::lost)?;
            if let Ok(meta) = found {
                return Ok(vec![self.split(whole.path, meta)]);
            }
            // Why it isn't there is said by who lists: an answer to HEAD has no words.
        }
        let parts: Vec<&str> = whole.path.split('/').filter(|part| !part.is_empty()).collect();
        let fixed = if folder || named { parts.len() } else { parts.iter().take_while(|part| !is_wild(part)).count() };
        let (above, rest) = (parts[..fixed].join("/"), parts[fixed..].join("/"));
        let matcher = (!rest.is_empty()).then(|| glob(pattern, &rest)).transpose()?;
        // What every key begins with that may match.
        let mut begin = if above.is_empty() { String::new() } else { format!("{above}/") };
        begin.push_str(rest.split(['*', '?', '[', '{']).next().unwrap_or_default());
        let listed = self.objects(&begin, pattern).await?;
        let below = |path: &str| -> bool {
            let below =
                if above.is_empty() { Some(path) } else { path.strip_prefix(&above).and_then(|p| p.strip_prefix('/')) };
            below.is_some_and(|below| {
                let hidden = below.split('/').any(|part| part.starts_with('.'));
                !hidden && matcher.as_ref().is_none_or(|matcher| matcher.is_match(below))
            })
        };
        let counted = self.counted(&begin, &listed).await?;
        let found: Vec<Split> = listed
            .iter()
            .filter(|(path, _)| below(path) && counted.contains(path.as_str()))
            .map(|(path, meta)| self.split(path.clone(), meta.clone()))
            .collect();
        if !found.is_empty() {
            return Ok(found);
        }
        let message = match (named, folder) {
            (true, _) => format!("no such object `{pattern}`"),
            (_, true) => format!("there is no object under `{pattern}`"),
            _ => format!("`{pattern}` matches no object"),
        };
        let place = format!("the volume `{}` is `{}`", self.name, self.url);
        Err(IoError::new(Fault::Outside, message).hint(match (counted.len(), counted.first()) {
            (_, None) => format!("there is none whose name begins with `{}`; {place}", self.uri(&begin)),
            (1, Some(only)) => format!("there is one, `{}`; {place}", self.uri(only)),
            (count, Some(first)) => format!("there are {count}, such as `{}`; {place}", self.uri(first)),
        }))
    }

    /// All objects whose paths begin so. `name` is what the user knows of it.
    pub(super) async fn objects(&self, begin: &str, name: &str) -> Result<Found, IoError> {
        let store = self.here()?;
        let prefix = if self.prefix.is_empty() { begin.to_owned() } else { format!("{}/{begin}", self.prefix) };
        let listing = self.io.spawn(async move {
            let (mut objects, mut page_token) = (Vec::new(), None);
            loop {
                let options = PaginatedListOptions { page_token, ..PaginatedListOptions::default() };
                let page =
                    store.list_paginated(Some(&prefix).filter(|p| !p.is_empty()).map(String::as_str), options).await?;
                objects.extend(page.result.objects);
                page_token = page.page_token;
                if page_token.is_none() {
                    return Ok::<_, object_store::Error>(objects);
                }
            }
        });
        let objects = listing.await.map_err(IoError::lost)?;
        let objects = objects.map_err(|error| self.refused("list", name, &error))?;
        let found: Found = objects.into_iter().filter_map(|meta| Some((self.path_of(&meta.location)?, meta))).collect();
        // What others put there so that a folder is to be seen is no file.
        let marks = found.iter().filter(|(path, meta)| {
            let inside = format!("{path}/");
            meta.size == 0 && found.range(inside.clone()..).next().is_some_and(|(next, _)| next.starts_with(&inside))
        });
        let marks: BTreeSet<String> = marks.map(|(path, _)| path.clone()).collect();
        Ok(found.into_iter().filter(|(path, _)| !marks.contains(path)).collect())
    }

    /// Those of listed objects that count: where the nearest folder above with a manifest is, those that it names.
    async fn counted<'a>(&self, begin: &str, listed: &'a Found) -> Result<BTreeSet<&'a str>, IoError> {
        let of = |path: &str| path.rsplit_once('/').map_or(String::new(), |(folder, _)| format!("{folder}/"));
        let mut folders: BTreeSet<String> =
            listed.keys().filter(|path| is_manifest(path)).map(|path| of(path)).collect();
        // That of the folder itself isn't listed when what is asked for begins with more than its name.
        if !begin.is_empty() && !begin.ends_with('/') {
            folders.insert(of(begin));
        }
        let manifests = stream::iter(folders)
            .map(|folder| async move {
                let manifest = self.manifest(&format!("{folder}{}", Manifest::NAME)).await?;
                Ok::<_, IoError>(manifest.map(|(manifest, _)| (folder, manifest.names())))
            })
            .buffered(ASKED)
            .try_filter_map(|manifest| async move { Ok(manifest) });
        let manifests: BTreeMap<String, BTreeSet<String>> = manifests.try_collect().await?;
        let counts = |path: &str| {
            let mut folder = of(path);
            loop {
                if let Some(names) = manifests.get(&folder) {
                    return names.contains(&path[folder.len()..]);
                }
                if folder.is_empty() {
                    return true;
                }
                folder = of(folder.trim_end_matches('/'));
            }
        };
        Ok(listed.keys().map(String::as_str).filter(|path| counts(path)).collect())
    }

    fn split(&self, path: String, meta: ObjectMeta) -> Split {
        let (size, modified) = (meta.size, meta.last_modified.timestamp_millis());
        let etag = meta.e_tag.unwrap_or_else(|| format!("{size:x}-{modified:x}"));
        Split { volume: self.name.clone(), path, size, modified, range: None, etag }
    }
}

/// Whether a path is that of a manifest.
pub(super) fn is_manifest(path: &str) -> bool {
    path == Manifest::NAME || path.strip_suffix(Manifest::NAME).is_some_and(|folder| folder.ends_with('/'))
}
