//! A model that may be asked: at its pace, within its money, as often as it takes.

use std::{
    error::Error,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime},
};

use bytes::{Bytes, BytesMut};
use reqwest::{
    Client, Method, Response, StatusCode, Url,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue},
};

use crate::{
    anthropic,
    aside::Aside,
    controller::{Controller, Ended, Permit, Told},
    error_body::{error_within, is_moderated, said},
    exchange::{Answer, Finish, Vectors},
    money::{Budget, OverBudget, Price, Reserved, Usage, Usd},
    openai,
    records::{Content, Digest, Given},
    told::told,
};

/// The first wait before a request is sent again; each further one is twice as long, and half of it is by chance.
const WAIT: Duration = Duration::from_millis(250);
/// The longest wait.
const LONGEST: Duration = Duration::from_secs(30);
/// How much of an answer that is an error is shown, in bytes.
const SHOWN: usize = 300;
/// The largest answer, in bytes.
const LARGEST: usize = 256 << 20;
/// Tokens that are thought to come out while nothing is known.
const GUESSED: u64 = 256;
/// Tokens that stand around a prompt at most, whatever its length.
pub(crate) const AROUND: u64 = 64;
/// Tokens that a picture is thought to be. Providers count between 85 and 1,600.
pub(crate) const OF_IMAGE: u64 = 1_600;

/// The language of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// OpenAI's, which most servers speak.
    OpenAi,
    /// Anthropic's.
    Anthropic,
}

impl Dialect {
    /// What stands for it in files and digests.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Anthropic => "anthropic",
        }
    }
}

/// A key, which is shown nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(String);

impl Key {
    /// A key, if it can be sent.
    pub fn new(text: &str) -> Option<Self> {
        HeaderValue::try_from(format!("Bearer {text}")).ok().map(|_| Self(text.to_owned()))
    }

