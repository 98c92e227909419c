//! Requests that don't wait for ever.

use std::{fmt::Debug, time::Duration};

use async_trait::async_trait;
use object_store::{
    ClientOptions,
    client::{HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService},
};
use tokio::time::timeout;

use crate::web::Lie;

/// Makes clients that give up on a server that doesn't begin to answer.
#[derive(Debug)]
pub(super) struct Patient<C> {
    pub(super) inner: C,
    pub(super) silence: Duration,
}

impl<C: HttpConnector> HttpConnector for Patient<C> {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(Timed { inner: self.inner.connect(options)?, silence: self.silence }))
    }
}

#[derive(Debug)]
struct Timed {
    inner: HttpClient,
    silence: Duration,
}

#[async_trait]
impl HttpService for Timed {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let answer = timeout(self.silence, self.inner.execute(request)).await;
        answer.map_err(|_| HttpError::new(HttpErrorKind::Timeout, Lie::silence(self.silence)))?
    }
}
