//! JSON values as values of typed columns.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use chrono::{DateTime, NaiveDate, NaiveDateTime};
use dflow_plugin::Failure;
use dflow_plugin::arrow::types::Date32Type;
use dflow_plugin::arrow::{
    ArrayRef, BooleanBuilder, DataType, Date32Builder, Field, FieldRef, Float64Builder, Int64Builder, ListArray,
    NullBufferBuilder, OffsetBuffer, StringBuilder, TimeUnit, TimestampMicrosecondBuilder,
};
use serde_json::Value;

/// Bytes of a text that a message repeats.
const LONGEST_SHOWN: usize = 60;

/// The type of a single value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Scalar {
    Bool,
    Int64,
    Float64,
    #[default]
    Utf8,
    Date,
    Timestamp,
    Json,
}

impl Scalar {
    const ALL: [(&'static str, Self); 7] = [
        ("bool", Self::Bool),
        ("int64", Self::Int64),
        ("float64", Self::Float64),
        ("utf8", Self::Utf8),
        ("date", Self::Date),
        ("timestamp", Self::Timestamp),
        ("json", Self::Json),
    ];

    fn data_type(self) -> DataType {
        match self {
            Self::Bool => DataType::Boolean,
            Self::Int64 => DataType::Int64,
            Self::Float64 => DataType::Float64,
            Self::Utf8 | Self::Json => DataType::Utf8,
            Self::Date => DataType::Date32,
            Self::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        }
    }

    /// A value as one of this type; `None` when it isn't one. A null is one of every type.
    fn read(self, value: &Value) -> Option<Cell<'_>> {
        Some(match (self, value) {
            (_, Value::Null) => Cell::Null,
            (Self::Bool, Value::Bool(value)) => Cell::Bool(*value),
            (Self::Int64, Value::Number(number)) => Cell::Int64(number.as_i64().or_else(|| whole(number.as_f64()?))?),
            (Self::Float64, Value::Number(number)) => Cell::Float64(number.as_f64()?),
            (Self::Utf8, Value::String(text)) => Cell::Text(Cow::Borrowed(text)),
            // Chrono would take fewer digits too.
            (Self::Date, Value::String(text)) if text.len() == "2024-02-29".len() => {
                Cell::Date(Date32Type::from_naive_date(NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?))
            }
            (Self::Timestamp, Value::String(text)) => Cell::Timestamp(microseconds(text)?),
            (Self::Json, value) => Cell::Text(Cow::Owned(value.to_string())),
            _ => return None,
        })
    }
}

/// A float that stands for an integer: JSON knows one sort of number, and some write 3 as 3.0.
fn whole(number: f64) -> Option<i64> {
    // Up to here every integer is a float.
    const GREATEST: f64 = 9_007_199_254_740_992.0;
    (number.fract() == 0.0 && number.abs() <= GREATEST).then_some(number as i64)
}

/// Microseconds since 1970 of a moment as RFC 3339 writes it; without an offset it is taken as UTC.
fn microseconds(text: &str) -> Option<i64> {
    let moment = DateTime::parse_from_rfc3339(text).map(|moment| moment.to_utc());
    let moment =
        moment.or_else(|_| NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f").map(|moment| moment.and_utc()));
    Some(moment.ok()?.timestamp_micros())
}

/// The type of a column: a single value, or a list of such.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Type {
    scalar: Scalar,
    pub(crate) is_list: bool,
}

impl Type {
    /// The type of a column of this name.
    pub(crate) fn field(self, name: &str) -> Field {
        let scalar = self.scalar.data_type();
        Field::new(name, if self.is_list { DataType::List(self.item_field()) } else { scalar }, true)
    }

    /// The type of a list's items; a single value's own.
    pub(crate) fn item(self) -> Self {
        Self { is_list: false, ..self }
    }

    fn item_field(self) -> FieldRef {
        Arc::new(self.item().field("item"))
    }

    /// A single value or an item, if it is one of this type.
    pub(crate) fn read(self, value: &Value) -> Option<Cell<'_>> {
        self.scalar.read(value)
    }
}

