//! Opening files that rows name: each URI's file is found, asked about, and read when somebody wants its content.
//!
//! A row may only name what the pipeline declares: a file in one of its volumes, or in its own folder. Where a path really
//! leads, links included, is looked at before anything is opened.

use std::{
    collections::VecDeque,
    fs::{self, File, Metadata},
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use dflow_pipeline::{Bytes, Codec, Fault};
use futures::stream::{self, BoxStream, StreamExt};
use percent_encoding::percent_decode_str;

use crate::{
    IoError, Split, Stores,
    content::{self, Content},
    files::read_into,
    location::{ABSOLUTE, Location},
    prefetch::{AHEAD_BYTES, Job},
    texts::MAX_BUFFER,
    web::{Answer, Incoming},
};

/// Files that are asked for at once.
const REQUESTS: usize = 16;
/// What a compressed file is taken to become, before that is known.
const UNPACKED: u64 = 8;

/// Opens files by their URIs.
#[derive(Clone, Debug)]
pub struct Opener {
    stores: Stores,
    /// The volume that URIs without one are in; else they are relative to the pipeline's folder.
    volume: Option<String>,
    /// The flow whose volumes count first.
    within: Option<String>,
    codec: Option<Codec>,
    max_row: u64,
    /// The folders in which files may be, links followed.
    grounds: Arc<[PathBuf]>,
}

/// A file that was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// Its stored size in bytes, where that is known.
    pub size: Option<u64>,
    /// When it was last modified, in milliseconds since 1970 (UTC), where that is known.
    pub modified: Option<i64>,
    /// The version of its content, where there is one.
    pub etag: Option<String>,
    /// What it holds, as the server says or its name means: `text/html`.
    pub media_type: Option<String>,
    /// Its content, decompressed; empty when nobody asked for it.
    pub content: Vec<u8>,
}

/// Why a file could not be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unopened {
    /// A short name for grouping: `not-allowed`, `missing`, `unreadable`, `too-large`.
    pub kind: &'static str,
    /// Whose fault.
    pub fault: Fault,
    /// What is wrong, with the URI.
    pub message: String,
}

/// What came of a URI; of none, nothing.
pub type Opening = Option<Result<Opened, Unopened>>;

/// What came of looking for a URI's file.
type Head = Result<(String, Found), Unopened>;

/// A file that was found, and where its content comes from.
struct Found {
    about: Opened,
    codec: Codec,
    stored: Stored,
}

enum Stored {
    /// Nobody asked for it.
    Unread,
    Here(PathBuf),
    Coming(Incoming),
}

/// What is allowed of a URI.
enum Target {
    File(Location, PathBuf),
    Web { volume: String, path: String },
}

impl Opener {
    /// Opens files in some stores, each of at most `max_row` bytes. URIs without a volume are in `volume`, if one is said; the
    /// volumes of the flow `within` which this happens count before those of its callers.
    pub fn new(
        stores: &Stores,
        volume: Option<String>,
        within: Option<String>,
        codec: Option<Codec>,
        max_row: Bytes,
    ) -> Self {
        let grounds: Vec<PathBuf> =
            stores.folders().flat_map(|folder| [folder.to_owned()].into_iter().chain(folder.canonicalize())).collect();
        let max_row = max_row.0.min(MAX_BUFFER - 1);
        Self { stores: stores.clone(), volume, within, codec, max_row, grounds: grounds.into() }
    }

