//! What an operator is tried with: settings that open it, and rows that its ports admit.

use std::{path::Path, sync::Arc};

use arrow::{
    array::RecordBatch,
    datatypes::{DataType, Field, Schema, SchemaRef},
};
use dflow_plugin::testing::{
    cases::{Case, files},
    rows::{batch, schema},
};
use dflow_wasm::{OperatorDescription, Profile, SEED};
use serde_json::{Map, Value};

use super::values::{huge, types_named, values};

type Object = Map<String, Value>;

/// A large row has so many bytes.
const HUGE: usize = 2 << 20;
/// Texts of cases that are cut and put together, for each column.
const MUTATED: usize = 12;

/// Settings and rows.
pub(super) struct Basis {
    /// Where they are from, for people.
    pub(super) from: String,
    pub(super) settings: Object,
    pub(super) schema: SchemaRef,
    pub(super) rows: Vec<Object>,
}

impl Basis {
    /// Its rows as a batch.
    pub(super) fn batch(&self) -> Result<RecordBatch, String> {
        batch(self.schema.clone(), &self.rows)
    }

    /// A row of nulls between two others; the seed of a seeded operator stays.
    pub(super) fn nulls(&self) -> Result<RecordBatch, String> {
        let seeds =
            |row: &Object| row.iter().filter(|(name, _)| *name == SEED).map(|(n, v)| (n.clone(), v.clone())).collect();
        let rows: Vec<Object> = self.rows.iter().take(3).map(seeds).collect();
        batch(self.schema.clone(), &rows)
    }

    /// A large row, if a column can be large.
    pub(super) fn huge(&self) -> Result<Option<RecordBatch>, String> {
        let mut large = self
            .rows
            .iter()
            .max_by_key(|row| Value::Object((*row).clone()).to_string().len())
            .cloned()
            .unwrap_or_default();
        let mut is_large = false;
        for field in self.schema.fields() {
            let like = large.get(field.name()).cloned().unwrap_or_default();
            if let Some(value) = huge(field.data_type(), &like, HUGE) {
                large.insert(field.name().clone(), value);
                is_large = true;
            }
        }
        if is_large { batch(self.schema.clone(), &[large]).map(Some) } else { Ok(None) }
    }

    /// With more rows: values of all kinds, and texts of its own cut and put together.
    fn widened(mut self) -> Self {
        let own = self.rows.clone();
        let columns: Vec<_> =
            self.schema.fields().iter().map(|field| (field.name().clone(), values(field.data_type()))).collect();
        let longest = columns.iter().map(|(_, values)| values.len()).max().unwrap_or_default();
        for i in 0..longest {
            // Each column at its own pace, so that not always the same values meet.
            let value = |(j, (name, values)): (usize, &(String, Vec<Value>))| {
                values.get((i * (2 * j + 1) + j) % values.len().max(1)).map(|value| (name.clone(), value.clone()))
            };
            self.rows.push(columns.iter().enumerate().filter_map(value).collect());
        }
        for (place, row) in own.iter().filter(|row| row.values().any(Value::is_string)).take(MUTATED).enumerate() {
            let next = &own[(place + 1) % own.len()];
            for mutate in [cut_off as fn(&str, &str) -> String, put_together, without_middle] {
                let changed = row.iter().map(|(name, value)| match (value, next.get(name)) {
                    (Value::String(text), Some(Value::String(other))) if self.is_text(name) => {
                        (name.clone(), Value::from(mutate(text, other)))
                    }
                    _ => (name.clone(), value.clone()),
                });
                self.rows.push(changed.collect());
            }
        }
        for (place, row) in self.rows.iter_mut().enumerate() {
            if self.schema.field_with_name(SEED).is_ok() {
                row.insert(SEED.to_owned(), Value::from((place as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)));
            }
        }
        self
    }

