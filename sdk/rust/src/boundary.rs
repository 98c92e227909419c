//! Schemas and batches across the boundary, as the author's side sees them: [`dflow_boundary`] with our failures.

use std::ops::Deref;

use arrow_array::{RecordBatch, RecordBatchOptions};
use arrow_buffer::Buffer;
use arrow_schema::{Schema, SchemaRef};
pub(crate) use dflow_boundary::{Lent, WireField, WireNode};
use dflow_boundary::{Parts, Trust};

use crate::Failure;

/// Takes a schema apart.
pub(crate) fn fields_of(schema: &Schema) -> Result<Vec<WireField>, Failure> {
    dflow_boundary::fields_of(schema).map_err(Failure::Unsupported)
}

/// Puts a schema together.
pub(crate) fn schema_of(fields: &[WireField]) -> Result<Schema, Failure> {
    dflow_boundary::schema_of(fields).map_err(Failure::Unsupported)
}

/// Takes columns apart.
pub(crate) fn lend(columns: &[arrow_array::ArrayRef]) -> Result<Lent, Failure> {
    let mut lent = Lent::new();
    columns.iter().try_for_each(|column| lent.push(column)).map_err(Failure::Other)?;
    Ok(lent)
}

/// What comes from the host it has checked. Natively there is no host, and everything is checked.
const TRUST: Trust = if cfg!(target_arch = "wasm32") { Trust::Sender } else { Trust::Nothing };

/// Puts a batch of `schema` together from what was received.
pub(crate) fn receive(
    schema: SchemaRef,
    rows: usize,
    nodes: &[WireNode],
    buffers: Vec<impl Deref<Target = [u8]> + Into<Buffer>>,
) -> Result<RecordBatch, Failure> {
    let mut parts = Parts::new(nodes, buffers.into_iter(), TRUST);
    let column = |field: &arrow_schema::FieldRef| {
        parts.column(field, rows).map_err(|e| Failure::Schema(format!("column `{}` {e}", field.name())))
    };
    let columns = schema.fields().iter().map(column).collect::<Result<_, _>>()?;
    parts.rest().map_err(Failure::Schema)?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(schema, columns, &options)?)
}
