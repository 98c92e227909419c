//! The verbs that make rows: `read`, `values`, `input`.

use indexmap::IndexMap;

use super::{
    place,
    words::{LATER_FORMATS, joined},
};
use crate::{
    Codec, CsvOptions, Format, Input, Mistake, Read, ReadAs, Row, Values,
    node::{Node, Shape},
    value::{FromNode, Table, all, choice},
};

/// Reads the keys of a `read` stage.
pub(super) fn read(node: &Node, stage: Table<'_>, volumes: &[&str], found: &mut Vec<Mistake>) -> Option<Read> {
    let path = match &node.shape {
        Shape::List(items) if items.is_empty() => {
            found.push(Mistake::new(node.at.clone(), "`read` names no files"));
            None
        }
        Shape::List(items) => all(items.iter().map(|item| place::path(item, volumes, found))),
        _ => place::path(node, volumes, found).map(|path| vec![path]),
    };
    let formats: Vec<_> = Format::ALL.iter().map(|&(format, name, _)| (name, format)).collect();
    let format = stage.entry("format").and_then(|entry| choice(&entry.node, "format", &formats, LATER_FORMATS, found));
    let row = stage.entry("as").and_then(|entry| {
        choice(&entry.node, "kind of row", &[("line", ReadAs::Line), ("file", ReadAs::File)], &[], found)
    });
    let schema = stage.get("schema", found);
    let csv = stage.entry("csv").and_then(|entry| csv(&entry.node, found)).unwrap_or_default();
    let codec = stage.entry("codec").and_then(|entry| codec(&entry.node, found));

    let known = format.or_else(|| {
        let path = path.as_deref()?;
        let first = Format::of_name(path.first()?)?;
        path.iter().all(|path| Format::of_name(path) == Some(first)).then_some(first)
    });
    // A format that was written but couldn't be read says nothing about the other keys.
    if let Some(known) = known.filter(|_| format.is_some() || stage.entry("format").is_none()) {
        for (key, formats) in [
            ("as", &[Format::Text, Format::Html][..]),
            ("schema", &[Format::Csv, Format::Jsonl]),
            ("csv", &[Format::Csv]),
            ("codec", &[Format::Csv, Format::Jsonl, Format::Text, Format::Html, Format::Blob]),
        ] {
            if let Some(entry) = stage.entry(key).filter(|_| !formats.contains(&known)) {
                let formats: Vec<_> = formats.iter().map(|format| format.as_str()).collect();
                let message = format!("`{key}` goes with {}, not with `{}`", joined(&formats), known.as_str());
                found.push(Mistake::new(entry.node.at.clone(), message).on(entry.span.clone()));
            }
        }
    }
    Some(Read { path: path?, format, row, schema, csv, codec })
}

/// A codec, by its name or by one of the endings that mean it.
pub(super) fn codec(node: &Node, found: &mut Vec<Mistake>) -> Option<Codec> {
    if let Shape::Text(word) = &node.shape
        && let Some((codec, ..)) = Codec::ALL.iter().find(|(.., endings)| endings.contains(&word.as_str()))
    {
        return Some(*codec);
    }
    let names: Vec<_> = Codec::ALL.iter().map(|&(codec, name, _)| (name, codec)).collect();
    choice(node, "codec", &names, &[], found)
}

fn csv(node: &Node, found: &mut Vec<Mistake>) -> Option<CsvOptions> {
    let table = Table::only(node, &["header", "delimiter"], &[], found)?;
    let default = CsvOptions::default();
    let header = table.get("header", found).unwrap_or(default.header);
    let delimiter = table.get::<String>("delimiter", found).map(|text| {
        let mut chars = text.chars();
        match (chars.next(), chars.next()) {
            (Some(only), None) if only.is_ascii() => only,
            _ => {
                let message = format!("`delimiter` must be one ASCII character, found `{text}`");
                found.push(Mistake::new(table.at.key("delimiter"), message).hint("a tab is written `\"\\t\"`"));
                default.delimiter
            }
        }
    });
    Some(CsvOptions { header, delimiter: delimiter.unwrap_or(default.delimiter) })
}

/// Reads the rows of a `values` stage.
pub(super) fn values(node: &Node, found: &mut Vec<Mistake>) -> Option<Values> {
    let Shape::List(rows) = &node.shape else { return node.wrong("a list of tables, one a row", found) };
    if rows.is_empty() {
        found.push(
            Mistake::new(node.at.clone(), "`values` has no rows").hint("write them as `values = [{ text = \"a\" }]`"),
        );
        return None;
    }
    all(rows.iter().map(|row| {
        let table = Table::of(row, found)?;
        Some(table.entries.iter().map(|entry| (entry.key.clone(), entry.node.json(found))).collect::<Row>())
    }))
    .map(Values)
}

/// Reads the columns of an `input` stage.
pub(super) fn input(node: &Node, found: &mut Vec<Mistake>) -> Option<Input> {
    let columns = IndexMap::from_node(node, found)?;
    if columns.is_empty() {
        found.push(
            Mistake::new(node.at.clone(), "`input` has no columns").hint("write them as `input = { text = \"utf8\" }`"),
        );
        return None;
    }
    Some(Input(columns))
}
