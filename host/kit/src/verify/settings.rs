//! Settings at and past the bounds of their JSON Schema.

use serde_json::{Map, Value, json};

/// Parts refer to each other at most so often.
const DEEPEST: usize = 8;
/// A text longer than anybody sets.
const LONG: usize = 10_000;

/// Settings to open an operator with.
#[derive(Debug)]
pub(super) struct Varied {
    /// What is unusual about them.
    pub(super) what: String,
    pub(super) settings: Map<String, Value>,
}

/// Variations of settings that are right, one setting at a time, at what the schema allows and past it.
pub(super) fn varied(schema: &Value, right: &Map<String, Value>) -> Vec<Varied> {
    let root = resolved(schema, schema);
    let mut all = Vec::new();
    for (name, property) in root.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let mut values = vec![json!(null), json!(true), json!(1), json!("\u{0}"), json!([[]]), json!({"": null})];
        collect(&mut values, property, schema, 0);
        for value in values {
            let mut settings = right.clone();
            let what = format!("{name} = {}", crate::answer::cut(&value.to_string()));
            settings.insert(name.clone(), value);
            all.push(Varied { what, settings });
        }
    }
    for name in root.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
        let mut settings = right.clone();
        settings.remove(name);
        all.push(Varied { what: format!("without `{name}`"), settings });
    }
    let mut settings = right.clone();
    settings.insert("no such setting".to_owned(), json!(1));
    all.push(Varied { what: "a setting that there isn't".to_owned(), settings });
    all
}

/// What a reference within the schema refers to.
pub fn resolved<'a>(mut part: &'a Value, schema: &'a Value) -> &'a Value {
    for _ in 0..DEEPEST {
        let Some(to) = part.get("$ref").and_then(Value::as_str) else { break };
        match to.strip_prefix('#').and_then(|pointer| schema.pointer(pointer)) {
            Some(found) => part = found,
            None => break,
        }
    }
    part
}

/// The alternatives of a part.
fn alternatives(part: &Value) -> impl Iterator<Item = &Value> {
    ["anyOf", "oneOf", "allOf"].into_iter().filter_map(|key| part.get(key)?.as_array()).flatten()
}

/// Values at the bounds of a part, and past them.
fn collect(out: &mut Vec<Value>, part: &Value, schema: &Value, depth: usize) {
    let part = resolved(part, schema);
    if depth > DEEPEST {
        return;
    }
    for alternative in alternatives(part) {
        collect(out, alternative, schema, depth + 1);
    }
    out.extend(part.get("const").cloned());
    out.extend(part.get("enum").and_then(Value::as_array).into_iter().flatten().cloned());
    let words = match part.get("type") {
        Some(Value::String(word)) => vec![word.as_str()],
        Some(Value::Array(words)) => words.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    for word in words {
        match word {
            "integer" => numbers(out, part, true),
            "number" => numbers(out, part, false),
            "boolean" => out.extend([json!(true), json!(false)]),
            // Which texts mean something isn't in the schema; none may break it.
            "string" => {
                out.extend(["", "x", "\u{0}é😀"].map(Value::from));
                out.push("x".repeat(LONG).into());
            }
            "array" => {
                let mut items = Vec::new();
                collect(&mut items, part.get("items").unwrap_or(&Value::Null), schema, depth + 1);
                out.push(json!([]));
                out.extend(items.into_iter().map(|item| json!([item])));
            }
            "object" => out.push(json!({})),
            _ => {}
        }
    }
}

fn numbers(out: &mut Vec<Value>, part: &Value, whole: bool) {
    let bound = |key: &str| part.get(key).and_then(Value::as_f64);
    let bounds = ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"].into_iter().filter_map(bound);
    let usual = [-1.0, 0.0, 1.0, 9_007_199_254_740_991.0].into_iter();
    let all = usual.chain(bounds.flat_map(|bound| [bound - 1.0, bound, bound + 1.0]));
    out.extend(all.map(|value| if whole && value.abs() < 9e18 { json!(value as i64) } else { json!(value) }));
    if !whole {
        out.extend([0.5, 1e300, -1e300].map(Value::from));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_met_and_passed() {
        let schema = json!({
            "type": "object", "required": ["unit"], "additionalProperties": false,
            "properties": {
                "size": { "type": "integer", "minimum": 1, "maximum": 10 },
                "unit": { "$ref": "#/$defs/Unit" },
                "names": { "type": ["array", "null"], "items": { "type": "boolean" } },
            },
            "$defs": { "Unit": { "oneOf": [{ "const": "words" }, { "enum": ["tokens"] }] } },
        });
        let right = Map::from_iter([("unit".to_owned(), json!("words"))]);
        let all: Vec<_> = varied(&schema, &right).into_iter().map(|each| each.what).collect();
        for what in [
            "size = 1",
            "size = 10",
            "unit = \"words\"",
            "unit = \"tokens\"",
            "names = []",
            "names = null",
            "names = [true]",
            "size = 0",
            "size = 11",
            "size = null",
            "unit = 1",
            "without `unit`",
            "a setting that there isn't",
        ] {
            assert!(all.iter().any(|each| each == what), "{what}: {all:?}");
        }
    }
}
