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
    /// Whether the schema forbids them.
    pub(super) is_past: bool,
}

/// Variations of settings that are right, one setting at a time.
pub(super) fn varied(schema: &Value, right: &Map<String, Value>) -> Vec<Varied> {
    let root = resolved(schema, schema);
    let mut all = Vec::new();
    for (name, property) in root.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let mut candidates = Vec::new();
        collect(&mut candidates, property, schema, 0);
        // What one alternative forbids, another may allow.
        let allowed: Vec<Value> = candidates.iter().filter(|(_, past)| !past).map(|(value, _)| value.clone()).collect();
        let types = types(property, schema, 0);
        for wrong in [json!(null), json!(true), json!(1), json!("\u{0}"), json!([[]]), json!({"": null})] {
            if types.as_ref().is_some_and(|types| !types.iter().any(|t| is_of(&wrong, t))) {
                candidates.push((wrong, true));
            }
        }
        for (value, is_past) in candidates {
            let mut settings = right.clone();
            let shown = crate::answer::cut(&value.to_string());
            settings.insert(name.clone(), value.clone());
            all.push(Varied {
                what: format!("{name} = {shown}"),
                settings,
                is_past: is_past && !allowed.contains(&value),
            });
        }
    }
    for name in root.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
        let mut settings = right.clone();
        settings.remove(name);
        all.push(Varied { what: format!("without `{name}`"), settings, is_past: true });
    }
    if root.get("additionalProperties") == Some(&json!(false)) {
        let mut settings = right.clone();
        settings.insert("no such setting".to_owned(), json!(1));
        all.push(Varied { what: "a setting that there isn't".to_owned(), settings, is_past: true });
    }
    all
}

/// What a reference within the schema refers to.
fn resolved<'a>(mut part: &'a Value, schema: &'a Value) -> &'a Value {
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

/// The types that a part admits; none when it doesn't say.
fn types(part: &Value, schema: &Value, depth: usize) -> Option<Vec<String>> {
    let part = resolved(part, schema);
    if depth > DEEPEST {
        return None;
    }
    let words = |value: &Value| match value {
        Value::String(word) => Some(vec![word.clone()]),
        Value::Array(words) => Some(words.iter().filter_map(|word| word.as_str().map(str::to_owned)).collect()),
        _ => None,
    };
    let of = |value: &Value| match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    if let Some(words) = part.get("type").and_then(words) {
        return Some(words);
    }
    if let Some(value) = part.get("const") {
        return Some(vec![of(value).to_owned()]);
    }
    if let Some(values) = part.get("enum").and_then(Value::as_array) {
        return Some(values.iter().map(|value| of(value).to_owned()).collect());
    }
    let mut all = Vec::new();
    for alternative in alternatives(part) {
        all.extend(types(alternative, schema, depth + 1)?);
    }
    (!all.is_empty()).then_some(all)
}

/// Whether a value is of a type.
fn is_of(value: &Value, word: &str) -> bool {
    match word {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" | "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => true,
    }
}

/// Values at the bounds of a part, and past them.
fn collect(out: &mut Vec<(Value, bool)>, part: &Value, schema: &Value, depth: usize) {
    let part = resolved(part, schema);
    if depth > DEEPEST {
        return;
    }
    for alternative in alternatives(part) {
        collect(out, alternative, schema, depth + 1);
    }
    out.extend(part.get("const").map(|value| (value.clone(), false)));
    if let Some(values) = part.get("enum").and_then(Value::as_array) {
        out.extend(values.iter().map(|value| (value.clone(), false)));
        return;
    }
    if part.get("const").is_some() {
        return;
    }
    let words = match part.get("type") {
        Some(Value::String(word)) => vec![word.as_str()],
        Some(Value::Array(words)) => words.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    for word in words {
        match word {
            "integer" => numbers(out, part, true),
            "number" => numbers(out, part, false),
            "boolean" => out.extend([(json!(true), false), (json!(false), false)]),
            "null" => out.push((Value::Null, false)),
            // Which texts mean something isn't in the schema; none may break it.
            "string" => out.extend(
                ["", "x", "\u{0}é😀"]
                    .map(Value::from)
                    .into_iter()
                    .chain([Value::from("x".repeat(LONG))])
                    .map(|v| (v, false)),
            ),
            "array" => {
                out.push((json!([]), at_least(part, "minItems")));
                let mut items = Vec::new();
                collect(&mut items, part.get("items").unwrap_or(&Value::Null), schema, depth + 1);
                out.extend(items.into_iter().map(|(item, past)| (json!([item]), past)));
            }
            "object" => out.push((json!({}), at_least(part, "minProperties") || part.get("required").is_some())),
            _ => {}
        }
    }
}

fn at_least(part: &Value, key: &str) -> bool {
    part.get(key).and_then(Value::as_u64).is_some_and(|least| least > 0)
}

fn numbers(out: &mut Vec<(Value, bool)>, part: &Value, whole: bool) {
    let bound = |key: &str| part.get(key).and_then(Value::as_f64);
    let least = bound("minimum").into_iter().chain(bound("exclusiveMinimum").map(|n| n + 1.0)).reduce(f64::max);
    let most = bound("maximum").into_iter().chain(bound("exclusiveMaximum").map(|n| n - 1.0)).reduce(f64::min);
    let number = |value: f64| if whole && value.abs() < 9e18 { json!(value as i64) } else { json!(value) };
    let mut all: Vec<f64> = vec![-1.0, 0.0, 1.0, 9_007_199_254_740_991.0];
    all.extend(least.iter().flat_map(|least| [*least, least - 1.0]));
    all.extend(most.iter().flat_map(|most| [*most, most + 1.0]));
    if !whole {
        all.extend([0.5, 1e300, -1e300]);
    }
    for value in all {
        let past = least.is_some_and(|least| value < least) || most.is_some_and(|most| value > most);
        out.push((number(value), past));
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
        let told = |is_past: bool| {
            let all = varied(&schema, &right).into_iter().filter(|each| each.is_past == is_past);
            all.map(|each| each.what).collect::<Vec<_>>()
        };
        let within = told(false);
        for what in [
            "size = 1",
            "size = 10",
            "unit = \"words\"",
            "unit = \"tokens\"",
            "names = []",
            "names = null",
            "names = [true]",
        ] {
            assert!(within.iter().any(|each| each == what), "{what}: {within:?}");
        }
        let past = told(true);
        for what in [
            "size = 0",
            "size = 11",
            "size = null",
            "unit = 1",
            "names = 1",
            "without `unit`",
            "a setting that there isn't",
        ] {
            assert!(past.iter().any(|each| each == what), "{what}: {past:?}");
        }
    }
}
