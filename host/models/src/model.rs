//! A model that may be asked: at its pace, within its money, as often as it takes.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use reqwest::{
    StatusCode, Url,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
};

use crate::{
    anthropic,
    controller::{Controller, Ended, Told},
    exchange::{Answer, Prompt, Vectors},
    money::{Budget, OverBudget, Price, Usage, Usd},
    openai,
    told::told,
};

/// The first wait before a request is sent again; each further one is twice as long, and half of it is by chance.
const WAIT: Duration = Duration::from_millis(250);
/// The longest wait.
const LONGEST: Duration = Duration::from_secs(30);
/// How much of an answer that is an error is shown.
const SHOWN: usize = 300;

/// The language of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// OpenAI's, which most servers speak.
    OpenAi,
    /// Anthropic's.
    Anthropic,
}

/// A key, which is shown nowhere.
#[derive(Clone)]
pub struct Key(HeaderValue);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// A model behind an endpoint. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Model {
    /// What the provider calls it.
    pub name: String,
    /// How it is spoken to.
    pub dialect: Dialect,
    /// The address below which the dialect's paths are.
    pub endpoint: Url,
    /// What it costs.
    pub price: Option<Price>,
    /// The longest that one request may take.
    pub timeout: Duration,
    /// How often a request is sent again.
    pub retries: u32,
    key: Option<Key>,
    client: reqwest::Client,
    controller: Arc<Controller>,
    budgets: Vec<Arc<Budget>>,
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Answered<T> {
    /// The answer.
    pub answer: T,
    /// How often it was asked for.
    pub attempts: u32,
    /// How long the last request took.
    pub latency: Duration,
    /// What it cost, where there is a price.
    pub cost: Option<Usd>,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unanswered {
    /// The request is to blame, as often as it is sent: a short name, and what the endpoint said.
    Request(&'static str, String),
    /// The endpoint is, and has been in all attempts.
    Endpoint(&'static str, String, u32),
    /// It can't go on with any request: no such model, no right to it.
    Setup(String),
    /// There is no money for it.
    Money(OverBudget),
}

/// What is asked for.
enum Asked<'a> {
    Completion(&'a Prompt, Option<&'a str>),
    Vectors(&'a [&'a str], Option<u32>),
}

/// Why one attempt failed.
enum Failed {
    /// Another may do better.
    Again(&'static str, String),
    Never(Unanswered),
}
