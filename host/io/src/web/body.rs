//! A body as long as was said, never silent for long, and whole: where it breaks off the rest is asked for again.

use std::{ops::Range, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use object_store::{GetOptions, GetRange, GetResult, ObjectStore, Result, http::HttpStore, path::Path};
use tokio::time::{sleep, timeout};
use xxhash_rust::xxh3::Xxh3;

use super::{CHANGED_MEANWHILE, RETRIES, UNKNOWN, service::Lie, store::wrong, strong};

/// The pause before the rest is asked for, which doubles.
const PAUSE: Duration = Duration::from_millis(200);

/// The body of an answer.
pub(super) struct Body {
    server: Arc<HttpStore>,
    /// How long it may be silent.
    limit: Duration,
    location: Path,
    /// What was asked.
    options: GetOptions,
    /// The bytes of the file that it is.
    range: Range<u64>,
    etag: Option<String>,
    modified: i64,
    stream: BoxStream<'static, Result<Bytes>>,
    /// Bytes that came, ...
    got: u64,
    /// ... by which the same file is known where nothing else says that it is the same.
    digest: Xxh3,
    breaks: usize,
}

impl Body {
    /// The body of what a server answered.
    pub(super) fn of(
        server: Arc<HttpStore>,
        limit: Duration,
        location: &Path,
        options: GetOptions,
        answer: GetResult,
    ) -> Self {
        let (range, etag, at) = (answer.range.clone(), answer.meta.e_tag.clone(), modified(&answer));
        let (location, stream) = (location.clone(), answer.into_stream());
        let (got, digest, breaks) = (0, Xxh3::new(), 0);
        Self { server, limit, location, options, range, etag, modified: at, stream, got, digest, breaks }
    }

    /// Its bytes.
    pub(super) fn bytes(self) -> BoxStream<'static, Result<Bytes>> {
        let next = |mut body: Self| async move {
            let piece = body.next().await?;
            Ok::<_, object_store::Error>(piece.map(|piece| (piece, body)))
        };
        stream::try_unfold(self, next).boxed()
    }

    async fn next(&mut self) -> Result<Option<Bytes>> {
        let said = (self.range.end != UNKNOWN).then(|| self.range.end - self.range.start);
        loop {
            let piece = timeout(self.limit, self.stream.next()).await.map_err(|_| wrong(Lie::silence(self.limit)))?;
            let broken = match piece {
                Some(Ok(piece)) => {
                    self.got += piece.len() as u64;
                    if let Some(said) = said
                        && self.got > said
                    {
                        return Err(wrong(Lie::new(format!(
                            "the server sent more than the {said} bytes that it said"
                        ))));
                    }
                    self.digest.update(&piece);
                    return Ok(Some(piece));
                }
                None => match said {
                    Some(said) if said != self.got => {
                        let got = self.got;
                        wrong(Lie::new(format!("the server sent {got} bytes, where it said {said}")))
                    }
                    _ => return Ok(None),
                },
                Some(Err(error)) => error,
            };
            self.go_on(broken).await?;
        }
    }

    /// Asks for the rest. What broke it off is told where there is none.
    async fn go_on(&mut self, broken: object_store::Error) -> Result<()> {
        while self.breaks < RETRIES {
            // Where it is the run that ends, so does the runtime, whose timers wait no more: then the task is lost.
            if tokio::spawn(sleep(PAUSE * 2u32.pow(self.breaks as u32))).await.is_err() {
                break;
            }
            self.breaks += 1;
            if let Ok(rest) = self.rest().await {
                self.stream = rest.ok_or_else(|| wrong(Lie::new(CHANGED_MEANWHILE)))?;
                return Ok(());
            }
        }
        Err(broken)
    }

    /// What follows; `None` when it is that of another content.
    async fn rest(&mut self) -> Result<Option<BoxStream<'static, Result<Bytes>>>> {
        if let Some(etag) = self.etag.as_deref().and_then(strong) {
            let from = self.range.start + self.got;
            let range = match self.range.end {
                UNKNOWN => GetRange::Offset(from),
                end => GetRange::Bounded(from..end),
            };
            let options = GetOptions { range: Some(range), if_match: Some(etag.to_owned()), ..GetOptions::default() };
            match self.server.get_opts(&self.location, options).await {
                Ok(rest) => return Ok((rest.meta.e_tag == self.etag).then(|| rest.into_stream())),
                Err(object_store::Error::Precondition { .. }) => return Ok(None),
                // It gives no parts.
                Err(object_store::Error::NotSupported { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let again = match self.server.get_opts(&self.location, self.options.clone()).await {
            Err(object_store::Error::Precondition { .. }) => return Ok(None),
            again => again?,
        };
        if again.range != self.range || again.meta.e_tag != self.etag || modified(&again) != self.modified {
            return Ok(None);
        }
        let mut stream = again.into_stream();
        let (mut left, mut digest) = (self.got, Xxh3::new());
        while left > 0 {
            let piece = timeout(self.limit, stream.next()).await.map_err(|_| wrong(Lie::silence(self.limit)))?;
            let Some(piece) = piece.transpose()? else { return Ok(None) };
            let known = left.min(piece.len() as u64) as usize;
            digest.update(&piece[..known]);
            left -= known as u64;
            if known < piece.len() {
                stream = stream::iter([Ok(piece.slice(known..))]).chain(stream).boxed();
            }
        }
        Ok((digest.digest128() == self.digest.digest128()).then_some(stream))
    }
}

/// When the server says that the file was modified, in milliseconds.
fn modified(answer: &GetResult) -> i64 {
    answer.meta.last_modified.timestamp_millis()
}
