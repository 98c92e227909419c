//! Columns and values that a format can't hold.

use arrow::{
    array::new_empty_array,
    datatypes::{DataType, Field, IntervalUnit, Schema},
    json::writer::{EncoderOptions, make_encoder},
    record_batch::RecordBatch,
};
use dflow_pipeline::{Fault, Format};

use crate::{IoError, off_calendar};

/// Refuses a schema with a column that the format can't hold, before anything is written.
pub(super) fn refuse_unfit(format: Format, schema: &Schema) -> Result<(), IoError> {
    let unfit: fn(&Field) -> bool = match format {
        Format::Csv => |field| field.data_type().is_nested(),
        Format::Parquet => |field| unknown_to_parquet(field.data_type()),
        Format::Jsonl | Format::Json => unknown_to_json,
        Format::Arrow | Format::Text | Format::Html | Format::Blob => return Ok(()),
    };
    let Some(field) = schema.fields().iter().find(|field| unfit(field)) else { return Ok(()) };
    let (name, data_type) = (field.name(), field.data_type());
    Err(match format {
        Format::Csv => IoError::new(Fault::Pipeline, format!("csv can't hold the {} column `{name}`", kind(data_type)))
            .hint("leave it out with `columns`, or write jsonl, arrow or parquet"),
        _ => {
            let message = format!("{} can't hold the column `{name}`, of type {data_type}", format.as_str());
            IoError::new(Fault::Pipeline, message).hint("cast it to text, or leave it out with `columns`")
        }
    })
}

/// Refuses a value that no text shows. Arrow's JSON writer would write its error's words in the place of the value.
pub(super) fn refuse_unshown(format: Format, batch: &RecordBatch) -> Result<(), IoError> {
    if !matches!(format, Format::Csv | Format::Json | Format::Jsonl) {
        return Ok(());
    }
    for (field, column) in batch.schema_ref().fields().iter().zip(batch.columns()) {
        if let Some(value) = off_calendar(column) {
            let (name, data_type) = (field.name(), field.data_type());
            let format = format.as_str();
            let message = format!("{format} can't hold {value} in the column `{name}`: no {data_type} shows it");
            return Err(
                IoError::new(Fault::Data, message).hint("leave such rows out with a filter, or write parquet or arrow")
            );
        }
    }
    Ok(())
}

fn kind(nested: &DataType) -> &'static str {
    match nested {
        DataType::Struct(_) => "struct",
        DataType::Map(..) => "map",
        DataType::Union(..) => "union",
        DataType::Dictionary(..) | DataType::RunEndEncoded(..) => "nested",
        _ => "list",
    }
}

/// Arrow's JSON writer has no word for a few types. It alone knows which.
fn unknown_to_json(field: &Field) -> bool {
    let options = EncoderOptions::default();
    let field = field.clone().into();
    make_encoder(&field, &new_empty_array(field.data_type()), &options).is_err()
}

/// Parquet has no word for a few types; its writer meets some of them with a panic.
fn unknown_to_parquet(data_type: &DataType) -> bool {
    match data_type {
        DataType::Union(..) | DataType::Interval(IntervalUnit::MonthDayNano) | DataType::FixedSizeBinary(0) => true,
        DataType::List(field)
        | DataType::LargeList(field)
        | DataType::ListView(field)
        | DataType::LargeListView(field)
        | DataType::FixedSizeList(field, _)
        | DataType::Map(field, _)
        | DataType::RunEndEncoded(_, field) => unknown_to_parquet(field.data_type()),
        DataType::Struct(fields) => {
            fields.is_empty() || fields.iter().any(|field| unknown_to_parquet(field.data_type()))
        }
        DataType::Dictionary(_, values) => unknown_to_parquet(values),
        _ => false,
    }
}
