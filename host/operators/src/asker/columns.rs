//! The columns that answers become.

use std::sync::Arc;

use datafusion::arrow::{
    array::{ArrayRef, FixedSizeListArray, Float32Array, RecordBatch, StringViewBuilder, new_null_array},
    compute::{cast, concat_batches},
    datatypes::{DataType, Field, Fields, Schema, SchemaRef},
    error::ArrowError,
    json::{ReaderBuilder, reader::Decoder},
};
use dflow_models::records::From;
use dflow_pipeline::Fault;
use serde_json::{Map, Value, json};

use super::{
    Answer, Ask, Wanted,
    answer::{AnswerShape, Misfit},
};
use crate::{alone::Lost, desk::lost, error::StepError};

/// What an answer took.
pub fn usage_type() -> DataType {
    let field = |name: &str, data_type| Field::new(name, data_type, true);
    DataType::Struct(Fields::from(vec![
        field("input_tokens", DataType::Int64),
        field("cached_tokens", DataType::Int64),
        field("output_tokens", DataType::Int64),
        field("usd", DataType::Float64),
        field("seconds", DataType::Float64),
        field("attempts", DataType::Int64),
        field("finish", DataType::Utf8),
        field("model", DataType::Utf8),
        field("from", DataType::Utf8),
    ]))
}

/// Gathers the answers to some rows.
pub(crate) struct Answers {
    output: SchemaRef,
    usage: bool,
    texts: StringViewBuilder,
    vectors: Vec<f32>,
    objects: Vec<RecordBatch>,
    usages: Vec<Value>,
}

impl Answers {
    /// Into these columns.
    pub(crate) fn new(output: &SchemaRef, usage: bool) -> Self {
        Self {
            output: output.clone(),
            usage,
            texts: StringViewBuilder::new(),
            vectors: Vec::new(),
            objects: Vec::new(),
            usages: Vec::new(),
        }
    }

    /// Takes in a row's answer.
    pub(crate) fn push(&mut self, wanted: &Wanted, answer: Answer) -> Result<(), Lost> {
        let Answer { value, object, vector, given, from } = answer;
        match wanted {
            Wanted::Text | Wanted::Label(_) | Wanted::Closest(_) => {
                self.texts.append_value(value.as_str().unwrap_or_default())
            }
            Wanted::Vector { length, .. } if vector.len() != *length as usize => {
                let what = format!(
                    "model `{}` gives vectors of {} numbers, and {length} were expected (`dimensions`)",
                    given.model,
                    vector.len()
                );
                return Err(lost(Fault::Outside, "wrong-length", what, given.attempts));
            }
            Wanted::Vector { .. } => self.vectors.extend(vector),
            Wanted::Object(shape) => {
                let object = match object {
                    Some(object) => object,
                    None => decoded(&own(&self.output, self.usage), shape.members(), &value)
                        .map_err(|why| Misfit::of_columns(why, given.attempts).lost())?,
                };
                self.objects.push(object);
            }
        }
        if self.usage {
            self.usages.push(json!({
                "input_tokens": given.usage.input,
                "cached_tokens": given.usage.cached_input,
                "output_tokens": given.usage.output,
                "usd": given.cost.map(|cost| cost.0 as f64 / 1e9),
                "seconds": given.latency.as_millis() as f64 / 1e3,
                "attempts": given.attempts,
                "finish": given.finish.to_string(),
                "model": given.model,
                "from": match from {
                    From::Asked => "asked",
                    From::Row | From::Own => "row",
                    From::Shared => "shared",
                },
            }));
        }
        Ok(())
    }

    /// The columns.
    pub(crate) fn finish(mut self) -> Result<RecordBatch, StepError> {
        let failed = |e: ArrowError| StepError::new(Fault::Internal, format!("answers don't become columns: {e}"));
        let own = own(&self.output, self.usage);
        let mut columns: Vec<ArrayRef> = if !self.objects.is_empty() {
            concat_batches(&own, &self.objects).map_err(failed)?.columns().to_vec()
        } else if let Some(DataType::FixedSizeList(item, length)) = own.fields().first().map(|field| field.data_type())
        {
            let numbers = Arc::new(Float32Array::from(std::mem::take(&mut self.vectors)));
            vec![Arc::new(FixedSizeListArray::try_new(item.clone(), *length, numbers, None).map_err(failed)?)]
        } else {
            vec![Arc::new(self.texts.finish())]
        };
        if self.usage {
            let field = Field::new("usage", usage_type(), true);
            let mut decoder = decoder(&Arc::new(Schema::new(vec![field]))).map_err(failed)?;
            let rows: Vec<Value> = self.usages.into_iter().map(|usage| json!({ "usage": usage })).collect();
            decoder.serialize(&rows).map_err(failed)?;
            let decoded = decoder.flush().map_err(failed)?;
            columns.push(
                decoded.map_or_else(|| new_null_array(&usage_type(), rows.len()), |batch| batch.column(0).clone()),
            );
        }
        RecordBatch::try_new(self.output, columns).map_err(failed)
    }
}

fn decoder(schema: &SchemaRef) -> Result<Decoder, ArrowError> {
    ReaderBuilder::new(schema.clone()).with_coerce_primitive(false).build_decoder()
}

