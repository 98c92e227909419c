//! Requests that are made for plugins: to the origins that the pipeline grants, and nowhere else.
//!
//! What a plugin says is not believed: its URL, its headers, where an answer redirects to and which address a name leads to are looked at
//! for each request. What it mustn't know is added here, and held back should it come back in an answer.

mod addresses;

use std::{collections::BTreeMap, error::Error, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use dflow_pipeline::{Fault, Grant, Millis};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode,
    header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, LOCATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE},
};
use memchr::memmem;
use reqwest::{Client, Url, redirect};
use tokio::{runtime::Handle, time::timeout};

use self::addresses::PublicNames;
use crate::{IoError, Variables, web::CONNECT};

/// How often an answer may lead elsewhere.
const REDIRECTS: usize = 5;
/// Headers that say how a message travels, and which are the host's to say.
const OF_TRAVEL: [HeaderName; 7] = [CONNECTION, CONTENT_LENGTH, HOST, TE, TRAILER, TRANSFER_ENCODING, UPGRADE];

/// What a plugin was granted, ready to be used. Cheap to clone.
#[derive(Clone, Debug)]
pub struct GrantedHttp(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    client: Client,
    /// By `scheme://host:port`, the header that is added.
    origins: BTreeMap<String, Option<(HeaderName, HeaderValue)>>,
    io: Handle,
}

impl GrantedHttp {
    /// What `grant` gives to the plugin of that name; `None` when it grants no requests.
    ///
    /// # Errors
    /// A secret isn't set, or can't be a header (fault `Outside`).
    pub fn new(plugin: &str, grant: &Grant, variables: Variables, io: Handle) -> Result<Option<Self>, IoError> {
        if grant.http.is_empty() {
            return Ok(None);
        }
        let wrong = |what: String| IoError::new(Fault::Outside, format!("the grant of plugin `{plugin}`: {what}"));
        let (mut origins, mut private) = (BTreeMap::new(), Vec::new());
        for granted in &grant.http {
            let url =
                Url::parse(&granted.origin).map_err(|e| wrong(format!("`{}` is no origin: {e}", granted.origin)))?;
            let host = url.host_str().unwrap_or_default();
            if granted.private || host == "localhost" {
                private.push(host.to_owned());
            }
            let header = match (&granted.header, &granted.secret_env) {
                (Some(header), Some(variable)) => {
                    let name = HeaderName::try_from(header.as_str())
                        .map_err(|_| wrong(format!("`{header}` is no header's name")))?;
                    let value = variables(variable).filter(|value| !value.is_empty());
                    let value = value.ok_or_else(|| {
                        wrong(format!("the environment variable `{variable}` isn't set")).hint("it holds the secret")
                    })?;
                    // Its text is in no message.
                    let mut value = HeaderValue::try_from(value)
                        .map_err(|_| wrong(format!("what `{variable}` holds can't be in a header")))?;
                    value.set_sensitive(true);
                    Some((name, value))
                }
                _ => None,
            };
            origins.insert(url.origin().ascii_serialization(), header);
        }
        let client = Client::builder()
            .connect_timeout(CONNECT)
            // Each step is looked at before it is taken.
            .redirect(redirect::Policy::none())
            // A proxy would look names up itself.
            .no_proxy()
            .dns_resolver(Arc::new(PublicNames { private }))
            .user_agent(concat!("dflow/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|e| wrong(format!("no client can be made: {e}")))?;
        Ok(Some(Self(Arc::new(Inner { client, origins, io }))))
    }

    /// Sends a request within so much time, and gives the answer, whose body has at most so many bytes.
    ///
    /// # Errors
    /// What the plugin is told: its request isn't granted, the server isn't reached, fails or gives too much.
    pub async fn send(&self, request: Request<Bytes>, within: Duration, most: u64) -> Result<Response<Bytes>, String> {
        let inner = Arc::clone(&self.0);
        let sent = self.0.io.spawn(async move { timeout(within, inner.follow(request, most)).await });
        match sent.await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(format!("it took longer than {} (`limits.wait`)", Millis(within.as_millis() as u64))),
            Err(lost) => Err(format!("the request was lost: {lost}")),
        }
    }
}

impl Inner {
    /// The answer at the end of all redirects.
    async fn follow(&self, request: Request<Bytes>, most: u64) -> Result<Response<Bytes>, String> {
        let (parts, mut body) = request.into_parts();
        let mut url = Url::parse(&parts.uri.to_string()).map_err(|e| format!("`{}` is no URL: {e}", parts.uri))?;
        let (mut method, mut headers) = (parts.method, parts.headers);
        if [Method::CONNECT, Method::TRACE].contains(&method) {
            return Err(format!("the method {method} isn't allowed"));
        }
        OF_TRAVEL.iter().for_each(|name| drop(headers.remove(name)));
        for _ in 0..=REDIRECTS {
            let secret = self.granted(&url)?;
            let answer = self.once(&method, &url, &headers, &body, secret).await?;
            let status = answer.status();
            let next = answer.headers().get(LOCATION).filter(|_| status.is_redirection());
            let Some(next) = next.and_then(|next| next.to_str().ok()) else {
                return self.received(answer, most).await;
            };
            let next = url.join(next).map_err(|e| format!("`{url}` leads to `{next}`, which is no URL: {e}"))?;
            self.granted(&next).map_err(|why| format!("`{url}` leads elsewhere: {why}"))?;
            if next.origin() != url.origin() {
                // What is meant for one server is nothing for another.
                headers.remove(http::header::AUTHORIZATION);
                headers.remove(http::header::COOKIE);
            }
            let changes = status == StatusCode::SEE_OTHER
                || ([StatusCode::MOVED_PERMANENTLY, StatusCode::FOUND].contains(&status) && method == Method::POST);
            if changes && method != Method::HEAD {
                (method, body) = (Method::GET, Bytes::new());
                headers.remove(CONTENT_TYPE);
            }
            url = next;
        }
        Err(format!("it was redirected more than {REDIRECTS} times, to `{url}` at last"))
    }

