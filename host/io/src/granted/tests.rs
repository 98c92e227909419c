//! Tests against a real server, `tests/servers/web.py`.

use std::{str::FromStr, time::Duration};

use bytes::Bytes;
use dflow_pipeline::{Fault, Grant, HttpGrant};
use http::{Method, Request, Response};
use reqwest::dns::{Name, Resolve};

use super::{GrantedHttp, addresses::PublicNames, credentials};
use crate::testing::{Ground, Server, block_on};

/// The environment.
fn variables(name: &str) -> Option<String> {
    match name {
        "KEY" => Some("Bearer open sesame".to_owned()),
        "OTHER" => Some("another-one".to_owned()),
        "BROKEN" => Some("two\nlines".to_owned()),
        _ => None,
    }
}

fn grant(origin: &str, variable: Option<&str>) -> HttpGrant {
    HttpGrant {
        origin: origin.to_owned(),
        header: variable.map(|_| "x-key".to_owned()),
        secret_env: variable.map(str::to_owned),
        private: false,
    }
}

fn asked(method: Method, url: &str, body: &'static str) -> Request<Bytes> {
    let request = Request::builder().method(method).uri(url).header("authorization", "mine").header("x-key", "mine");
    request.header("host", "elsewhere").body(Bytes::from_static(body.as_bytes())).unwrap()
}

struct Granted {
    ground: Ground,
    server: Server,
    http: GrantedHttp,
}

impl Granted {
    /// The server by its address, with a secret, and by its name, without one.
    fn new(variable: &str) -> Self {
        let ground = Ground::new();
        ground.write("docs/a.txt", "x".repeat(1000));
        let server = Server::of(&ground);
        let named = server.site.replace("127.0.0.1", "localhost");
        let http = vec![grant(&server.site, Some(variable)), grant(&named, None)];
        let http =
            GrantedHttp::new("mine", &Grant { http, ..Grant::default() }, variables, ground.io()).unwrap().unwrap();
        Self { ground, server, http }
    }

    fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, String> {
        block_on(self.http.send(request, Duration::from_millis(1500), 2000))
    }

    fn get(&self, path: &str) -> Result<String, String> {
        let answer = self.send(asked(Method::GET, &format!("{}/{path}", self.server.site), ""))?;
        Ok(format!("{} {}", answer.status().as_u16(), String::from_utf8_lossy(answer.body())))
    }
}

#[test]
fn the_secret_goes_to_its_origin_and_to_nobody_else() {
    let granted = Granted::new("KEY");
    assert_eq!(granted.get("welcome").unwrap(), "200 come in");
    let site = &granted.server.site;
    let named = site.replace("127.0.0.1", "localhost");
    let answer = granted.send(asked(Method::GET, &format!("{named}/welcome"), "")).unwrap();
    assert_eq!(answer.status(), 401);
    // What follows a redirect is asked anew: there it has the header, and on the way out it has lost it.
    assert_eq!(granted.get(&format!("to/{site}/welcome")).unwrap(), "200 come in");
    assert_eq!(granted.get(&format!("to/{named}/welcome")).unwrap(), "401 come in");
    let away = granted.get(&format!("to/{named}/echo")).unwrap().to_lowercase();
    assert!(away.contains("x-key") && !away.contains("authorization"), "{away}");
    // A server that says what it was sent would tell the plugin.
    let said = granted.get("echo").unwrap_err();
    assert!(said.contains("holds a secret, and was held back") && !said.contains("sesame"), "{said}");
    assert!(!format!("{:?}", granted.http).contains("sesame"));
}

