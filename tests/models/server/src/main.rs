//! A server of models for tests: it speaks like OpenAI and Anthropic, answers by rule, counts like a provider, and fails as it is told.
//!
//! `model-server [PORT]` prints `listening on 127.0.0.1:PORT`. `POST /control` says how it is to behave from now on ([`Behaviour`]) and forgets the
//! log, `GET /log` gives all requests since, one JSON object a line, and `GET /counts` their number.

mod answer;
mod behaviour;
mod cache;
mod timer;

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::{BodyExt, combinators::BoxBody};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Body, Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::{
    behaviour::{Behaviour, Fault, Rates},
    cache::Cache,
};

type Answered = Response<BoxBody<Bytes, Broken>>;
/// What a body ends with that isn't whole.
#[derive(Debug)]
struct Broken;

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("broken off")
    }
}

impl std::error::Error for Broken {}

/// A request that came.
#[derive(Serialize)]
struct Line {
    /// Seconds since the server began.
    at: f64,
    /// Seconds until its answer left.
    done: Option<f64>,
    path: String,
    /// Of its body.
    digest: String,
    status: u16,
    /// What was asked.
    asked: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    headers: Option<Value>,
    input_tokens: u64,
    cached_tokens: u64,
}

struct Server {
    began: Instant,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    behaviour: Behaviour,
    rates: Rates,
    cache: Cache,
    log: Vec<Line>,
    flying: usize,
    most_flying: usize,
}

impl Server {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn serve(self: Arc<Self>, request: Request<Incoming>) -> Result<Answered, Infallible> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        let path = parts.uri.path().to_owned();
        match (&parts.method, path.as_str()) {
            (&Method::POST, "/control") => {
                let behaviour: Behaviour = match serde_json::from_slice(&body) {
                    Ok(behaviour) => behaviour,
                    Err(e) => return Ok(whole(StatusCode::BAD_REQUEST, e.to_string())),
                };
                *self.state() = State { behaviour, ..State::default() };
                Ok(whole(StatusCode::OK, "{}"))
            }
            (&Method::GET, "/log") => {
                let state = self.state();
                let lines = state.log.iter().map(|line| json!(line).to_string() + "\n").collect::<String>();
                Ok(whole(StatusCode::OK, lines))
            }
            (&Method::GET, "/counts") => {
                let state = self.state();
                let of = |status: u16| state.log.iter().filter(|line| line.status == status).count();
                let sum = |of: fn(&Line) -> u64| state.log.iter().map(of).sum::<u64>();
                let took = state.log.iter().filter_map(|line| Some(line.done? - line.at)).collect::<Vec<_>>();
                let counts = json!({
                    "seconds": took.iter().sum::<f64>() / took.len().max(1) as f64,
                    "now": self.began.elapsed().as_secs_f64(), "requests": state.log.len(), "ok": of(200), "refused": of(429), "most_flying": state.most_flying,
                    "input_tokens": sum(|line| line.input_tokens), "cached_tokens": sum(|line| line.cached_tokens),
                });
                Ok(whole(StatusCode::OK, counts.to_string()))
            }
            (&Method::POST, _) => Ok(self.model(&path, &parts.headers, body).await),
            _ => Ok(whole(StatusCode::NOT_FOUND, error("there is nothing here", "not_found"))),
        }
    }

    /// Does as a model's endpoint.
    async fn model(&self, path: &str, headers: &hyper::HeaderMap, body: Bytes) -> Answered {
        let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
        let words = answer::asked(&asked);
        let now = self.began.elapsed();
        let (number, fault, latency, key, log_bodies) = {
            let mut state = self.state();
            let number = state.log.len();
            let fault = state.behaviour.fault(number, path, &words);
            let latency = state.behaviour.latency(number);
            state.flying += 1;
            state.most_flying = state.most_flying.max(state.flying);
            let log_bodies = state.behaviour.log_bodies;
            let digest = answer::digest(&body);
            let headers = log_bodies.then(|| {
                let text = |value: &hyper::header::HeaderValue| value.to_str().unwrap_or("…").to_owned();
                headers.iter().map(|(name, value)| (name.to_string(), Value::from(text(value)))).collect()
            });
            state.log.push(Line {
                at: now.as_secs_f64(),
                done: None,
                path: path.to_owned(),
                digest,
                status: 0,
                asked: words.chars().take(120).collect(),
                body: log_bodies.then(|| asked.clone()),
                headers,
                input_tokens: 0,
                cached_tokens: 0,
            });
            (number, fault, latency, state.behaviour.key.clone(), log_bodies)
        };
        let _ = log_bodies;
        let answered = self.answer(path, headers, &asked, number, fault, latency, key, now).await;
        let mut state = self.state();
        state.flying = state.flying.saturating_sub(1);
        if let Some(line) = state.log.get_mut(number) {
            line.status = answered.status().as_u16();
            line.done = Some(self.began.elapsed().as_secs_f64());
        }
        answered
    }

    #[expect(clippy::too_many_arguments, reason = "all that is known of one request")]
    async fn answer(
        &self,
        path: &str,
        headers: &hyper::HeaderMap,
        asked: &Value,
        number: usize,
        fault: Option<Fault>,
        latency: Duration,
        key: Option<String>,
        now: Duration,
    ) -> Answered {
        if let Some(key) = key {
            let bearer = format!("Bearer {key}");
            let given = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
            if given("authorization") != Some(bearer.as_str()) && given("x-api-key") != Some(key.as_str()) {
                return whole(StatusCode::UNAUTHORIZED, error("Incorrect API key provided", "invalid_api_key"));
            }
        }
        let tokens = answer::tokens(asked);
        let refusal = {
            let mut state = self.state();
            let State { behaviour, rates, .. } = &mut *state;
            rates.refuse(behaviour, now, tokens)
        };
        if let Some(refusal) = refusal {
            return refusal;
        }
        match fault {
            Some(Fault::Refuse { retry_after, body }) => {
                let words = body.unwrap_or_else(|| error("Slow down", "rate_limit_exceeded"));
                let mut answer = whole(StatusCode::TOO_MANY_REQUESTS, words);
                if let Some(seconds) = retry_after.and_then(|seconds| seconds.to_string().parse().ok()) {
                    answer.headers_mut().insert("retry-after", seconds);
                }
                return answer;
            }
            Some(Fault::Status { status, body }) => {
                timer::sleep(latency).await;
                let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                return whole(status, body.unwrap_or_else(|| error("The server had an error", "server_error")));
            }
            Some(Fault::Hang) => {
                tokio::time::sleep(Duration::from_secs(3600)).await;
            }
            _ => {}
        }
        let started = Instant::now();
        let model = asked["model"].as_str().unwrap_or_default();
        if model == "missing" {
            return whole(StatusCode::NOT_FOUND, error("The model `missing` does not exist", "model_not_found"));
        }
        let cached = {
            let state = self.state();
            state.cache.read(path, asked)
        };
        timer::sleep(latency.saturating_sub(started.elapsed())).await;
        {
            let mut state = self.state();
            state.cache.write(path, asked);
            if let Some(line) = state.log.get_mut(number) {
                (line.input_tokens, line.cached_tokens) = (tokens, cached.min(tokens));
            }
        }
        let misfit = matches!(fault, Some(Fault::Misfit));
        let text = answer::answer(path, asked, misfit, tokens, cached.min(tokens)).to_string();
        let cut = text.len() / 2;
        match fault {
            Some(Fault::Malformed) => whole(StatusCode::OK, text[..cut].to_owned()),
            Some(Fault::WrongShape) => whole(StatusCode::OK, r#"{"object":"something.else","data":{}}"#),
            Some(Fault::Half) => broken(text, cut),
            // The connection ends before the head: hyper closes it when the body's length can't be kept.
            Some(Fault::Drop) => broken(text, 0),
            Some(Fault::Drip { milliseconds }) => dripping(text, Duration::from_millis(milliseconds)),
            _ => whole(StatusCode::OK, text),
        }
    }
}

