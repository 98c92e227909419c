//! Rows as JSON ↔ batches.

use std::sync::Arc;

use arrow_array::{RecordBatch, RecordBatchOptions};
use arrow_json::{ReaderBuilder, WriterBuilder, writer::JsonArray};
use arrow_schema::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use serde_json::{Map, Value};

/// A JSON object.
pub type Object = Map<String, Value>;

/// A schema from names and types as cases write them; every column is nullable.
///
/// # Errors
///
/// What isn't a type.
pub fn schema(types: &Object) -> Result<SchemaRef, String> {
    Ok(Arc::new(Schema::new(fields(types)?)))
}

fn fields(types: &Object) -> Result<Fields, String> {
    types.iter().map(|(name, written)| Ok(Field::new(name, data_type(written)?, true))).collect()
}

/// A type as cases write it.
///
/// # Errors
///
/// What isn't a type.
pub fn data_type(written: &Value) -> Result<DataType, String> {
    let unknown = || format!("`{written}` is not a type\nhint: `sdk/rust/README.md` lists the types of cases");
    let item = |written| data_type(written).map(|data_type| Arc::new(Field::new("item", data_type, true)));
    if let Value::Object(nested) = written {
        let mut entries = nested.iter();
        return match (entries.next().map(|(name, of)| (name.as_str(), of)), entries.next()) {
            (Some(("list", of)), None) => Ok(DataType::List(item(of)?)),
            (Some(("struct", Value::Object(members))), None) => Ok(DataType::Struct(fields(members)?)),
            (Some(("fixed_size_list", Value::Array(of))), None) => match of.as_slice() {
                [of, length] => Ok(DataType::FixedSizeList(
                    item(of)?,
                    length.as_i64().and_then(|l| l.try_into().ok()).ok_or_else(unknown)?,
                )),
                _ => Err(unknown()),
            },
            _ => Err(unknown()),
        };
    }
    Ok(match written.as_str().ok_or_else(unknown)? {
        "null" => DataType::Null,
        "bool" => DataType::Boolean,
        "int8" => DataType::Int8,
        "int16" => DataType::Int16,
        "int32" => DataType::Int32,
        "int64" => DataType::Int64,
        "uint8" => DataType::UInt8,
        "uint16" => DataType::UInt16,
        "uint32" => DataType::UInt32,
        "uint64" => DataType::UInt64,
        "float16" => DataType::Float16,
        "float32" => DataType::Float32,
        "float64" => DataType::Float64,
        "utf8" => DataType::Utf8,
        "binary" => DataType::Binary,
        "date32" => DataType::Date32,
        "date64" => DataType::Date64,
        "timestamp" => DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into())),
        _ => return Err(unknown()),
    })
}

/// A batch of these rows.
///
/// # Errors
///
/// A row that isn't of the schema, or a type that JSON has no form for.
pub fn batch(schema: SchemaRef, rows: &[Object]) -> Result<RecordBatch, String> {
    if rows.is_empty() || schema.fields().is_empty() {
        let columns = schema.fields().iter().map(|field| arrow_array::new_empty_array(field.data_type())).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        return RecordBatch::try_new_with_options(schema, columns, &options).map_err(|e| e.to_string());
    }
    let decode = || {
        let mut decoder =
            ReaderBuilder::new(schema).with_strict_mode(true).with_batch_size(rows.len()).build_decoder()?;
        decoder.serialize(rows)?;
        decoder.flush()
    };
    decode().map_err(|e| e.to_string())?.ok_or_else(|| "the rows make no batch".to_owned())
}

/// The rows of a batch.
///
/// # Errors
///
/// A type that JSON has no form for.
pub fn objects(batch: &RecordBatch) -> Result<Vec<Object>, String> {
    if batch.num_columns() == 0 || batch.num_rows() == 0 {
        return Ok(vec![Object::new(); batch.num_rows()]);
    }
    let mut writer = WriterBuilder::new().with_explicit_nulls(true).build::<_, JsonArray>(Vec::new());
    writer.write(batch).and_then(|()| writer.finish()).map_err(|e| e.to_string())?;
    serde_json::from_slice(&writer.into_inner()).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rows_survive() {
        let types = json!({
            "b": "bool", "i": "int8", "f": "float32", "s": "utf8", "bytes": "binary", "d": "date32", "t": "timestamp",
            "l": {"list": "int32"}, "v": {"fixed_size_list": ["float64", 2]}, "o": {"struct": {"x": "uint64", "y": {"list": "utf8"}}}
        });
        let rows = json!([
            {
                "b": true, "i": -1, "f": 0.5, "s": "grün", "bytes": "00ff", "d": "2024-02-29", "t": "2024-02-29T12:00:00Z",
                "l": [1, null], "v": [1.5, 2.5], "o": {"x": 1, "y": ["a"]}
            },
            {"b": null, "i": null, "f": null, "s": null, "bytes": null, "d": null, "t": null, "l": null, "v": null, "o": null}
        ]);
        let rows: Vec<Object> = serde_json::from_value(rows).unwrap();
        let batch = batch(schema(types.as_object().unwrap()).unwrap(), &rows).unwrap();
        assert_eq!(objects(&batch).unwrap(), rows);
    }

    #[test]
    fn unknown_types_are_named() {
        for written in [
            json!("string"),
            json!({"list": "utf9"}),
            json!({"map": "utf8"}),
            json!(4),
            json!({"fixed_size_list": "utf8"}),
        ] {
            assert!(data_type(&written).unwrap_err().contains("is not a type"), "{written}");
        }
    }
}
