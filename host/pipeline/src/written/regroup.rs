//! The verbs that multiply, order, pick, merge and gather rows: `explode`, `sort`, `sample`, `distinct`, `union`, `join`, `group`.

use indexmap::IndexMap;

use super::relational::{columns, set};
use crate::{
    Distinct, Explode, Group, How, Join, Missing, Mistake, Name, Nulls, OneOrMany, Sample, SampleSize, Set, Sort,
    Union,
    node::{Node, Shape},
    value::{Filled, FromNode, Table, choice},
};

/// Reads which list becomes rows.
pub(super) fn explode(node: &Node, found: &mut Vec<Mistake>) -> Option<Explode> {
    match &node.shape {
        Shape::Text(_) => {
            let Filled(column) = FromNode::from_node(node, found)?;
            Some(Explode { column, name: None, keep_empty: false })
        }
        Shape::Table(_) => {
            let table = Table::only(node, &["column", "as", "keep_empty"], &[], found)?;
            let name = table.get::<Filled>("as", found).map(|Filled(name)| name);
            let keep_empty = table.get("keep_empty", found).unwrap_or_default();
            let Filled(column) = FromNode::from_node(table.required("column", "\"…\"", found)?, found)?;
            Some(Explode { column, name, keep_empty })
        }
        _ => node.wrong("the name of a column of lists, or a table with `column`, `as`, `keep_empty`", found),
    }
}

/// Reads what rows are sorted by.
pub(super) fn sort(node: &Node, found: &mut Vec<Mistake>) -> Option<Sort> {
    const NULLS: &[(&str, Nulls)] = &[("first", Nulls::First), ("last", Nulls::Last)];
    let (by, nulls) = match &node.shape {
        Shape::Table(_) => {
            let table = Table::only(node, &["by", "nulls"], &[], found)?;
            let nulls = table.entry("nulls").and_then(|e| choice(&e.node, "place of nulls", NULLS, &[], found));
            (table.required("by", "[\"…\"]", found)?, nulls.unwrap_or_default())
        }
        Shape::Text(_) | Shape::List(_) => (node, Nulls::default()),
        _ => return node.wrong("a list of columns and expressions, or a table with `by` and `nulls`", found),
    };
    let OneOrMany(by) = OneOrMany::<Filled>::from_node(by, found)?;
    if by.is_empty() {
        found.push(Mistake::new(node.at.clone(), "`sort` names nothing to sort by"));
        return None;
    }
    Some(Sort { by: by.into_iter().map(|Filled(by)| by).collect(), nulls })
}

/// Reads how many rows are picked.
pub(super) fn sample(node: &Node, found: &mut Vec<Mistake>) -> Option<Sample> {
    let Shape::Table(_) = &node.shape else {
        return fraction(node, found).map(|size| Sample { size, seed: 0 });
    };
    let table = Table::only(node, &["fraction", "rows", "seed"], &[], found)?;
    let seed = table.get("seed", found).unwrap_or_default();
    let size = match (table.entry("fraction"), table.entry("rows")) {
        (Some(entry), None) => fraction(&entry.node, found)?,
        (None, Some(entry)) => match u64::from_node(&entry.node, found)? {
            0 => {
                found.push(Mistake::new(entry.node.at.clone(), "`rows` must be at least 1"));
                return None;
            }
            rows => SampleSize::Rows(rows),
        },
        (Some(_), Some(rows)) => {
            let mistake = Mistake::new(rows.node.at.clone(), "`sample` says both `fraction` and `rows`");
            found.push(mistake.hint("keep one of them").on(rows.span.clone()));
            return None;
        }
        (None, None) => {
            let mistake = Mistake::new(node.at.clone(), "`sample` doesn't say how many rows");
            found.push(mistake.hint("add `fraction = 0.1`, or `rows = 1000`"));
            return None;
        }
    };
    Some(Sample { size, seed })
}

fn fraction(node: &Node, found: &mut Vec<Mistake>) -> Option<SampleSize> {
    match node.shape {
        Shape::Float(share) if share > 0.0 && share <= 1.0 => Some(SampleSize::Fraction(share)),
        Shape::Float(share) => {
            let message = format!("{} must be above 0 and at most 1, found {share}", node.subject());
            found.push(Mistake::new(node.at.clone(), message));
            None
        }
        Shape::Whole(rows) => {
            let message = format!("{} is a share of the rows, such as 0.1, found {rows}", node.subject());
            let mistake = Mistake::new(node.at.clone(), message);
            found.push(mistake.hint(format!("a number of rows is written `sample = {{ rows = {} }}`", rows.max(1))));
            None
        }
        _ => node.wrong("a share of the rows such as 0.1, or a table with `fraction` or `rows`", found),
    }
}

