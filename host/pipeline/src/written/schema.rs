//! The JSON Schema of a written pipeline, with which editors complete and check.
//!
//! It is made of the neutral form's, whose doc comments are the reference text. A stage's verb becomes a key with the verb's other
//! keys beside it, and anything but a table may also be a string into which parameters are put. Only how values are written
//! (one or a list, an expression) is said here. It is of draft 7, which every editor's checker knows.

use indexmap::IndexMap;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::words::{OWN, VERBS, joined};
use crate::{Codec, Pipeline, params::Described};

/// The JSON Schema of a pipeline file.
pub fn schema() -> Value {
    let mut generator = SchemaSettings::draft07().into_generator();
    let described = generator.subschema_for::<Described>().to_value();
    let mut root = generator.into_root_schema_for::<Pipeline>().to_value();
    without_null(&mut root);
    let mut definitions = taken(&mut root, "definitions");
    let stage = stage(&mut definitions);
    if let Some(Value::Object(keys)) = definitions.get_mut("Test").map(|test| &mut test["properties"]) {
        set(keys, "every", one_or_many(expression()));
    }
    definitions.insert("Stage".to_owned(), stage);

    let param = json!({ "anyOf": [{ "type": ["string", "number", "boolean", "array"] }, described] });
    root["title"] = json!("A dflow pipeline");
    root["properties"]["param"]["additionalProperties"] = param;
    root["properties"]["stage"]["minProperties"] = json!(1);
    root["required"] = json!(["stage"]);
    for (name, definition) in &mut definitions {
        // A parameter's default can't refer to other parameters.
        if name != "Described" {
            take_parameters(definition);
        }
    }
    definitions.insert(
        "Inserted".to_owned(),
        json!({ "description": "Parameters are put in where `${name}` stands.", "type": "string", "pattern": "\\$\\{" }),
    );
    root["definitions"] = Value::Object(definitions);
    root
}

/// A stage: the keys of any stage, a key for each verb, and the keys that belong to verbs.
fn stage(definitions: &mut Map<String, Value>) -> Value {
    let mut stage = definitions.remove("Stage").unwrap_or_default();
    let mut verbs = definitions.remove("Verb").unwrap_or_default();
    let mut keys = taken(&mut stage, "properties");
    keys.remove("verb");
    set(&mut keys, "from", one_or_many(json!({ "type": "string" })));

    let mut own: IndexMap<&str, Vec<(&str, Value)>> = IndexMap::new();
    for mut variant in listed(&mut verbs, "oneOf") {
        let Some((verb, inner)) = taken(&mut variant, "properties").into_iter().next() else { continue };
        let mut form = definition(&inner).and_then(|name| definitions.remove(name)).unwrap_or_default();
        let mut written = value(&verb);
        let docs: Vec<&str> = [&variant, &form].iter().filter_map(|part| part["description"].as_str()).collect();
        written["description"] = json!(docs.join("\n\n"));
        let mut fields = taken(&mut form, "properties");
        if let Some(short) = short(&verb) {
            let table = table_of(&verb, &fields);
            written["anyOf"] = short.into_iter().chain([table]).collect();
        }
        for (key, _) in OWN.iter().filter(|(_, verbs)| verbs.contains(&verb.as_str())) {
            if let (Some(field), Some(verb)) = (fields.remove(*key), VERBS.iter().find(|known| **known == verb)) {
                own.entry(*key).or_default().push((*verb, field));
            }
        }
        keys.insert(verb, written);
    }
    for (key, schemas) in own {
        keys.insert(key.to_owned(), united(schemas));
    }
    set(&mut keys, "columns", columns());
    set(&mut keys, "codec", json!({ "enum": Codec::names().collect::<Vec<_>>() }));
    let texts = json!({ "type": "object", "additionalProperties": { "type": "string" } });
    set(&mut keys, "labels", json!({ "anyOf": [{ "type": "array", "items": { "type": "string" } }, texts] }));
    for list in ["key", "partition_by", "images"] {
        set(&mut keys, list, one_or_many(json!({ "type": "string" })));
    }

    stage["properties"] = Value::Object(keys);
    stage["oneOf"] = VERBS.iter().map(|verb| json!({ "required": [verb] })).collect();
    stage["dependencies"] = OWN.iter().map(|(key, verbs)| ((*key).to_owned(), any_of(verbs))).collect();
    if let Some(stage) = stage.as_object_mut() {
        stage.remove("required");
    }
    stage
}

/// A key needs one of these beside it.
fn any_of(verbs: &[&str]) -> Value {
    let any: Vec<Value> = verbs.iter().map(|verb| json!({ "required": [verb] })).collect();
    json!({ "description": format!("It belongs to {}.", joined(verbs)), "anyOf": any })
}

