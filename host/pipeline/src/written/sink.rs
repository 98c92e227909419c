//! The verb that puts rows somewhere: `write`.

use super::{place, relational::columns, words::LATER_FORMATS};
use crate::{
    Codec, Format, Mistake, Mode, Write,
    node::{Node, Shape},
    value::{Table, choice},
};

/// The formats that can be written.
const WRITTEN: &[(&str, Format)] = &[("parquet", Format::Parquet), ("csv", Format::Csv), ("jsonl", Format::Jsonl)];
const MODES: &[(&str, Mode)] = &[("error", Mode::Error), ("append", Mode::Append), ("replace", Mode::Replace)];
const HOW: &str = "add `format = \"parquet\"`, `\"csv\"` or `\"jsonl\"`";

/// Reads the keys of a `write` stage.
pub(super) fn write(node: &Node, stage: Table<'_>, volumes: &[&str], found: &mut Vec<Mistake>) -> Option<Write> {
    let path = match &node.shape {
        Shape::Text(path) if path == "-" => Some(path.clone()),
        Shape::Text(path) if path.contains("{{") => {
            found.push(
                Mistake::later(node.at.clone(), format!("a file's name made from rows (`{path}`)"))
                    .hint("write into a folder, a name that ends in `/`"),
            );
            None
        }
        _ => place::path(node, volumes, found),
    };
    let written = stage.entry("format");
    let format = written.and_then(|entry| format(&entry.node, found));
    if let Some(path) = path.as_deref().filter(|path| stage.lacks("format") && *path != "-") {
        let message = match Format::of_name(path) {
            _ if path.ends_with('/') => Some(format!("the format of files in `{path}` isn't said")),
            None => Some(format!("the format of `{path}` can't be told from its name")),
            Some(format) if !WRITTEN.iter().any(|(_, written)| *written == format) => {
                Some(format!("`{}` can be read but not written", format.as_str()))
            }
            Some(_) => None,
        };
        found.extend(message.map(|message| Mistake::new(node.at.clone(), message).hint(HOW)));
    }
    if let Some(path) = path.as_deref()
        && let codec = Codec::of_name(path)
        && codec != Codec::None
    {
        let message = format!("writing {} (`{path}`)", codec.as_str());
        found.push(Mistake::later(node.at.clone(), message).hint("parquet is compressed by itself"));
    }
    let mode = stage.entry("mode").and_then(|entry| choice(&entry.node, "mode", MODES, &["merge"], found));
    let columns = stage.entry("columns").and_then(|entry| columns(&entry.node, found));
    Some(Write { path: path?, format, mode: mode.unwrap_or_default(), columns })
}

fn format(node: &Node, found: &mut Vec<Mistake>) -> Option<Format> {
    let readable = Format::ALL.iter().find(|(_, name, _)| matches!(&node.shape, Shape::Text(text) if text == name));
    match readable {
        Some((format, name, _)) if !WRITTEN.iter().any(|(_, written)| written == format) => {
            let message = format!("`{name}` can be read but not written");
            found.push(Mistake::new(node.at.clone(), message).hint("`parquet`, `csv` and `jsonl` can"));
            None
        }
        _ => choice(node, "format", WRITTEN, LATER_FORMATS, found),
    }
}
