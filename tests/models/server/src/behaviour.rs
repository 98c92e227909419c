//! How the server is to behave.

use std::{collections::VecDeque, time::Duration};

use hyper::StatusCode;
use serde::Deserialize;

use crate::{Answered, error, whole};

/// How the server is to behave.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Behaviour {
    /// How long an answer takes, in milliseconds.
    latency: u64,
    /// So much more at most, by the request's number.
    jitter: u64,
    /// The key that must come.
    pub key: Option<String>,
    /// Requests in any minute; more are refused.
    pub requests_per_minute: Option<usize>,
    /// Tokens in any minute, those that may come out included.
    pub tokens_per_minute: Option<u64>,
    /// How a refusal tells how long to wait: `header`, `body`, or not at all.
    pub tells: Option<String>,
    /// Whether the limits are in the headers of answers. (Not of refusals.)
    pub says_limits: bool,
    /// What goes wrong.
    faults: Vec<Rule>,
    /// Whether the log holds bodies and headers.
    pub log_bodies: bool,
}

/// Something that goes wrong with some requests.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    /// What.
    fault: Fault,
    /// With requests whose path ends so.
    #[serde(default)]
    path: Option<String>,
    /// With requests in which this stands.
    #[serde(default)]
    asked: Option<String>,
    /// With each so-manyeth.
    #[serde(default)]
    every: Option<usize>,
    /// So often.
    #[serde(default)]
    times: Option<usize>,
}

/// What goes wrong.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// It is refused (429).
    Refuse {
        /// With `Retry-After`: seconds.
        #[serde(default)]
        retry_after: Option<f64>,
        /// With these words.
        #[serde(default)]
        body: Option<String>,
    },
    /// Another status.
    Status {
        status: u16,
        #[serde(default)]
        body: Option<String>,
    },
    /// The connection ends without an answer.
    Drop,
    /// The connection ends in the middle of an answer.
    Half,
    /// The answer comes ten bytes at a time.
    Drip { milliseconds: u64 },
    /// No answer comes.
    Hang,
    /// JSON that isn't whole.
    Malformed,
    /// JSON of another kind.
    WrongShape,
    /// An answer that doesn't fit the schema that was asked for.
    Misfit,
}

impl Behaviour {
    /// What goes wrong with a request.
    pub fn fault(&mut self, number: usize, path: &str, asked: &str) -> Option<Fault> {
        let rule = self.faults.iter_mut().find(|rule| {
            rule.times != Some(0)
                && rule.every.is_none_or(|every| number % every == every - 1)
                && rule.path.as_ref().is_none_or(|end| path.ends_with(end.as_str()))
                && rule.asked.as_ref().is_none_or(|words| asked.contains(words))
        })?;
        rule.times = rule.times.map(|times| times - 1);
        Some(rule.fault.clone())
    }

    /// How long an answer takes.
    pub fn latency(&self, number: usize) -> Duration {
        let more = if self.jitter == 0 { 0 } else { (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) % self.jitter };
        Duration::from_millis(self.latency + more)
    }
}

/// What was asked for within the last minute.
#[derive(Default)]
pub struct Rates {
    taken: VecDeque<(Duration, u64)>,
}

impl Rates {
    /// Refuses what is too much.
    pub fn refuse(&mut self, behaviour: &Behaviour, now: Duration, tokens: u64) -> Option<Answered> {
        let minute = Duration::from_secs(60);
        while self.taken.front().is_some_and(|(at, _)| *at + minute <= now) {
            self.taken.pop_front();
        }
        let sum: u64 = self.taken.iter().map(|(_, tokens)| tokens).sum();
        let over_requests = behaviour.requests_per_minute.filter(|most| self.taken.len() >= *most);
        let over_tokens = behaviour.tokens_per_minute.filter(|most| sum + tokens > *most);
        if over_requests.is_none() && over_tokens.is_none() {
            self.taken.push_back((now, tokens));
            return None;
        }
        let wait = self.taken.front().map_or(1.0, |(at, _)| (*at + minute).saturating_sub(now).as_secs_f64());
        let (what, limit) = match over_requests {
            Some(most) => ("requests per min (RPM)", most as u64),
            None => ("tokens per min (TPM)", over_tokens.unwrap_or_default()),
        };
        let tells = behaviour.tells.as_deref();
        let words = match tells {
            Some("body") => format!(
                "Rate limit reached for small-chat on {what}: Limit {limit}, Used {limit}, Requested 1. Please try again in {wait:.3}s."
            ),
            _ => "Rate limit reached".to_owned(),
        };
        let mut answer = whole(StatusCode::TOO_MANY_REQUESTS, error(&words, "rate_limit_exceeded"));
        if tells == Some("header")
            && let Ok(seconds) = wait.ceil().to_string().parse()
        {
            answer.headers_mut().insert("retry-after", seconds);
        }
        Some(answer)
    }
}