impl FromStr for Type {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let item = text.strip_prefix("list<").and_then(|rest| rest.strip_suffix('>'));
        let scalar = Scalar::ALL.iter().find(|(name, _)| *name == item.unwrap_or(text));
        let (_, scalar) = scalar.ok_or_else(|| {
            let names: Vec<_> = Scalar::ALL.iter().map(|(name, _)| format!("`{name}`")).collect();
            format!("unknown type `{text}`, expected one of {} or a list of it, such as `list<utf8>`", names.join(", "))
        })?;
        Ok(Self { scalar: *scalar, is_list: item.is_some() })
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Scalar::ALL.iter().find(|(_, scalar)| *scalar == self.scalar).map_or("", |(name, _)| name);
        if self.is_list { write!(f, "list<{name}>") } else { f.write_str(name) }
    }
}

impl<'de> serde::Deserialize<'de> for Type {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl schemars::JsonSchema for Type {
    fn schema_name() -> Cow<'static, str> {
        "Type".into()
    }

    fn json_schema(_generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let names = Scalar::ALL.iter().map(|(name, _)| *name);
        let names: Vec<_> = names.clone().map(str::to_owned).chain(names.map(|name| format!("list<{name}>"))).collect();
        schemars::json_schema!({ "type": "string", "enum": names })
    }
}

/// A value of a typed column.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Cell<'a> {
    Null,
    Bool(bool),
    Int64(i64),
    Float64(f64),
    Text(Cow<'a, str>),
    /// Days since 1970.
    Date(i32),
    /// Microseconds since 1970.
    Timestamp(i64),
    List(Vec<Self>),
}

/// A typed column under construction.
pub(crate) struct Column {
    item: FieldRef,
    values: Values,
    /// For lists: how long each is, and whether there is one.
    lists: Option<(Vec<usize>, NullBufferBuilder)>,
}

enum Values {
    Bool(BooleanBuilder),
    Int64(Int64Builder),
    Float64(Float64Builder),
    Text(StringBuilder),
    Date(Date32Builder),
    Timestamp(TimestampMicrosecondBuilder),
}

impl Column {
    pub(crate) fn new(of: Type) -> Self {
        let item = of.item_field();
        let values = match of.scalar {
            Scalar::Bool => Values::Bool(BooleanBuilder::new()),
            Scalar::Int64 => Values::Int64(Int64Builder::new()),
            Scalar::Float64 => Values::Float64(Float64Builder::new()),
            Scalar::Utf8 | Scalar::Json => Values::Text(StringBuilder::new()),
            Scalar::Date => Values::Date(Date32Builder::new()),
            Scalar::Timestamp => {
                Values::Timestamp(TimestampMicrosecondBuilder::new().with_data_type(item.data_type().clone()))
            }
        };
        Self { item, values, lists: of.is_list.then(|| (Vec::new(), NullBufferBuilder::new(0))) }
    }

    /// Appends a value that was read by this column's type.
    pub(crate) fn push(&mut self, cell: Cell<'_>) {
        match (&mut self.lists, cell) {
            (Some((lengths, valid)), Cell::List(items)) => {
                lengths.push(items.len());
                valid.append_non_null();
                items.into_iter().for_each(|item| self.values.push(item));
            }
            (Some((lengths, valid)), _) => {
                lengths.push(0);
                valid.append_null();
            }
            (None, cell) => self.values.push(cell),
        }
    }

    pub(crate) fn finish(self) -> Result<ArrayRef, Failure> {
        let values = self.values.finish();
        Ok(match self.lists {
            Some((lengths, mut valid)) => {
                let offsets = OffsetBuffer::from_lengths(lengths);
                Arc::new(ListArray::try_new(self.item, offsets, values, valid.finish())?)
            }
            None => values,
        })
    }
}

impl Values {
    fn push(&mut self, cell: Cell<'_>) {
        match (self, cell) {
            (Self::Bool(values), Cell::Bool(value)) => values.append_value(value),
            (Self::Int64(values), Cell::Int64(value)) => values.append_value(value),
            (Self::Float64(values), Cell::Float64(value)) => values.append_value(value),
            (Self::Text(values), Cell::Text(value)) => values.append_value(value),
            (Self::Date(values), Cell::Date(value)) => values.append_value(value),
            (Self::Timestamp(values), Cell::Timestamp(value)) => values.append_value(value),
            // Nulls: what a type reads is of that type.
            (Self::Bool(values), _) => values.append_null(),
            (Self::Int64(values), _) => values.append_null(),
            (Self::Float64(values), _) => values.append_null(),
            (Self::Text(values), _) => values.append_null(),
            (Self::Date(values), _) => values.append_null(),
            (Self::Timestamp(values), _) => values.append_null(),
        }
    }

