//! At what pace may a model be asked? One controller for each endpoint, key and model, as providers tell limits, shared by all stages of a run.
//!
//! It never asks for more in any minute than was stated, or than the endpoint has told meanwhile ([`limit`], [`allowance`]; but for a request that is
//! larger by itself than a header tells), and has so many requests under way as the endpoint bears: it starts at what was stated, halves when the
//! endpoint is overloaded, and grows by one a round. An endpoint that says how long to wait isn't asked before, and one that only refuses isn't asked for
//! a while. Who comes first is served first.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::Notify;

mod allowance;
mod limit;

use limit::Limit;

/// The first pause after a refusal that doesn't say how long to wait; each further one is twice as long.
const PAUSE: Duration = Duration::from_secs(1);
/// The same after one that says so: `Retry-After: 0` isn't answered at once.
const DOUBT: Duration = Duration::from_millis(50);
/// The longest pause.
const LONGEST: Duration = Duration::from_mins(1);
/// Requests under way at a time, where nothing is stated.
const IN_FLIGHT: u32 = 16;

/// What an endpoint allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Requests in any minute; nothing is stated when `None`.
    pub requests_per_minute: Option<u64>,
    /// Tokens in any minute, those that come out included.
    pub tokens_per_minute: Option<u64>,
    /// Requests under way at a time; 16 when nothing is stated.
    pub in_flight: Option<u32>,
}

/// What an endpoint has said about its limits beside an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// How long to wait before it is asked again.
    pub retry_after: Option<Duration>,
    /// Requests in any minute, by a header.
    pub requests_per_minute: Option<u64>,
    /// Tokens in any minute, by a header.
    pub tokens_per_minute: Option<u64>,
    /// Requests in any minute, by the words of a refusal.
    pub refused_requests: Option<u64>,
    /// Tokens in any minute, by the words of a refusal.
    pub refused_tokens: Option<u64>,
    /// When it will take requests again, where none are left now.
    pub exhausted_for: Option<Duration>,
}

/// How a request ended, as far as the pace of others goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With an answer, whatever it says; with the tokens that it took, if that is known.
    Answered(Option<u64>),
    /// With 429.
    Refused,
    /// With 5xx, without an answer, or not in time.
    Failed,
}

/// Asks for permits to send requests.
#[derive(Debug)]
pub struct Controller {
    state: Mutex<State>,
    origin: Instant,
    /// Whose turn it is to wait for a permit: the first that came.
    turn: tokio::sync::Mutex<()>,
    /// Something has ended.
    ended: Notify,
    closed: AtomicBool,
}

/// Times are those since the controller was made.
#[derive(Debug)]
struct State {
    requests: Limit,
    tokens: Limit,
    /// The most that may be under way, and whether that was stated.
    most: u32,
    stated: Option<u32>,
    /// How many may be under way, and how many are.
    may: f64,
    flying: u32,
    /// When it was halved last: what was sent before says nothing new.
    halved: Duration,
    /// Nothing is sent before.
    not_before: Duration,
    /// Refusals since the last answer.
    refusals: u32,
}

/// That a request may be sent now. Given back when it ends.
#[derive(Debug)]
pub struct Permit {
    controller: Arc<Controller>,
    sent: Duration,
    tokens: u64,
    ended: bool,
}

/// Why there is no permit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The request has more tokens than the endpoint takes in a minute.
    TooLarge {
        /// The tokens that it may take.
        tokens: u64,
        /// Those of a minute.
        most: u64,
    },
    /// Nothing more is sent.
    Closed,
}