/// The columns without the one of usage.
fn own(output: &SchemaRef, usage: bool) -> SchemaRef {
    let own = output.fields().len() - usize::from(usage);
    Arc::new(Schema::new(output.fields()[..own].to_vec()))
}

/// An object as a row of the columns that are asked for, or why it is none.
pub(crate) fn object(ask: &Ask, shape: &AnswerShape, value: &Value) -> Result<RecordBatch, String> {
    decoded(&own(&ask.output, ask.usage), shape.members(), value)
}

/// An object as a row: its members in the order of the columns.
fn decoded<'a>(
    schema: &SchemaRef,
    members: impl Iterator<Item = &'a String>,
    value: &Value,
) -> Result<RecordBatch, String> {
    let (mut plain, mut object) = (Vec::new(), Map::new());
    for (field, name) in schema.fields().iter().zip(members) {
        let data_type = match field.data_type() {
            DataType::Utf8View => DataType::Utf8,
            other => other.clone(),
        };
        object.insert(name.clone(), fitted(&data_type, value.get(name).unwrap_or(&Value::Null), name)?);
        plain.push(Field::new(name, data_type, true));
    }
    let row = || -> Result<RecordBatch, ArrowError> {
        let mut decoder = decoder(&Arc::new(Schema::new(plain)))?;
        decoder.serialize(&[Value::Object(object)])?;
        let batch = decoder.flush()?.ok_or_else(|| ArrowError::JsonError("nothing came of it".to_owned()))?;
        let columns =
            batch.columns().iter().zip(schema.fields()).map(|(column, field)| cast(column, field.data_type()));
        RecordBatch::try_new(schema.clone(), columns.collect::<Result<_, _>>()?)
    };
    row().map_err(|error| match error {
        ArrowError::JsonError(why) => why,
        other => other.to_string(),
    })
}

/// A value as its type wants it: what is to be text, and isn't, becomes JSON; `2.0` is whole. What would become null without a word is refused.
fn fitted(data_type: &DataType, value: &Value, path: &str) -> Result<Value, String> {
    Ok(match (data_type, value) {
        (_, Value::Null) | (DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View, Value::String(_)) => {
            value.clone()
        }
        (DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View, other) => Value::String(other.to_string()),
        (DataType::List(item) | DataType::LargeList(item), Value::Array(items)) => {
            let fit = |(i, value): (usize, &Value)| fitted(item.data_type(), value, &format!("{path}[{i}]"));
            items.iter().enumerate().map(fit).collect::<Result<_, _>>()?
        }
        (DataType::Struct(fields), Value::Object(members)) => {
            let fit = |field: &Arc<Field>| -> Result<(String, Value), String> {
                let value = members.get(field.name()).unwrap_or(&Value::Null);
                Ok((field.name().clone(), fitted(field.data_type(), value, &format!("{path}.{}", field.name()))?))
            };
            Value::Object(fields.iter().map(fit).collect::<Result<_, String>>()?)
        }
        (DataType::Float16 | DataType::Float32, Value::Number(number)) => {
            let most = if *data_type == DataType::Float16 { 65_504.0 } else { f64::from(f32::MAX) };
            if number.as_f64().is_some_and(|number| number.abs() > most) {
                return Err(format!("`{path}`: {number} is too large for {}", data_type.to_string().to_lowercase()));
            }
            value.clone()
        }
        (whole, Value::Number(number)) if whole.is_integer() => match number.as_f64() {
            // Beyond this not every whole number is one of these.
            Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() < EXACT => (float as i64).into(),
            _ => value.clone(),
        },
        _ => value.clone(),
    })
}

/// The first whole number after which floats leave some out.
pub const EXACT: f64 = 9_007_199_254_740_992.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_become_rows_or_are_told_why_not() {
        let row = |data_type: DataType, value: Value| {
            let schema = Arc::new(Schema::new(vec![Field::new("stage.a", data_type, true)]));
            let name = "a".to_owned();
            decoded(&schema, std::iter::once(&name), &json!({ "a": value })).map(|batch| batch.num_rows())
        };
        let list = |item| DataType::List(Field::new_list_field(item, true).into());
        for (data_type, value) in [
            (DataType::Utf8View, json!({ "k": 1 })),
            (list(DataType::Utf8), json!(["x", { "k": 1 }, null])),
            (DataType::Int64, json!(2.0)),
            (DataType::Date32, json!("2024-01-02")),
            (DataType::Float32, json!(1e30)),
            (DataType::Int8, Value::Null),
        ] {
            assert_eq!(row(data_type.clone(), value.clone()), Ok(1), "{data_type} of {value}");
        }
        for (data_type, value) in [
            (DataType::Date32, json!("tomorrow")),
            (DataType::Int8, json!(300)),
            (DataType::UInt32, json!(-3)),
            (DataType::Float32, json!(1e300)),
            (DataType::Float16, json!(1e5)),
            (list(DataType::Float32), json!([1, -1e300])),
        ] {
            let why = row(data_type.clone(), value.clone()).expect_err("it doesn't fit");
            assert!(why.contains("'a'") || why.contains("`a"), "{data_type} of {value}: {why}");
        }
    }
}
