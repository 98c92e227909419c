//! Which of its task's splits each row comes from: a column that is carried from the source to the sinks.
//!
//! Only a sink whose rows go their way one by one asks for it, so it is there on all of the way, and costs nothing elsewhere. By
//! it rows are counted, and found again in files, when one of a task's splits has changed and the others haven't.

use datafusion::arrow::{
    array::{Array, AsArray, RecordBatch},
    datatypes::{DataType, Schema, UInt32Type},
};

/// The column's name behind that of its source, and at a sink.
pub const SPLIT_COLUMN: &str = "#split";

/// The column's type: the place of the split among the task's.
pub const SPLIT_TYPE: DataType = DataType::UInt32;

/// Whether a column of the plan is such a one.
pub fn is_split(name: &str) -> bool {
    name.strip_suffix(SPLIT_COLUMN).is_some_and(|stage| stage.is_empty() || stage.ends_with('.'))
}

/// The index of the column.
pub fn split_column(schema: &Schema) -> Option<usize> {
    schema.fields().iter().position(|field| is_split(field.name()))
}

/// Which split each row of a batch comes from, where that is followed.
pub fn splits_of(batch: &RecordBatch) -> Option<&[u32]> {
    let column = batch.column(split_column(batch.schema_ref())?);
    let splits = column.as_primitive_opt::<UInt32Type>()?;
    (splits.null_count() == 0).then(|| splits.values().as_ref())
}
