//! What stages share: volumes, plugins, and how batches are cut.

use indexmap::IndexMap;

use super::{grant, place};
use crate::{
    BatchLimits, Bytes, GuestLimits, Millis, Mistake, Name, Plugin, Volume,
    node::{Entry, Node},
    value::{Filled, FromNode, Table},
};

/// The keys of volumes that are buckets.
const OF_BUCKETS: [&str; 6] = ["region", "endpoint", "key_env", "secret_env", "anonymous", "allow_http"];

/// Reads `[volume.NAME]`.
pub(super) fn volume(entry: &Entry, volumes: &[&str], found: &mut Vec<Mistake>) -> Option<Volume> {
    let known: Vec<&str> = ["url", "manifest", "timeout"].into_iter().chain(OF_BUCKETS).collect();
    let table = Table::only(&entry.node, &known, &[], found)?;
    let url = table.required("url", "\"file:///…\"", found)?;
    let url = place::volume_url(url, found);
    let manifest = table.entry("manifest").and_then(|entry| place::path(&entry.node, volumes, found));
    let timeout = table.get::<Millis>("timeout", found);
    if timeout == Some(Millis(0)) {
        found.push(Mistake::new(table.at.key("timeout"), "`timeout` must be more than 0"));
    }
    let mut text = |key| table.get::<Filled>(key, found).map(|Filled(text)| text);
    let (region, endpoint) = (text("region"), text("endpoint"));
    let (key_env, secret_env) = (text("key_env"), text("secret_env"));
    let mut flag = |key| table.get::<bool>(key, found).unwrap_or_default();
    let (anonymous, allow_http) = (flag("anonymous"), flag("allow_http"));
    let url = url?;
    let (web, bucket) = (place::is_web(&url), place::is_bucket(&url));
    let elsewhere = |keys: &[&str], what: &str, found: &mut Vec<Mistake>| {
        for entry in keys.iter().filter_map(|key| table.entry(key)) {
            let message = format!("`{}` goes with {what}", entry.key);
            found.push(Mistake::new(entry.node.at.clone(), message).on(entry.span.clone()));
        }
    };
    if bucket {
        elsewhere(&["manifest"], "a volume on the web, not with a bucket", found);
    } else if !web {
        elsewhere(&["manifest", "timeout"], "a volume on the web, not with a folder", found);
    }
    if !bucket {
        elsewhere(&OF_BUCKETS, "a volume that is a bucket, `s3://…`", found);
    }
    let volume = Volume { url, manifest, timeout, region, endpoint, key_env, secret_env, anonymous, allow_http };
    if bucket {
        keys(&table, &volume, found);
    }
    Some(volume)
}

/// Looks whether the keys of a bucket go together.
fn keys(table: &Table<'_>, volume: &Volume, found: &mut Vec<Mistake>) {
    if let Some(entry) = ["key_env", "secret_env"].iter().filter_map(|key| table.entry(key)).next() {
        if volume.anonymous {
            let message = format!("`{}` and `anonymous = true` exclude each other", entry.key);
            found.push(Mistake::new(entry.node.at.clone(), message).on(entry.span.clone()));
        } else if volume.key_env.is_some() != volume.secret_env.is_some() {
            let message = "`key_env` and `secret_env` go together";
            let mistake = Mistake::new(entry.node.at.clone(), message).on(entry.span.clone());
            found.push(mistake.hint("name both variables: that of the key's id and that of its secret"));
        }
    }
    if let (Some(endpoint), Some(entry)) = (&volume.endpoint, table.entry("endpoint")) {
        let (secure, plain) = (endpoint.starts_with("https://"), endpoint.starts_with("http://"));
        if !secure && !plain {
            let mistake = Mistake::new(entry.node.at.clone(), format!("`{endpoint}` is no URL of a server"));
            found.push(mistake.hint("write it as `https://host:port`"));
        } else if endpoint.contains(['@', '?', '#']) {
            let message = "the `endpoint` of this volume has a name, a query or a fragment in it";
            found.push(Mistake::new(table.at.clone(), message).hint("write the server alone, `https://host:port`"));
        } else if plain && !volume.allow_http {
            let mistake = Mistake::new(entry.node.at.clone(), format!("`{endpoint}` isn't encrypted"));
            found.push(mistake.hint("write `https://`, or say `allow_http = true` where nobody else listens"));
        }
    }
}