    /// What comes of each URI, in their order, several at once. Only with `content` files are read; else they are asked about.
    pub fn open(
        self: &Arc<Self>,
        uris: Vec<Option<String>>,
        content: bool,
    ) -> BoxStream<'static, Result<Opening, IoError>> {
        let (opener, io) = (Arc::clone(self), self.stores.io().clone());
        let heads = stream::iter(uris).map(move |uri| {
            let job = uri.map(|uri| {
                let opener = Arc::clone(&opener);
                Job(io.spawn(async move { opener.find(&uri, content).await.map(|found| (uri, found)) }))
            });
            async move {
                match job {
                    None => Ok(None),
                    Some(job) => job.result().await.map(Some),
                }
            }
        });
        let heads = heads.buffered(REQUESTS).fuse().boxed();
        let state = (Arc::clone(self), heads, VecDeque::new(), 0u64);
        // Contents are read side by side as long as their bytes are few; one of any size is always read.
        stream::unfold(state, |(opener, mut heads, mut running, mut ahead)| async move {
            while running.is_empty() || (ahead < AHEAD_BYTES && running.len() < REQUESTS) {
                let Some(head) = heads.next().await else { break };
                let (bytes, reading) = opener.begin(head);
                ahead += bytes;
                running.push_back((bytes, reading));
            }
            let (bytes, reading) = running.pop_front()?;
            let opening = match reading {
                Reading::Done(opening) => opening,
                Reading::Running(job) => job.result().await.map(Some),
            };
            Some((opening, (opener, heads, running, ahead - bytes)))
        })
        .fuse()
        .boxed()
    }

    fn begin(&self, head: Result<Option<Head>, IoError>) -> (u64, Reading) {
        let (uri, Found { about, codec, stored }) = match head {
            Err(error) => return (0, Reading::Done(Err(error))),
            Ok(None) => return (0, Reading::Done(Ok(None))),
            Ok(Some(Err(unopened))) => return (0, Reading::Done(Ok(Some(Err(unopened))))),
            Ok(Some(Ok(found))) => found,
        };
        let stored: Box<dyn FnOnce() -> io::Result<Box<dyn Read + Send>> + Send> = match stored {
            Stored::Unread => return (0, Reading::Done(Ok(Some(Ok(about))))),
            Stored::Here(path) => Box::new(|| Ok(Box::new(File::open(path)?))),
            Stored::Coming(body) => Box::new(|| Ok(Box::new(body))),
        };
        let size = about.size.unwrap_or(self.max_row);
        let bytes = (if codec == Codec::None { size } else { size.saturating_mul(UNPACKED) }).min(self.max_row);
        let limit = self.max_row;
        let io = self.stores.io().clone();
        let job = self.stores.io().spawn_blocking(move || {
            let expected = about.size.filter(|_| codec == Codec::None).unwrap_or(0).min(limit);
            // One byte more, so that the last read finds the end without growing the buffer.
            let mut buffer = vec![0; expected as usize + 1];
            let read = stored()
                .and_then(|stored| Content::new(codec, stored, Some(io)))
                .and_then(|mut content| read_into(&mut content, &mut buffer, 0, limit as usize));
            match read {
                Ok(Some(end)) => {
                    buffer.truncate(end);
                    Ok(Opened { content: buffer, ..about })
                }
                Ok(None) => Err(too_large(&uri, None, codec, limit)),
                Err(error) => {
                    let (fault, message) = content::describe(codec, &uri, "", error);
                    Err(Unopened { kind: "unreadable", fault, message })
                }
            }
        });
        (bytes, Reading::Running(Job(job)))
    }

    /// Finds a file, and asks for its content if that is wanted.
    async fn find(self: &Arc<Self>, uri: &str, content: bool) -> Result<Found, Unopened> {
        let target = {
            let (opener, uri) = (Arc::clone(self), uri.to_owned());
            let found = tokio::task::spawn_blocking(move || {
                let target = opener.target(&uri)?;
                Ok(match target {
                    Target::File(location, path) => {
                        let metadata = fs::metadata(&path).map_err(|error| unreadable(&uri, &error))?;
                        (Target::File(location, path), Some(metadata))
                    }
                    web @ Target::Web { .. } => (web, None),
                })
            });
            found.await.map_err(|error| Unopened {
                kind: "unreadable",
                fault: Fault::Internal,
                message: error.to_string(),
            })??
        };
        match target {
            (Target::File(location, path), metadata) => self.here(uri, location, path, metadata, content),
            (Target::Web { volume, path }, _) => self.there(uri, &volume, &path, content).await,
        }
    }

    fn here(
        &self,
        uri: &str,
        location: Location,
        path: PathBuf,
        metadata: Option<Metadata>,
        content: bool,
    ) -> Result<Found, Unopened> {
        let Some(metadata) = metadata.filter(Metadata::is_file) else {
            let what = if path.is_dir() { "a folder" } else { "no plain file" };
            let message = format!("`{uri}` is {what}, not a file");
            return Err(Unopened { kind: "unreadable", fault: Fault::Data, message });
        };
        let codec = self.codec_of(&location.path);
        let media_type = media_type(&location.path, codec).map(str::to_owned);
        let split = Split::of_file(location, &metadata);
        let about = Opened {
            size: Some(split.size),
            modified: Some(split.modified),
            etag: Some(split.etag),
            media_type,
            content: Vec::new(),
        };
        self.fits(uri, &about, codec, content)?;
        Ok(Found { about, codec, stored: if content { Stored::Here(path) } else { Stored::Unread } })
    }

    async fn there(&self, uri: &str, volume: &str, path: &str, content: bool) -> Result<Found, Unopened> {
        let answer = match (self.stores.web(volume), self.stores.bucket(volume)) {
            (Some(web), _) => web.ask_for(path, content).await,
            (None, Some(bucket)) => bucket.ask_for(path, content).await,
            (None, None) => return Err(no_volume(uri, volume)),
        };
        let answer = answer.map_err(|trouble| Unopened {
            kind: if trouble.missing { "missing" } else { "unreadable" },
            fault: Fault::Outside,
            message: format!("can't read `{}`: {}", shown(uri), trouble.why),
        })?;
        let Answer { size, modified, etag, media_type: said, body } = answer;
        let codec = self.codec_of(path);
        // A server may speak of what is stored, or of what is in it.
        let said = said.filter(|_| codec == Codec::None);
        let media_type = said.or_else(|| media_type(path, codec).map(str::to_owned));
        let about = Opened { size, modified, etag, media_type, content: Vec::new() };
        self.fits(uri, &about, codec, content)?;
        Ok(Found { about, codec, stored: body.map_or(Stored::Unread, Stored::Coming) })
    }

    fn codec_of(&self, path: &str) -> Codec {
        self.codec.unwrap_or_else(|| Codec::of_name(path))
    }

    fn fits(&self, uri: &str, about: &Opened, codec: Codec, content: bool) -> Result<(), Unopened> {
        match about.size {
            Some(size) if content && codec == Codec::None && size > self.max_row => {
                Err(too_large(uri, Some(size), codec, self.max_row))
            }
            _ => Ok(()),
        }
    }

    /// What a URI means, if the pipeline may open it.
    fn target(&self, uri: &str) -> Result<Target, Unopened> {
        if uri.starts_with("http://") || uri.starts_with("https://") {
            return self.url(uri);
        }
        // Keys aren't encoded.
        if uri.starts_with("s3://")
            && let Some((volume, path)) = self.stores.web_volume(uri)
        {
            return Ok(Target::Web { volume, path: path.to_owned() });
        }
        let text = match (uri.split_once("://"), &self.volume) {
            (Some((ABSOLUTE, _)), _) => uri.to_owned(),
            (Some((volume, path)), _) => match self.declared(volume) {
                Some(volume) => format!("{volume}://{path}"),
                None => return Err(no_volume(uri, volume)),
            },
            (None, Some(volume)) if !uri.starts_with('/') => format!("{volume}://{uri}"),
            (None, _) => uri.to_owned(),
        };
        let location = self.stores.locate(&text).map_err(|error| not_allowed(error.message))?;
        let Some(path) = self.stores.path_of(&location) else {
            return Ok(Target::Web { volume: location.volume, path: location.path });
        };
        let inside = |path: &Path| self.grounds.iter().any(|ground| path.starts_with(ground));
        match path.canonicalize() {
            Ok(real) if inside(&real) => Ok(Target::File(location, real)),
            Ok(_) if inside(&path) => {
                Err(not_allowed(format!("`{uri}` is a link that leads out of the pipeline's folder and its volumes")))
            }
            Err(error) if inside(&path) => Err(unreadable(uri, &error)),
            // Whether there is such a file isn't told either.
            _ => {
                let folder = path.parent().unwrap_or(&path).display();
                Err(not_allowed(format!(
                    "`{uri}` is neither in the pipeline's folder nor in one of its volumes; a volume with `url = \"{folder}\"` would have it"
                )))
            }
        }
    }

    /// A volume by the name that rows give it: of the flow, else of those around it.
    fn declared(&self, name: &str) -> Option<String> {
        let flows = std::iter::successors(self.within.as_deref(), |flow| flow.rsplit_once('.').map(|(outer, _)| outer));
        let names = flows.map(|flow| format!("{flow}.{name}")).chain([name.to_owned()]);
        names.into_iter().find(|name| self.stores.has_volume(name))
    }

    fn url(&self, url: &str) -> Result<Target, Unopened> {
        let shown = shown(url);
        let Some((volume, below)) = self.stores.web_volume(url) else {
            let host = shown.splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
            return Err(not_allowed(format!(
                "`{shown}` is in none of the pipeline's volumes; a volume with `url = \"{host}\"` would have it"
            )));
        };
        if below.contains(['?', '#']) {
            let what = format!("`{shown}` has a query or a fragment; files on the web are named by their paths alone");
            return Err(not_allowed(what));
        }
        let path = percent_decode_str(below).decode_utf8();
        let path = path.map_err(|_| not_allowed(format!("the path of `{shown}` is not UTF-8")))?;
        if path.split('/').any(|part| matches!(part, "." | "..")) {
            return Err(not_allowed(format!("`{shown}` has a `.` or `..` in its path")));
        }
        Ok(Target::Web { volume, path: path.into_owned() })
    }
}

