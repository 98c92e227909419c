//! What a JSON Schema says of types: the columns that an answer becomes.

use datafusion::arrow::datatypes::{DataType, Field};
use dflow_pipeline::written::referred;
use serde_json::{Map, Value};

/// The members of an object that a JSON Schema describes, in their order, and their types, or why one has none. What may be any object, any
/// list, or anything at all, is JSON in a text.
pub fn columns_of(schema: &Value) -> Vec<(String, Result<DataType, String>)> {
    let schemas = Schemas(schema);
    let members = schema["properties"].as_object().into_iter().flatten();
    members.map(|(name, of)| (name.clone(), schemas.type_of(of, name, &[]))).collect()
}

/// The schemas within one, which may refer to each other.
struct Schemas<'a>(&'a Value);

impl<'a> Schemas<'a> {
    /// The type of a value. `above` are the references that led there.
    fn type_of(&self, schema: &'a Value, path: &str, above: &[&'a str]) -> Result<DataType, String> {
        let (mut schema, mut above) = (schema, above.to_vec());
        loop {
            if has_members_twice(schema) {
                let places = "`properties`, `$ref`, `allOf` side by side";
                return Err(format!("`{path}` is made of several schemas ({places}), which a column can't be"));
            }
            if let Some(to) = schema["$ref"].as_str() {
                if above.contains(&to) {
                    return Err(format!("`{path}` holds itself (`{to}`), and a column's type has an end"));
                }
                above.push(to);
                let place = referred(self.0, to);
                schema = place.ok_or_else(|| format!("`{path}` refers to `{to}`, which isn't in the schema"))?;
            } else if let (Some([one]), true) = (schema["allOf"].as_array().map(Vec::as_slice), is_open(schema)) {
                schema = one;
            } else {
                break;
            }
        }
        if *schema == Value::Bool(false) {
            return Err(format!("`{path}` can have no value (`false`)"));
        }
        let kinds = kinds(schema);
        let options = ["anyOf", "oneOf", "allOf"].iter().find_map(|key| Some((*key, schema[*key].as_array()?)));
        if let (true, Some((key, options))) = (kinds.is_empty(), options) {
            return self.one_of(key, options, path, &above);
        }
        Ok(match kinds.as_slice() {
            ["integer"] => DataType::Int64,
            ["number"] | ["integer", "number"] | ["number", "integer"] => DataType::Float64,
            ["boolean"] => DataType::Boolean,
            ["array"] if schema["items"].is_object() => {
                let item = self.type_of(&schema["items"], &format!("{path}[]"), &above)?;
                DataType::List(Field::new_list_field(plain(item), true).into())
            }
            ["object"] => match schema["properties"].as_object().filter(|members| !members.is_empty()) {
                Some(members) => self.structure(members, path, &above)?,
                None => DataType::Utf8View,
            },
            [] | [_] => DataType::Utf8View,
            several => return Err(of_several(path, several)),
        })
    }

    fn structure(&self, members: &'a Map<String, Value>, path: &str, above: &[&'a str]) -> Result<DataType, String> {
        let member = |(name, schema): (&String, &'a Value)| -> Result<Field, String> {
            let data_type = self.type_of(schema, &format!("{path}.{name}"), above)?;
            Ok(Field::new(name, plain(data_type), true))
        };
        let members: Vec<Field> = members.iter().map(member).collect::<Result<_, String>>()?;
        Ok(DataType::Struct(members.into()))
    }

    /// The one type that all of some schemas have, but for null. `key` is where they stand.
    fn one_of(&self, key: &str, options: &'a [Value], path: &str, above: &[&'a str]) -> Result<DataType, String> {
        let mut types: Vec<DataType> = Vec::new();
        for option in options.iter().filter(|option| !is_null(option)) {
            let data_type = self.type_of(option, path, above)?;
            if !types.contains(&data_type) {
                types.push(data_type);
            }
        }
        match types.as_slice() {
            [] => Ok(DataType::Utf8View),
            [one] => Ok(one.clone()),
            [DataType::Int64, DataType::Float64] | [DataType::Float64, DataType::Int64] => Ok(DataType::Float64),
            _ if key == "allOf" => {
                Err(format!("`{path}` is made of several schemas (`allOf`), which a column can't be"))
            }
            several => Err(of_several(path, &several.iter().map(word).collect::<Vec<_>>())),
        }
    }
}

/// What a schema says of its values' types itself, without null.
fn kinds(schema: &Value) -> Vec<&str> {
    let mut kinds: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        _ => {
            let constant = schema.get("const").into_iter();
            schema["enum"].as_array().into_iter().flatten().chain(constant).map(kind).collect()
        }
    };
    if kinds.is_empty() && schema["properties"].is_object() {
        kinds.push("object");
    }
    if kinds.is_empty() && schema["items"].is_object() {
        kinds.push("array");
    }
    let mut distinct = Vec::new();
    for kind in kinds.into_iter().filter(|kind| *kind != "null") {
        if !distinct.contains(&kind) {
            distinct.push(kind);
        }
    }
    distinct
}

/// Whether a schema says in several places which members its values have. What only restricts them (`required`, a condition) is no such place.
fn has_members_twice(schema: &Value) -> bool {
    let says = |inner: &Value| ["properties", "$ref", "allOf"].iter().any(|key| !inner[*key].is_null());
    let own = schema["properties"].as_object().is_some_and(|members| !members.is_empty());
    let all = schema["allOf"].as_array().is_some_and(|several| several.iter().any(says));
    [own, schema["$ref"].is_string(), all].into_iter().filter(|says| *says).count() > 1
}