/// Reads which columns tell rows apart.
pub(super) fn distinct(node: &Node, found: &mut Vec<Mistake>) -> Option<Distinct> {
    match &node.shape {
        Shape::Bool(true) => Some(Distinct { by: Vec::new() }),
        Shape::Text(_) | Shape::List(_) => {
            let OneOrMany(by) = OneOrMany::<Filled>::from_node(node, found)?;
            if by.is_empty() {
                found.push(
                    Mistake::new(node.at.clone(), "`distinct` names no columns")
                        .hint("`distinct = true` compares all of them"),
                );
                return None;
            }
            Some(Distinct { by: by.into_iter().map(|Filled(by)| by).collect() })
        }
        _ => node.wrong("`true` or a list of columns", found),
    }
}

/// Reads how several stages become one.
pub(super) fn union(node: &Node, found: &mut Vec<Mistake>) -> Option<Union> {
    const MISSING: &[(&str, Missing)] = &[("error", Missing::Error), ("null", Missing::Null)];
    match &node.shape {
        Shape::Bool(true) => Some(Union::default()),
        Shape::Table(_) => {
            let table = Table::only(node, &["missing"], &[], found)?;
            let missing = table.entry("missing").and_then(|e| choice(&e.node, "`missing`", MISSING, &[], found));
            Some(Union { missing: missing.unwrap_or_default() })
        }
        _ => node.wrong("`true`, or `{ missing = \"null\" }`", found),
    }
}

/// Reads what is joined, and how.
pub(super) fn join(node: &Node, found: &mut Vec<Mistake>) -> Option<Join> {
    const HOW: &[(&str, How)] = &[
        ("inner", How::Inner),
        ("left", How::Left),
        ("right", How::Right),
        ("full", How::Full),
        ("semi", How::Semi),
        ("anti", How::Anti),
    ];
    let Shape::Table(_) = &node.shape else {
        return node.wrong("a table such as `{ with = \"people\", on = [\"id\"] }`", found);
    };
    let table = Table::only(node, &["with", "on", "how", "suffix"], &[], found)?;
    let how = table.entry("how").and_then(|e| choice(&e.node, "kind of join", HOW, &[], found)).unwrap_or_default();
    let suffix = table.get::<Filled>("suffix", found).map(|Filled(suffix)| suffix);
    if let (Some(_), How::Semi | How::Anti) = (&suffix, how) {
        found.push(Mistake::new(table.at.key("suffix"), "a semi or anti join gives no columns of the right side"));
    }
    let on = table.required("on", "[\"…\"]", found).and_then(|on| pairs(on, found));
    if on.as_ref().is_some_and(IndexMap::is_empty) {
        found.push(
            Mistake::new(table.at.key("on"), "`on` names no keys")
                .hint("every pair of rows is `sql = \"SELECT … FROM a CROSS JOIN b\"`"),
        );
    }
    let with = table.required("with", "\"…\"", found).and_then(|with| String::from_node(with, found))?;
    // A name that isn't one, or isn't a stage's, is noted where the stages are connected.
    Some(Join { with: Name::whole(&with).ok()?, on: on?, how, suffix })
}

/// The stage that a join names beside `from`, and where, however wrong the rest of it is.
pub(super) fn joined(node: &Node) -> Option<(String, crate::At)> {
    let Shape::Table(entries) = &node.shape else { return None };
    let with = &entries.iter().find(|entry| entry.key == "with")?.node;
    match &with.shape {
        Shape::Text(name) => Some((name.clone(), with.at.clone())),
        _ => None,
    }
}

/// Reads what rows are gathered by, and what is worked out of each group.
pub(super) fn group(node: &Node, found: &mut Vec<Mistake>) -> Option<Group> {
    let Shape::Table(_) = &node.shape else {
        return node.wrong("a table such as `{ by = [\"site\"], set = { pages = \"count(*)\" } }`", found);
    };
    let table = Table::only(node, &["by", "set"], &[], found)?;
    let by = table.entry("by").map(|entry| columns(&entry.node, found));
    let set = table.entry("set").map(|entry| set(&entry.node, found).map(|Set(set)| set));
    if by.is_none() && set.is_none() {
        found.push(
            Mistake::new(node.at.clone(), "`group` says neither `by` what nor what to `set`")
                .hint("write `{ by = [\"site\"], set = { pages = \"count(*)\" } }`"),
        );
        return None;
    }
    let (by, set) = (by.unwrap_or_else(|| Some(IndexMap::new()))?, set.unwrap_or_else(|| Some(IndexMap::new()))?);
    for key in set.keys().filter(|key| by.contains_key(*key)) {
        found.push(Mistake::new(table.at.key("set").key(key), format!("`{key}` is the name of a key already")));
    }
    Some(Group { by, set })
}

/// The keys of a join: a table of left and right names, or a list of those that are the same on both sides.
fn pairs(node: &Node, found: &mut Vec<Mistake>) -> Option<IndexMap<String, String>> {
    match &node.shape {
        Shape::Table(_) => IndexMap::from_node(node, found),
        Shape::List(_) | Shape::Text(_) => {
            let OneOrMany(names) = OneOrMany::<Filled>::from_node(node, found)?;
            Some(names.into_iter().map(|Filled(name)| (name.clone(), name)).collect())
        }
        _ => node.wrong("a list of columns, or a table of the left side's and the right side's", found),
    }
}