/// Reads `[plugin.NAME]`.
pub(super) fn plugin(entry: &Entry, models: &[&str], found: &mut Vec<Mistake>) -> Option<Plugin> {
    let table = Table::only(&entry.node, &["source", "limits", "grant"], &[], found)?;
    let limits = table.get("limits", found).unwrap_or_default();
    let grant = table.entry("grant").and_then(|entry| grant::grant(&entry.node, models, found)).unwrap_or_default();
    let source = match table.entry("source") {
        Some(entry) => Some(place::plugin_source(&entry.node, found)?),
        None => None,
    };
    Some(Plugin { source, limits, grant })
}

/// The entries of a table of named resources, such as `[volume.NAME]`.
pub(super) fn entries<'a>(node: Option<&'a Node>, found: &mut Vec<Mistake>) -> &'a [Entry] {
    node.and_then(|node| Table::of(node, found)).map_or(&[], |table| table.entries)
}

/// An entry's name, if it is one.
pub(super) fn name(entry: &Entry, found: &mut Vec<Mistake>) -> Option<Name> {
    entry
        .key
        .parse()
        .map_err(|error: crate::NameError| {
            found.push(error.mistake(entry.node.at.clone()).on(entry.span.clone()));
        })
        .ok()
}

/// Reads each entry of a table of named resources.
pub(super) fn named<T>(
    entries: &[Entry],
    read: impl Fn(&Entry, &mut Vec<Mistake>) -> Option<T>,
    found: &mut Vec<Mistake>,
) -> IndexMap<Name, T> {
    let mut resources = IndexMap::new();
    for entry in entries {
        let name = name(entry, found);
        let resource = read(entry, found);
        resources.extend(name.zip(resource));
    }
    resources
}

/// Reads how batches are cut; what isn't said is as in `default`.
pub(super) fn batch(node: &Node, default: BatchLimits, found: &mut Vec<Mistake>) -> Option<BatchLimits> {
    let table = Table::only(node, &["rows", "bytes", "max_row"], &[], found)?;
    let rows = table.get("rows", found).unwrap_or(default.rows);
    let bytes = table.get("bytes", found).unwrap_or(default.bytes);
    let max_row = table.get("max_row", found).unwrap_or(default.max_row);
    for (key, zero) in [("rows", rows == 0), ("bytes", bytes == Bytes(0)), ("max_row", max_row == Bytes(0))] {
        if zero {
            found.push(Mistake::new(table.at.key(key), format!("`{key}` must be at least 1")));
        }
    }
    Some(BatchLimits { rows, bytes, max_row })
}

impl FromNode for GuestLimits {
    fn from_node(node: &Node, found: &mut Vec<Mistake>) -> Option<Self> {
        let known = [
            "memory",
            "time",
            "emitted",
            "message",
            "description",
            "log_lines",
            "nesting",
            "instances",
            "wait",
            "received",
            "poisoned",
        ];
        let table = Table::only(node, &known, &[], found)?;
        let default = Self::default();
        let limits = Self {
            memory: table.get("memory", found).unwrap_or(default.memory),
            time: table.get("time", found).unwrap_or(default.time),
            emitted: table.get("emitted", found).unwrap_or(default.emitted),
            message: table.get("message", found).unwrap_or(default.message),
            description: table.get("description", found).unwrap_or(default.description),
            log_lines: table.get("log_lines", found).unwrap_or(default.log_lines),
            nesting: table.get("nesting", found).unwrap_or(default.nesting),
            instances: table.get("instances", found).unwrap_or(default.instances),
            wait: table.get("wait", found).unwrap_or(default.wait),
            received: table.get("received", found).unwrap_or(default.received),
            poisoned: table.get("poisoned", found).unwrap_or(default.poisoned),
        };
        let zeros = [
            ("memory", limits.memory == Bytes(0)),
            ("time", limits.time == Millis(0)),
            ("wait", limits.wait == Millis(0)),
            ("nesting", limits.nesting == 0),
            ("instances", limits.instances == 0),
        ];
        for (key, zero) in zeros {
            if zero {
                found.push(Mistake::new(table.at.key(key), format!("`{key}` must be more than 0")));
            }
        }
        Some(limits)
    }
}
