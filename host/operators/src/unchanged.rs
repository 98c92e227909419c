//! A file of a server that is read in parts, which must all be of the version that was listed.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use futures::stream::BoxStream;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, path::Path,
};

/// A store of which one version of a file is read.
#[derive(Debug)]
pub(crate) struct Unchanged {
    inner: Arc<dyn ObjectStore>,
    etag: String,
}

impl Unchanged {
    /// The store, for a file with this entity tag; as it is, where the tag isn't the server's.
    pub(crate) fn of(inner: Arc<dyn ObjectStore>, etag: &str) -> Arc<dyn ObjectStore> {
        match etag.ends_with('"') {
            true => Arc::new(Self { inner, etag: etag.to_owned() }),
            false => inner,
        }
    }
}

impl fmt::Display for Unchanged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl ObjectStore for Unchanged {
    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        // A weak tag matches nothing there.
        let if_match = (!self.etag.starts_with("W/")).then(|| self.etag.clone());
        let result = self.inner.get_opts(location, GetOptions { if_match, ..options }).await?;
        match &result.meta.e_tag {
            // Not every server looks at what it is asked.
            Some(found) if *found != self.etag => Err(Error::Precondition {
                path: location.to_string(),
                source: "it has changed since it was listed".into(),
            }),
            _ => Ok(result),
        }
    }

    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.inner.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
