//! The verb that calls plugins: `use`.

use super::open::names as names_of_columns;
use crate::{
    Mistake, Use,
    node::Node,
    value::{FromNode, Table},
};

/// Reads the keys of a `use` stage.
pub(super) fn operator(node: &Node, stage: Table<'_>, found: &mut Vec<Mistake>) -> Option<Use> {
    let name = names(node, found);
    let input = stage.get("in", found).unwrap_or_default();
    let output = names_of_columns(stage, found);
    let with = stage.settings(found);
    let (plugin, operator) = name?;
    Some(Use { plugin, operator, input, output, with })
}

/// The plugin and the operator of `"plugin/operator"`.
fn names(node: &Node, found: &mut Vec<Mistake>) -> Option<(String, String)> {
    let text = String::from_node(node, found)?;
    let word =
        |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
    match text.split_once('/') {
        Some((plugin, operator)) if word(plugin) && word(operator) => Some((plugin.to_owned(), operator.to_owned())),
        _ => {
            found.push(
                Mistake::new(node.at.clone(), format!("`{text}` doesn't name an operator"))
                    .hint("write `plugin/operator`, such as `text/chunk`"),
            );
            None
        }
    }
}