/// How a verb's own value is written. What isn't said here may be anything.
fn value(verb: &str) -> Value {
    match verb {
        "read" => one_or_many(json!({ "type": "string" })),
        "values" => json!({ "type": "array", "items": { "type": "object" }, "minItems": 1 }),
        "input" => json!({ "type": "object", "additionalProperties": { "type": "string" }, "minProperties": 1 }),
        "open" | "flow" | "prompt" | "embed" | "classify" | "python" | "js" => json!({ "type": "string" }),
        "command" => json!({ "type": "array", "items": { "type": ["string", "number", "boolean"] }, "minItems": 1 }),
        "steps" => json!({ "type": "array", "items": { "type": ["string", "object"] }, "minItems": 1 }),
        "use" => json!({ "type": "string", "pattern": "^[A-Za-z0-9_-]+/[A-Za-z0-9_-]+$|\\$\\{" }),
        "sql" | "write" => json!({ "type": "string" }),
        "set" => table_of_expressions(),
        "filter" => expression(),
        "select" => columns(),
        "limit" => json!({ "type": "integer", "minimum": 0 }),
        _ => json!({}),
    }
}

/// The shorter forms of verbs that are also written as a table of their keys.
fn short(verb: &str) -> Option<Vec<Value>> {
    let names = || one_or_many(json!({ "type": "string" }));
    Some(match verb {
        "explode" => vec![json!({ "type": "string" })],
        "sort" => vec![names()],
        "sample" => vec![json!({ "type": "number", "exclusiveMinimum": 0, "maximum": 1 })],
        "distinct" => vec![json!({ "const": true }), names()],
        "union" => vec![json!({ "const": true })],
        "join" | "group" => Vec::new(),
        _ => return None,
    })
}

/// The keys of a verb as a table, where lists of names are written more freely than the form has them.
fn table_of(verb: &str, fields: &Map<String, Value>) -> Value {
    let mut keys = fields.clone();
    for key in ["by", "on"] {
        set(&mut keys, key, json!({ "anyOf": [{ "type": "string" }, columns()] }));
    }
    set(&mut keys, "set", table_of_expressions());
    if keys.remove("size").is_some() {
        let about = |text: &str, mut schema: Value| {
            schema["description"] = json!(text);
            schema
        };
        let share = json!({ "type": "number", "exclusiveMinimum": 0, "maximum": 1 });
        keys.insert("fraction".to_owned(), about("About this share of the rows.", share));
        let rows = json!({ "type": "integer", "minimum": 1 });
        keys.insert("rows".to_owned(), about("So many rows, or all if there are fewer.", rows));
    }
    if verb == "sort" {
        set(&mut keys, "by", one_or_many(json!({ "type": "string" })));
    }
    json!({ "type": "object", "properties": keys, "additionalProperties": false })
}

/// A SQL expression; a number or a boolean stands for itself.
fn expression() -> Value {
    json!({ "type": ["string", "number", "boolean"] })
}

fn table_of_expressions() -> Value {
    json!({ "type": "object", "additionalProperties": expression(), "minProperties": 1 })
}

/// A list of names, or a table of names and expressions.
fn columns() -> Value {
    json!({ "anyOf": [{ "type": "array", "items": { "type": "string" }, "minItems": 1 }, table_of_expressions()] })
}

fn one_or_many(item: Value) -> Value {
    json!({ "anyOf": [item.clone(), { "type": "array", "items": item, "minItems": 1 }] })
}

/// Puts another schema in a key's place; its description stays.
fn set(keys: &mut Map<String, Value>, key: &str, schema: Value) {
    if let Some(old) = keys.get_mut(key) {
        let description = old["description"].take();
        *old = schema;
        if !description.is_null() {
            old["description"] = description;
        }
    }
}

/// One schema for a key of several verbs, which says what it means with each.
fn united(mut schemas: Vec<(&str, Value)>) -> Value {
    if let [(_, only)] = schemas.as_mut_slice() {
        return only.take();
    }
    let docs =
        schemas.iter().filter_map(|(verb, schema)| Some(format!("With `{verb}`: {}", schema["description"].as_str()?)));
    let docs: Vec<String> = docs.collect();
    let mut alternatives: Vec<Value> = Vec::new();
    for (_, mut schema) in schemas {
        if let Some(schema) = schema.as_object_mut() {
            schema.remove("description");
            schema.remove("default");
        }
        if !alternatives.contains(&schema) {
            alternatives.push(schema);
        }
    }
    json!({ "description": docs.join("\n\n"), "anyOf": alternatives })
}

/// The name of the definition that a schema refers to.
fn definition(schema: &Value) -> Option<&str> {
    let reference = schema["$ref"].as_str().or_else(|| schema["allOf"][0]["$ref"].as_str())?;
    reference.strip_prefix("#/definitions/")
}

