//! The operator `extract`: typed columns out of JSON text.

use std::fmt;

use dflow_plugin::arrow::{RecordBatch, Schema};
use dflow_plugin::{Description, Emitter, Failure, Opened, Operator, Port, Shape};
use indexmap::IndexMap;
use serde::Deserialize;
use serde_json::Value;

use crate::cell::{Cell, Column, Type, describe};
use crate::path::Path;

/// The kind of error of a row whose text isn't JSON.
const NOT_JSON: &str = "not-json";
/// The kind of error of a row without a value at a path.
const MISSING: &str = "missing";
/// The kind of error of a row whose value isn't of the column's type.
const MISMATCH: &str = "mismatch";

/// Settings of `json/extract`.
#[derive(Clone, Debug, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The columns: for each its path, and its type when it isn't `utf8`.
    pub columns: IndexMap<String, Source>,
    /// What becomes of a row that has no value at a path. A JSON null is a value: it gives null.
    #[serde(default = "Fallback::null")]
    pub missing: Fallback,
    /// What becomes of a value that isn't of the column's type. Nothing is converted: `"3"` is no int64.
    #[serde(default = "Fallback::error")]
    pub mismatch: Fallback,
}

/// Where a column comes from: a path alone gives text.
#[derive(Clone, Debug, schemars::JsonSchema)]
#[schemars(untagged)]
pub enum Source {
    /// A path (JSONPath, RFC 9535) to text.
    Text(Path),
    /// A path and a type.
    Typed(Typed),
}

/// A path and a type.
#[derive(Clone, Debug, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Typed {
    /// The path: JSONPath after RFC 9535, such as `$.user.id` or `$.tags[*]`.
    pub path: Path,
    /// The column's type. A date is text such as `2024-02-29`, a timestamp text as RFC 3339 has it (UTC unless it says otherwise),
    /// `json` is any value as JSON text. A list is an array at the path, or all values at a path that finds several: then it is
    /// empty, not missing, where there are none.
    #[serde(default, rename = "type")]
    pub of: Type,
}

/// What becomes of a row or a value that isn't as wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Fallback {
    /// Null takes its place.
    Null,
    /// The row is a row error.
    Error,
}

impl Fallback {
    fn null() -> Self {
        Self::Null
    }

    fn error() -> Self {
        Self::Error
    }
}

impl<'de> Deserialize<'de> for Source {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Source;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a path, or a table of `path` and `type`")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Source, E> {
                text.parse().map(Source::Text).map_err(E::custom)
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<Source, A::Error> {
                Typed::deserialize(serde::de::value::MapAccessDeserializer::new(map)).map(Source::Typed)
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

impl Source {
    fn typed(self) -> Typed {
        match self {
            Self::Text(path) => Typed { path, of: Type::default() },
            Self::Typed(typed) => typed,
        }
    }
}

/// Reads values out of JSON text. A null text gives nulls; one that isn't JSON is a row error.
pub struct Extract {
    columns: Vec<Typed>,
    missing: Fallback,
    mismatch: Fallback,
}

/// Why a row has no result.
struct Wrong {
    kind: &'static str,
    message: String,
}

impl Operator for Extract {
    type Settings = Settings;

    fn describe() -> Description {
        Description::new("extract", Shape::Map)
            .version("0.1.0")
            .summary("typed columns out of JSON text, each by its JSONPath")
            .port(Port::utf8("json", "the JSON text"))
            .rejects_rows()
    }

    fn open(settings: Settings, _input: &Schema) -> Result<(Self, Opened), Failure> {
        if settings.columns.is_empty() {
            return Err(Failure::settings(
                "setting `columns` is empty\nhint: name a column and its path, such as `columns = { id = \"$.id\" }`",
            ));
        }
        let mut opened = Opened::new(Shape::Map);
        let mut columns = Vec::with_capacity(settings.columns.len());
        for (name, source) in settings.columns {
            let typed = source.typed();
            opened = opened.column(typed.of.field(&name));
            columns.push(typed);
        }
        Ok((Self { columns, missing: settings.missing, mismatch: settings.mismatch }, opened))
    }

    fn process(&mut self, input: &RecordBatch, emit: &mut Emitter<'_>) -> Result<(), Failure> {
        let texts = dflow_plugin::text(input, 0)?;
        let mut columns: Vec<_> = self.columns.iter().map(|column| Column::new(column.of)).collect();
        for (row, text) in texts.iter().enumerate() {
            let Some(text) = text else {
                columns.iter_mut().for_each(|column| column.push(Cell::Null));
                continue;
            };
            match serde_json::from_str(text) {
                Ok(value) => match self.read(&value) {
                    Ok(cells) => columns.iter_mut().zip(cells).for_each(|(column, cell)| column.push(cell)),
                    Err(wrong) => emit.error(row, wrong.kind, wrong.message),
                },
                Err(error) => emit.error(row, NOT_JSON, format!("not JSON: {error}")),
            }
        }
        emit.map(columns.into_iter().map(Column::finish).collect::<Result<_, _>>()?)?;
        Ok(())
    }
}

impl Extract {
    /// The row of all columns.
    fn read<'a>(&self, value: &'a Value) -> Result<Vec<Cell<'a>>, Wrong> {
        self.columns.iter().map(|column| self.read_column(column, value)).collect()
    }

    fn read_column<'a>(&self, column: &Typed, value: &'a Value) -> Result<Cell<'a>, Wrong> {
        let Typed { path, of } = column;
        let found = path.find(value);
        if of.is_list && !path.is_singular() {
            return self.read_items(column, found.into_iter());
        }
        match (found.as_slice(), self.missing) {
            ([Value::Array(items)], _) if of.is_list => self.read_items(column, items.iter()),
            ([Value::Null], _) | ([], Fallback::Null) => Ok(Cell::Null),
            ([value], _) if !of.is_list => {
                of.read(value).map_or_else(|| self.mismatch(path.to_string(), *of, describe(value)), Ok)
            }
            ([value], _) => self.mismatch(path.to_string(), *of, describe(value)),
            ([], Fallback::Error) => Err(Wrong { kind: MISSING, message: format!("there is nothing at `{path}`") }),
            (several, _) => self.mismatch(path.to_string(), *of, format!("{} values", several.len())),
        }
    }

    fn read_items<'a>(&self, column: &Typed, items: impl Iterator<Item = &'a Value>) -> Result<Cell<'a>, Wrong> {
        let item = |(index, item): (usize, &'a Value)| match column.of.read(item) {
            Some(cell) => Ok(cell),
            None => self.mismatch(format!("{}`, item `{index}", column.path), column.of.item(), describe(item)),
        };
        items.enumerate().map(item).collect::<Result<_, _>>().map(Cell::List)
    }

    fn mismatch(&self, place: String, wanted: Type, found: String) -> Result<Cell<'static>, Wrong> {
        match self.mismatch {
            Fallback::Null => Ok(Cell::Null),
            Fallback::Error => {
                Err(Wrong { kind: MISMATCH, message: format!("`{place}`: wanted {wanted}, found {found}") })
            }
        }
    }
}
