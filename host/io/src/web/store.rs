//! A web server as a store of files: with parts of files from servers that give none, and with an eye on every body.

use std::{fmt, ops::Range, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use object_store::{
    CopyOptions, GetOptions, GetRange, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, http::HttpStore, path::Path,
};

use super::{UNKNOWN, body::Body, service::Lie};

/// A web server. A server that gives no ranges is asked for the whole file, and what is before and after is dropped.
#[derive(Debug)]
pub(super) struct WebStore {
    pub(super) inner: Arc<HttpStore>,
    /// How long a body may be silent.
    pub(super) timeout: Duration,
}

impl fmt::Display for WebStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

pub(super) fn wrong(lie: Lie) -> object_store::Error {
    object_store::Error::Generic { store: "HTTP", source: Box::new(lie) }
}

impl WebStore {
    /// A part of a file, cut out of the whole.
    async fn cut_out(&self, location: &Path, options: GetOptions, asked: GetRange) -> Result<GetResult> {
        let options = GetOptions { range: None, ..options };
        let mut whole = self.inner.get_opts(location, options.clone()).await?;
        let size = whole.meta.size;
        let range = match asked {
            GetRange::Bounded(range) if size == UNKNOWN => range,
            _ if size == UNKNOWN => {
                return Err(wrong(Lie::new("the server gives neither parts of files nor their sizes")));
            }
            asked => asked
                .as_range(size)
                .map_err(|error| object_store::Error::Generic { store: "HTTP", source: Box::new(error) })?,
        };
        let attributes = std::mem::take(&mut whole.attributes);
        let meta = whole.meta.clone();
        let body = self.body(location, options, whole);
        let payload = GetResultPayload::Stream(cut(body, range.clone()));
        Ok(GetResult { payload, meta, range, attributes })
    }

    /// The body of an answer to what was asked.
    fn body(&self, location: &Path, options: GetOptions, answer: GetResult) -> BoxStream<'static, Result<Bytes>> {
        Body::of(self.inner.clone(), self.timeout, location, options, answer).bytes()
    }
}

/// The bytes of a range of a body.
fn cut(body: BoxStream<'static, Result<Bytes>>, range: Range<u64>) -> BoxStream<'static, Result<Bytes>> {
    stream::try_unfold((body, 0u64), move |(mut body, mut at)| {
        let range = range.clone();
        async move {
            while at < range.end {
                let Some(piece) = body.next().await.transpose()? else {
                    let what = format!("the server sent {at} bytes, fewer than were asked for");
                    return Err(wrong(Lie::new(what)));
                };
                let (start, end) = (at, at + piece.len() as u64);
                at = end;
                let (from, to) = (range.start.max(start), range.end.min(end));
                if from < to {
                    let piece = piece.slice((from - start) as usize..(to - start) as usize);
                    return Ok(Some((piece, (body, at))));
                }
            }
            Ok(None)
        }
    })
    .boxed()
}

#[async_trait]
impl ObjectStore for WebStore {
    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let result = match self.inner.get_opts(location, options.clone()).await {
            Err(object_store::Error::NotSupported { source }) => match options.range.clone() {
                Some(asked) => return self.cut_out(location, options, asked).await,
                None => return Err(object_store::Error::NotSupported { source }),
            },
            result => result?,
        };
        if options.head {
            return Ok(result);
        }
        let (meta, range, attributes) = (result.meta.clone(), result.range.clone(), result.attributes.clone());
        let payload = GetResultPayload::Stream(self.body(location, options, result));
        Ok(GetResult { payload, meta, range, attributes })
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