/// TOML has no null: what may be null may be absent.
fn without_null(schema: &mut Value) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(without_null),
        Value::Object(map) => {
            if map.get("default").is_some_and(Value::is_null) {
                map.remove("default");
            }
            if let Some(Value::Array(types)) = map.get_mut("type") {
                types.retain(|word| word != "null");
                if let [only] = types.as_mut_slice() {
                    let only = only.take();
                    map.insert("type".to_owned(), only);
                }
            }
            if let Some(Value::Array(any)) = map.get_mut("anyOf") {
                any.retain(|schema| schema["type"] != "null");
            }
            map.values_mut().for_each(without_null);
        }
        _ => {}
    }
}

/// Lets strings with parameters stand for whatever isn't a table, however deep.
fn take_parameters(schema: &mut Value) {
    inside(schema);
    let is = |word: &str| match &schema["type"] {
        Value::String(only) => only == word,
        Value::Array(several) => several.iter().any(|one| one == word),
        _ => false,
    };
    let narrow = ["enum", "const", "maxLength"].iter().any(|key| schema.get(key).is_some());
    let inserted = json!({ "$ref": "#/definitions/Inserted" });
    if is("object") || (is("string") && !narrow) {
        return;
    }
    if let Some(alternatives) = schema.get_mut("anyOf").and_then(Value::as_array_mut) {
        if !alternatives.iter().any(|one| one["type"] == "string") {
            alternatives.push(inserted);
        }
    } else if narrow || schema.get("oneOf").is_some() || schema.get("type").is_some() {
        let mut outer = json!({});
        for key in ["description", "default"] {
            if let Some(value) = schema.as_object_mut().and_then(|schema| schema.remove(key)) {
                outer[key] = value;
            }
        }
        outer["anyOf"] = json!([schema.take(), inserted]);
        *schema = outer;
    }
}

/// Does so with what a schema says of parts of its value.
fn inside(schema: &mut Value) {
    for key in ["properties", "items", "additionalProperties", "anyOf"] {
        match schema.get_mut(key) {
            Some(Value::Object(properties)) if key == "properties" => properties.values_mut().for_each(take_parameters),
            Some(Value::Array(alternatives)) => alternatives.iter_mut().for_each(inside),
            Some(schema) => take_parameters(schema),
            None => {}
        }
    }
}

fn taken(schema: &mut Value, key: &str) -> Map<String, Value> {
    match schema.get_mut(key).map(Value::take) {
        Some(Value::Object(map)) => map,
        _ => Map::new(),
    }
}

fn listed(schema: &mut Value, key: &str) -> Vec<Value> {
    match schema.get_mut(key).map(Value::take) {
        Some(Value::Array(items)) => items,
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::written::words::{COMMON, TOP};

    #[test]
    fn every_word_is_in_it_with_its_doc() {
        let schema = schema();
        let keys = |of: &Value| of.as_object().expect("a table").keys().cloned().collect::<Vec<_>>();
        let sorted = |mut words: Vec<String>| {
            words.sort();
            words
        };
        let words = |lists: &[&[&str]]| sorted(lists.concat().iter().map(|word| (*word).to_owned()).collect());
        let own: Vec<&str> = OWN.iter().map(|(key, _)| *key).collect();
        let stage = &schema["definitions"]["Stage"];
        assert_eq!(sorted(keys(&schema["properties"])), words(&[TOP]));
        assert_eq!(sorted(keys(&stage["properties"])), words(&[VERBS, COMMON, own.as_slice()]));
        for (key, schema) in stage["properties"].as_object().expect("a table") {
            assert!(schema["description"].as_str().is_some_and(|doc| doc.len() > 5), "`{key}` has no doc: {schema}");
        }
    }

    #[test]
    fn keys_that_are_written_more_freely_have_docs() {
        let schema = schema();
        let definitions = &schema["definitions"];
        let every = &definitions["Test"]["properties"]["every"];
        assert_eq!(every["anyOf"][0], expression(), "{every}");
        let sample = &definitions["Stage"]["properties"]["sample"]["anyOf"][1]["properties"];
        for schema in [every, &sample["fraction"], &sample["rows"], &sample["seed"]] {
            assert!(schema["description"].is_string(), "{schema}");
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let schema = schema();
        let text = schema.to_string();
        let references = text.split("\"$ref\":\"").skip(1).filter_map(|rest| rest.split('"').next());
        let names: Vec<&str> =
            references.map(|r| r.strip_prefix("#/definitions/").expect("it is a definition")).collect();
        assert!(names.len() > 5, "{text}");
        for name in names {
            assert!(schema["definitions"].get(name).is_some(), "{name}");
        }
    }
}