    fn is_text(&self, column: &str) -> bool {
        self.schema
            .field_with_name(column)
            .is_ok_and(|field| matches!(field.data_type(), DataType::Utf8 | DataType::LargeUtf8))
    }
}

fn middle(text: &str) -> usize {
    (0..=text.len() / 2).rev().find(|place| text.is_char_boundary(*place)).unwrap_or_default()
}

fn cut_off(text: &str, _: &str) -> String {
    text[..middle(text)].to_owned()
}

fn put_together(text: &str, other: &str) -> String {
    format!("{text}{other}\u{301}{text}")
}

fn without_middle(text: &str, other: &str) -> String {
    format!("{}{}", &text[..middle(text)], &other[middle(other)..])
}

/// What to try an operator with: each of its cases' settings, and each type of each of its ports.
pub(super) fn bases(operator: &OperatorDescription, cases: Option<&Path>) -> Result<Vec<Basis>, String> {
    let mut found: Vec<Basis> = Vec::new();
    for file in cases.map(files).unwrap_or_default() {
        let case = Case::read(&file).map_err(|e| format!("{}: {e}", file.display()))?;
        if case.operator != operator.name || case.fails.is_some() {
            continue;
        }
        let schema = schema(&case.schema).map_err(|e| format!("{}: {e}", file.display()))?;
        match found.iter_mut().find(|basis| basis.settings == case.with && basis.schema == schema) {
            Some(basis) => basis.rows.extend(case.rows),
            None => {
                let from = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
                found.push(Basis { from, settings: case.with, schema, rows: case.rows });
            }
        }
    }
    let settings = found.first().map(|basis| basis.settings.clone()).unwrap_or_default();
    let mut all: Vec<Basis> = found.into_iter().map(Basis::widened).collect();
    // Which columns an operator without ports takes is said by its settings, and so by its cases, where there are some.
    if operator.ports.is_empty() && !all.is_empty() {
        return Ok(all);
    }
    for schema in schemas(operator) {
        if !all.iter().any(|basis| basis.schema == schema && basis.settings == settings) {
            let types: Vec<_> = schema.fields().iter().map(|f| format!("{} of {}", f.name(), f.data_type())).collect();
            all.push(Basis { from: types.join(", "), settings: settings.clone(), schema, rows: Vec::new() }.widened());
        }
    }
    Ok(all)
}

/// Schemas that the ports admit: each type of each port once, and once without the ports that are optional.
fn schemas(operator: &OperatorDescription) -> Vec<SchemaRef> {
    let ports: Vec<(&str, Vec<DataType>, bool)> = operator
        .ports
        .iter()
        .map(|port| (port.name.as_str(), port.types.iter().flat_map(|t| types_named(&t.0)).collect(), port.optional))
        .collect();
    if ports.iter().any(|(_, types, _)| types.is_empty()) {
        return Vec::new();
    }
    let made = |fields: Vec<Field>| {
        let seed = (operator.profile == Profile::Seeded).then(|| Field::new(SEED, DataType::UInt64, false));
        Arc::new(Schema::new(fields.into_iter().chain(seed).collect::<Vec<_>>()))
    };
    let mut all = Vec::new();
    for (place, (_, types, _)) in ports.iter().enumerate() {
        for data_type in types {
            let field = |(i, (name, types, _)): (usize, &(&str, Vec<DataType>, bool))| {
                Field::new(*name, if i == place { data_type.clone() } else { types[0].clone() }, true)
            };
            all.push(made(ports.iter().enumerate().map(field).collect()));
        }
    }
    if ports.iter().any(|(_, _, optional)| *optional) {
        let needed = ports.iter().filter(|(_, _, optional)| !optional);
        all.push(made(needed.map(|(name, types, _)| Field::new(*name, types[0].clone(), true)).collect()));
    }
    if operator.any_columns && ports.is_empty() {
        all.extend(types_named("any").into_iter().map(|data_type| made(vec![Field::new("column", data_type, true)])));
    }
    all
}