impl Controller {
    /// Within these limits.
    pub fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State::new(limits)),
            origin: Instant::now(),
            turn: tokio::sync::Mutex::default(),
            ended: Notify::new(),
            closed: AtomicBool::new(false),
        })
    }

    /// These hold, too: of each the stricter one.
    pub fn restrict(&self, limits: Limits) {
        let now = self.now();
        self.state().restrict(limits, now);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    /// Waits until a request may be sent that takes so many tokens, those that come out included.
    ///
    /// # Errors
    ///
    /// When it would be refused for ever, since a minute doesn't have so many; when nothing more is sent.
    pub async fn permit(self: &Arc<Self>, tokens: u64) -> Result<Permit, Refused> {
        let _turn = self.turn.lock().await;
        loop {
            // Before it is looked, so that nothing that ends meanwhile is missed.
            let ended = self.ended.notified();
            if self.closed.load(Ordering::Relaxed) {
                return Err(Refused::Closed);
            }
            let now = self.now();
            let wait = match self.state().admit(tokens, now)? {
                None => return Ok(Permit { controller: self.clone(), sent: now, tokens, ended: false }),
                Some(wait) => wait,
            };
            tokio::select! {
                () = ended => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Sends nothing more: who waits for a permit, and who asks for one, gets none.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        self.ended.notify_waiters();
    }

    /// The most requests under way at a time.
    pub fn most(&self) -> u32 {
        self.state().most
    }

    /// How many requests may be under way now, and how many are.
    pub fn in_flight(&self) -> (u32, u32) {
        let state = self.state();
        (state.may as u32, state.flying)
    }
}

impl State {
    fn new(limits: Limits) -> Self {
        let mut state = Self {
            requests: Limit::default(),
            tokens: Limit::default(),
            most: IN_FLIGHT,
            stated: None,
            may: f64::from(IN_FLIGHT),
            flying: 0,
            halved: Duration::ZERO,
            not_before: Duration::ZERO,
            refusals: 0,
        };
        state.restrict(limits, Duration::ZERO);
        state
    }

    fn restrict(&mut self, limits: Limits, now: Duration) {
        self.requests.state(limits.requests_per_minute, now);
        self.tokens.state(limits.tokens_per_minute, now);
        if let Some(stated) = limits.in_flight {
            let stated = self.stated.map_or(stated, |before| before.min(stated)).max(1);
            (self.stated, self.most, self.may) = (Some(stated), stated, f64::from(stated));
        }
    }

    /// Sends a request if that may be, else says how long to wait at most before it is asked again.
    fn admit(&mut self, tokens: u64, now: Duration) -> Result<Option<Duration>, Refused> {
        if let Some(most) = self.tokens.most().filter(|most| tokens > *most) {
            return Err(Refused::TooLarge { tokens, most });
        }
        if self.flying >= self.may as u32 {
            return Ok(Some(LONGEST));
        }
        let wait = self.not_before.saturating_sub(now);
        let wait = wait.max(self.requests.wait(1, now)).max(self.tokens.wait(tokens, now));
        if !wait.is_zero() {
            return Ok(Some(wait));
        }
        self.requests.take(1, now);
        self.tokens.take(tokens, now);
        self.flying += 1;
        Ok(None)
    }

    /// A request that was sent with so many tokens has ended.
    fn ended(&mut self, sent: Duration, tokens: u64, ended: Ended, told: Told, now: Duration) {
        self.flying -= 1;
        if let Ended::Answered(Some(used)) = ended {
            self.tokens.correct(sent, tokens, used, now);
        }
        match ended {
            Ended::Answered(_) => {
                self.refusals = 0;
                self.may = (self.may + 1.0 / self.may).min(f64::from(self.most));
            }
            Ended::Refused | Ended::Failed if sent >= self.halved => {
                // The others that were under way meet the same load, and are no further sign of it.
                self.halved = now;
                self.may = (self.may / 2.0).max(1.0);
                if ended == Ended::Refused {
                    // Who says how long to wait is believed, and less so with each further refusal.
                    let pause = if told.retry_after.is_some() { DOUBT } else { PAUSE };
                    let pause = pause.saturating_mul(1 << self.refusals.min(16)).min(LONGEST);
                    self.refusals += 1;
                    self.not_before = self.not_before.max(now + pause);
                }
            }
            Ended::Refused | Ended::Failed => {}
        }
        for wait in [told.retry_after, told.exhausted_for].into_iter().flatten() {
            self.not_before = self.not_before.max(now + wait);
        }
        let refused = ended == Ended::Refused;
        self.requests.ended(told.requests_per_minute, told.refused_requests, refused, now);
        self.tokens.ended(told.tokens_per_minute, told.refused_tokens, refused, now);
    }
}

impl Permit {
    /// The request has ended.
    pub fn end(mut self, ended: Ended, told: Told) {
        self.give_back(ended, told);
    }

    fn give_back(&mut self, ended: Ended, told: Told) {
        self.ended = true;
        let now = self.controller.now();
        self.controller.state().ended(self.sent, self.tokens, ended, told, now);
        self.controller.ended.notify_waiters();
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        // Nobody waits for it any more: nothing is known of the endpoint.
        if !self.ended {
            self.ended = true;
            self.controller.state().flying -= 1;
            self.controller.ended.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests;
