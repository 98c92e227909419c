//! The verbs that call a function in a source text: `python`, `js`.

use crate::{
    Language, Mistake, Script, ScriptRows,
    node::Node,
    value::{Filled, FromNode, Table, choice},
};

/// Reads the keys of a `python` or `js` stage.
pub(super) fn script(node: &Node, language: Language, stage: Table<'_>, found: &mut Vec<Mistake>) -> Option<Script> {
    const ROWS: &[(&str, ScriptRows)] =
        &[("map", ScriptRows::Map), ("filter", ScriptRows::Filter), ("expand", ScriptRows::Expand)];
    let source = Filled::from_node(node, found).and_then(|Filled(text)| source(node, language, text, found));
    let rows = stage.entry("rows").and_then(|entry| choice(&entry.node, "`rows`", ROWS, &[], found));
    let input = stage.get("in", found).unwrap_or_default();
    let returns = stage.get("returns", found);
    let with = stage.settings(found);
    let (source, function) = source?;
    Some(Script { source, function, returns, rows, input, with, folder: String::new() })
}

/// The file and the function in it, or the text itself.
fn source(node: &Node, language: Language, text: String, found: &mut Vec<Mistake>) -> Option<(String, Option<String>)> {
    let keyword = language.keyword();
    if text.trim().is_empty() {
        found.push(Mistake::new(node.at.clone(), format!("`{keyword}` is empty")));
        return None;
    }
    if text.contains('\n') {
        return Some((text, None));
    }
    let is_file = |path: &str| language.endings().iter().any(|ending| path.ends_with(ending));
    let word = |name: &str| !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '$');
    let (file, function) = match text.rsplit_once(':') {
        Some((file, function)) if is_file(file) && word(function) => (file.to_owned(), Some(function.to_owned())),
        _ => (text.clone(), None),
    };
    if is_file(&file) {
        return Some((file, function));
    }
    let ending = language.endings()[0];
    let mistake = Mistake::new(node.at.clone(), format!("`{text}` is neither a file `…{ending}` nor a source text"));
    found.push(mistake.hint(format!(
        "write `{keyword} = \"file{ending}:function\"`, or the text itself over several lines, between `'''`"
    )));
    None
}
