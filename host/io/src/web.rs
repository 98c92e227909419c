//! A volume on the web: what is behind `http://` and `https://`.
//!
//! Paths are the URL's, not encoded; requests are made on the IO runtime. What a server says is checked before it is believed:
//! [`service`] looks at each answer, [`body`] at each body.

mod body;
mod listing;
mod manifest;
mod service;
mod store;

use std::{
    error::Error,
    fmt,
    io::{self, Read},
    sync::Arc,
    time::Duration,
};

use bytes::{Buf, Bytes};
use dflow_pipeline::{Fault, Volume};
use futures::stream::{BoxStream, StreamExt};
use object_store::{
    Attribute, BackoffConfig, ClientOptions, GetOptions, GetRange, ObjectStore, RetryConfig,
    client::{HttpError, HttpErrorKind},
    http::HttpBuilder,
    path::Path,
};
use tokio::{runtime::Handle, task::JoinHandle, time::timeout};

pub(crate) use self::service::Lie;
use self::{service::Connector, store::WebStore};
use crate::{IoError, Split};

/// How long a connection may take to come about.
pub(crate) const CONNECT: Duration = Duration::from_secs(10);
/// How long a server may be silent, when the volume doesn't say.
pub(crate) const SILENCE: Duration = Duration::from_secs(60);
/// How often a request is tried again that the server failed (5xx, 429, a connection that broke).
const RETRIES: usize = 3;
/// How long it is tried again.
const RETRYING: Duration = Duration::from_secs(120);
/// The size of what a server doesn't say the size of.
const UNKNOWN: u64 = u64::MAX;

/// A volume on the web.
#[derive(Debug)]
pub(crate) struct Web {
    /// The volume's name.
    name: String,
    /// Its URL without a slash at the end.
    url: String,
    store: Arc<WebStore>,
    /// Where its files are listed, in the user's words.
    manifest: Option<String>,
    io: Handle,
}

impl Web {
    pub(crate) fn new(name: &str, volume: &Volume, io: Handle) -> Result<Self, IoError> {
        let url = volume.url.trim_end_matches('/').to_owned();
        let timeout = volume.timeout.map_or(SILENCE, |timeout| Duration::from_millis(timeout.0));
        let options = ClientOptions::new()
            .with_allow_http(url.starts_with("http://"))
            .with_connect_timeout(CONNECT)
            // A large file takes its time; what may not last is silence.
            .with_timeout_disabled();
        let retry = RetryConfig {
            backoff: BackoffConfig {
                init_backoff: Duration::from_millis(200),
                max_backoff: Duration::from_secs(10),
                ..BackoffConfig::default()
            },
            max_retries: RETRIES,
            retry_timeout: RETRYING,
        };
        let inner = HttpBuilder::new()
            .with_url(&url)
            .with_client_options(options)
            .with_retry(retry)
            .with_http_connector(Connector { io: io.clone(), timeout })
            .build()
            .map_err(|error| {
                let message = format!("the volume `{name}` can't be reached: {}", explain(&error));
                IoError::new(Fault::Pipeline, message).hint("its `url` should look like `https://host/path`")
            })?;
        let store = Arc::new(WebStore { inner: Arc::new(inner), timeout });
        Ok(Self { name: name.to_owned(), url, store, manifest: volume.manifest.clone(), io })
    }

    /// What its files can be read from.
    pub(crate) fn store(&self) -> Arc<dyn ObjectStore> {
        Arc::<WebStore>::clone(&self.store)
    }

    /// Where a path is in [`store`](Self::store).
    pub(crate) fn location(&self, path: &str) -> Result<Path, IoError> {
        Path::parse(path).map_err(|error| {
            let message = format!("`{}://{path}` is no path on the web: {error}", self.name);
            IoError::new(Fault::Pipeline, message)
        })
    }

    /// The rest of a URL that is in this volume.
    pub(crate) fn below<'a>(&self, url: &'a str) -> Option<&'a str> {
        url.strip_prefix(&self.url)?.strip_prefix('/')
    }

    /// What the server says about a file, and its content if that is wanted.
    pub(crate) async fn ask_for(&self, path: &str, content: bool) -> Result<Answer, Trouble> {
        let location = self.location(path).map_err(|error| Trouble { missing: false, why: error.message })?;
        let options = GetOptions { head: !content, ..GetOptions::default() };
        let mut answer = self.store.get_opts(&location, options).await;
        // Not every server answers HEAD; the content that comes instead isn't read.
        if let (false, Err(error)) = (content, &answer)
            && knows_no_head(error)
        {
            answer = self.store.get_opts(&location, GetOptions::default()).await;
        }
        let answer = answer.map_err(|error| Trouble {
            missing: matches!(error, object_store::Error::NotFound { .. }),
            why: match unreachable(&error) {
                true => format!("the server of the volume `{}` can't be reached: {}", self.name, explain(&error)),
                false => explain(&error),
            },
        })?;
        let said = answer.attributes.get(&Attribute::ContentType);
        let media_type = said.map(|said| said.split(';').next().unwrap_or(said).trim().to_ascii_lowercase());
        let size = Some(answer.meta.size).filter(|size| *size != UNKNOWN);
        let modified = Some(answer.meta.last_modified.timestamp_millis()).filter(|modified| *modified != 0);
        let etag = answer.meta.e_tag.clone();
        let body = content.then(|| Incoming::new(answer.into_stream(), self.io.clone(), None));
        Ok(Answer { size, modified, etag, media_type, body })
    }

    /// Asks for a file, or the part of it that is meant. When the server has begun to answer, what it says can be read.
    pub(crate) fn request(&self, split: &Split) -> Request {
        let (location, store, io) = (self.location(&split.path), self.store(), self.io.clone());
        let etag = strong(&split.etag).map(str::to_owned);
        let range = split.range.map(|(start, end)| GetRange::Bounded(start..end));
        Request(self.io.spawn(async move {
            let location = location.map_err(|error| io::Error::other(error.message))?;
            let options = GetOptions { if_match: etag.clone(), range, ..GetOptions::default() };
            let answer = store.get_opts(&location, options).await.map_err(told)?;
            // Not every server minds what `If-Match` says.
            if let (Some(listed), Some(now)) = (&etag, answer.meta.e_tag.as_deref().and_then(strong))
                && listed != now
            {
                return Err(io::Error::other(CHANGED));
            }
            Ok(Incoming::new(answer.into_stream(), io, None))
        }))
    }
}

