//! What the body of an error says: its words, its code, the status that it should have had, and whether it is about one input alone.

use reqwest::StatusCode;
use serde_json::Value;

/// What is in the codes of those whose filter turns an input away: OpenAI and those like it, Azure.
const FILTERS: [&str; 4] = ["content_filter", "content_policy", "moderation", "ResponsibleAIPolicyViolation"];
/// What they say in words of the input, ...
const OF_INPUT: [&str; 3] = ["requires moderation", "input was flagged", "prompt was flagged"];
/// ... and of themselves. With 403 an account that is suspended, or a region, is turned away by a "content policy", too.
const OF_FILTER: [&str; 3] = ["content filter", "content policy", "content management policy"];

/// What an error's body says, and its code: `{"error": {"message": …, "code": …}}`, or its text.
pub(crate) fn said(body: &str) -> (String, String) {
    let value: Value = serde_json::from_str(body).unwrap_or_default();
    let error = if value["error"].is_null() { &value } else { &value["error"] };
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let words = text(&error["message"]).or_else(|| text(error)).or_else(|| text(&value["detail"]));
    let words = words.unwrap_or_else(|| match body.trim() {
        "" => "nothing more".to_owned(),
        other => other.split_whitespace().collect::<Vec<_>>().join(" "),
    });
    (words, text(&error["code"]).or_else(|| text(&error["type"])).unwrap_or_default())
}

/// Whether the provider's filter has turned the input away, by an error's status and body. Only objects are believed: the page of a proxy that
/// lets nobody through may speak of filters, too.
pub(crate) fn is_moderated(status: StatusCode, body: &str) -> bool {
    let value: Value = serde_json::from_str(body).unwrap_or_default();
    let error = &value["error"];
    is_filtered(error)
        || error["message"].as_str().is_some_and(|message| {
            let message = message.to_lowercase();
            let says = |words: &[&str]| words.iter().any(|words| message.contains(words));
            says(&OF_INPUT) || status != StatusCode::FORBIDDEN && says(&OF_FILTER)
        })
}

/// Whether an error says so without words.
fn is_filtered(error: &Value) -> bool {
    let codes = [&error["code"], &error["type"], &error["innererror"]["code"]];
    let mut codes = codes.into_iter().filter_map(Value::as_str);
    // OpenRouter says what it was flagged for.
    !error["metadata"]["flagged_input"].is_null()
        || codes.any(|code| FILTERS.iter().any(|filter| code.contains(filter)))
}

/// The status that an answer of 200 should have had which is an error: `{"error": {"message": …, "code": 502}}`. One that says none is the
/// endpoint's, unless a filter has turned the input away.
pub(crate) fn error_within(body: &[u8]) -> Option<StatusCode> {
    let value: Value = serde_json::from_slice(body).ok()?;
    let error = value.get("error").filter(|error| !error.is_null())?;
    let code =
        error["code"].as_u64().and_then(|code| u16::try_from(code).ok()).filter(|code| (400..600).contains(code));
    let code = code.and_then(|code| StatusCode::from_u16(code).ok());
    Some(code.unwrap_or(match is_filtered(error) {
        true => StatusCode::BAD_REQUEST,
        false => StatusCode::INTERNAL_SERVER_ERROR,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_error_says_is_found() {
        let read = |body: &str| said(body);
        let both = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(read(r#"{"error":{"message":"No.","code":"invalid_api_key"}}"#), both("No.", "invalid_api_key"));
        assert_eq!(
            read(r#"{"type":"error","error":{"type":"overloaded_error","message":"Busy"}}"#),
            both("Busy", "overloaded_error")
        );
        assert_eq!(read(r#"{"error":"model not found"}"#), both("model not found", ""));
        assert_eq!(read(r#"{"detail":"Not Found"}"#), both("Not Found", ""));
        assert_eq!(read("<html>\n <b>502</b></html>"), both("<html> <b>502</b></html>", ""));
        assert_eq!(read(""), both("nothing more", ""));
    }

    #[test]
    fn an_error_in_an_answer_is_one() {
        let status = |body: &str| error_within(body.as_bytes()).map(|status| status.as_u16());
        assert_eq!(status(r#"{"error":{"message":"insufficient credits","code":402}}"#), Some(402));
        assert_eq!(status(r#"{"error":{"message":"overloaded","code":"busy"}}"#), Some(500));
        assert_eq!(status(r#"{"error":{"message":"The response was filtered","code":"content_filter"}}"#), Some(400));
        assert_eq!(status(r#"{"error":{"message":"The content filter doesn't answer"}}"#), Some(500));
        assert_eq!(status(r#"{"error":"no"}"#), Some(500));
        assert_eq!(status(r#"{"error":null}"#), None);
        assert_eq!(status(r#"{"choices":[]}"#), None);
        assert_eq!(status("no"), None);
    }

    #[test]
    fn what_a_filter_turns_away_is_told_from_what_the_key_may_not() {
        for (status, body, moderated) in [
            (
                403,
                r#"{"error":{"code":403,"message":"No.","metadata":{"reasons":["violence"],"flagged_input":"row"}}}"#,
                true,
            ),
            (
                403,
                r#"{"error":{"code":403,"message":"m requires moderation on p. Your input was flagged for \"x\""}}"#,
                true,
            ),
            (
                403,
                r#"{"error":{"code":"content_policy_violation","message":"No.","type":"invalid_request_error"}}"#,
                true,
            ),
            (400, r#"{"error":{"code":"content_filter","status":400,"message":"The response was filtered"}}"#, true),
            (400, r#"{"error":{"code":"400","innererror":{"code":"ResponsibleAIPolicyViolation"}}}"#, true),
            (
                400,
                r#"{"error":{"code":"invalid_prompt","message":"Invalid prompt: your prompt was flagged as …"}}"#,
                true,
            ),
            (
                400,
                r#"{"error":{"type":"invalid_request_error","message":"Output blocked by content filtering policy"}}"#,
                true,
            ),
            (
                403,
                r#"{"error":{"code":"account_suspended","message":"Your account violates our content policy"}}"#,
                false,
            ),
            (403, r#"{"error":{"message":"Not available in your region due to our Content Policy"}}"#, false),
            (
                403,
                r#"{"error":{"code":"unsupported_country_region_territory","message":"Country not supported"}}"#,
                false,
            ),
            (403, r#"{"error":{"message":"Your account was flagged","code":"account_deactivated"}}"#, false),
            (400, r#"{"error":"content filter"}"#, false),
            (400, "<html>Blocked by the content filter of ACME</html>", false),
            (400, "", false),
        ] {
            let status = StatusCode::from_u16(status).expect("a status");
            assert_eq!(is_moderated(status, body), moderated, "{body}");
        }
    }
}
