//! What it means when a server gives nothing: whose fault it is, and what to do.

use super::Bucket;
use crate::web::{CHANGED, innermost, unreachable};

/// Why a server gives nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// Whether there is no such object.
    pub(super) missing: bool,
    /// A phrase.
    pub(super) why: String,
    /// What to do.
    pub(super) hint: Option<String>,
}

impl Refusal {
    pub(super) fn of(bucket: &Bucket, error: &object_store::Error) -> Self {
        if let object_store::Error::Precondition { .. } = error {
            return Self { missing: false, why: CHANGED.to_owned(), hint: None };
        }
        let text = innermost(error).to_string();
        if unreachable(error) {
            let why = format!("the server {} can't be reached: {text}", bucket.server());
            return Self::because(why, format!("look at `endpoint` and `region` of `[volume.{}]`", bucket.name));
        }
        let missing = matches!(error, object_store::Error::NotFound { .. });
        Self { missing, ..Self::said(bucket, &text) }
    }

    fn because(why: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { missing: false, why: why.into(), hint: Some(hint.into()) }
    }

    /// What a server's words mean: its status, and the code in the document that comes with it.
    fn said(bucket: &Bucket, text: &str) -> Self {
        let volume = format!("`[volume.{}]`", bucket.name);
        let variable = |which: usize| match &bucket.variables {
            Some(variables) => format!("look at what the environment variable `{}` says", variables[which]),
            None => format!("the bucket isn't for everybody: take `anonymous` out of {volume}"),
        };
        let region = |right: Option<&str>| {
            let why = format!("the bucket `{}` isn't in the region `{}`", bucket.bucket, bucket.region);
            let hint = match right {
                Some(right) => format!("say `region = \"{right}\"` in {volume}"),
                None => format!("say its `region` in {volume}"),
            };
            Self::because(why, hint)
        };
        let answered = text
            .strip_prefix("Server returned non-2xx status code: ")
            .or_else(|| text.strip_prefix("Server returned error response: "));
        let Some(answer) = answered else {
            return match text.starts_with("Received redirect without LOCATION") {
                true => region(None),
                false => Self { missing: false, why: text.to_owned(), hint: None },
            };
        };
        let status = answer.split([':', '<']).next().unwrap_or(answer).trim();
        match element(answer, "Code").unwrap_or_default() {
            "NoSuchBucket" => {
                let server = bucket.server();
                Self::because(
                    format!("there is no bucket `{}` on the server {server}", bucket.bucket),
                    format!("look at the `url` of {volume}, which is `{}`", bucket.url),
                )
            }
            "NoSuchKey" => Self { missing: true, why: "there is no such object".to_owned(), hint: None },
            "SignatureDoesNotMatch" => {
                Self::because("the secret of the key is wrong (SignatureDoesNotMatch)", variable(1))
            }
            "InvalidAccessKeyId" => {
                Self::because("the server doesn't know the key (InvalidAccessKeyId)", variable(0))
            }
            code @ ("ExpiredToken" | "InvalidToken" | "TokenRefreshRequired") => Self::because(
                format!("the key isn't good any more ({code})"),
                "get another one, and set `AWS_SESSION_TOKEN` with it",
            ),
            "RequestTimeTooSkewed" => Self::because(
                "this machine's clock and the server's differ by too much (RequestTimeTooSkewed)",
                "set this machine's clock",
            ),
            "PermanentRedirect" | "TemporaryRedirect" | "IllegalLocationConstraintException" => region(None),
            "AuthorizationHeaderMalformed" => region(element(answer, "Region")),
            "AccessDenied" => Self::because(
                "access is denied",
                match bucket.variables {
                    Some(_) => "the key needs the permission for it: s3:ListBucket, s3:GetObject, s3:PutObject, s3:DeleteObject"
                        .to_owned(),
                    None => variable(0),
                },
            ),
            "" if status.starts_with("403") => Self::because("access is denied", variable(1)),
            "" if status.starts_with("404") => {
                Self { missing: true, why: "there is no such object".to_owned(), hint: None }
            }
            "" => Self { missing: false, why: format!("the server answers {status}"), hint: None },
            code => {
                let message = element(answer, "Message").unwrap_or(status);
                Self { missing: false, why: format!("the server answers {code}: {message}"), hint: None }
            }
        }
    }
}

impl Bucket {
    /// The server, as a person is told of it.
    pub(super) fn server(&self) -> String {
        match &self.endpoint {
            Some(endpoint) => format!("`{endpoint}`"),
            None => format!("of Amazon's region `{}`", self.region),
        }
    }
}

/// The text of an element of an XML document.
fn element<'a>(document: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = document.split_once(&format!("<{name}>"))?;
    rest.split_once("</").map(|(text, _)| text)
}

#[cfg(test)]
mod tests {
    use dflow_pipeline::Volume;

    use super::*;
    use crate::testing::Ground;

    #[test]
    fn a_refusal_says_whose_fault_it_is() {
        let ground = Ground::new();
        let volume = Volume { url: "s3://box/a".to_owned(), ..Volume::default() };
        let bucket = Bucket::new("lake", &volume, |_| None, ground.io());
        let wrong = |code: &str, more: &str| {
            format!("Server returned non-2xx status code: 403 Forbidden: <Error><Code>{code}</Code>{more}</Error>")
        };
        for (text, why, hint) in [
            (
                wrong("NoSuchBucket", ""),
                "there is no bucket `box` on the server of Amazon's region `us-east-1`",
                "look at the `url` of `[volume.lake]`, which is `s3://box/a`",
            ),
            (
                wrong("SignatureDoesNotMatch", ""),
                "the secret of the key is wrong (SignatureDoesNotMatch)",
                "look at what the environment variable `AWS_SECRET_ACCESS_KEY` says",
            ),
            (
                wrong("AuthorizationHeaderMalformed", "<Region>eu-west-1</Region>"),
                "the bucket `box` isn't in the region `us-east-1`",
                "say `region = \"eu-west-1\"` in `[volume.lake]`",
            ),
            (
                "Received redirect without LOCATION, this normally".to_owned(),
                "the bucket `box` isn't in the region `us-east-1`",
                "say its `region` in `[volume.lake]`",
            ),
        ] {
            let refusal = Refusal::said(&bucket, &text);
            assert_eq!((refusal.why.as_str(), refusal.hint.as_deref()), (why, Some(hint)));
        }
        for (text, why, missing) in [
            (wrong("NoSuchKey", ""), "there is no such object", true),
            ("Server returned non-2xx status code: 404 Not Found: ".to_owned(), "there is no such object", true),
            (wrong("Odd", "<Message>so it is</Message>"), "the server answers Odd: so it is", false),
            (
                "Server returned non-2xx status code: 500 Internal Server Error: oh".to_owned(),
                "the server answers 500 Internal Server Error",
                false,
            ),
        ] {
            let refusal = Refusal::said(&bucket, &text);
            assert_eq!((refusal.why.as_str(), refusal.missing), (why, missing));
        }
        let error = bucket.ready().unwrap_err();
        assert_eq!(
            error.message,
            "the volume `lake`: the environment variable `AWS_ACCESS_KEY_ID` isn't set, and requests need a key"
        );
    }
}
