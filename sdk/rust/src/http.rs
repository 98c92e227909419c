//! Requests to servers that the pipeline grants: the contract's `http`.
//!
//! For operators whose description is of [`Profile::Open`](crate::Profile::Open) and [wants](crate::Description::wants) `http`. Natively there is
//! no host to make them: a test says what is answered, with `testing::answering`.

/// What is asked of a server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// `GET`, `POST` and so on.
    pub method: String,
    /// An absolute URL of an origin that the pipeline grants.
    pub url: String,
    /// Names and values. What the pipeline keeps secret is added by the host.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// What a server answered, whatever its status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// Names, in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// The body, encodings included.
    pub body: Vec<u8>,
}

impl Request {
    /// A `GET` of a URL.
    pub fn get(url: impl Into<String>) -> Self {
        Self { method: "GET".to_owned(), url: url.into(), ..Self::default() }
    }

    /// A `POST` of a body to a URL.
    pub fn post(url: impl Into<String>, body: impl Into<Vec<u8>>) -> Self {
        Self { method: "POST".to_owned(), url: url.into(), body: body.into(), headers: Vec::new() }
    }

    /// With one more header.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }
}

/// Sends requests side by side and gives an answer for each, in their order: those of a whole batch are best sent at once. An error is one
/// of its request alone, in words for people. Nothing is tried again.
#[cfg(target_arch = "wasm32")]
pub fn send(requests: &[Request]) -> Vec<Result<Response, String>> {
    use crate::guest::bindings::dflow::operator::http;
    let headers: Vec<Vec<(&str, &str)>> = requests
        .iter()
        .map(|request| request.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect())
        .collect();
    let requests = requests.iter().zip(&headers).map(|(request, headers)| http::Request {
        method: &request.method,
        url: &request.url,
        headers,
        body: &request.body,
    });
    let answers = http::send(&requests.collect::<Vec<_>>());
    let response =
        |answer: http::Response| Response { status: answer.status, headers: answer.headers, body: answer.body };
    answers.into_iter().map(|answer| answer.map(response)).collect()
}

/// Natively: what the test says, or else an error for each.
#[cfg(not(target_arch = "wasm32"))]
pub fn send(requests: &[Request]) -> Vec<Result<Response, String>> {
    #[cfg(feature = "testing")]
    return requests.iter().map(crate::testing::answer).collect();
    #[cfg(not(feature = "testing"))]
    requests.iter().map(|_| Err("there is no host here that makes requests".to_owned())).collect()
}
