//! A volume that is a bucket of S3, or of a store that speaks like it: `s3://bucket/path`.
//!
//! Keys are not encoded; requests are made on the IO runtime. [`listing`] finds what a glob names, [`outputs`] is what sinks do,
//! [`manifest`] says which objects of an output count, [`refusal`] what a server's refusal means.

mod listing;
mod manifest;
mod outputs;
mod refusal;
mod service;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use dflow_pipeline::{Fault, Volume};
use futures::stream::BoxStream;
use object_store::{
    Attribute, BackoffConfig, ClientOptions, GetOptions, GetRange, ObjectStore, RetryConfig,
    aws::{AmazonS3, AmazonS3Builder},
    client::{ReqwestConnector, SpawnedReqwestConnector},
    path::Path,
};
use tokio::runtime::Handle;

pub use self::{
    manifest::{Manifest, ManifestFile},
    outputs::{ObjectFolder, is_object},
};
use self::{refusal::Refusal, service::Patient};
use crate::{
    IoError, Split,
    web::{Answer, CHANGED, CONNECT, Incoming, Request, SILENCE, Trouble, strong},
};

/// Looks up an environment variable.
pub type Variables = fn(&str) -> Option<String>;

/// How often a request is tried again that the server failed (5xx, 429, a connection that broke).
const RETRIES: usize = 4;
/// How long it is tried again.
const RETRYING: Duration = Duration::from_secs(120);
/// How long a part of an object may take to come, of those that are asked for as a whole.
const PART: Duration = Duration::from_secs(300);

/// A bucket, from a path on.
pub(crate) struct Bucket {
    /// The volume's name.
    name: String,
    /// Its URL without a slash at the end.
    url: String,
    /// The bucket's own name.
    bucket: String,
    /// What all keys begin with; empty, or without a slash at the end.
    prefix: String,
    region: String,
    /// The server, where it isn't Amazon's.
    endpoint: Option<String>,
    /// The variables that the key is in; `None` when none is used.
    variables: Option<[String; 2]>,
    /// How it is reached, unless something is missing for that: which only who uses the volume needs to know.
    builder: Result<(AmazonS3Builder, ClientOptions), IoError>,
    clients: OnceLock<Result<Clients, IoError>>,
    silence: Duration,
    /// The versions of objects as they were when somebody looked whether they may be written; `None` where there was none.
    seen: Mutex<BTreeMap<String, Option<String>>>,
    io: Handle,
}

struct Clients {
    /// For who is on the IO runtime; what comes waits until it is read.
    here: Arc<AmazonS3>,
    /// For others.
    anywhere: Arc<AmazonS3>,
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bucket").field("name", &self.name).field("url", &self.url).finish_non_exhaustive()
    }
}

impl Bucket {
    pub(crate) fn new(name: &str, volume: &Volume, variables: Variables, io: Handle) -> Self {
        let said = |variable: &str| variables(variable).filter(|value| !value.is_empty());
        let url = volume.url.trim_end_matches('/').to_owned();
        let rest = url.strip_prefix("s3://").unwrap_or(&url);
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let region = volume.region.clone().or_else(|| said("AWS_REGION")).or_else(|| said("AWS_DEFAULT_REGION"));
        let endpoint =
            volume.endpoint.clone().or_else(|| said("AWS_ENDPOINT_URL_S3")).or_else(|| said("AWS_ENDPOINT_URL"));
        let named = |own: &Option<String>, usual: &str| own.clone().unwrap_or_else(|| usual.to_owned());
        let keys = [named(&volume.key_env, "AWS_ACCESS_KEY_ID"), named(&volume.secret_env, "AWS_SECRET_ACCESS_KEY")];
        let mut made = Self {
            name: name.to_owned(),
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
            region: region.unwrap_or_else(|| "us-east-1".to_owned()),
            endpoint: endpoint.map(|endpoint| endpoint.trim_end_matches('/').to_owned()),
            variables: (!volume.anonymous).then_some(keys),
            builder: Err(IoError::internal("a bucket that nobody can reach")),
            clients: OnceLock::new(),
            silence: volume.timeout.map_or(SILENCE, |timeout| Duration::from_millis(timeout.0)),
            seen: Mutex::default(),
            url,
            io,
        };
        made.builder = made.builder(volume, &said);
        made
    }

