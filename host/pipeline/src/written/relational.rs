//! The verbs of the relational engine: `sql`, `set`, `filter`, `select`, `limit`.

use indexmap::IndexMap;

use crate::{
    Limit, Mistake, Select, Set, Sql,
    node::{Node, Shape},
    value::{Expression, Filled, FromNode, Table, all},
};

/// Reads a query.
pub(super) fn sql(node: &Node, found: &mut Vec<Mistake>) -> Option<Sql> {
    Filled::from_node(node, found).map(|Filled(query)| Sql(query))
}

/// Reads the columns that are added.
pub(super) fn set(node: &Node, found: &mut Vec<Mistake>) -> Option<Set> {
    expressions(node, found).map(Set)
}

/// Reads a condition.
pub(super) fn filter(node: &Node, found: &mut Vec<Mistake>) -> Option<String> {
    Expression::from_node(node, found).map(|Expression(condition)| condition)
}

/// Reads how many rows are let through.
pub(super) fn limit(node: &Node, found: &mut Vec<Mistake>) -> Option<Limit> {
    u64::from_node(node, found).map(Limit)
}

/// Reads the columns that are kept.
pub(super) fn select(node: &Node, found: &mut Vec<Mistake>) -> Option<Select> {
    columns(node, found).map(Select)
}

/// Columns in order: a list of names, or a table of names and expressions.
pub(super) fn columns(node: &Node, found: &mut Vec<Mistake>) -> Option<IndexMap<String, String>> {
    let key = node.subject();
    let items = match &node.shape {
        Shape::List(items) => items,
        Shape::Table(_) => return expressions(node, found),
        _ => return node.wrong("a list of columns, or a table of names and expressions", found),
    };
    if items.is_empty() {
        found.push(Mistake::new(node.at.clone(), format!("{key} names no columns")));
        return None;
    }
    let mut columns = IndexMap::new();
    for item in items {
        let Some(text) = String::from_node(item, found) else { continue };
        let parts: Vec<&str> = text.split('.').collect();
        match parts[..] {
            [name] | [_, name] if parts.iter().all(|part| identifier(part)) => {
                if columns.insert(name.to_owned(), text.clone()).is_some() {
                    let mistake = Mistake::new(item.at.clone(), format!("{key} names two columns `{name}`"));
                    found.push(mistake.hint(format!("write a table to rename one: `{{ {name}_2 = \"{text}\" }}`")));
                }
            }
            _ => found.push(Mistake::new(item.at.clone(), format!("`{text}` is not a column's name")).hint(format!(
                "expressions are written as a table: `{} = {{ name = \"expression\" }}`",
                key.trim_matches('`')
            ))),
        }
    }
    Some(columns)
}

/// Names with their expressions, at least one.
fn expressions(node: &Node, found: &mut Vec<Mistake>) -> Option<IndexMap<String, String>> {
    let table = match &node.shape {
        Shape::Table(_) => Table::of(node, found)?,
        _ => return node.wrong("a table of names and expressions", found),
    };
    if table.entries.is_empty() {
        found.push(Mistake::new(node.at.clone(), format!("{} names no columns", node.subject())));
        return None;
    }
    all(table.entries.iter().map(|entry| {
        Expression::from_node(&entry.node, found).map(|Expression(expression)| (entry.key.clone(), expression))
    }))
}

/// Whether SQL reads `text` as one name without quotes.
fn identifier(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(|c| c.is_alphabetic() || c == '_') && chars.all(|c| c.is_alphanumeric() || c == '_')
}
