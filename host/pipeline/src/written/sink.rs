//! The verb that puts rows somewhere: `write`.

use super::{place, relational::columns, source::codec, words::LATER_FORMATS};
use crate::{
    At, Codec, FileNames, Format, Mistake, Mode, OneOrMany, Write,
    node::{Node, Shape},
    value::{Filled, Table, choice},
};

/// The formats that can be written.
const WRITTEN: &[(&str, Format)] = &[
    ("parquet", Format::Parquet),
    ("csv", Format::Csv),
    ("jsonl", Format::Jsonl),
    ("json", Format::Json),
    ("arrow", Format::Arrow),
    ("blob", Format::Blob),
];
const MODES: &[(&str, Mode)] =
    &[("error", Mode::Error), ("append", Mode::Append), ("replace", Mode::Replace), ("merge", Mode::Merge)];
const HOW: &str = "add `format = \"parquet\"`, `\"csv\"`, `\"json\"`, `\"jsonl\"` or `\"arrow\"`";

/// Reads the keys of a `write` stage.
pub(super) fn write(node: &Node, stage: Table<'_>, volumes: &[&str], found: &mut Vec<Mistake>) -> Option<Write> {
    let path = match &node.shape {
        Shape::Text(path) if path == "-" => Some(path.clone()),
        _ => place::path(node, volumes, found),
    };
    let names = path.as_deref().and_then(|path| match FileNames::cut(path, &node.at) {
        Ok(names) => names,
        Err(mistake) => {
            found.push(mistake);
            None
        }
    });
    // What makes a name of rows, if wrongly, is no name of a table.
    let named = names.is_some() || path.as_deref().is_some_and(FileNames::are_in);
    let mut format = stage.entry("format").and_then(|entry| format(&entry.node, found));
    if let Some(path) = path.as_deref().filter(|path| !named && stage.lacks("format") && *path != "-") {
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
    if named && let Some(path) = &path {
        one_row_a_file(&mut format, path, node, stage, found);
    } else if format == Some(Format::Blob) {
        found.push(
            Mistake::new(node.at.clone(), "a blob is one row's content, and needs a name made from the row")
                .hint("write it as `write = \"out/{{ __id__ }}.html\"`"),
        );
    }
    if let Some(packed @ (Format::Parquet | Format::Arrow)) = format.filter(|_| path.as_deref() == Some("-")) {
        let mistake = Mistake::new(stage.at.key("format"), format!("{} can't be written to stdout", packed.as_str()));
        found.push(mistake.hint("`format = \"jsonl\"` or `\"csv\"`, or write to a file"));
    }
    let table = format.or_else(|| path.as_deref().and_then(Format::of_name)).filter(|format| format.is_table());
    let codec = written_codec(path.as_deref().filter(|_| !named), table, node, stage, found);
    let mode = stage.entry("mode").and_then(|entry| choice(&entry.node, "mode", MODES, &[], found)).unwrap_or_default();
    let written = stage.entry("columns").and_then(|entry| columns(&entry.node, found));
    let key = names_of("key", stage, found);
    merged(mode, named, path.as_deref(), &key, node, stage, found);
    let partition_by = names_of("partition_by", stage, found);
    if let (Some(entry), Some(path)) = (stage.entry("partition_by"), path.as_deref())
        && !named
        && !path.ends_with('/')
    {
        let mistake =
            Mistake::new(entry.node.at.clone(), format!("`partition_by` makes folders, and `{path}` is none"));
        found.push(mistake.hint("write into a folder, a path that ends in `/`"));
    }
    let column = stage.get::<Filled>("column", found).map(|Filled(column)| column);
    Some(Write { path: path?, format, codec, mode, key, columns: written, partition_by, column })
}

/// What goes with files that are named by their rows.
fn one_row_a_file(format: &mut Option<Format>, path: &str, node: &Node, stage: Table<'_>, found: &mut Vec<Mistake>) {
    let meant = format.or_else(|| Format::of_name(path).filter(|_| stage.lacks("column")));
    if let Some(table) = meant.filter(|format| format.is_table()) {
        let message = format!("a file named by a row holds one row's content, not rows as {}", table.as_str());
        found.push(Mistake::new(node.at.clone(), message).hint(
            "`partition_by = [\"…\"]` puts rows into folders by their values; a file's content is `column = \"…\"`",
        ));
    } else if stage.lacks("column") {
        found.push(
            Mistake::new(node.at.clone(), "which column is the files' content isn't said").hint("add `column = \"…\"`"),
        );
    }
    *format = Some(Format::Blob);
    for key in ["columns", "partition_by", "codec", "key"] {
        if let Some(entry) = stage.entry(key) {
            let message = format!("`{key}` goes with tables, not with files named by their rows");
            found.push(Mistake::new(entry.node.at.clone(), message).on(entry.span.clone()));
        }
    }
}

/// The codec that is said, or that a name means.
fn written_codec(
    path: Option<&str>,
    table: Option<Format>,
    node: &Node,
    stage: Table<'_>,
    found: &mut Vec<Mistake>,
) -> Option<Codec> {
    let said = stage.entry("codec").and_then(|entry| Some((entry.node.at.clone(), codec(&entry.node, found)?)));
    let of_name = path.map(Codec::of_name).filter(|codec| *codec != Codec::None);
    let (at, codec): (At, Codec) = match (said, of_name) {
        (Some((at, said)), Some(of_name)) if said != of_name => {
            let message = format!("the name says {}, `codec` says {}", of_name.as_str(), said.as_str());
            found.push(Mistake::new(at, message).hint("leave one of them out"));
            return Some(said);
        }
        (Some(said), _) => said,
        (None, of_name) => (node.at.clone(), of_name?),
    };
    if let Some(table @ (Format::Parquet | Format::Arrow)) = table.filter(|_| codec != Codec::None) {
        let message = format!("{} is compressed by itself, not as {}", table.as_str(), codec.as_str());
        found.push(Mistake::new(at, message).hint("leave the codec out"));
    }
    Some(codec)
}

/// What goes with `mode = "merge"`.
fn merged(
    mode: Mode,
    named: bool,
    path: Option<&str>,
    key: &[String],
    node: &Node,
    stage: Table<'_>,
    found: &mut Vec<Mistake>,
) {
    match (mode, stage.entry("key")) {
        (Mode::Merge, _) if path == Some("-") => {
            found.push(Mistake::new(node.at.clone(), "what was written to stdout can't be merged with"));
        }
        (Mode::Merge, None) if !named && stage.lacks("key") => {
            let mistake =
                Mistake::new(stage.at.key("mode"), "`merge` needs to know by which columns rows are the same");
            found.push(mistake.hint("add `key = [\"…\"]`"));
        }
        (Mode::Merge, Some(entry)) if key.is_empty() && matches!(entry.node.shape, Shape::List(_)) => {
            found.push(Mistake::new(entry.node.at.clone(), "`key` names no column"));
        }
        (Mode::Error | Mode::Append | Mode::Replace, Some(entry)) if !named => {
            let mistake = Mistake::new(entry.node.at.clone(), "`key` goes with `mode = \"merge\"`");
            found.push(mistake.on(entry.span.clone()));
        }
        _ => {}
    }
}

/// A list of columns, each once.
fn names_of(key: &str, stage: Table<'_>, found: &mut Vec<Mistake>) -> Vec<String> {
    let Some(OneOrMany(written)) = stage.get::<OneOrMany<Filled>>(key, found) else { return Vec::new() };
    let mut names: Vec<String> = Vec::new();
    for Filled(name) in written {
        if names.contains(&name) {
            found.push(Mistake::new(stage.at.key(key), format!("`{key}` names `{name}` twice")));
        } else {
            names.push(name);
        }
    }
    names
}

fn format(node: &Node, found: &mut Vec<Mistake>) -> Option<Format> {
    let readable = Format::ALL.iter().find(|(_, name, _)| matches!(&node.shape, Shape::Text(text) if text == name));
    match readable {
        Some((format, name, _)) if !WRITTEN.iter().any(|(_, written)| written == format) => {
            let message = format!("`{name}` can be read but not written");
            found.push(
                Mistake::new(node.at.clone(), message).hint(
                    "`parquet`, `csv`, `json`, `jsonl` and `arrow` can, and `blob` for files named by their rows",
                ),
            );
            None
        }
        _ => choice(node, "format", WRITTEN, LATER_FORMATS, found),
    }
}