/// What a server says about a file.
pub(crate) struct Answer {
    /// Its size in bytes.
    pub(crate) size: Option<u64>,
    /// When it was last modified, in milliseconds since 1970.
    pub(crate) modified: Option<i64>,
    pub(crate) etag: Option<String>,
    pub(crate) media_type: Option<String>,
    /// Its content, if that was asked for.
    pub(crate) body: Option<Incoming>,
}

/// Why a server gives nothing.
pub(crate) struct Trouble {
    /// Whether there is no such file.
    pub(crate) missing: bool,
    /// A phrase without URLs.
    pub(crate) why: String,
}

/// A request under way.
pub(crate) struct Request(pub(crate) JoinHandle<io::Result<Incoming>>);

impl Request {
    /// Waits for the answer, on a thread that may block.
    pub(crate) fn answer(self, io: &Handle) -> io::Result<Incoming> {
        io.block_on(self.0).map_err(io::Error::other)?
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Request")
    }
}

/// The body of an answer, read on a thread that may block.
pub(crate) struct Incoming {
    body: BoxStream<'static, object_store::Result<Bytes>>,
    piece: Bytes,
    io: Handle,
    /// How long it may be silent, where nobody else looks at that.
    silence: Option<Duration>,
}

impl Incoming {
    pub(crate) fn new(
        body: BoxStream<'static, object_store::Result<Bytes>>,
        io: Handle,
        silence: Option<Duration>,
    ) -> Self {
        Self { body, piece: Bytes::new(), io, silence }
    }

    fn next(&mut self) -> io::Result<Option<Bytes>> {
        let Self { body, io: runtime, silence, .. } = self;
        let piece = runtime.block_on(async {
            match *silence {
                Some(silence) => match timeout(silence, body.next()).await {
                    Ok(piece) => Ok(piece),
                    Err(_) => Err(io::Error::other(Lie::silence(silence))),
                },
                None => Ok(body.next().await),
            }
        })?;
        piece.transpose().map_err(told)
    }
}

impl Read for Incoming {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.next()? {
                Some(piece) => self.piece = piece,
                None => return Ok(0),
            }
        }
        let length = into.len().min(self.piece.len());
        self.piece.copy_to_slice(&mut into[..length]);
        Ok(length)
    }
}

/// An entity tag that stands for the very bytes. (A weak one, `W/"…"`, doesn't; what a manifest says need not be the server's.)
pub(crate) fn strong(etag: &str) -> Option<&str> {
    Some(etag).filter(|etag| etag.len() >= 2 && etag.starts_with('"') && etag.ends_with('"'))
}

pub(crate) const CHANGED: &str = "it has changed since it was listed";
pub(crate) const CHANGED_MEANWHILE: &str = "it has changed while it was read";

fn told(error: object_store::Error) -> io::Error {
    io::Error::other(explain(&error))
}

/// What went wrong, as a phrase without URLs: those may hold what is secret.
fn explain(error: &object_store::Error) -> String {
    if let object_store::Error::Precondition { .. } = error {
        return CHANGED.to_owned();
    }
    if let Some(status) = status(error) {
        return format!("the server answers {status}");
    }
    let text = innermost(error).to_string();
    match () {
        () if text.contains("too many redirects") => "the server redirects for ever".to_owned(),
        () if text.contains("before message") => "the server closed the connection early".to_owned(),
        () if text.contains("URL scheme is not allowed") => "the server redirects from https to http".to_owned(),
        () => text,
    }
}

/// The status of an answer that is none of success: `404 Not Found`.
fn status(error: &object_store::Error) -> Option<String> {
    let text = innermost(error).to_string();
    let status = text.strip_prefix("Server returned non-2xx status code: ")?;
    Some(status.split(": ").next().unwrap_or(status).to_owned())
}

/// Whether a server doesn't answer HEAD.
fn knows_no_head(error: &object_store::Error) -> bool {
    status(error).is_some_and(|status| status.starts_with("405") || status.starts_with("501"))
}

/// Whether there is no server at all.
pub(crate) fn unreachable(error: &object_store::Error) -> bool {
    chain(error)
        .any(|error| error.downcast_ref::<HttpError>().is_some_and(|error| error.kind() == HttpErrorKind::Connect))
}

fn chain(error: &object_store::Error) -> impl Iterator<Item = &(dyn Error + 'static)> {
    std::iter::successors(Some(error as &(dyn Error + 'static)), |&error| error.source())
}

pub(crate) fn innermost(error: &object_store::Error) -> &(dyn Error + 'static) {
    chain(error).last().unwrap_or(error)
}

#[cfg(test)]
mod tests;