fn error(message: &str, code: &str) -> String {
    json!({ "error": { "message": message, "type": code, "code": code, "param": null } }).to_string()
}

fn whole(status: StatusCode, body: impl Into<Bytes>) -> Answered {
    let body = http_body_util::Full::new(body.into()).map_err(|never| match never {}).boxed();
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    answer.headers_mut().insert("content-type", hyper::header::HeaderValue::from_static("application/json"));
    answer
}

/// So many bytes of a text, and then the connection ends.
fn broken(text: String, bytes: usize) -> Answered {
    parts(text.len(), vec![(Duration::ZERO, text.as_bytes()[..bytes].to_vec().into())], true)
}

/// A text, ten bytes at a time.
fn dripping(text: String, pause: Duration) -> Answered {
    let drops = text.as_bytes().chunks(10).map(|drop| (pause, Bytes::copy_from_slice(drop)));
    parts(text.len(), drops.collect(), false)
}

fn parts(length: usize, parts: Vec<(Duration, Bytes)>, breaks: bool) -> Answered {
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    tokio::spawn(async move {
        for (pause, part) in parts {
            tokio::time::sleep(pause).await;
            if !part.is_empty() && sender.send(Ok(Frame::data(part))).await.is_err() {
                return;
            }
        }
        if breaks {
            // What was sent is to arrive first.
            tokio::time::sleep(Duration::from_millis(20)).await;
            drop(sender.send(Err(Broken)).await);
        }
    });
    let mut answer = Response::new(BoxBody::new(Parts(receiver)));
    answer.headers_mut().insert("content-length", length.into());
    answer
}

/// Parts of a body, as they come.
struct Parts(tokio::sync::mpsc::Receiver<Result<Frame<Bytes>, Broken>>);

impl Body for Parts {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Broken>>> {
        self.0.poll_recv(context)
    }
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let port = std::env::args().nth(1).and_then(|port| port.parse::<u16>().ok()).unwrap_or_default();
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    println!("listening on {}", listener.local_addr()?);
    let server = Arc::new(Server { began: Instant::now(), state: Mutex::default() });
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let server = server.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| server.clone().serve(request));
            // A client that goes is no error of ours.
            drop(http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service).await);
        });
    }
}