    fn builder(
        &self,
        volume: &Volume,
        said: &dyn Fn(&str) -> Option<String>,
    ) -> Result<(AmazonS3Builder, ClientOptions), IoError> {
        let wrong = |what: String| IoError::new(Fault::Outside, format!("the volume `{}`: {what}", self.name));
        let plain = self.endpoint.as_deref().filter(|endpoint| endpoint.starts_with("http://"));
        if let (Some(endpoint), false) = (plain, volume.allow_http) {
            return Err(wrong(format!("`{endpoint}` (AWS_ENDPOINT_URL) isn't encrypted"))
                .hint("say `allow_http = true` where nobody else listens"));
        }
        let retry = RetryConfig {
            backoff: BackoffConfig {
                init_backoff: Duration::from_millis(200),
                max_backoff: Duration::from_secs(10),
                ..BackoffConfig::default()
            },
            max_retries: RETRIES,
            retry_timeout: RETRYING,
        };
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(&self.bucket)
            .with_region(&self.region)
            .with_retry(retry)
            .with_skip_signature(volume.anonymous);
        if let Some(endpoint) = &self.endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        if let Some([key, secret]) = &self.variables {
            let value = |variable: &String| {
                said(variable).ok_or_else(|| {
                    wrong(format!("the environment variable `{variable}` isn't set, and requests need a key")).hint(
                        "set it, name others with `key_env` and `secret_env`, or say `anonymous = true` of a bucket for everybody",
                    )
                })
            };
            builder = builder.with_access_key_id(value(key)?).with_secret_access_key(value(secret)?);
            if let (None, Some(token)) = (&volume.key_env, said("AWS_SESSION_TOKEN")) {
                builder = builder.with_token(token);
            }
        }
        let options = ClientOptions::new().with_allow_http(volume.allow_http).with_connect_timeout(CONNECT);
        Ok((builder, options))
    }

    /// Whether all is there that requests need.
    pub(crate) fn ready(&self) -> Result<(), IoError> {
        self.builder.as_ref().map(|_| ()).map_err(Clone::clone)
    }

    /// What it is reached by.
    fn clients(&self) -> Result<&Clients, IoError> {
        let clients = self.clients.get_or_init(|| {
            let (builder, options) = self.builder.clone()?;
            // A large object takes its time; what may not last is silence.
            let here = builder
                .clone()
                .with_client_options(options.clone().with_timeout_disabled())
                .with_http_connector(Patient { inner: ReqwestConnector::default(), silence: self.silence });
            let anywhere = builder
                .with_client_options(options.with_timeout(PART))
                .with_http_connector(SpawnedReqwestConnector::new(self.io.clone()));
            let built = |builder: AmazonS3Builder| {
                builder.build().map(Arc::new).map_err(|error| {
                    let message = format!("the volume `{}` can't be reached: {error}", self.name);
                    IoError::new(Fault::Pipeline, message)
                })
            };
            Ok(Clients { here: built(here)?, anywhere: built(anywhere)? })
        });
        clients.as_ref().map_err(Clone::clone)
    }

    /// What objects can be read from, on any runtime.
    pub(crate) fn store(&self) -> Result<Arc<dyn ObjectStore>, IoError> {
        Ok(Arc::<AmazonS3>::clone(&self.clients()?.anywhere))
    }

    /// What it is reached by on the IO runtime.
    fn here(&self) -> Result<Arc<AmazonS3>, IoError> {
        Ok(Arc::clone(&self.clients()?.here))
    }

