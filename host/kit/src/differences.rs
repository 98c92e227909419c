//! What is new in another version of a plugin: for who is to let it at their data.

use dflow_wasm::{Description, OperatorDescription, Plugin, PortDescription};
use serde::Serialize;
use serde_json::Value;

/// One thing that isn't as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The operator; none for what is the whole plugin's.
    pub operator: Option<String>,
    /// What it is about: `imports`, `wants`, `ports`, `settings.size.maximum` and so on.
    pub what: String,
    /// As it was; none when it wasn't there.
    pub before: Option<String>,
    /// As it is; none when it isn't there any more.
    pub after: Option<String>,
}

/// All that differs between two plugins, what they can reach first.
pub fn differences(before: &Plugin, after: &Plugin) -> Vec<Difference> {
    let mut found = Vec::new();
    listed(&mut found, None, "imports", before.imports(), after.imports());
    of_descriptions(&mut found, before.description(), after.description());
    found
}

fn of_descriptions(found: &mut Vec<Difference>, before: &Description, after: &Description) {
    one(found, None, "name", &before.plugin, &after.plugin);
    one(found, None, "version", &before.version, &after.version);
    one(found, None, "interface", &before.interface, &after.interface);
    let names = |description: &Description| description.operators.iter().map(|o| o.name.clone()).collect::<Vec<_>>();
    listed(found, None, "operators", &names(before), &names(after));
    for old in &before.operators {
        if let Some(new) = after.operator(&old.name) {
            of_operators(found, old, new);
        }
    }
}

fn of_operators(found: &mut Vec<Difference>, old: &OperatorDescription, new: &OperatorDescription) {
    let name = Some(old.name.as_str());
    listed(found, name, "wants", &old.wants, &new.wants);
    one(found, name, "profile", &word(&old.profile), &word(&new.profile));
    one(found, name, "version", &old.version, &new.version);
    one(found, name, "shape", &old.shape.to_string(), &new.shape.to_string());
    one(found, name, "streaming", &old.streaming.to_string(), &new.streaming.to_string());
    one(found, name, "rejects_rows", &old.rejects_rows.to_string(), &new.rejects_rows.to_string());
    one(found, name, "any_columns", &old.any_columns.to_string(), &new.any_columns.to_string());
    let names = |operator: &OperatorDescription| operator.ports.iter().map(|p| p.name.clone()).collect::<Vec<_>>();
    listed(found, name, "ports", &names(old), &names(new));
    for port in &old.ports {
        if let Some(other) = new.ports.iter().find(|other| other.name == port.name) {
            one(found, name, &format!("ports.{}", port.name), &takes(port), &takes(other));
        }
    }
    of_values(found, name, "settings", Some(&old.settings), Some(&new.settings));
}

/// What a port takes.
fn takes(port: &PortDescription) -> String {
    let types: Vec<_> = port.types.iter().map(|t| t.0.as_str()).collect();
    format!("{}{}", types.join(" or "), if port.optional { ", optional" } else { "" })
}

fn word(value: &impl Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

/// Two JSON Schemas, or parts of them. Words for people don't count.
fn of_values(
    found: &mut Vec<Difference>,
    operator: Option<&str>,
    path: &str,
    old: Option<&Value>,
    new: Option<&Value>,
) {
    match (old, new) {
        (Some(Value::Object(a)), Some(Value::Object(b))) => {
            let more = b.keys().filter(|key| !a.contains_key(*key));
            for key in a.keys().chain(more).filter(|key| !matches!(key.as_str(), "description" | "title" | "$schema")) {
                let inner = if key == "properties" { path.to_owned() } else { format!("{path}.{key}") };
                of_values(found, operator, &inner, a.get(key), b.get(key));
            }
        }
        (old, new) if old == new => {}
        (old, new) => found.push(Difference {
            operator: operator.map(str::to_owned),
            what: path.to_owned(),
            before: old.map(Value::to_string),
            after: new.map(Value::to_string),
        }),
    }
}

fn one(found: &mut Vec<Difference>, operator: Option<&str>, what: &str, before: &str, after: &str) {
    if before != after {
        let (before, after) = (Some(before.to_owned()), Some(after.to_owned()));
        found.push(Difference { operator: operator.map(str::to_owned), what: what.to_owned(), before, after });
    }
}

/// What is gone from a list, and what is new in it.
fn listed(found: &mut Vec<Difference>, operator: Option<&str>, what: &str, before: &[String], after: &[String]) {
    let mut push = |before: Option<&String>, after: Option<&String>| {
        let (before, after) = (before.cloned(), after.cloned());
        found.push(Difference { operator: operator.map(str::to_owned), what: what.to_owned(), before, after });
    };
    before.iter().filter(|each| !after.contains(each)).for_each(|gone| push(Some(gone), None));
    after.iter().filter(|each| !before.contains(each)).for_each(|new| push(None, Some(new)));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn described(change: impl FnOnce(&mut Value)) -> Description {
        let mut document = json!({
            "describe": 1, "interface": "0.1.0", "plugin": "words", "version": "1.0.0",
            "operators": [{
                "name": "count", "version": "1.0.0", "shape": "map",
                "ports": [{ "name": "text", "types": ["utf8"] }],
                "settings": { "type": "object", "properties": { "least": { "type": "integer", "maximum": 9, "description": "x" } } },
            }],
        });
        change(&mut document);
        serde_json::from_value(document).unwrap()
    }

    fn told(change: impl FnOnce(&mut Value)) -> Vec<String> {
        let mut found = Vec::new();
        of_descriptions(&mut found, &described(|_| ()), &described(change));
        let tell = |d: Difference| {
            format!(
                "{} {}: {} -> {}",
                d.operator.unwrap_or_default(),
                d.what,
                d.before.unwrap_or_default(),
                d.after.unwrap_or_default()
            )
        };
        found.into_iter().map(tell).collect()
    }

    #[test]
    fn what_is_new_is_told_and_words_for_people_are_not() {
        assert_eq!(told(|_| ()), Vec::<String>::new());
        let changed = told(|document| {
            let operator = &mut document["operators"][0];
            operator["wants"] = json!(["http"]);
            operator["profile"] = json!("pure");
            operator["ports"] = json!([{ "name": "text", "types": ["utf8", "binary"] }, { "name": "title", "types": ["utf8"], "optional": true }]);
            operator["settings"]["properties"] = json!({
                "least": { "type": "integer", "maximum": 10, "description": "y" }, "most": { "type": "integer" },
            });
        });
        assert_eq!(
            changed,
            [
                "count wants:  -> http",
                "count profile: open -> pure",
                "count ports:  -> title",
                "count ports.text: utf8 -> utf8 or binary",
                "count settings.least.maximum: 9 -> 10",
                "count settings.most:  -> {\"type\":\"integer\"}",
            ]
        );
    }
}
