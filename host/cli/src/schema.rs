//! The settings of an operator, as its JSON Schema tells them.

use dflow_kit::resolved;
use serde_json::{Map, Value};

/// How deep types are spelled out; a schema may refer to itself.
const DEEPEST: usize = 4;

/// A setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Setting {
    /// Its name.
    pub(crate) name: String,
    /// Its type, as a person would write it.
    pub(crate) what: String,
    /// The value it has when it is left out; `required` when it can't be.
    pub(crate) default: String,
    /// What it is for, in one line.
    pub(crate) description: String,
}

/// The settings in a schema, in its order. Parts that aren't understood are left blank: a schema may say anything.
pub(crate) fn settings(schema: &Value) -> Vec<Setting> {
    let root = resolved(schema, schema);
    let required = root.get("required").and_then(Value::as_array);
    let properties = root.get("properties").and_then(Value::as_object);
    let setting = |(name, property): (&String, &Value)| {
        let is_required = required.is_some_and(|names| names.iter().any(|n| n == name));
        let own = resolved(property, schema);
        let of = |key| property.get(key).or_else(|| own.get(key));
        let default = match of("default") {
            Some(Value::Null) | None if is_required => "required".to_owned(),
            Some(Value::Null) | None => String::new(),
            Some(value) => value.to_string(),
        };
        let text = of("description").and_then(Value::as_str).unwrap_or_default();
        let description = text.split_whitespace().collect::<Vec<_>>().join(" ");
        Setting { name: name.clone(), what: what(property, schema, 0), default, description }
    };
    properties.into_iter().flatten().map(setting).collect()
}

/// A type, as a person would write it: `integer`, `"words" | "tokens"`, `list of string`.
fn what(part: &Value, schema: &Value, depth: usize) -> String {
    let part = resolved(part, schema);
    let (Some(part), true) = (part.as_object(), depth < DEEPEST) else { return "any".to_owned() };
    let several = |parts: &[Value]| {
        let mut words: Vec<String> = Vec::new();
        for part in parts {
            let word = what(part, schema, depth + 1);
            // What may be left out may be null; that says nothing more.
            if word != "null" && !words.contains(&word) {
                words.push(word);
            }
        }
        words.join(" | ")
    };
    if let Some(value) = part.get("const") {
        return value.to_string();
    }
    if let Some(values) = part.get("enum").and_then(Value::as_array) {
        let values = values.iter().filter(|value| !value.is_null()).map(Value::to_string);
        return values.collect::<Vec<_>>().join(" | ");
    }
    for key in ["oneOf", "anyOf", "allOf"] {
        if let Some(parts) = part.get(key).and_then(Value::as_array) {
            return several(parts);
        }
    }
    match part.get("type") {
        Some(Value::String(word)) => named(word, part, schema, depth),
        Some(Value::Array(words)) => {
            let words = words.iter().filter_map(Value::as_str).filter(|word| *word != "null");
            words.map(|word| named(word, part, schema, depth)).collect::<Vec<_>>().join(" | ")
        }
        _ => "any".to_owned(),
    }
}

fn named(word: &str, part: &Map<String, Value>, schema: &Value, depth: usize) -> String {
    match word {
        "array" => match part.get("items") {
            Some(items) => format!("list of {}", what(items, schema, depth + 1)),
            None => "list".to_owned(),
        },
        "object" => match part.get("additionalProperties") {
            Some(values) if values.is_object() => format!("table of {}", what(values, schema, depth + 1)),
            _ => "table".to_owned(),
        },
        word => word.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn settings_are_told_as_a_person_would() {
        let schema = json!({
            "type": "object",
            "required": ["size"],
            "properties": {
                "size": { "type": "integer", "description": "The most\n that a chunk holds." },
                "unit": { "$ref": "#/$defs/Unit", "default": "words" },
                "overlap": { "type": ["integer", "null"], "default": null },
                "names": { "type": "array", "items": { "type": "string" }, "default": [] },
                "deep": { "anyOf": [{ "$ref": "#/$defs/Tree" }, { "type": "null" }] },
                "map": { "type": "object", "additionalProperties": { "type": "boolean" } },
                "anything": true,
            },
            "$defs": {
                "Unit": { "oneOf": [
                    { "const": "words", "description": "words" }, { "enum": ["tokens", "characters"] },
                ] },
                "Tree": { "type": "array", "items": { "$ref": "#/$defs/Tree" } },
            },
        });
        let told: Vec<_> = settings(&schema)
            .into_iter()
            .map(|s| format!("{}: {} [{}] {}", s.name, s.what, s.default, s.description))
            .collect();
        assert_eq!(
            told,
            [
                "size: integer [required] The most that a chunk holds.",
                "unit: \"words\" | \"tokens\" | \"characters\" [\"words\"] ",
                "overlap: integer [] ",
                "names: list of string [[]] ",
                "deep: list of list of list of any [] ",
                "map: table of boolean [] ",
                "anything: any [] ",
            ]
        );
    }

    #[test]
    fn a_schema_that_says_nothing_has_no_settings() {
        for schema in [json!(null), json!({}), json!({ "$ref": "#/nowhere" }), json!([1])] {
            assert_eq!(settings(&schema), []);
        }
    }
}
