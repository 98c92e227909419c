//! The verb that runs programs: `command`.

use crate::{
    Command, CommandRows, Mistake,
    node::{Node, Shape},
    value::{Table, choice},
};

/// Names of columns that say something to the host.
const OURS: &[&str] = &["__parent__", "__error__"];

/// Reads the keys of a `command` stage.
pub(super) fn command(node: &Node, stage: Table<'_>, found: &mut Vec<Mistake>) -> Option<Command> {
    const ROWS: &[(&str, CommandRows)] = &[
        ("map", CommandRows::Map),
        ("filter", CommandRows::Filter),
        ("expand", CommandRows::Expand),
        ("whole", CommandRows::Whole),
    ];
    let line = line(node, found);
    let rows =
        stage.entry("rows").and_then(|entry| choice(&entry.node, "`rows`", ROWS, &[], found)).unwrap_or_default();
    let input = stage.get("in", found).unwrap_or_default();
    let returns: crate::SourceSchema = stage.get("returns", found).unwrap_or_default();
    for column in returns.keys().filter(|column| OURS.contains(&column.as_str())) {
        let what = format!("`{column}` is what a program tells the host with, not a column of the stage");
        found.push(Mistake::new(stage.at.key("returns").key(column), what).hint("leave it out"));
    }
    if returns.is_empty() && rows != CommandRows::Filter && stage.lacks("returns") {
        let mistake = Mistake::new(stage.at.key("returns"), "`command` doesn't say which columns it answers with");
        found.push(mistake.hint("add `returns = { score = \"float64\" }`"));
    }
    let with = stage.settings(found);
    Some(Command { line: line?, returns, rows, input, with, folder: String::new() })
}

/// The program and its arguments.
fn line(node: &Node, found: &mut Vec<Mistake>) -> Option<Vec<String>> {
    let words = match &node.shape {
        Shape::List(words) => words,
        Shape::Text(text) => {
            let words: Vec<_> = text.split_whitespace().map(|word| format!("\"{word}\"")).collect();
            let mistake = Mistake::new(node.at.clone(), "`command` must be a list of words, found a string");
            found.push(mistake.hint(format!("no shell reads it: `command = [{}]`", words.join(", "))));
            return None;
        }
        _ => return node.wrong("a list: the program and its arguments", found),
    };
    if words.is_empty() {
        let mistake = Mistake::new(node.at.clone(), "`command` names no program");
        found.push(mistake.hint("write it as `command = [\"python3\", \"train.py\"]`"));
        return None;
    }
    let read: Vec<Option<String>> = words
        .iter()
        .enumerate()
        .map(|(i, word)| match &word.shape {
            Shape::Text(text) if text.is_empty() && i == 0 => {
                found.push(Mistake::new(word.at.clone(), "the name of the program is empty"));
                None
            }
            Shape::Text(text) if text.contains('\0') => {
                found.push(Mistake::new(word.at.clone(), "a word of `command` can't hold a character NUL"));
                None
            }
            Shape::Text(_) | Shape::Whole(_) | Shape::Float(_) | Shape::Bool(_) => word.shape.literal(),
            _ => word.wrong("a string", found),
        })
        .collect();
    read.into_iter().collect()
}
