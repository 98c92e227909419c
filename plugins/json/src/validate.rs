//! The operator `validate`: is each row what a JSON Schema says?

use std::sync::Arc;

use dflow_plugin::arrow::{
    Array, ArrayRef, AsArray, DataType, Field, Fields, ListArray, OffsetBuffer, RecordBatch, Schema, StringArray,
    StringBuilder, StructArray,
};
use dflow_plugin::{Description, Emitter, Failure, Opened, Operator, Rows, Shape};
use jsonschema::{ValidationError, Validator};
use serde_json::{Map, Value};

use crate::value::{self, Reader};

/// The kind of error of a row that isn't what the schema says.
const VIOLATION: &str = "schema-violation";
/// The kind of error of a row whose text isn't JSON.
const NOT_JSON: &str = "not-json";
/// The name by which a single column of text is taken as JSON text.
const TEXT_COLUMN: &str = "json";
/// Values whose text is longer than this (in bytes) aren't repeated in messages.
const LONGEST_SHOWN: usize = 60;

/// Settings of `validate`.
#[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The JSON Schema that each row is held against (drafts 4 to 2020-12, by its `$schema`; 2020-12 without). It can't refer to
    /// documents outside of itself.
    pub schema: Map<String, Value>,
    /// What becomes of a row that isn't what the schema says.
    #[serde(default)]
    pub errors: Errors,
}

/// What becomes of a row that isn't what the schema says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Errors {
    /// It is a row error, of the kind `schema-violation` or `not-json`.
    #[default]
    Row,
    /// It is left out.
    Drop,
    /// It is kept; every row gets a column `errors`, a list of `path` (a JSON pointer) and `message`, empty when all is well.
    Keep,
}

/// Holds each row against a JSON Schema: the text of a single column `json`, or else the object made of all columns given.
pub struct Validate {
    validator: Validator,
    errors: Errors,
    from_text: bool,
}

/// One thing that is wrong with a row.
struct Wrong {
    kind: &'static str,
    /// Where in the row, as a JSON pointer.
    path: String,
    message: String,
}

impl Operator for Validate {
    type Settings = Settings;

    fn describe() -> Description {
        Description::new("validate", Shape::Filter)
            .version("0.1.0")
            .summary("holds rows against a JSON Schema: a column `json` of text, or all columns given as one object")
            .any_columns()
            .rejects_rows()
    }

    fn open(settings: Settings, input: &Schema) -> Result<(Self, Opened), Failure> {
        let validator = jsonschema::validator_for(&Value::Object(settings.schema)).map_err(|error| {
            let place = error.instance_path().as_str();
            let at = if place.is_empty() { String::new() } else { format!(" at `{place}`") };
            Failure::settings(format!("setting `schema` is not a JSON Schema{at}: {}", describe(&error)))
        })?;
        if input.fields().is_empty() {
            return Err(Failure::schema(
                "there is no column to validate\nhint: name columns in `in`, or one column as `json`",
            ));
        }
        value::check(input)?;
        let from_text =
            matches!(input.fields().as_ref(), [one] if one.name() == TEXT_COLUMN && one.data_type() == &DataType::Utf8);
        let opened = match settings.errors {
            Errors::Row => Opened::new(Shape::Map),
            Errors::Drop => Opened::new(Shape::Filter),
            Errors::Keep => Opened::new(Shape::Map).column(Field::new("errors", DataType::List(item()), false)),
        };
        Ok((Self { validator, errors: settings.errors, from_text }, opened))
    }

    fn process(&mut self, input: &RecordBatch, emit: &mut Emitter<'_>) -> Result<(), Failure> {
        let rows = self.rows(input);
        match self.errors {
            Errors::Row => {
                for row in 0..input.num_rows() {
                    let wrongs = self.check(&rows, row);
                    if let Some(first) = wrongs.first() {
                        emit.error(row, first.kind, in_one_line(first, wrongs.len() - 1));
                    }
                }
                emit.map(vec![])?;
            }
            Errors::Drop => {
                let kept =
                    (0..input.num_rows()).filter(|row| self.is_valid(&rows, *row)).map(|row| row as u32).collect();
                emit.rows(Rows::new(vec![]).parents(kept))?;
            }
            Errors::Keep => {
                let wrongs: Vec<_> = (0..input.num_rows()).map(|row| self.check(&rows, row)).collect();
                emit.map(vec![column(&wrongs)])?;
            }
        }
        Ok(())
    }
}

/// The rows of a batch as JSON values.
enum JsonRows<'a> {
    Text(&'a StringArray),
    Objects(Vec<(&'a str, Reader<'a>)>),
}

impl JsonRows<'_> {
    fn value(&self, row: usize) -> Result<Value, serde_json::Error> {
        match self {
            Self::Text(texts) if texts.is_null(row) => Ok(Value::Null),
            Self::Text(texts) => serde_json::from_str(texts.value(row)),
            Self::Objects(columns) => Ok(value::object(columns, row)),
        }
    }
}

impl Validate {
    fn rows<'a>(&self, input: &'a RecordBatch) -> JsonRows<'a> {
        if self.from_text {
            return JsonRows::Text(input.column(0).as_string());
        }
        let names = input.schema_ref().fields().iter().map(|field| field.name().as_str());
        JsonRows::Objects(names.zip(input.columns().iter().map(|column| value::reader(column))).collect())
    }

    fn is_valid(&self, rows: &JsonRows<'_>, row: usize) -> bool {
        rows.value(row).is_ok_and(|value| self.validator.is_valid(&value))
    }

    /// What is wrong with a row.
    fn check(&self, rows: &JsonRows<'_>, row: usize) -> Vec<Wrong> {
        match rows.value(row) {
            Ok(value) if self.validator.is_valid(&value) => Vec::new(),
            Ok(value) => self
                .validator
                .iter_errors(&value)
                .map(|error| Wrong {
                    kind: VIOLATION,
                    path: error.instance_path().to_string(),
                    message: describe(&error),
                })
                .collect(),
            Err(error) => vec![Wrong { kind: NOT_JSON, path: String::new(), message: format!("not JSON: {error}") }],
        }
    }
}

/// What an error says; a long value isn't repeated.
fn describe(error: &ValidationError<'_>) -> String {
    let short = match error.instance().as_ref() {
        Value::String(text) => text.len() <= LONGEST_SHOWN,
        Value::Array(_) | Value::Object(_) => false,
        _ => true,
    };
    if short { error.to_string() } else { error.masked_with("the value").to_string() }
}

fn in_one_line(first: &Wrong, others: usize) -> String {
    let place = if first.path.is_empty() { String::new() } else { format!("`{}`: ", first.path) };
    let more = if others == 0 { String::new() } else { format!(" (and {others} more)") };
    format!("{place}{}{more}", first.message)
}

fn members() -> Fields {
    Fields::from(vec![Field::new("path", DataType::Utf8, false), Field::new("message", DataType::Utf8, false)])
}

fn item() -> Arc<Field> {
    Arc::new(Field::new("item", DataType::Struct(members()), false))
}

/// The column `errors`.
fn column(wrongs: &[Vec<Wrong>]) -> ArrayRef {
    let (mut paths, mut messages) = (StringBuilder::new(), StringBuilder::new());
    for wrong in wrongs.iter().flatten() {
        paths.append_value(&wrong.path);
        messages.append_value(&wrong.message);
    }
    let members = StructArray::new(members(), vec![Arc::new(paths.finish()), Arc::new(messages.finish())], None);
    let offsets = OffsetBuffer::from_lengths(wrongs.iter().map(Vec::len));
    Arc::new(ListArray::new(item(), offsets, Arc::new(members), None))
}