    /// The key of a path in this volume.
    pub(crate) fn key(&self, path: &str) -> Result<Path, IoError> {
        let key = if self.prefix.is_empty() { path.to_owned() } else { format!("{}/{path}", self.prefix) };
        Path::parse(key).map_err(|error| {
            let message = format!("`{}` can't be the name of an object: {error}", self.uri(path));
            IoError::new(Fault::Pipeline, message)
        })
    }

    /// The path of a key that is in this volume.
    fn path_of(&self, key: &Path) -> Option<String> {
        match self.prefix.as_str() {
            "" => Some(key.as_ref().to_owned()),
            prefix => key.as_ref().strip_prefix(prefix)?.strip_prefix('/').map(str::to_owned),
        }
    }

    /// How a user writes a path in this volume.
    fn uri(&self, path: &str) -> String {
        crate::location::uri(&self.name, path)
    }

    /// The rest of a URL that is in this volume.
    pub(crate) fn below<'a>(&self, url: &'a str) -> Option<&'a str> {
        url.strip_prefix(&self.url)?.strip_prefix('/')
    }

    /// What a server's refusal means.
    fn refusal(&self, error: &object_store::Error) -> Refusal {
        Refusal::of(self, error)
    }

    /// The error of something that couldn't be done (`read`, `list`) with what the user knows by this name.
    fn refused(&self, action: &str, name: &str, error: &object_store::Error) -> IoError {
        let Refusal { why, hint, .. } = self.refusal(error);
        let error = IoError::new(Fault::Outside, format!("can't {action} `{name}`: {why}"));
        match hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }

    /// What the server says about an object, and its content if that is wanted.
    pub(crate) async fn ask_for(&self, path: &str, content: bool) -> Result<Answer, Trouble> {
        let trouble = |error: IoError| Trouble { missing: false, why: error.message };
        let (store, key) = (self.here().map_err(trouble)?, self.key(path).map_err(trouble)?);
        let options = GetOptions { head: !content, ..GetOptions::default() };
        let answer = self.io.spawn(async move { store.get_opts(&key, options).await }).await;
        let answer = answer.map_err(|error| trouble(IoError::lost(error)))?.map_err(|error| {
            let Refusal { why, missing, .. } = self.refusal(&error);
            Trouble { missing, why }
        })?;
        let said = answer.attributes.get(&Attribute::ContentType);
        // What nobody said is called a stream of octets.
        let media_type = said
            .map(|said| said.split(';').next().unwrap_or(said).trim().to_ascii_lowercase())
            .filter(|said| !said.ends_with("/octet-stream"));
        let (size, modified) = (Some(answer.meta.size), Some(answer.meta.last_modified.timestamp_millis()));
        let etag = answer.meta.e_tag.clone();
        let body = content.then(|| self.incoming(answer.into_stream()));
        Ok(Answer { size, modified, etag, media_type, body })
    }

    /// Asks for an object.
    pub(crate) fn request(self: &Arc<Self>, split: &Split) -> Request {
        let (bucket, path) = (Arc::clone(self), split.path.clone());
        let etag = strong(&split.etag).map(str::to_owned);
        let range = split.range.map(|(start, end)| GetRange::Bounded(start..end));
        Request(self.io.spawn(async move {
            let other = |error: IoError| std::io::Error::other(error.message);
            let (store, key) = (bucket.here().map_err(other)?, bucket.key(&path).map_err(other)?);
            let options = GetOptions { if_match: etag.clone(), range, ..GetOptions::default() };
            let told = |error: object_store::Error| std::io::Error::other(bucket.refusal(&error).why);
            let answer = store.get_opts(&key, options).await.map_err(told)?;
            // Not every server minds what `If-Match` says.
            if let (Some(listed), Some(now)) = (&etag, answer.meta.e_tag.as_deref().and_then(strong))
                && listed != now
            {
                return Err(std::io::Error::other(CHANGED));
            }
            Ok(bucket.incoming(answer.into_stream()))
        }))
    }

    fn incoming(&self, body: BoxStream<'static, object_store::Result<Bytes>>) -> Incoming {
        Incoming::new(body, self.io.clone(), Some(self.silence))
    }
}
