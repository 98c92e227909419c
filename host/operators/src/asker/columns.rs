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
use serde_json::{Value, json};

use super::{Answer, Wanted};
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

    /// The columns without the one of usage.
    fn own(&self) -> Schema {
        let own = self.output.fields().len() - usize::from(self.usage);
        Schema::new(self.output.fields()[..own].to_vec())
    }

    /// Takes in a row's answer.
    pub(crate) fn push(&mut self, wanted: &Wanted, answer: Answer) -> Result<(), Lost> {
        let Answer { value, vector, given, from } = answer;
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
                let decoded = decoded(&Arc::new(self.own()), shape.members(), &value);
                let object = decoded.map_err(|e| {
                    lost(
                        Fault::Data,
                        "schema-violation",
                        format!("the answer doesn't fit its columns: {e}"),
                        given.attempts,
                    )
                })?;
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
                    From::Row => "row",
                    From::Shared => "shared",
                },
            }));
        }
        Ok(())
    }

    /// The columns.
    pub(crate) fn finish(mut self) -> Result<RecordBatch, StepError> {
        let failed = |e: ArrowError| StepError::new(Fault::Internal, format!("answers don't become columns: {e}"));
        let own = Arc::new(self.own());
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

/// An object as a row: its members in the order of the columns. What is to be text, and isn't, becomes JSON.
fn decoded<'a>(
    schema: &SchemaRef,
    members: impl Iterator<Item = &'a String>,
    value: &Value,
) -> Result<RecordBatch, ArrowError> {
    let plain = schema.fields().iter().map(|field| {
        let data_type =
            if *field.data_type() == DataType::Utf8View { DataType::Utf8 } else { field.data_type().clone() };
        Field::new(field.name(), data_type, true)
    });
    let plain = Arc::new(Schema::new(plain.collect::<Vec<_>>()));
    let member = |(field, name): (&Arc<Field>, &String)| {
        let member = value.get(name).cloned().unwrap_or_default();
        let member = match (field.data_type(), member) {
            (DataType::Utf8, Value::String(text)) => Value::String(text),
            (DataType::Utf8, Value::Null) => Value::Null,
            (DataType::Utf8, other) => Value::String(other.to_string()),
            (_, other) => other,
        };
        (field.name().clone(), member)
    };
    let object: Value = Value::Object(plain.fields().iter().zip(members).map(member).collect());
    let mut decoder = decoder(&plain)?;
    decoder.serialize(&[object])?;
    let batch = decoder.flush()?.ok_or_else(|| ArrowError::JsonError("nothing came of it".to_owned()))?;
    let columns = batch.columns().iter().zip(schema.fields()).map(|(column, field)| cast(column, field.data_type()));
    RecordBatch::try_new(schema.clone(), columns.collect::<Result<_, _>>()?)
}
