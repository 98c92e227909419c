//! JSON objects against fields with types and bounds.

use std::sync::Arc;

use dflow_plugin::arrow::{
    ArrayRef, BooleanBuilder, DataType, Field, Float64Builder, Int64Builder, RecordBatch, Schema, StringBuilder,
};
use dflow_plugin::{Description, Emitter, Failure, Opened, Operator, Port, Shape, text};
use indexmap::IndexMap;
use serde_json::{Map, Value};

/// What an object must be.
#[derive(Clone, Debug, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Its fields, which become columns.
    fields: IndexMap<String, Rule>,
}

/// What a field must be.
#[derive(Clone, Debug, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Rule {
    #[serde(rename = "type")]
    of: Type,
    /// Whether it must be there. Default true.
    #[serde(default = "yes")]
    required: bool,
    /// The least number.
    ge: Option<f64>,
    /// The greatest number.
    le: Option<f64>,
    /// The fewest characters.
    min_length: Option<usize>,
    /// What a text may be.
    one_of: Option<Vec<String>>,
}

/// A field's type.
#[derive(Clone, Copy, Debug, PartialEq, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Type {
    String,
    Integer,
    Number,
    Boolean,
}

fn yes() -> bool {
    true
}

/// The fields of JSON objects that are what they must be, as columns.
pub struct Validate(Settings);

impl Operator for Validate {
    type Settings = Settings;

    fn describe() -> Description {
        Description::new("validate", Shape::Map)
            .summary("the fields of JSON objects, as columns; an object that isn't what it must be fails, with all that is wrong")
            .port(Port::utf8("json", "a JSON object"))
            .rejects_rows()
    }

    fn open(settings: Settings, _input: &Schema) -> Result<(Self, Opened), Failure> {
        let column = |(name, rule): (&String, &Rule)| {
            let of = match rule.of {
                Type::String => DataType::Utf8,
                Type::Integer => DataType::Int64,
                Type::Number => DataType::Float64,
                Type::Boolean => DataType::Boolean,
            };
            Field::new(name, of, true)
        };
        let opened = settings.fields.iter().map(column).fold(Opened::new(Shape::Map), Opened::column);
        Ok((Self(settings), opened))
    }

    fn process(&mut self, input: &RecordBatch, emit: &mut Emitter<'_>) -> Result<(), Failure> {
        let mut good: Vec<Map<String, Value>> = Vec::with_capacity(input.num_rows());
        for (row, json) in text(input, 0)?.iter().enumerate() {
            match serde_json::from_str(json.unwrap_or_default()) {
                Ok(Value::Object(object)) => match self.problems(&object) {
                    problems if problems.is_empty() => good.push(object),
                    problems => emit.error(row, "invalid", problems.join("; ")),
                },
                _ => emit.error(row, "not-json", "it isn't a JSON object"),
            }
        }
        let columns =
            self.0.fields.iter().map(|(name, rule)| column(rule.of, good.iter().map(|object| object.get(name))));
        emit.map(columns.collect())?;
        Ok(())
    }
}

impl Validate {
    fn problems(&self, object: &Map<String, Value>) -> Vec<String> {
        let mut problems = Vec::new();
        for (name, rule) in &self.0.fields {
            let mut wrong = |what: String| problems.push(format!("`{name}` {what}"));
            let value = match object.get(name) {
                None | Some(Value::Null) => {
                    if rule.required {
                        wrong("is missing".to_owned());
                    }
                    continue;
                }
                Some(value) => value,
            };
            let (fits, what) = match rule.of {
                Type::String => (value.is_string(), "a string"),
                Type::Integer => (value.as_f64().is_some_and(|number| number.fract() == 0.0), "an integer"),
                Type::Number => (value.is_number(), "a number"),
                Type::Boolean => (value.is_boolean(), "true or false"),
            };
            if !fits {
                wrong(format!("is to be {what}"));
                continue;
            }
            if let Some(number) = value.as_f64() {
                if let Some(least) = rule.ge.filter(|least| number < *least) {
                    wrong(format!("is to be at least {least}"));
                }
                if let Some(most) = rule.le.filter(|most| number > *most) {
                    wrong(format!("is to be at most {most}"));
                }
            }
            if let Some(text) = value.as_str() {
                if let Some(fewest) = rule.min_length.filter(|fewest| text.chars().count() < *fewest) {
                    wrong(format!("is to have at least {fewest} characters"));
                }
                if let Some(known) = rule.one_of.as_ref().filter(|known| !known.iter().any(|one| one == text)) {
                    wrong(format!("is to be one of {}", known.join(", ")));
                }
            }
        }
        problems
    }
}

/// Values as a column.
fn column<'a>(of: Type, values: impl Iterator<Item = Option<&'a Value>>) -> ArrayRef {
    match of {
        Type::String => {
            let mut made = StringBuilder::new();
            values.for_each(|value| made.append_option(value.and_then(Value::as_str)));
            Arc::new(made.finish())
        }
        Type::Integer => {
            let mut made = Int64Builder::new();
            let whole = |value: &Value| value.as_i64().or_else(|| value.as_f64().map(|number| number as i64));
            values.for_each(|value| made.append_option(value.and_then(whole)));
            Arc::new(made.finish())
        }
        Type::Number => {
            let mut made = Float64Builder::new();
            values.for_each(|value| made.append_option(value.and_then(Value::as_f64)));
            Arc::new(made.finish())
        }
        Type::Boolean => {
            let mut made = BooleanBuilder::new();
            values.for_each(|value| made.append_option(value.and_then(Value::as_bool)));
            Arc::new(made.finish())
        }
    }
}
