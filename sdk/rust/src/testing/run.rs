//! One operator on one batch.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{ArrayRef, BinaryArray, RecordBatch, RecordBatchOptions, UInt64Array};
use arrow_schema::{DataType, Field, FieldRef, Schema, SchemaRef};
use dflow_boundary::type_name;

use super::{blobs::holding, collect::Collector};
use crate::boundary;
use crate::{Description, Emitter, Failure, Operator, OperatorEntry, Profile, RowError, SEED};

/// What an operator made of a batch.
#[derive(Clone, Debug)]
pub struct Ran {
    /// The output columns, slice columns as the text or bytes that they stand for. What was emitted for rows that then erred is
    /// left out.
    pub output: RecordBatch,
    /// The position in the input of each output row's parent.
    pub parents: Vec<u32>,
    /// Rows without a result, ascending.
    pub errors: Vec<RowError>,
}

/// Opens operator `O` with `settings` (the text of a JSON object) and gives it a batch.
///
/// # Errors
///
/// What `open` or `process` failed with, and every breach of the contract: columns that don't fit the ports or what `open` said,
/// rows out of order, a map that leaves a row out, ranges that cut a character.
pub fn run<O: Operator>(settings: &str, input: &RecordBatch) -> Result<Ran, Failure> {
    run_entry(&OperatorEntry::of::<O>(), settings, input)
}

/// As [`run`], for an operator whose type was erased.
///
/// # Errors
///
/// As [`run`].
pub fn run_entry(entry: &OperatorEntry, settings: &str, input: &RecordBatch) -> Result<Ran, Failure> {
    let description = entry.describe();
    check_ports(&description, input.schema_ref())?;
    let (input, files) = with_files(&description, input)?;
    holding(files, || run_on(entry, settings, &input))
}

fn run_on(entry: &OperatorEntry, settings: &str, input: &RecordBatch) -> Result<Ran, Failure> {
    let input = through_boundary(input)?;
    let (mut running, opened) = entry.open(settings, input.schema_ref())?;
    let mut collector = Collector::new(&input, &opened);
    let mut emitter = Emitter::new(&mut collector, &opened, input.num_rows() as u32);
    running.process(&input, &mut emitter)?;
    emitter.finish()?;
    collector.finish()
}

/// A batch with the sizes of files in their place, and the files.
fn with_files(
    description: &Description,
    input: &RecordBatch,
) -> Result<(RecordBatch, Vec<(u32, BinaryArray)>), Failure> {
    let (mut fields, mut columns, mut files) = (Vec::<FieldRef>::new(), Vec::new(), Vec::new());
    for (index, (field, column)) in input.schema_ref().fields().iter().zip(input.columns()).enumerate() {
        let port = description.ports.iter().find(|port| port.name == field.name());
        match column.as_binary_opt::<i32>() {
            Some(bytes) if port.is_some_and(|port| port.types.contains(&"file")) => {
                fields.push(Field::clone(field).with_data_type(DataType::UInt64).into());
                let sizes: UInt64Array = bytes.iter().map(|bytes| bytes.map(|bytes| bytes.len() as u64)).collect();
                columns.push(Arc::new(sizes) as ArrayRef);
                files.push((index as u32, bytes.clone()));
            }
            _ => {
                fields.push(field.clone());
                columns.push(column.clone());
            }
        }
    }
    let options = RecordBatchOptions::new().with_row_count(Some(input.num_rows()));
    let schema = Arc::new(Schema::new(fields));
    Ok((RecordBatch::try_new_with_options(schema, columns, &options)?, files))
}

/// A batch as it arrives in a component.
fn through_boundary(batch: &RecordBatch) -> Result<RecordBatch, Failure> {
    let schema = SchemaRef::new(boundary::schema_of(&boundary::fields_of(batch.schema_ref())?)?);
    let lent = boundary::lend(batch.columns())?;
    boundary::receive(schema, batch.num_rows(), &lent.nodes, lent.buffers)
}

/// What the host checks before it opens an operator: the ports' columns come first, in order, then others if they are welcome.
fn check_ports(description: &Description, input: &Schema) -> Result<(), Failure> {
    let mut fields = input.fields().iter().peekable();
    for port in &description.ports {
        match fields.next_if(|field| field.name() == port.name) {
            Some(field) if port.types.iter().any(|name| *name == "any" || *name == type_name(field.data_type())) => {}
            Some(field) if port.types.contains(&"file") && *field.data_type() == DataType::Binary => {}
            Some(field) => {
                return Err(Failure::schema(format!(
                    "port `{}` takes {}, got {}",
                    port.name,
                    port.types.join(" or "),
                    field.data_type()
                )));
            }
            None if port.optional => {}
            None => return Err(Failure::schema(format!("there is no column for port `{}`", port.name))),
        }
    }
    let seeded = description.profile == Profile::Seeded;
    let last = input.fields().last().filter(|field| field.name() == SEED && *field.data_type() == DataType::UInt64);
    if seeded && last.is_none() {
        return Err(Failure::schema(format!("the last column must be `{SEED}`, the rows' seeds, as uint64")));
    }
    match fields.next() {
        Some(field) if !(description.any_columns || (seeded && field.name() == SEED)) => Err(Failure::schema(format!(
            "column `{}` is no port of `{}`, or out of order",
            field.name(),
            description.name
        ))),
        _ => Ok(()),
    }
}
