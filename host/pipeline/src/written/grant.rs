//! Reads a plugin's `grant`.

use std::net::IpAddr;

use crate::{
    Grant, HttpGrant, Mistake, Name, OneOrMany,
    node::{Node, Shape},
    value::{Filled, FromNode, Table, all},
};

/// Reads a grant. `models` are those that there are.
pub(super) fn grant(node: &Node, models: &[&str], found: &mut Vec<Mistake>) -> Option<Grant> {
    let table = Table::only(node, &["http", "models"], &[], found)?;
    let http = match table.entry("http").map(|entry| &entry.node) {
        None => Vec::new(),
        Some(Node { shape: Shape::List(origins), .. }) => {
            all(origins.iter().map(|origin| HttpGrant::from_node(origin, found)))?
        }
        Some(other) => return other.wrong("a list of origins, `[{ origin = \"https://host\" }]`", found),
    };
    let granted = table.entry("models").and_then(|entry| names(&entry.node, models, found)).unwrap_or_default();
    Some(Grant { http, models: granted })
}

/// Reads names of models.
pub(super) fn names(node: &Node, models: &[&str], found: &mut Vec<Mistake>) -> Option<Vec<Name>> {
    let OneOrMany(names) = OneOrMany::<String>::from_node(node, found)?;
    all(names.into_iter().map(|name| match name.parse() {
        Ok(parsed) if models.contains(&name.as_str()) => Some(parsed),
        _ => {
            found.push(Mistake::unknown(node.at.clone(), "model", &name, models));
            None
        }
    }))
}

impl FromNode for HttpGrant {
    fn from_node(node: &Node, found: &mut Vec<Mistake>) -> Option<Self> {
        let table = Table::only(node, &["origin", "header", "secret_env", "private"], &[], found)?;
        let written = table.required("origin", "\"https://host\"", found)?;
        let Filled(origin) = FromNode::from_node(written, found)?;
        let mut text = |key| table.get::<Filled>(key, found).map(|Filled(text)| text);
        let (header, secret_env) = (text("header"), text("secret_env"));
        let private = table.get("private", found).unwrap_or_default();
        let host = match host_of(&origin) {
            Ok(host) => host,
            Err(why) => {
                let mistake = Mistake::new(written.at.clone(), format!("`{origin}` is no origin: {why}"));
                found.push(mistake.hint("write it as `https://host` or `https://host:port`"));
                return None;
            }
        };
        if let Some(entry) = ["header", "secret_env"].iter().filter_map(|key| table.entry(key)).next() {
            if header.is_some() != secret_env.is_some() {
                let mistake = Mistake::new(entry.node.at.clone(), "`header` and `secret_env` go together");
                let hint = "`header` names the header, `secret_env` the environment variable with its value";
                found.push(mistake.on(entry.span.clone()).hint(hint));
            } else if origin.starts_with("http://") && !is_here(host) {
                let what = format!("a secret would go to `{origin}` for everybody on the way to read");
                found.push(Mistake::new(written.at.clone(), what).hint("write `https://`"));
            }
        }
        Some(Self { origin: origin.trim_end_matches('/').to_ascii_lowercase(), header, secret_env, private })
    }
}

/// The host of an origin, or what is wrong with it.
fn host_of(origin: &str) -> Result<&str, &'static str> {
    let rest = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
    let rest = rest.ok_or("it begins neither with `https://` nor with `http://`")?.trim_end_matches('/');
    if rest.contains('@') {
        return Err("there is a name or a password in it");
    }
    if rest.contains(['/', '?', '#', '*', ' ']) {
        return Err("it has more than a host and a port");
    }
    // The colons within brackets are those of an address.
    let (host, port) = match rest.rsplit_once(':').filter(|(_, port)| !port.contains(']')) {
        Some((host, port)) => (host, Some(port)),
        None => (rest, None),
    };
    if host.is_empty() {
        return Err("it names no host");
    }
    match port.map(str::parse::<u16>) {
        Some(Err(_)) => Err("its port isn't a number up to 65535"),
        _ => Ok(host),
    }
}

/// Whether a host is this machine.
pub(super) fn is_here(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}
