//! Requests of guests, made by the room that knows how.

use std::time::Duration;

use bytes::Bytes;
use dflow_io::GrantedHttp;
use dflow_wasm::Http;
use futures::future::{BoxFuture, FutureExt};
use http::{Request, Response};

/// Makes requests as the pipeline grants them.
#[derive(Debug)]
pub struct Requests(pub GrantedHttp);

impl Http for Requests {
    fn send(
        &self,
        request: Request<Bytes>,
        within: Duration,
        most: u64,
    ) -> BoxFuture<'static, Result<Response<Bytes>, String>> {
        let http = self.0.clone();
        async move { http.send(request, within, most).await }.boxed()
    }
}