    /// What is added to requests for a URL, if these are granted.
    fn granted(&self, url: &Url) -> Result<Option<&(HeaderName, HeaderValue)>, String> {
        let origin = url.origin().ascii_serialization();
        if !url.username().is_empty() || url.password().is_some() {
            return Err(format!("a URL of `{origin}` has a name or a password in it"));
        }
        match self.origins.get(&origin) {
            Some(header) => Ok(header.as_ref()),
            None => {
                let granted: Vec<_> = self.origins.keys().map(|origin| format!("`{origin}`")).collect();
                Err(format!("`{origin}` isn't granted; granted is {}", granted.join(", ")))
            }
        }
    }

    async fn once(
        &self,
        method: &Method,
        url: &Url,
        headers: &HeaderMap,
        body: &Bytes,
        secret: Option<&(HeaderName, HeaderValue)>,
    ) -> Result<reqwest::Response, String> {
        let mut headers = headers.clone();
        if let Some((name, value)) = secret {
            headers.insert(name, value.clone());
        }
        let request = self.client.request(method.clone(), url.clone()).headers(headers).body(body.clone());
        request.send().await.map_err(|error| format!("`{url}` can't be reached: {}", causes(&error.without_url())))
    }

    /// An answer with its body. One that holds a secret is held back.
    async fn received(&self, mut answer: reqwest::Response, most: u64) -> Result<Response<Bytes>, String> {
        let origin = answer.url().origin().ascii_serialization();
        let too_much = |bytes: u64| {
            let (bytes, most) = (dflow_pipeline::Bytes(bytes), dflow_pipeline::Bytes(most));
            format!("`{origin}` sent {bytes} or more, {most} are allowed (`limits.received`)")
        };
        if let Some(length) = answer.content_length().filter(|length| *length > most) {
            return Err(too_much(length));
        }
        let mut body = BytesMut::new();
        while let Some(part) = answer.chunk().await.map_err(|e| format!("`{origin}`: {}", causes(&e.without_url())))? {
            body.extend_from_slice(&part);
            if body.len() as u64 > most {
                return Err(too_much(body.len() as u64));
            }
        }
        for (_, secret) in self.origins.values().flatten() {
            let secret = credentials(secret.as_bytes());
            let within = |text: &[u8]| memmem::find(text, secret).is_some();
            if within(&body) || answer.headers().values().any(|value| within(value.as_bytes())) {
                return Err(format!("the answer of `{origin}` holds a secret, and was held back"));
            }
        }
        let mut response = Response::builder().status(answer.status());
        if let Some(headers) = response.headers_mut() {
            headers.extend(answer.headers().clone());
        }
        response.body(body.freeze()).map_err(|e| e.to_string())
    }
}

/// Words that say what kind of credentials follow in a header.
const SCHEMES: [&str; 6] = ["apikey", "basic", "bearer", "bot", "key", "token"];

/// The part of a header's value that is secret: what follows its scheme, where it has one.
fn credentials(value: &[u8]) -> &[u8] {
    let scheme = value.iter().position(|byte| *byte == b' ').map(|space| value.split_at(space));
    let known = scheme.filter(|(first, _)| SCHEMES.iter().any(|scheme| first.eq_ignore_ascii_case(scheme.as_bytes())));
    known.map_or(value, |(_, rest)| rest.trim_ascii())
}

/// An error with what it comes of.
fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests;