/// Whether a schema doesn't say itself what its values hold.
fn is_open(schema: &Value) -> bool {
    let says = ["properties", "items", "anyOf", "oneOf"].iter().any(|key| !schema[*key].is_null());
    !says && matches!(kinds(schema).as_slice(), [] | ["object" | "array"])
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn is_null(schema: &Value) -> bool {
    schema["type"] == "null" || schema.get("const").is_some_and(Value::is_null)
}

fn word(data_type: &DataType) -> &'static str {
    match data_type {
        DataType::Int64 => "integer",
        DataType::Float64 => "number",
        DataType::Boolean => "boolean",
        DataType::List(_) => "array",
        DataType::Struct(_) => "object",
        _ => "string",
    }
}

fn of_several(path: &str, words: &[&str]) -> String {
    format!("`{path}` may be one of several things ({}), and a column has one type", words.join(", "))
}

/// Text within lists and structs.
fn plain(data_type: DataType) -> DataType {
    if data_type == DataType::Utf8View { DataType::Utf8 } else { data_type }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn column(schema: Value) -> Result<DataType, String> {
        let defs = json!({
            "x": { "type": "object", "properties": { "n": { "type": "integer" } } },
            "tree": { "type": "object", "properties": { "below": { "type": "array", "items": { "$ref": "#/$defs/tree" } } } },
            "y": { "$ref": "#/$defs/x" },
            "a/b c": { "$ref": "#/$defs/x" },
        });
        let whole = json!({ "type": "object", "properties": { "a": schema }, "$defs": defs });
        columns_of(&whole).pop().expect("a column").1
    }

    #[test]
    fn what_json_schema_says_of_types_is_known() {
        let list = |item| DataType::List(Field::new_list_field(item, true).into());
        let object = DataType::Struct(vec![Field::new("n", DataType::Int64, true)].into());
        for (schema, expected) in [
            (json!({ "type": ["null", "integer"] }), DataType::Int64),
            (json!({ "type": ["integer", "number"] }), DataType::Float64),
            (json!({ "enum": [1, 2, null] }), DataType::Int64),
            (json!({ "enum": [1, 2.5] }), DataType::Float64),
            (json!({ "const": true }), DataType::Boolean),
            (json!({ "enum": ["a", "b"] }), DataType::Utf8View),
            (json!({ "anyOf": [{ "type": "integer" }, { "type": "null" }] }), DataType::Int64),
            (json!({ "oneOf": [{ "const": "a" }, { "const": "b" }] }), DataType::Utf8View),
            (json!({ "allOf": [{ "$ref": "#/$defs/y" }] }), object.clone()),
            (json!({ "type": "object", "allOf": [{ "$ref": "#/$defs/y" }] }), object.clone()),
            (json!({ "type": "integer", "allOf": [{ "minimum": 3 }] }), DataType::Int64),
            (json!({ "allOf": [{ "type": "string" }, { "pattern": "^a" }] }), DataType::Utf8View),
            (json!({ "$ref": "#/$defs/x" }), object.clone()),
            (json!({ "$ref": "#/$defs/a~1b%20c" }), object.clone()),
            (json!({ "properties": { "n": { "type": "integer" } }, "allOf": [{ "required": ["n"] }] }), object.clone()),
            (json!({ "type": "array", "items": { "$ref": "#/$defs/y" } }), list(object)),
            (json!({ "type": "array", "items": { "type": "object" } }), list(DataType::Utf8)),
            (json!({ "type": "array", "items": { "enum": [1] } }), list(DataType::Int64)),
            (json!({ "type": "array" }), DataType::Utf8View),
            (json!({ "type": "object", "additionalProperties": { "type": "integer" } }), DataType::Utf8View),
            (json!({}), DataType::Utf8View),
            (json!(true), DataType::Utf8View),
        ] {
            assert_eq!(column(schema.clone()), Ok(expected), "{schema}");
        }
    }

    #[test]
    fn what_has_no_type_is_named_with_its_path() {
        for (schema, words) in [
            (json!({ "type": ["integer", "string"] }), "`a` may be one of several things (integer, string)"),
            (
                json!({ "type": "array", "items": { "anyOf": [{ "type": "string" }, { "type": "number" }] } }),
                "`a[]` may be one of several things (string, number)",
            ),
            (
                json!({ "type": "object", "properties": { "b": { "$ref": "#/$defs/no" } } }),
                "`a.b` refers to `#/$defs/no`",
            ),
            (json!({ "$ref": "#/$defs/tree" }), "`a.below[]` holds itself"),
            (json!({ "$ref": "https://example.com/x" }), "`a` refers to"),
            (json!({ "allOf": [{ "$ref": "#/$defs/x" }, { "type": "integer" }] }), "`a` is made of several schemas"),
            (
                json!({ "properties": { "m": { "type": "integer" } }, "allOf": [{ "$ref": "#/$defs/x" }] }),
                "`a` is made of several schemas (`properties`, ",
            ),
            (
                json!({ "properties": { "m": { "type": "integer" } }, "$ref": "#/$defs/x" }),
                "`a` is made of several schemas (`properties`, ",
            ),
            (json!(false), "`a` can have no value"),
        ] {
            let what = column(schema.clone()).expect_err("it has no type");
            assert!(what.starts_with(words), "{schema}: {what}");
        }
    }
}
