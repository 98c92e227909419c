//! Rows that are given inline or by the caller.

use std::{borrow::Cow, sync::Arc};

use datafusion::arrow::{
    array::{ArrayRef, RecordBatch, RecordBatchOptions},
    compute::cast,
    datatypes::{DataType, Field, Schema, SchemaRef},
    json::reader::infer_json_schema_from_iterator,
};
use dflow_io::{IoError, Run, SourceBatch, SourceReader, Split};
use dflow_pipeline::{BatchLimits, Row};
use futures::{StreamExt, stream::BoxStream};
use serde_json::Value;

use crate::json_rows::decode_objects;

/// Gives rows that are in memory; one split, whose identity is the stage's name.
#[derive(Debug)]
pub struct InlineReader {
    rows: RecordBatch,
    schema: SchemaRef,
}

impl InlineReader {
    /// Rows as they are.
    pub fn new(rows: RecordBatch) -> Self {
        Self { schema: rows.schema(), rows }
    }

    /// Rows of JSON values, their types inferred from all of them, their columns in the order of their first appearance.
    pub fn of_values(rows: &[Row]) -> Result<Self, String> {
        let values: Vec<Value> =
            rows.iter().map(|row| Value::Object(row.iter().map(|(k, v)| (k.clone(), v.clone())).collect())).collect();
        let schema = infer(&values)?;
        Self::of_json(&values, &schema)
    }

    /// Rows of JSON objects in the columns of a schema.
    pub fn of_json(values: &[Value], schema: &SchemaRef) -> Result<Self, String> {
        let rows = decode_objects(values, schema).map_err(|e| e.to_string())?;
        Ok(Self::new(rows))
    }

    /// The one split of a stage's inline rows.
    pub fn split(&self, stage: &str) -> Split {
        Split {
            range: None,
            volume: "values".to_owned(),
            path: stage.to_owned(),
            size: self.rows.get_array_memory_size() as u64,
            modified: 0,
            etag: String::new(),
        }
    }
}

impl SourceReader for InlineReader {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn open(
        &self,
        splits: Arc<[Split]>,
        projection: Arc<[usize]>,
        limits: BatchLimits,
    ) -> BoxStream<'static, Result<SourceBatch, IoError>> {
        let rows = self.rows.num_rows();
        let step = (limits.rows as usize).max(1);
        let starts = if splits.is_empty() { 0..0 } else { 0..rows.div_ceil(step) };
        let projected = self.rows.project(&projection);
        let batches = starts.map(move |i| {
            let rows = projected.as_ref().map_err(|e| IoError::new(dflow_pipeline::Fault::Internal, e.to_string()))?;
            let rows = rows.slice(i * step, step.min(rows.num_rows() - i * step));
            let run = Run { split: 0, position: (i * step) as u64, rows: rows.num_rows() as u32 };
            Ok(SourceBatch { rows, runs: vec![run], failed: Vec::new() })
        });
        futures::stream::iter(batches).boxed()
    }
}

/// The schema of JSON objects: columns in the order of their first appearance, text as views.
pub(crate) fn infer(values: &[Value]) -> Result<SchemaRef, String> {
    let rows =
        values.iter().map(|value| Ok(if has_gaps(value) { Cow::Owned(filled(value)) } else { Cow::Borrowed(value) }));
    let inferred = infer_json_schema_from_iterator(rows).map_err(|e| e.to_string())?;
    let mut fields: Vec<Field> = Vec::new();
    for name in values.iter().filter_map(Value::as_object).flat_map(|object| object.keys()) {
        if !fields.iter().any(|f| f.name() == name)
            && let Ok(field) = inferred.field_with_name(name)
        {
            fields.push(field.clone().with_data_type(top(&ordered(field.data_type()))));
        }
    }
    Ok(Arc::new(Schema::new(fields)))
}

/// Whether a list holds nulls beside lists or objects, which inference takes for a mistake.
fn is_gappy(items: &[Value]) -> bool {
    items.iter().any(Value::is_null) && items.iter().any(|item| item.is_array() || item.is_object())
}

/// Whether there is such a list in a value.
fn has_gaps(value: &Value) -> bool {
    match value {
        Value::Array(items) => is_gappy(items) || items.iter().any(has_gaps),
        Value::Object(members) => members.values().any(has_gaps),
        _ => false,
    }
}

/// A value of the same type without such nulls.
fn filled(value: &Value) -> Value {
    match value {
        Value::Array(items) => {
            let gappy = is_gappy(items);
            items.iter().filter(|item| !(gappy && item.is_null())).map(filled).collect()
        }
        Value::Object(members) => members.iter().map(|(name, value)| (name.clone(), filled(value))).collect(),
        other => other.clone(),
    }
}

/// Text and bytes of columns are views.
pub(crate) fn top(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 => DataType::Utf8View,
        DataType::Binary | DataType::LargeBinary => DataType::BinaryView,
        other => other.clone(),
    }
}

/// Inference keeps no order of members; theirs is by name.
fn ordered(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Struct(fields) => {
            let mut fields: Vec<_> =
                fields.iter().map(|f| Arc::new(Field::clone(f).with_data_type(ordered(f.data_type())))).collect();
            fields.sort_by(|a, b| a.name().cmp(b.name()));
            DataType::Struct(fields.into())
        }
        DataType::List(item) => DataType::List(Arc::new(Field::clone(item).with_data_type(ordered(item.data_type())))),
        other => other.clone(),
    }
}

/// A batch in the columns of a schema, cast where only the encoding differs. Errors name the column.
pub(crate) fn fit(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, String> {
    let columns = schema.fields().iter().map(|field| {
        let column =
            batch.column_by_name(field.name()).ok_or_else(|| format!("it has no column `{}`", field.name()))?;
        if column.data_type() == field.data_type() {
            return Ok(column.clone());
        }
        cast(column, field.data_type()).map_err(|e| format!("column `{}`: {e}", field.name()))
    });
    let columns = columns.collect::<Result<Vec<ArrayRef>, String>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(schema.clone(), columns, &options).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{Array, AsArray};

    use super::*;

    #[test]
    fn values_keep_the_order_of_their_columns() {
        let rows: Vec<Row> = serde_json::from_str(r#"[{"z": 1, "a": "x"}, {"z": 2.5, "m": [true]}]"#).expect("json");
        let reader = InlineReader::of_values(&rows).expect("types can be inferred");
        let fields: Vec<_> = reader
            .schema()
            .fields()
            .iter()
            .map(|f| format!("{} {}", f.name(), crate::type_text(f.data_type())))
            .collect();
        assert_eq!(fields, ["z float64", "a utf8", "m list<bool>"]);
    }

    #[test]
    fn lists_may_hold_nulls_beside_lists_and_objects() {
        let rows = r#"[{"l": [null, [1], null], "o": [{"a": [[null], [true]]}, null], "s": [null, "x"]}]"#;
        let rows: Vec<Row> = serde_json::from_str(rows).expect("json");
        let reader = InlineReader::of_values(&rows).expect("types can be inferred");
        let types: Vec<_> = reader.schema().fields().iter().map(|f| crate::type_text(f.data_type())).collect();
        assert_eq!(types, ["list<list<int64>>", "list<struct<a: list<list<bool>>>>", "list<utf8>"]);
        let lists = reader.rows.column(0).as_list::<i32>().value(0);
        assert_eq!((lists.len(), lists.null_count()), (3, 2));
    }
}
