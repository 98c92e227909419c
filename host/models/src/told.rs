//! What an endpoint says about its limits: headers of OpenAI's and of Anthropic's dialect, `Retry-After`, and the words of a refusal.

use std::time::{Duration, SystemTime};

use http::HeaderMap;

use crate::controller::Told;

/// The longest wait that is believed; who says more is asked again then.
const LONGEST: Duration = Duration::from_hours(1);

/// Names of a header for requests and for tokens: OpenAI's, Anthropic's.
const LIMIT: [[&str; 2]; 2] = [
    ["x-ratelimit-limit-requests", "anthropic-ratelimit-requests-limit"],
    ["x-ratelimit-limit-tokens", "anthropic-ratelimit-tokens-limit"],
];
const REMAINING: [[&str; 2]; 2] = [
    ["x-ratelimit-remaining-requests", "anthropic-ratelimit-requests-remaining"],
    ["x-ratelimit-remaining-tokens", "anthropic-ratelimit-tokens-remaining"],
];
const RESET: [[&str; 2]; 2] = [
    ["x-ratelimit-reset-requests", "anthropic-ratelimit-requests-reset"],
    ["x-ratelimit-reset-tokens", "anthropic-ratelimit-tokens-reset"],
];

/// What headers say, and of a refusal (429) its body.
pub fn told(headers: &HeaderMap, refusal: Option<&str>, now: SystemTime) -> Told {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let first = |names: &[&str; 2]| names.iter().find_map(|name| text(name));
    let number = |names: &[&str; 2]| first(names).and_then(|text| text.parse::<u64>().ok());
    // None at all would be no limit but a refusal.
    let limits = LIMIT.each_ref().map(|names| number(names).filter(|limit| *limit > 0));
    let exhausted = (0..2).filter_map(|of| {
        let remaining = number(&REMAINING[of])?;
        let full = until(first(&RESET[of])?, now)?;
        // What is told is when all is there again; it comes evenly, and one is enough.
        (remaining == 0).then(|| full / u32::try_from(limits[of].unwrap_or(1).max(1)).unwrap_or(u32::MAX))
    });
    let exhausted_for = exhausted.max();
    let milliseconds = text("retry-after-ms").and_then(|text| text.parse().ok()).map(Duration::from_millis);
    let said = refusal.map(of_words).unwrap_or_default();
    let retry_after = milliseconds.or_else(|| until(text("retry-after")?, now)).or(said.retry_after);
    let [requests, tokens] = limits;
    Told {
        retry_after: retry_after.map(|wait| wait.min(LONGEST)),
        requests_per_minute: requests,
        tokens_per_minute: tokens,
        exhausted_for: exhausted_for.map(|wait| wait.min(LONGEST)),
        ..said
    }
}

/// How long it is until a time: seconds (`20`, `0.5`), a sum of units (`6m0s`, `20ms`), a date of HTTP or of RFC 3339.
fn until(text: &str, now: SystemTime) -> Option<Duration> {
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let date = httpdate::parse_http_date(text).ok().or_else(|| humantime::parse_rfc3339_weak(text).ok());
    if let Some(date) = date {
        return Some(date.duration_since(now).unwrap_or_default());
    }
    sum_of_units(text)
}

/// `1h2m3.5s`, `120ms`.
fn sum_of_units(text: &str) -> Option<Duration> {
    let (mut rest, mut sum) = (text, Duration::ZERO);
    while !rest.is_empty() {
        let unit = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..unit].parse().ok()?;
        let end = rest[unit..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |end| unit + end);
        let seconds = match &rest[unit..end] {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 0.001,
            _ => return None,
        };
        sum = sum.checked_add(Duration::try_from_secs_f64(number * seconds).ok()?)?;
        rest = &rest[end..];
    }
    Some(sum)
}