    /// The text without the key, should it be in there.
    fn held_back(&self, text: &str) -> String {
        text.replace(&self.0, "…")
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// Counts the tokens of a text.
pub type Count = Arc<dyn Fn(&str) -> u64 + Send + Sync>;

/// A model behind an endpoint.
pub struct Model {
    /// The name of its resource.
    pub resource: String,
    /// What the provider calls it.
    pub name: String,
    /// How it is spoken to.
    pub dialect: Dialect,
    /// The address below which the dialect's paths are.
    pub endpoint: Url,
    /// Where it is asked for completions, ...
    pub(crate) completions: Url,
    /// ... and for vectors.
    pub(crate) embeddings: Url,
    /// What it costs.
    pub price: Option<Price>,
    /// The longest that one request may take.
    pub timeout: Duration,
    /// How often a request is sent again that failed.
    pub retries: u32,
    /// The most tokens that go in and come out together.
    pub window: Option<u64>,
    /// Texts of one request for vectors, and their tokens.
    pub most_texts: (usize, u64),
    /// Counts tokens; they are estimated when there is none.
    pub count: Option<Count>,
    pub(crate) key: Option<Key>,
    /// What is sent with each request.
    pub(crate) headers: HeaderMap,
    pub(crate) client: Client,
    pub(crate) controller: Arc<Controller>,
    pub(crate) budgets: Vec<Arc<Budget>>,
    pub(crate) aside: Aside,
    /// Tokens that came out of late, of answers without a limit, times 16.
    pub(crate) came_out: AtomicU64,
    /// How many thousandths of the most that may go in the provider has counted, at most: it may put more around prompts than is known.
    pub(crate) underestimated: AtomicU64,
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Model({} at {})", self.name, self.endpoint)
    }
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unanswered {
    /// The request is to blame, however often it is sent: a short name, and what the endpoint said.
    Request(&'static str, String),
    /// The endpoint is, and was in so many attempts; another request may do better.
    Endpoint(&'static str, String, u32),
    /// It can't go on with any request, since there is no such model, no right to it, no way to it: what, and what to do.
    Setup(String, String),
    /// It can't be kept, or found out whether it was answered before: what, and what to do. Another model would be paid for nothing, too.
    Unkept(String, Option<String>),
    /// There is no money for it.
    Money(OverBudget),
    /// Nothing is asked any more: the run ends.
    Closed,
}

/// A request as it is sent.
#[derive(Clone, Debug)]
pub struct Request {
    /// The path below the endpoint.
    pub path: &'static str,
    /// JSON.
    pub body: Bytes,
    /// Tokens that go in, counted or estimated: of each of its texts.
    pub weights: Vec<u64>,
    /// The most tokens that go in: counted, or as many as bytes, which no tokenizer makes more of.
    pub most_in: u64,
    /// The most that may come out, where that is said; of vectors nothing.
    pub most_out: Option<u64>,
    /// Whether the provider is asked to keep its beginning, which may cost more.
    pub kept: bool,
}

impl Request {
    /// Tokens that go in.
    pub fn tokens(&self) -> u64 {
        self.weights.iter().sum()
    }
}

/// What is sent with each request, beside its body.
pub(crate) fn headers(dialect: Dialect, key: Option<&Key>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if dialect == Dialect::Anthropic {
        headers.insert("anthropic-version", HeaderValue::from_static(anthropic::VERSION));
    }
    if let Some(Key(key)) = key
        && let Ok(mut value) = HeaderValue::try_from(format!("Bearer {key}"))
    {
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    headers
}

/// What came of a request that was sent.
struct Received {
    /// The body of an answer.
    body: Result<Bytes, Failed>,
    /// Whether it may have been paid for: it was answered without an error, wherever the answer broke off, or too late.
    paid: bool,
    /// What was told of limits beside.
    told: Told,
}

/// Why one attempt failed.
pub(crate) enum Failed {
    /// Another may do better.
    Again(Ended, &'static str, String),
    /// None will.
    Never(Unanswered),
}

impl Model {
    /// How many tokens a text is.
    pub fn tokens(&self, text: &str) -> u64 {
        self.count.as_ref().map_or_else(|| estimated(text), |count| count(text))
    }

    /// What those know a question by who share answers: of another server than the provider's own a model of the same name may be another.
    pub fn shared(&self, question: Digest) -> Digest {
        let own = match self.dialect {
            Dialect::OpenAi => "api.openai.com",
            Dialect::Anthropic => "api.anthropic.com",
        };
        match self.endpoint.host_str() {
            Some(host) if host == own => question,
            _ => Digest::of(&[question.0.as_slice(), self.endpoint.as_str().trim_end_matches('/').as_bytes()]),
        }
    }

    /// The most requests under way at a time.
    pub fn most_in_flight(&self) -> usize {
        self.controller.most() as usize
    }

    /// The most that a request may cost. Without a limit to what comes out: what is likely.
    pub fn most(&self, request: &Request) -> Usd {
        let input = request.most_in.saturating_mul(self.underestimated.load(Relaxed).max(1000)) / 1000;
        let written_input = if request.kept { input } else { 0 };
        let usage = Usage { input, written_input, output: self.out(request), ..Usage::default() };
        self.price.map_or(Usd(0), |price| price.of(usage))
    }

    /// The tokens that a request says may come out, and what they may cost.
    pub(crate) fn most_out(&self, request: &Request) -> Option<(u64, Usd)> {
        let output = request.most_out.filter(|most| *most > 0)?;
        Some((output, self.price?.of(Usage { output, ..Usage::default() })))
    }

    /// Tokens that may come out, or are likely to.
    pub(crate) fn out(&self, request: &Request) -> u64 {
        request.most_out.unwrap_or_else(|| match self.came_out.load(Relaxed) {
            0 => GUESSED,
            sixteenfold => sixteenfold.div_ceil(16),
        })
    }

    /// Sends a request once, and gives what came of it: an answer for each of its texts, or why there is none and what that may have cost.
    pub(crate) async fn attempt(
        &self,
        request: &Request,
        permit: Permit,
        reserved: Reserved,
    ) -> Result<Vec<Given>, (Failed, Usd)> {
        let sent = Instant::now();
        let Received { body, mut paid, told } = self.once(request).await;
        let latency = sent.elapsed();
        let read = body.and_then(|body| {
            let read = self.read(request, &body);
            match read.is_err().then(|| error_within(&body)).flatten() {
                Some(status) => {
                    paid = false;
                    Err(self.refused(status, "with an error", &String::from_utf8_lossy(&body)))
                }
                None => Ok(read),
            }
        });
        let read = match read {
            Ok(read) => read,
            Err(failed) => {
                let lost = if paid { self.most(request) } else { Usd(0) };
                reserved.spend(lost);
                let ended = if let Failed::Again(ended, ..) = &failed { *ended } else { Ended::Answered(None) };
                permit.end(ended, told);
                let failed = match failed {
                    Failed::Again(ended, kind, what) => Failed::Again(ended, kind, self.shown(&what)),
                    never => never,
                };
                return Err((failed, lost));
            }
        };
        let (contents, finish, usage) = match read {
            Ok((contents, finish, usage)) => (contents, finish, usage.map(Usage::believed)),
            Err(why) => {
                permit.end(Ended::Answered(None), told);
                let lost = self.most(request);
                reserved.spend(lost);
                let what = self.shown(&format!("what {} answered {why}", self.place()));
                return Err((Failed::Again(Ended::Answered(None), "unreadable-answer", what), lost));
            }
        };
        permit.end(Ended::Answered(usage.map(|usage| usage.input + usage.output)), told);
        let usage = usage.unwrap_or_else(|| {
            let output =
                contents.iter().map(|content| if let Content::Text(text) = content { self.tokens(text) } else { 0 });
            Usage { input: request.tokens(), output: output.sum(), ..Usage::default() }
        });
        if self.count.is_none() {
            self.underestimated.fetch_max(usage.input.saturating_mul(1000) / request.most_in.max(1), Relaxed);
        }
        if request.most_out.is_none() {
            // It doesn't matter that two may do so at once.
            let before = self.came_out.load(Relaxed);
            let now = if before == 0 { usage.output * 16 } else { before - before / 16 + usage.output };
            self.came_out.store(now, Relaxed);
        }
        let cost = self.price.map(|price| price.of(usage));
        reserved.spend(cost.unwrap_or_default());
        let of = |whole: u64| dealt(whole, &request.weights);
        let (input, cached, output) = (of(usage.input), of(usage.cached_input), of(usage.output));
        let costs = of(cost.unwrap_or_default().0);
        let given = contents.into_iter().enumerate().map(|(i, content)| Given {
            content,
            finish: finish.clone(),
            model: self.resource.clone(),
            usage: Usage { input: input[i], cached_input: cached[i], output: output[i], ..Usage::default() },
            cost: cost.map(|_| Usd(costs[i])),
            latency,
            attempts: 1,
        });
        Ok(given.collect())
    }

    /// What a body says.
    fn read(&self, request: &Request, body: &[u8]) -> Result<(Vec<Content>, Finish, Option<Usage>), String> {
        if request.path == openai::EMBEDDINGS {
            let Vectors { vectors, usage } = openai::vectors(body, request.weights.len())?;
            return Ok((vectors.into_iter().map(Content::Vector).collect(), Finish::Stop, usage));
        }
        let Answer { text, finish, usage } = match self.dialect {
            Dialect::OpenAi => openai::answer(body, |text| self.tokens(text)),
            Dialect::Anthropic => anthropic::answer(body),
        }?;
        Ok((vec![Content::Text(text)], finish, usage))
    }

    /// Sends it once.
    async fn once(&self, request: &Request) -> Received {
        let url = if request.path == openai::EMBEDDINGS { &self.embeddings } else { &self.completions };
        let mut sent = reqwest::Request::new(Method::POST, url.clone());
        *sent.headers_mut() = self.headers.clone();
        *sent.timeout_mut() = Some(self.timeout);
        *sent.body_mut() = Some(request.body.clone().into());
        let response = match self.client.execute(sent).await {
            Ok(response) => response,
            Err(error) => {
                // Whether what came too late, or was cut off, was made is known to the provider alone.
                let paid = !error.is_connect() && !error.is_builder();
                return Received { body: Err(self.unsent(&error)), paid, told: Told::default() };
            }
        };
        let (status, now) = (response.status(), SystemTime::now());
        if status.is_success() {
            let told = told(response.headers(), None, now);
            let body = body(response).await;
            let body = body.map_err(|why| {
                let kind = if why.is_timeout() { "timeout" } else { "broken-answer" };
                let what = format!("the answer of {} broke off: {}", self.place(), innermost(&why));
                Failed::Again(Ended::Failed, kind, what)
            });
            return Received { body, paid: true, told };
        }
        let headers = response.headers().clone();
        let body = body(response).await.unwrap_or_default();
        let text = String::from_utf8_lossy(&body);
        let refusal = (status == StatusCode::TOO_MANY_REQUESTS).then_some(text.as_ref());
        let told = told(&headers, refusal, now);
        Received { body: Err(self.refused(status, &status.to_string(), &text)), paid: false, told }
    }

    /// `model `writer` (`http://…`)`, in messages.
    fn place(&self) -> String {
        format!("model `{}` (`{}`)", self.resource, self.endpoint)
    }

    /// A text of the endpoint's as it may be shown: without the key, and without what moves a terminal.
    pub fn masked(&self, text: &str) -> String {
        let text = self.key.as_ref().map_or_else(|| text.to_owned(), |key| key.held_back(text));
        printable(&text)
    }

    /// What may be shown of a text.
    fn shown(&self, text: &str) -> String {
        let text = self.masked(text);
        match text.len() > SHOWN + 100 {
            true => format!("{}…", &text[..text.floor_char_boundary(SHOWN + 100)]),
            false => text,
        }
    }

    /// It couldn't be sent, or nothing came back.
    fn unsent(&self, error: &reqwest::Error) -> Failed {
        let why = self.shown(&innermost(error));
        if error.is_timeout() {
            let what = format!("{} has not answered within {:?}", self.place(), self.timeout);
            return Failed::Again(Ended::Failed, "timeout", what);
        }
        let secure = ["certificate", "UnknownIssuer", "tls", "TLS", "InvalidContentType", "invalid peer"];
        if error.is_connect() && secure.iter().any(|word| why.contains(word)) {
            let what = format!("no safe connection to {} can be made: {why}", self.place());
            return Failed::Never(Unanswered::Setup(
                what,
                "look at its `endpoint`, and at the server's certificate".to_owned(),
            ));
        }
        let kind = if error.is_connect() { UNREACHABLE } else { "broken-answer" };
        let what = if error.is_connect() { "can't be reached" } else { "broke off" };
        Failed::Again(Ended::Failed, kind, format!("{} {what}: {why}", self.place()))
    }

    /// It was answered with an error: so, and with this body.
    fn refused(&self, status: StatusCode, how: &str, body: &str) -> Failed {
        const NO_MONEY: &str = "the account behind the key has no money left; nothing that was answered is lost";
        let (words, code) = said(body);
        let words = self.shown(&words);
        let place = self.place();
        let what = format!("{place} answered {how}: {words}");
        let never = |kind| Failed::Never(Unanswered::Request(kind, what.clone()));
        let setup = |hint: &str| Failed::Never(Unanswered::Setup(what.clone(), hint.to_owned()));
        match status.as_u16() {
            429 if code == "insufficient_quota" => setup(NO_MONEY),
            // Anthropic's way to say so.
            400 if words.contains("credit balance is too low") => setup(NO_MONEY),
            429 => Failed::Again(Ended::Refused, "rate-limited", what),
            // Before what is said of the key: some answer so with 403.
            400 | 403 | 422 | 451 if is_moderated(status, body) => never(REFUSED),
            401 | 403 => setup("look at the key that `key_env` names, and at what it may use"),
            402 => setup(NO_MONEY),
            404 => setup("look at `endpoint` (mostly it ends in `/v1`) and at `model`"),
            405 | 300..=399 => setup("look at `endpoint`: mostly it ends in `/v1`"),
            408 | 409 | 425 | 500.. => Failed::Again(Ended::Failed, "endpoint-failed", what),
            400 | 413 | 422
                if code.contains("context_length")
                    || words.contains("context length")
                    || words.contains("too long") =>
            {
                never("prompt-too-long")
            }
            _ => never("refused-request"),
        }
    }
}

/// The kind of what a provider's filter has turned away: another's may not.
pub(crate) const REFUSED: &str = "refused";

/// The kind of what ends a run when it is met again and again: there is no endpoint.
pub const UNREACHABLE: &str = "unreachable";

/// Tokens of a text as they are on average: four letters, or one character of other scripts.
pub fn estimated(text: &str) -> u64 {
    let ascii = text.bytes().filter(u8::is_ascii).count();
    let other = text.chars().count() - ascii;
    (ascii.div_ceil(4) + other) as u64
}

/// Deals a whole to parts by their weights, so that the parts sum to the whole.
fn dealt(whole: u64, weights: &[u64]) -> Vec<u64> {
    let sum: u128 = weights.iter().map(|weight| u128::from(*weight).max(1)).sum();
    let (mut before, mut given) = (0u128, 0u64);
    let part = |weight: &u64| {
        before += u128::from(*weight).max(1);
        let until = (u128::from(whole) * before / sum) as u64;
        let part = until - given;
        given = until;
        part
    };
    weights.iter().map(part).collect()
}

/// All of a body, as long as it isn't too large.
async fn body(mut response: Response) -> Result<Bytes, reqwest::Error> {
    if response.content_length().is_some_and(|length| length <= LARGEST as u64) {
        return response.bytes().await;
    }
    let mut whole = BytesMut::new();
    while let Some(chunk) = response.chunk().await? {
        whole.extend_from_slice(&chunk);
        if whole.len() > LARGEST {
            break;
        }
    }
    Ok(whole.freeze())
}

/// A text on one line, in which nothing moves a terminal.
fn printable(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            c if c.is_whitespace() => plain.push(' '),
            c if c.is_control() => plain.extend(c.escape_default()),
            c => plain.push(c),
        }
    }
    plain
}

/// The last cause of an error, which says most.
fn innermost(error: &dyn Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// How long to wait before the so-manyeth time again.
pub(crate) fn wait(again: u32) -> Duration {
    let most = WAIT.saturating_mul(1 << again.saturating_sub(1).min(16)).min(LONGEST);
    most.mul_f64(0.5 + rand::random::<f64>() / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_shown_nowhere() {
        let key = Key::new("sk-secret").expect("a key");
        assert_eq!(format!("{key:?}"), "…");
        assert_eq!(key.held_back("Incorrect API key provided: sk-secret."), "Incorrect API key provided: ….");
        assert!(Key::new("a\nb").is_none());
        assert_eq!(printable("bad \u{1b}[31mred\n\u{7}"), "bad \\u{1b}[31mred \\u{7}");
    }

    #[test]
    fn parts_sum_to_the_whole() {
        for (whole, weights) in [(10, vec![1, 1, 1]), (0, vec![5, 5]), (7, vec![0, 0]), (u64::MAX, vec![3, 9, 1])] {
            assert_eq!(dealt(whole, &weights).iter().sum::<u64>(), whole, "{weights:?}");
        }
        assert_eq!(dealt(100, &[1, 3]), [25, 75]);
        assert!(dealt(5, &[]).is_empty());
    }

    #[test]
    fn tokens_are_estimated_by_letters() {
        assert_eq!(estimated(""), 0);
        assert_eq!(estimated("four letters each"), 5);
        assert_eq!(estimated("日本語"), 3);
    }
}