/// A content that is being read, or what is known without.
enum Reading {
    Done(Result<Opening, IoError>),
    Running(Job<Result<Opened, Unopened>>),
}

fn not_allowed(message: impl Into<String>) -> Unopened {
    Unopened { kind: "not-allowed", fault: Fault::Data, message: message.into() }
}

fn no_volume(uri: &str, volume: &str) -> Unopened {
    not_allowed(format!("`{uri}` names the volume `{volume}`, which this pipeline doesn't have"))
}

fn unreadable(uri: &str, error: &io::Error) -> Unopened {
    let kind = if error.kind() == io::ErrorKind::NotFound { "missing" } else { "unreadable" };
    Unopened { kind, fault: Fault::Outside, message: format!("can't read `{uri}`: {error}") }
}

fn too_large(uri: &str, size: Option<u64>, codec: Codec, limit: u64) -> Unopened {
    let limit = Bytes(limit);
    let size = size.map_or_else(|| format!("more than {limit}"), |size| format!("{} ({size} bytes)", Bytes(size)));
    let unpacked = if codec == Codec::None { "" } else { " when decompressed" };
    let uri = shown(uri);
    let message = format!("`{uri}` is {size}{unpacked}, more than a row may have: `batch.max_row` is {limit}");
    Unopened { kind: "too-large", fault: Fault::Limit, message }
}

