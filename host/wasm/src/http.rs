//! `http` of the contract: requests that the host makes for a guest.

use std::{fmt::Debug, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{StreamExt, future::BoxFuture, stream};
use http::{Request, Response};
use wasmtime::{
    StoreContextMut, Trap,
    component::{ComponentType, Lift, Linker, Lower},
};

use crate::{
    abi::{HTTP, MOST_OF_A_CALL},
    emission::Refusal,
    state::{State, TICK_MS},
};

/// Requests of one call that are under way at a time.
const AT_ONCE: usize = 16;

/// Makes requests for guests. What it is asked is not believed: it is the one to know what is granted.
pub trait Http: Debug + Send + Sync {
    /// Sends a request within so much time, and gives the answer, whose body has at most so many bytes. Errors are what the guest is
    /// told.
    fn send(
        &self,
        request: Request<Bytes>,
        within: Duration,
        most: u64,
    ) -> BoxFuture<'static, Result<Response<Bytes>, String>>;
}

/// `http.request`
#[derive(ComponentType, Lift)]
#[component(record)]
struct WireRequest {
    method: String,
    url: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

/// `http.response`
#[derive(ComponentType, Lower)]
#[component(record)]
struct WireResponse {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

/// Lets guests send requests, if their operator may.
pub(crate) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.instance(HTTP)?.func_wrap_async(
        "send",
        |store: StoreContextMut<'_, State>, (requests,): (Vec<WireRequest>,)| {
            Box::new(async move { Ok((send(store, requests).await?,)) })
        },
    )
}

async fn send(
    mut store: StoreContextMut<'_, State>,
    requests: Vec<WireRequest>,
) -> wasmtime::Result<Vec<Result<WireResponse, String>>> {
    let state = store.data_mut();
    let refused = match (&state.http, &state.collector) {
        (None, _) => "it sent a request, and is no open operator whose description wants `http`".to_owned(),
        (Some(_), None) => "`send` was called outside of `process`".to_owned(),
        (Some(_), Some(_)) if requests.len() > MOST_OF_A_CALL => {
            format!("it sent {} requests in one call, {MOST_OF_A_CALL} are the most", requests.len())
        }
        (Some(http), Some(_)) => {
            let (http, limits, cancel) = (Arc::clone(http), state.limits, state.cancel.clone());
            let _waiting = state.waiting.begin();
            let sent = stream::iter(requests).map(|request| {
                let http = Arc::clone(&http);
                async move {
                    let request = read(request)?;
                    http.send(request, limits.wait.duration(), limits.received.0).await
                }
            });
            let mut sent = sent.buffered(AT_ONCE);
            let (mut answers, mut received) = (Vec::new(), 0u64);
            loop {
                let answer = tokio::select! {
                    answer = sent.next() => answer,
                    () = tokio::time::sleep(Duration::from_millis(TICK_MS)) => {
                        if cancel.is_raised() {
                            return Err(Trap::Interrupt.into());
                        }
                        continue;
                    }
                };
                let Some(answer) = answer else { return Ok(answers) };
                let answer = answer.and_then(|answer| {
                    received += answer.body().len() as u64;
                    if received > limits.received.0 {
                        let (most, key) = (limits.received, "`limits.received`");
                        return Err(format!("the answers of one call have more than {most} in all ({key})"));
                    }
                    Ok(written(&answer))
                });
                answers.push(answer);
            }
        }
    };
    state.refusal = Some(Refusal::Lie(refused));
    Err(wasmtime::Error::msg("a request that may not be"))
}

fn read(request: WireRequest) -> Result<Request<Bytes>, String> {
    let mut asked = Request::builder().method(request.method.as_str()).uri(&request.url);
    for (name, value) in &request.headers {
        asked = asked.header(name, value);
    }
    asked.body(Bytes::from(request.body)).map_err(|e| format!("this is no request: {e}"))
}

fn written(answer: &Response<Bytes>) -> WireResponse {
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    WireResponse {
        status: answer.status().as_u16(),
        headers: answer.headers().iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
        body: answer.body().to_vec(),
    }
}
