//! The trait that an author implements.

use arrow_array::cast::AsArray;
use arrow_array::{BinaryArray, RecordBatch, StringArray, UInt64Array};
use arrow_schema::{Field, Fields, Schema};

use crate::{Description, Emitter, Failure, Shape};

/// A function of one row, called with a batch of rows.
///
/// The host gives rows in batches of any size, in any order, to any of several instances, and may give the same row again
/// after a fault: nothing may be carried from one row to the next. What is costly to make belongs into `open`, which is
/// called once for each instance. Buffers that are kept to be reused are fine.
pub trait Operator: Sized + 'static {
    /// Typed settings; their JSON Schema is generated from the type's docs. `#[serde(default, deny_unknown_fields)]` is the
    /// custom.
    type Settings: serde::de::DeserializeOwned + schemars::JsonSchema;

    /// What it is, before anything is known about settings and input. Must give the same answer each time.
    fn describe() -> Description;

    /// Checks settings and input schema, and says what comes out.
    ///
    /// The host has already checked that the columns of `input` fit the ports; they come in the order of the ports, then any
    /// others. With equal arguments it must give equal answers.
    ///
    /// # Errors
    ///
    /// [`Failure::Settings`] and [`Failure::Schema`] for what doesn't fit.
    fn open(settings: Self::Settings, input: &Schema) -> Result<(Self, Opened), Failure>;

    /// Works on some rows. Results and row errors go through `emit`.
    ///
    /// # Errors
    ///
    /// An error counts as a trap: the host abandons the instance. A bad row is never one, see [`Emitter::error`].
    fn process(&mut self, input: &RecordBatch, emit: &mut Emitter<'_>) -> Result<(), Failure>;
}

/// What `open` found out: the new columns, and the row shape for these settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The new columns in order, slice columns among them. Columns of the input are never repeated here.
    pub output: Vec<Field>,
    /// The shape for these settings: as wide as the description's, or narrower.
    pub shape: Shape,
    /// Which output columns are emitted as ranges of which input column.
    pub slices: Vec<SliceColumn>,
}

/// An output column whose values are ranges of an input column's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SliceColumn {
    /// Index of the output column.
    pub column: u32,
    /// Index of the input column.
    pub port: u32,
}

impl Opened {
    /// No columns yet.
    pub fn new(shape: Shape) -> Self {
        Self { output: Vec::new(), shape, slices: Vec::new() }
    }

    /// Adds an output column.
    pub fn column(mut self, field: Field) -> Self {
        self.output.push(field);
        self
    }

    /// Adds an output column that is emitted as ranges of bytes of input column `port` (see [`Rows::slice`](crate::Rows::slice)).
    /// The field's type must be the input column's, utf8 or binary.
    pub fn slice(mut self, field: Field, port: usize) -> Self {
        self.slices.push(SliceColumn { column: self.output.len() as u32, port: port as u32 });
        self.output.push(field);
        self
    }

    /// The output columns as a schema.
    pub fn schema(&self) -> Schema {
        Schema::new(Fields::from(self.output.clone()))
    }

    /// Whether output column `index` is emitted as ranges.
    pub fn is_slice(&self, index: usize) -> bool {
        self.slices.iter().any(|slice| slice.column as usize == index)
    }
}

/// Column `index` of a batch as text.
///
/// # Errors
///
/// When the batch has no such column or it isn't plain utf8. The host has checked both for a port that accepts only utf8.
pub fn text(batch: &RecordBatch, index: usize) -> Result<&StringArray, Failure> {
    batch
        .columns()
        .get(index)
        .and_then(|column| column.as_string_opt())
        .ok_or_else(|| Failure::Schema(format!("input column {index} is not utf8")))
}

/// The column that holds the rows' seeds: the last one that a [seeded](crate::Profile::Seeded) operator gets.
pub const SEED: &str = "__seed__";

/// The seed of each row of a batch, for a [seeded](crate::Profile::Seeded) operator: the same for the same row in every run, and in
/// every batch. What is chosen by chance is to depend on nothing else.
///
/// # Errors
///
/// When the operator's description doesn't say that it is seeded.
pub fn seeds(batch: &RecordBatch) -> Result<&UInt64Array, Failure> {
    let column = batch.column_by_name(SEED).and_then(|column| column.as_primitive_opt());
    column.ok_or_else(|| Failure::Schema("no seeds came in; does the description say `Profile::Seeded`?".to_owned()))
}

/// Column `index` of a batch as bytes.
///
/// # Errors
///
/// When the batch has no such column or it isn't plain binary. The host has checked both for a port that accepts only binary.
pub fn bytes(batch: &RecordBatch, index: usize) -> Result<&BinaryArray, Failure> {
    batch
        .columns()
        .get(index)
        .and_then(|column| column.as_binary_opt())
        .ok_or_else(|| Failure::Schema(format!("input column {index} is not binary")))
}