#[test]
fn requests_go_as_they_were_asked_but_for_what_is_the_hosts_to_say() {
    let granted = Granted::new("KEY");
    let named = granted.server.site.replace("127.0.0.1", "localhost");
    let answer = granted.send(asked(Method::POST, &format!("{named}/echo/a%20b?c=d"), "body")).unwrap();
    let said: serde_json::Value = serde_json::from_slice(answer.body()).unwrap();
    assert_eq!((said["method"].as_str(), said["body"].as_str()), (Some("POST"), Some("body")));
    assert_eq!(said["path"], "/echo/a%20b?c=d");
    assert_eq!(format!("http://{}", said["headers"]["host"].as_str().unwrap()), named);
    assert_eq!(said["headers"]["authorization"], "mine");
    let again = granted.send(asked(Method::POST, &format!("{named}/to-again/{named}/echo"), "body")).unwrap();
    assert!(String::from_utf8_lossy(again.body()).contains("\"POST\""), "{again:?}");
    let changed = granted.send(asked(Method::POST, &format!("{named}/to/{named}/echo"), "body")).unwrap();
    assert!(String::from_utf8_lossy(changed.body()).contains("\"GET\""), "{changed:?}");
}

#[test]
fn nothing_else_is_reached() {
    let granted = Granted::new("OTHER");
    let site = granted.server.site.clone();
    for (url, said) in [
        ("https://example.org/".to_owned(), "`https://example.org` isn't granted"),
        (site.replace("127.0.0.1", "127.0.0.2"), "isn't granted; granted is"),
        (site.replace("http:", "https:"), "isn't granted"),
        (site.replace("http://", "http://me:pw@"), "has a name or a password in it"),
        (format!("{site}/to/http://169.254.169.254/latest"), "leads elsewhere: `http://169.254.169.254` isn't granted"),
        (format!("{site}/to/file:///etc/passwd"), "leads elsewhere: `null` isn't granted"),
        (format!("{site}/loop/x"), "redirected more than 5 times"),
        (format!("{site}/slow/a.txt"), "it took longer than 1500 ms (`limits.wait`)"),
        (format!("{site}/short/a.txt"), "error decoding response body"),
        ("http://localhost:1/".to_owned(), "isn't granted"),
    ] {
        let error = granted.send(asked(Method::GET, &url, "")).unwrap_err();
        assert!(error.contains(said), "{url}: {error}");
    }
    let traced = granted.send(asked(Method::TRACE, &site, "")).unwrap_err();
    assert_eq!(traced, "the method TRACE isn't allowed");
    granted.ground.write("docs/big.txt", "x".repeat(3000));
    for path in ["good/big.txt", "chunked/big.txt"] {
        let error = granted.get(path).unwrap_err();
        assert!(error.contains("2.0 KiB are allowed (`limits.received`)") || error.contains("2000 B"), "{error}");
    }
    assert!(granted.get("404").unwrap().starts_with("404 "));
}

#[test]
fn names_that_lead_into_our_own_network_are_refused_unless_that_is_granted() {
    let ground = Ground::new();
    let resolve = |private: Vec<String>| {
        let names = PublicNames { private };
        ground.io().block_on(names.resolve(Name::from_str("localhost").unwrap())).map(Iterator::count)
    };
    assert!(resolve(vec!["localhost".to_owned()]).unwrap() > 0);
    let error = resolve(Vec::new()).unwrap_err().to_string();
    assert!(error.starts_with("`localhost` leads to ") && error.contains("which isn't public"), "{error}");
}

#[test]
fn a_grant_that_cannot_be_kept_is_an_error_without_the_secret() {
    let ground = Ground::new();
    for (variable, said) in [
        ("MISSING", "the grant of plugin `mine`: the environment variable `MISSING` isn't set"),
        ("BROKEN", "the grant of plugin `mine`: what `BROKEN` holds can't be in a header"),
    ] {
        let http = vec![grant("https://api.example", Some(variable))];
        let error = GrantedHttp::new("mine", &Grant { http, ..Grant::default() }, variables, ground.io()).unwrap_err();
        assert_eq!((error.fault, error.message.as_str()), (Fault::Outside, said));
    }
    assert!(GrantedHttp::new("mine", &Grant::default(), variables, ground.io()).unwrap().is_none());
}

#[test]
fn what_follows_a_scheme_is_secret() {
    for (value, secret) in [
        ("Bearer abc", "abc"),
        ("basic  dXNlcjpr", "dXNlcjpr"),
        ("my key", "my key"),
        ("open sesame", "open sesame"),
        ("abc", "abc"),
        ("Token", "Token"),
    ] {
        assert_eq!(credentials(value.as_bytes()), secret.as_bytes(), "{value}");
    }
}
