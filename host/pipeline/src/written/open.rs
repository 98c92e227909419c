//! The verb that opens the files which rows name: `open`.

use indexmap::IndexMap;

use super::source::codec;
use crate::{
    Mistake, Open,
    mistake::nearest_or_list,
    node::Node,
    value::{Filled, FromNode, Table},
};

/// The columns that it gives.
const COLUMNS: &[&str] = &["content", "size", "modified", "etag", "media_type"];

/// Reads the keys of an `open` stage.
pub(super) fn open(node: &Node, stage: Table<'_>, volumes: &[&str], found: &mut Vec<Mistake>) -> Option<Open> {
    let column = Filled::from_node(node, found);
    let volume = stage.get::<Filled>("volume", found).map(|Filled(volume)| volume);
    if let Some(name) = volume.as_deref().filter(|name| !volumes.contains(name)) {
        let mistake = Mistake::new(stage.at.key("volume"), format!("unknown volume `{name}`"));
        found.push(match name.split_once("://").filter(|(volume, _)| volumes.contains(volume)) {
            Some((volume, _)) => mistake.hint(format!("`volume` is a name alone: `volume = \"{volume}\"`")),
            None if volumes.is_empty() => mistake.hint(format!("add `[volume.{name}]` with its `url`")),
            None => mistake.hint(nearest_or_list("volume", name, volumes)),
        });
    }
    let codec = stage.entry("codec").and_then(|entry| codec(&entry.node, found));
    let output: IndexMap<String, String> = names(stage, found);
    for column in output.keys().filter(|column| !COLUMNS.contains(&column.as_str())) {
        found.push(Mistake::unknown(stage.at.key("out").key(column), "column of `open`", column, COLUMNS));
    }
    let Filled(column) = column?;
    Some(Open { column, volume, codec, output })
}

/// Reads `out`: new columns and their names, no two of which are the same.
pub(super) fn names(stage: Table<'_>, found: &mut Vec<Mistake>) -> IndexMap<String, String> {
    let output: IndexMap<String, String> = stage.get("out", found).unwrap_or_default();
    for (i, (column, name)) in output.iter().enumerate() {
        if let Some((other, _)) = output.iter().take(i).find(|(_, before)| *before == name) {
            let message = format!("`{other}` and `{column}` can't both be named `{name}`");
            found.push(Mistake::new(stage.at.key("out").key(column), message));
        }
    }
    output
}