/// A URI without what may be secret in it: names, passwords and queries of URLs.
fn shown(uri: &str) -> String {
    let Some((scheme @ ("http" | "https"), rest)) = uri.split_once("://") else { return uri.to_owned() };
    let rest = rest.split(['?', '#']).next().unwrap_or(rest);
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = host.rsplit('@').next().unwrap_or(host);
    format!("{scheme}://{host}{path}")
}

/// What a file holds, decompressed by its codec, by the ending of its name.
fn media_type(path: &str, codec: Codec) -> Option<&'static str> {
    let (stem, mut ending) = path.rsplit_once('.')?;
    if codec != Codec::None && Codec::of_name(path) == codec {
        ending = stem.rsplit_once('.')?.1;
    }
    Some(match ending.to_ascii_lowercase().as_str() {
        "html" | "htm" => "text/html",
        "txt" | "text" | "log" => "text/plain",
        "md" => "text/markdown",
        "csv" => "text/csv",
        "xml" => "application/xml",
        "json" => "application/json",
        "jsonl" | "ndjson" => "application/x-ndjson",
        "pdf" => "application/pdf",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "svg" => "image/svg+xml",
        "mp3" => "audio/mpeg",
        "wav" => "audio/wav",
        "mp4" => "video/mp4",
        "gz" | "gzip" => "application/gzip",
        "zst" | "zstd" => "application/zstd",
        "zip" => "application/zip",
        "parquet" => "application/vnd.apache.parquet",
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
