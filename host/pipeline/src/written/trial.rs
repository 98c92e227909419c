//! Reads `[[test]]`.

use indexmap::IndexMap;

use super::source;
use crate::{
    Mistake, Name, OneOrMany, Row, Test,
    node::{Entry, Node, Shape},
    value::{Expression, Filled, FromNode, Table, all},
};

/// Reads the tests. `stages` are the names of the stages that there are.
pub(super) fn tests(node: &Node, stages: &[&str], found: &mut Vec<Mistake>) -> Vec<Test> {
    let Shape::List(tests) = &node.shape else {
        node.wrong::<()>("tables, each `[[test]]`", found);
        return Vec::new();
    };
    tests.iter().filter_map(|test| one(test, stages, found)).collect()
}

fn one(node: &Node, stages: &[&str], found: &mut Vec<Mistake>) -> Option<Test> {
    let table = Table::only(node, &["name", "stage", "in", "rows", "count", "every", "failed"], &[], found)?;
    let name = table.get::<Filled>("name", found).map(|Filled(name)| name);
    let stage = table.required("stage", "\"chunks\"", found);
    let stage = stage.and_then(|node| stage_name(node, Filled::from_node(node, found)?.0, stages, found));
    let mut input = IndexMap::new();
    if let Some(given) = table.entry("in").and_then(|entry| Table::of(&entry.node, found)) {
        for Entry { key, node, .. } in given.entries {
            let (name, rows) = (stage_name(node, key.clone(), stages, found), source::values(node, found));
            input.extend(name.zip(rows.map(|rows| rows.0)));
        }
    }
    let rows = table.entry("rows").and_then(|entry| rows(&entry.node, found));
    let count = table.get("count", found);
    let every: Option<OneOrMany<Expression>> = table.get("every", found);
    let every: Vec<String> =
        every.map_or_else(Vec::new, |OneOrMany(all)| all.into_iter().map(|Expression(text)| text).collect());
    let failed = table.get("failed", found).unwrap_or_default();
    if ["rows", "count", "every", "failed"].iter().all(|key| table.lacks(key)) {
        let mistake = Mistake::new(node.at.clone(), "this test says nothing of what is to come out");
        found.push(mistake.hint("add `rows = [{ … }]`, `count = 3` or `every = \"length(text) > 0\"`"));
    }
    Some(Test { name, stage: stage?, input, rows, count, every, failed })
}

fn stage_name(node: &Node, name: String, stages: &[&str], found: &mut Vec<Mistake>) -> Option<Name> {
    if stages.contains(&name.as_str()) {
        return name.parse().ok();
    }
    found.push(Mistake::unknown(node.at.clone(), "stage", &name, stages));
    None
}

/// Rows that are to come out: there may be none.
fn rows(node: &Node, found: &mut Vec<Mistake>) -> Option<Vec<Row>> {
    match &node.shape {
        Shape::List(rows) if rows.is_empty() => Some(Vec::new()),
        Shape::List(rows) => all(rows.iter().map(|row| {
            let table = Table::of(row, found)?;
            Some(table.entries.iter().map(|entry| (entry.key.clone(), entry.node.json(found))).collect())
        })),
        _ => node.wrong("a list of rows, `[{ … }, … ]`", found),
    }
}
