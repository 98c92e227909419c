//! Requests, and what is checked of each answer before anybody relies on it.

use std::{error::Error, fmt, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{CONTENT_LENGTH, CONTENT_RANGE, RANGE},
};
use object_store::{
    ClientOptions,
    client::{
        HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
        SpawnedReqwestConnector,
    },
};
use tokio::{runtime::Handle, time::timeout};

use super::UNKNOWN;

/// Makes clients whose requests run on the IO runtime.
#[derive(Debug)]
pub(super) struct Connector {
    pub(super) io: Handle,
    pub(super) timeout: Duration,
}

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let inner = SpawnedReqwestConnector::new(self.io.clone()).connect(options)?;
        Ok(HttpClient::new(Checked { inner, timeout: self.timeout }))
    }
}

/// A client that checks what comes.
#[derive(Debug)]
struct Checked {
    inner: HttpClient,
    timeout: Duration,
}

#[async_trait]
impl HttpService for Checked {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let asked = request.headers().get(RANGE).cloned();
        let answer = timeout(self.timeout, self.inner.execute(request))
            .await
            .map_err(|_| HttpError::new(HttpErrorKind::Timeout, Lie::silence(self.timeout)))??;
        let (mut parts, body) = answer.into_parts();
        if !parts.status.is_success() {
            // A method that the server doesn't know isn't worth another try, as other 5xx are.
            if parts.status == StatusCode::NOT_IMPLEMENTED {
                parts.status = StatusCode::METHOD_NOT_ALLOWED;
            }
            // The page that comes with it is for browsers.
            return Ok(HttpResponse::from_parts(parts, Bytes::new().into()));
        }
        if let Some(asked) = asked
            && parts.status == StatusCode::PARTIAL_CONTENT
        {
            let asked = asked.to_str().unwrap_or_default();
            check_range(asked, &parts.headers).map_err(|lie| HttpError::new(HttpErrorKind::Unknown, lie))?;
        }
        if !parts.headers.contains_key(CONTENT_LENGTH) {
            parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(UNKNOWN));
        }
        Ok(HttpResponse::from_parts(parts, body))
    }
}

/// What a server does wrong.
#[derive(Debug)]
pub(crate) struct Lie(String);

impl Lie {
    pub(super) fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }

    pub(crate) fn silence(timeout: Duration) -> Self {
        Self(format!("the server sent nothing for {}", dflow_pipeline::Millis(timeout.as_millis() as u64)))
    }
}

impl fmt::Display for Lie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Lie {}

/// Whether a part of a file is the part that was asked for.
fn check_range(asked: &str, headers: &HeaderMap) -> Result<(), Lie> {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let Some(given) = text(CONTENT_RANGE) else {
        return Err(Lie::new("the server sent a part without saying which"));
    };
    let wrong = || Lie::new(format!("the server was asked for `{asked}` and sent `{given}`"));
    let (first, last, size) = parts_of(given).ok_or_else(wrong)?;
    let (from, to) = asked.strip_prefix("bytes=").and_then(|range| range.split_once('-')).ok_or_else(wrong)?;
    let end = size.saturating_sub(1);
    let expected = match (from.parse::<u64>(), to.parse::<u64>()) {
        (Ok(from), Ok(to)) => (from, to.min(end)),
        (Ok(from), Err(_)) => (from, end),
        (Err(_), Ok(suffix)) => (size.saturating_sub(suffix), end),
        (Err(_), Err(_)) => return Err(wrong()),
    };
    if (first, last) != expected {
        return Err(wrong());
    }
    match text(CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok()) {
        Some(length) if length != last + 1 - first => {
            Err(Lie::new(format!("the server says that `{given}` is {length} bytes")))
        }
        _ => Ok(()),
    }
}

/// First byte, last byte and whole size of `bytes 5-9/100`.
fn parts_of(given: &str) -> Option<(u64, u64, u64)> {
    let (range, size) = given.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last).then_some((first, last, size.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_must_be_the_one_asked_for() {
        for (asked, given, length, right) in [
            ("bytes=0-9", Some("bytes 0-9/100"), Some(10), true),
            ("bytes=0-9", Some("bytes 0-4/5"), None, true),
            ("bytes=5-", Some("bytes 5-99/100"), Some(95), true),
            ("bytes=-8", Some("bytes 92-99/100"), Some(8), true),
            ("bytes=-8", Some("bytes 0-4/5"), Some(5), true),
            ("bytes=0-9", None, Some(10), false),
            ("bytes=0-9", Some("bytes 1-10/100"), Some(10), false),
            ("bytes=0-9", Some("bytes 0-9/100"), Some(100), false),
            ("bytes=0-9", Some("bytes 0-99/100"), Some(100), false),
            ("bytes=5-", Some("bytes 0-99/100"), Some(100), false),
            ("bytes=-8", Some("bytes 0-7/100"), Some(8), false),
            ("bytes=0-9", Some("bytes 9-0/100"), None, false),
            ("bytes=0-9", Some("lines 0-9/100"), None, false),
        ] {
            let mut headers = HeaderMap::new();
            headers.extend(given.map(|given| (CONTENT_RANGE, HeaderValue::from_static(given))));
            headers.extend(length.map(|length: u64| (CONTENT_LENGTH, HeaderValue::from(length))));
            assert_eq!(check_range(asked, &headers).is_ok(), right, "{asked} {given:?} {length:?}");
        }
    }
}
