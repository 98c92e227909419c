//! What stages share: volumes, plugins, and how batches are cut.

use indexmap::IndexMap;

use super::place;
use crate::{
    BatchLimits, Bytes, GuestLimits, Millis, Mistake, Name, Plugin, Volume,
    node::{Entry, Node},
    value::{FromNode, Table},
};

/// Reads `[volume.NAME]`.
pub(super) fn volume(entry: &Entry, volumes: &[&str], found: &mut Vec<Mistake>) -> Option<Volume> {
    let table = Table::only(&entry.node, &["url", "manifest", "timeout"], &["region", "endpoint"], found)?;
    let url = table.required("url", "\"file:///…\"", found)?;
    let url = place::volume_url(url, found);
    let manifest = table.entry("manifest").and_then(|entry| place::path(&entry.node, volumes, found));
    let timeout = table.get::<Millis>("timeout", found);
    if timeout == Some(Millis(0)) {
        found.push(Mistake::new(table.at.key("timeout"), "`timeout` must be more than 0"));
    }
    let url = url?;
    if !place::is_web(&url) {
        for entry in ["manifest", "timeout"].iter().filter_map(|key| table.entry(key)) {
            let message = format!("`{}` goes with a volume on the web, not with a folder", entry.key);
            found.push(Mistake::new(entry.node.at.clone(), message).on(entry.span.clone()));
        }
    }
    Some(Volume { url, manifest, timeout })
}

/// Reads `[plugin.NAME]`.
pub(super) fn plugin(entry: &Entry, found: &mut Vec<Mistake>) -> Option<Plugin> {
    let table = Table::only(&entry.node, &["source", "limits"], &["grant"], found)?;
    let limits = table.get("limits", found).unwrap_or_default();
    let source = table.required("source", "\"path/to/component.wasm\"", found)?;
    place::plugin_source(source, found).map(|source| Plugin { source, limits })
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
            found.push(Mistake::new(entry.node.at.clone(), error.to_string()).on(entry.span.clone()));
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
        let known = ["memory", "time", "emitted", "message", "description", "log_lines"];
        let table = Table::only(node, &known, &[], found)?;
        let default = Self::default();
        let limits = Self {
            memory: table.get("memory", found).unwrap_or(default.memory),
            time: table.get("time", found).unwrap_or(default.time),
            emitted: table.get("emitted", found).unwrap_or(default.emitted),
            message: table.get("message", found).unwrap_or(default.message),
            description: table.get("description", found).unwrap_or(default.description),
            log_lines: table.get("log_lines", found).unwrap_or(default.log_lines),
        };
        for (key, zero) in [("memory", limits.memory == Bytes(0)), ("time", limits.time == Millis(0))] {
            if zero {
                found.push(Mistake::new(table.at.key(key), format!("`{key}` must be more than 0")));
            }
        }
        Some(limits)
    }
}
