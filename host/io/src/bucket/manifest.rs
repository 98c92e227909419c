//! What tells which objects of an output count: `_manifest.json` in its folder.

use std::collections::BTreeSet;

use dflow_pipeline::Fault;
use object_store::{GetOptions, ObjectStore};
use serde::{Deserialize, Serialize};

use super::Bucket;
use crate::IoError;

/// The manifest of a sink's folder in an object store. There nothing can be renamed: objects are there under their names before
/// all of them are, and become visible together, by the manifest that is written last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// What made it: `dflow`.
    pub format: String,
    /// Of this description: 1.
    pub version: u32,
    /// Goes up by one each time that it is written.
    pub generation: u64,
    /// The pipeline that wrote it last.
    pub pipeline: String,
    /// The sink that wrote it last.
    pub sink: String,
    /// The run that wrote it last.
    pub run: String,
    /// The objects that count, by key; others in this folder and below don't.
    pub files: Vec<ManifestFile>,
}

/// An object of an output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestFile {
    /// Its key, from the manifest's folder on.
    pub key: String,
    /// Its size.
    pub bytes: u64,
    /// The rows in it, where that is known: not of objects that others left there.
    pub rows: Option<u64>,
    /// The version of its content, as the store says it.
    pub etag: Option<String>,
}

impl Manifest {
    /// Its name in the output's folder.
    pub const NAME: &str = "_manifest.json";
    /// The `format` of all of them.
    pub const FORMAT: &str = "dflow";
    /// The version that this host writes and reads.
    pub const VERSION: u32 = 1;

    /// The names that count.
    pub(super) fn names(&self) -> BTreeSet<String> {
        self.files.iter().map(|file| file.key.clone()).collect()
    }

    /// Reads one; `None` when it is somebody else's file of that name.
    fn read(bytes: &[u8], uri: &str) -> Result<Option<Self>, IoError> {
        #[derive(Deserialize)]
        struct Head {
            format: String,
            version: u32,
        }
        let Ok(Head { format, version }) = serde_json::from_slice(bytes) else { return Ok(None) };
        if format != Self::FORMAT {
            return Ok(None);
        }
        if version > Self::VERSION {
            let what =
                format!("`{uri}` was written by a newer dflow-host (its version is {version}, this one knows 1)");
            return Err(IoError::new(Fault::Outside, what).hint("read it with that dflow-host"));
        }
        serde_json::from_slice(bytes)
            .map(Some)
            .map_err(|error| IoError::new(Fault::Outside, format!("`{uri}` is damaged: {error}")).because(error))
    }
}

impl Bucket {
    /// The manifest at a path, and its version; `None` when there is none, or it isn't ours.
    pub(super) async fn manifest(&self, path: &str) -> Result<Option<(Manifest, Option<String>)>, IoError> {
        let Some((bytes, etag)) = self.content(path).await? else { return Ok(None) };
        Ok(Manifest::read(&bytes, &self.uri(path))?.map(|manifest| (manifest, etag)))
    }

    /// The content of a small object, and its version; `None` when there is none.
    pub(super) async fn content(&self, path: &str) -> Result<Option<(bytes::Bytes, Option<String>)>, IoError> {
        let (store, key) = (self.here()?, self.key(path)?);
        let read = self.io.spawn(async move {
            let answer = store.get_opts(&key, GetOptions::default()).await?;
            let etag = answer.meta.e_tag.clone();
            Ok::<_, object_store::Error>((answer.bytes().await?, etag))
        });
        match read.await.map_err(IoError::lost)? {
            Ok(found) => Ok(Some(found)),
            Err(error) if self.refusal(&error).missing => Ok(None),
            Err(error) => Err(self.refused("read", &self.uri(path), &error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_of_others_is_none() {
        let own = r#"{"format":"dflow","version":1,"generation":2,"pipeline":"p","sink":"s","run":"r",
            "files":[{"key":"a.parquet","bytes":5,"rows":null,"etag":"\"x\""}],"more":1}"#;
        let manifest = Manifest::read(own.as_bytes(), "lake://_manifest.json").unwrap().unwrap();
        assert_eq!((manifest.generation, manifest.names().len()), (2, 1));
        for others in ["", "[]", "{\"version\":1}", "{\"format\":\"x\",\"version\":1}"] {
            assert_eq!(Manifest::read(others.as_bytes(), "").unwrap(), None, "{others}");
        }
        for wrong in ["{\"format\":\"dflow\",\"version\":2}", "{\"format\":\"dflow\",\"version\":1}"] {
            assert!(
                Manifest::read(wrong.as_bytes(), "lake://x").unwrap_err().message.contains("`lake://x`"),
                "{wrong}"
            );
        }
    }
}