    fn finish(self) -> ArrayRef {
        match self {
            Self::Bool(mut values) => Arc::new(values.finish()),
            Self::Int64(mut values) => Arc::new(values.finish()),
            Self::Float64(mut values) => Arc::new(values.finish()),
            Self::Text(mut values) => Arc::new(values.finish()),
            Self::Date(mut values) => Arc::new(values.finish()),
            Self::Timestamp(mut values) => Arc::new(values.finish()),
        }
    }
}

/// A value in a few words, for messages.
pub(crate) fn describe(value: &Value) -> String {
    let count = |count: usize, one: &str, many: &str| format!("{count} {}", if count == 1 { one } else { many });
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => format!("the number {number}"),
        Value::String(text) if text.len() <= LONGEST_SHOWN => format!("the text {value}"),
        Value::String(text) => {
            let shown = Value::from(&text[..text.floor_char_boundary(LONGEST_SHOWN)]);
            format!("a text of {} bytes that begins with {shown}", text.len())
        }
        Value::Array(items) => format!("an array of {}", count(items.len(), "item", "items")),
        Value::Object(members) => format!("an object of {}", count(members.len(), "member", "members")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(of: &str, value: &Value) -> Option<Cell<'static>> {
        let cell = of.parse::<Type>().expect("a type").read(value)?;
        Some(match cell {
            Cell::Text(text) => Cell::Text(Cow::Owned(text.into_owned())),
            Cell::Null => Cell::Null,
            Cell::Bool(value) => Cell::Bool(value),
            Cell::Int64(value) => Cell::Int64(value),
            Cell::Float64(value) => Cell::Float64(value),
            Cell::Date(value) => Cell::Date(value),
            Cell::Timestamp(value) => Cell::Timestamp(value),
            Cell::List(_) => unreachable!("`read` gives single values"),
        })
    }

    #[test]
    fn numbers_keep_their_value_or_are_none() {
        for (value, expected) in [
            (json!(-1), Some(-1)),
            (json!(i64::MAX), Some(i64::MAX)),
            (json!(u64::MAX), None),
            (json!(3.0), Some(3)),
            (json!(-0.0), Some(0)),
            (json!(3.5), None),
            (json!(1e15), Some(1_000_000_000_000_000)),
            (json!(1e16), None),
            (json!("3"), None),
        ] {
            assert_eq!(read("int64", &value), expected.map(Cell::Int64), "{value}");
        }
        assert_eq!(read("float64", &json!(3)), Some(Cell::Float64(3.0)));
    }

    #[test]
    fn moments_are_utc() {
        for (text, expected) in [
            ("1970-01-01T00:00:01Z", Some(1_000_000)),
            ("1970-01-01t01:00:00.000001+01:00", Some(1)),
            ("1970-01-01T00:00:01", Some(1_000_000)),
            ("1970-01-01T00:00:01.5", Some(1_500_000)),
            ("1969-12-31T23:59:59Z", Some(-1_000_000)),
            ("1970-01-01", None),
            ("1970-02-30T00:00:00Z", None),
            ("now", None),
        ] {
            assert_eq!(read("timestamp", &json!(text)), expected.map(Cell::Timestamp), "{text}");
        }
        assert_eq!(read("date", &json!("1970-01-02")), Some(Cell::Date(1)));
        assert_eq!(read("date", &json!("1970-01-02T00:00:00Z")), None);
    }

    #[test]
    fn types_have_names() {
        for (name, _) in Scalar::ALL {
            let list = format!("list<{name}>");
            assert_eq!(name.parse::<Type>().expect("a type").to_string(), name);
            assert_eq!(list.parse::<Type>().expect("a type").to_string(), list);
        }
        assert!("list<list<utf8>>".parse::<Type>().is_err());
    }
}