/// What a refusal says in words: `Rate limit reached for m on requests per min (RPM): Limit 3, Used 3, Requested 1. Please try again in 20s.`
fn of_words(body: &str) -> Told {
    let after = |words: &str| body.find(words).map(|at| body[at + words.len()..].trim_start());
    let limit = after("Limit ").or_else(|| after("limit: ")).and_then(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        rest[..end].parse::<u64>().ok().filter(|limit| *limit > 0)
    });
    let of = |words: [&str; 3]| words.iter().any(|word| body.contains(word)).then_some(limit).flatten();
    let wait = after("try again in ").and_then(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '.').unwrap_or(rest.len());
        sum_of_units(rest[..end].trim_end_matches('.'))
    });
    Told {
        retry_after: wait,
        refused_requests: of(["requests per min", "RPM", "requests per minute"]),
        refused_tokens: of(["tokens per min", "TPM", "tokens per minute"]),
        ..Told::default()
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    /// 2025-01-01 00:00:00 UTC.
    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_735_689_600)
    }

    #[test]
    fn waits_are_read_in_every_way_of_writing() {
        for (text, milliseconds) in [
            ("20", Some(20_000)),
            ("0.25", Some(250)),
            ("20ms", Some(20)),
            ("6m0s", Some(360_000)),
            ("1h2m3.5s", Some(3_723_500)),
            ("Wed, 01 Jan 2025 00:00:30 GMT", Some(30_000)),
            ("2025-01-01T00:01:00Z", Some(60_000)),
            ("2024-01-01T00:01:00Z", Some(0)),
            ("soon", None),
            ("-3", None),
            ("5 x", None),
            ("5000000000000000h5000000000000000h", None),
            ("99999999999999999999999999h", None),
            ("", Some(0)),
        ] {
            assert_eq!(until(text, now()), milliseconds.map(Duration::from_millis), "{text:?}");
        }
    }

    #[test]
    fn both_dialects_tell_their_limits() {
        let openai = headers(&[
            ("x-ratelimit-limit-requests", "60"),
            ("x-ratelimit-remaining-requests", "0"),
            ("x-ratelimit-reset-requests", "1m0s"),
            ("x-ratelimit-limit-tokens", "150000"),
            ("x-ratelimit-remaining-tokens", "149984"),
            ("x-ratelimit-reset-tokens", "6ms"),
        ]);
        let expected = Told {
            requests_per_minute: Some(60),
            tokens_per_minute: Some(150_000),
            exhausted_for: Some(Duration::from_secs(1)),
            ..Told::default()
        };
        assert_eq!(told(&openai, None, now()), expected);
        let anthropic = headers(&[
            ("anthropic-ratelimit-requests-limit", "50"),
            ("anthropic-ratelimit-requests-remaining", "49"),
            ("anthropic-ratelimit-requests-reset", "2025-01-01T00:00:01Z"),
            ("anthropic-ratelimit-tokens-limit", "10"),
            ("anthropic-ratelimit-tokens-remaining", "0"),
            ("anthropic-ratelimit-tokens-reset", "2025-01-01T00:01:00Z"),
            ("retry-after", "7"),
        ]);
        let expected = Told {
            requests_per_minute: Some(50),
            tokens_per_minute: Some(10),
            exhausted_for: Some(Duration::from_secs(6)),
            retry_after: Some(Duration::from_secs(7)),
            ..Told::default()
        };
        assert_eq!(told(&anthropic, None, now()), expected);
        assert_eq!(told(&headers(&[("x-ratelimit-limit-requests", "0")]), None, now()), Told::default());
    }

    #[test]
    fn a_limit_that_only_a_body_tells_is_learned() {
        let body = r#"{"error":{"message":"Rate limit reached for small-chat in organization org-1 on requests per min (RPM): Limit 3, Used 3, Requested 1. Please try again in 20s. Visit https://…","type":"requests"}}"#;
        let expected =
            Told { retry_after: Some(Duration::from_secs(20)), refused_requests: Some(3), ..Told::default() };
        assert_eq!(told(&HeaderMap::new(), Some(body), now()), expected);
        let body = "Rate limit reached on tokens per min (TPM): Limit 60000, Used 59000, Requested 2000. Please try again in 1.5s.";
        let expected =
            Told { retry_after: Some(Duration::from_millis(1_500)), refused_tokens: Some(60_000), ..Told::default() };
        assert_eq!(told(&HeaderMap::new(), Some(body), now()), expected);
        assert_eq!(told(&HeaderMap::new(), Some("slow down"), now()), Told::default());
        let year = headers(&[("retry-after", "31536000")]);
        assert_eq!(told(&year, None, now()).retry_after, Some(LONGEST), "nobody waits for a year");
    }
}
