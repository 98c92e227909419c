//! `steps`: verbs in a row, each made a stage of its own before stages are read.

use std::collections::HashSet;

use super::{
    stage::NULLABLE,
    words::{COMMON, LATER_RESOURCES, VERBS},
};
use crate::{
    Mistake, Name,
    node::{Entry, Node, Shape},
};

/// The verbs that can't be steps, and why.
const APART: &[(&str, &str)] = &[
    ("read", "it makes its own rows"),
    ("values", "it makes its own rows"),
    ("input", "it makes its own rows"),
    ("union", "it reads several stages"),
    ("sql", "it names the stages that it reads"),
    ("write", "it gives no rows"),
    ("steps", "steps have no steps of their own"),
];
/// What a step takes over from its stage unless it says otherwise. The stages of a flow have their own.
const SHARED: &[&str] = &["on_error", "batch"];

/// Makes a stage with `steps` into one for each step, whose names begin with its own, and itself, which reads the last of them.
pub(super) fn expand(entry: &Entry, found: &mut Vec<Mistake>) -> Vec<Entry> {
    let Shape::Table(keys) = &entry.node.shape else { return vec![entry.clone()] };
    let Some(steps) = keys.iter().find(|key| key.key == "steps") else { return vec![entry.clone()] };
    if keys.iter().any(|key| key.key != "steps" && VERBS.contains(&key.key.as_str())) {
        return vec![entry.clone()];
    }
    let mut own = entry.clone();
    let Shape::Table(own_keys) = &mut own.node.shape else { return vec![own] };
    let names = |node: Shape| Entry { node: Node { shape: node, ..steps.node.clone() }, ..steps.clone() };
    let mut made = Vec::new();
    let mut last = keys.iter().find(|key| key.key == "from").cloned();
    let listed = match &steps.node.shape {
        Shape::List(items) if !items.is_empty() => items.as_slice(),
        Shape::List(_) => {
            found.push(Mistake::new(steps.node.at.clone(), "`steps` has no steps"));
            &[]
        }
        _ => {
            steps.node.wrong::<()>("a list of steps", found);
            &[]
        }
    };
    let (mut taken, mut sound, mut some_fail) = (HashSet::new(), !listed.is_empty(), false);
    for (i, item) in listed.iter().enumerate() {
        let Some((mut name, mut step)) = step(item, i + 1, found) else {
            sound = false;
            continue;
        };
        if !taken.insert(name.clone()) {
            found.push(Mistake::new(item.at.key("name"), format!("two steps are named `{name}`")));
            sound = false;
            name = (i + 1).to_string();
        }
        let flow = step.iter().any(|key| key.key == "flow");
        let failing = step.iter().any(|key| NULLABLE.contains(&key.key.as_str()));
        some_fail |= flow || failing;
        for shared in keys.iter().filter(|key| SHARED.contains(&key.key.as_str())) {
            let meant = failing || shared.key != "on_error";
            if !flow && meant && !step.iter().any(|key| key.key == shared.key) {
                step.push(shared.clone());
            }
        }
        let key = format!("{}.{name}", entry.key);
        step.extend(last.clone());
        let from = Node { shape: Shape::Text(key.clone()), ..item.clone() };
        last = Some(Entry { key: "from".to_owned(), span: item.span.clone(), node: from });
        let node = Node { shape: Shape::Table(step), ..item.clone() };
        made.push(Entry { key, span: item.span.clone(), node });
    }
    if let Some(key) = keys.iter().find(|key| key.key == "on_error")
        && sound
        && !some_fail
        && !matches!(&key.node.shape, Shape::Text(word) if word == "fail")
    {
        let what = "no row fails by itself at these steps, so `on_error` has none to drop or to keep";
        found.push(Mistake::new(key.node.at.clone(), what).hint("leave it out"));
    }
    let list = made.iter().map(|step| Node { shape: Shape::Text(step.key.clone()), ..step.node.clone() }).collect();
    own_keys.retain(|key| !SHARED.contains(&key.key.as_str()) && !["from", "steps"].contains(&key.key.as_str()));
    own_keys.push(names(if sound { Shape::List(list) } else { Shape::Broken }));
    own_keys.extend(last);
    if let Some(key) = own_keys.iter().find(|key| key.key == "max_failures") {
        let mistake = Mistake::new(key.node.at.clone(), "`max_failures` goes with a step, not with all of them");
        found.push(mistake.hint("write it into the step: `{ use = \"…\", max_failures = 1 }`").on(key.span.clone()));
    }
    made.push(own);
    made
}

/// A step's name and its keys.
fn step(item: &Node, number: usize, found: &mut Vec<Mistake>) -> Option<(String, Vec<Entry>)> {
    let one = |key: &str, text: &str| {
        let node = Node { shape: Shape::Text(text.to_owned()), ..item.clone() };
        (number.to_string(), vec![Entry { key: key.to_owned(), span: item.span.clone(), node }])
    };
    let entries = match &item.shape {
        Shape::Text(text) => {
            return match text.split_once(':') {
                Some(("flow", path)) => Some(one("flow", path.trim())),
                _ if text.contains('/') => Some(one("use", text)),
                prefixed => {
                    let kind = prefixed.map(|(kind, _)| kind).filter(|kind| LATER_RESOURCES.contains(kind));
                    let what = match kind {
                        Some(kind) => format!("a {kind} as a step (`{text}`)"),
                        None => format!("a validator, tokenizer or model as a step (`{text}`)"),
                    };
                    let mistake = Mistake::later(item.at.clone(), what);
                    found.push(mistake.hint("a step is `plugin/operator`, `flow:file.toml`, or a table with a verb"));
                    None
                }
            };
        }
        Shape::Table(entries) => entries,
        _ => {
            item.wrong::<()>("an operator, or a table with a verb", found);
            return None;
        }
    };
    let before = found.len();
    let mut name = number.to_string();
    for entry in entries {
        let key = entry.key.as_str();
        if let Some((_, why)) = APART.iter().find(|(verb, _)| *verb == key) {
            let mistake = Mistake::new(entry.node.at.clone(), format!("`{key}` can't be a step: {why}"));
            found.push(mistake.hint("make it a stage").on(entry.span.clone()));
        } else if key == "from" {
            let mistake = Mistake::new(entry.node.at.clone(), "a step has no `from`: it reads the step before it");
            found.push(mistake.on(entry.span.clone()));
        } else if key == "name" {
            match &entry.node.shape {
                Shape::Text(text) => match text.parse::<Name>() {
                    Ok(given) => name = given.to_string(),
                    Err(error) => found.push(error.mistake(entry.node.at.clone())),
                },
                _ => drop(entry.node.wrong::<()>("a name", found)),
            }
        }
    }
    if !entries.iter().any(|entry| VERBS.contains(&entry.key.as_str()) || !COMMON.contains(&entry.key.as_str())) {
        found.push(Mistake::new(item.at.clone(), "this step has no verb"));
    }
    let keys = entries.iter().filter(|entry| entry.key != "name").cloned().collect();
    (found.len() == before).then_some((name, keys))
}
