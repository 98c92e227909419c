//! The checker of what guests give, laid open for the fuzz target (`host/wasm/fuzz`) and the test of its corpus.

use std::sync::Arc;

use arrow::{
    array::RecordBatch,
    datatypes::{Field, Schema},
};
use dflow_boundary::{WireField, WireNode};
use dflow_pipeline::Bytes;

use crate::{
    abi::{SliceColumn, WireSchema},
    description::RowShape,
    emission::{Collector, Emission, Processed, Refusal, RowError},
    lower::viewed_type,
    schema::from_wire,
};

/// What emissions of one batch are checked by.
pub struct Checker(Collector);

/// One emission: what [`Checker::emit`] takes.
pub struct Emitted<'a> {
    /// How many rows.
    pub rows: u32,
    /// As in the contract.
    pub nodes: &'a [WireNode],
    /// As in the contract.
    pub buffers: &'a [&'a [u8]],
    /// As in the contract.
    pub parents: Option<&'a [u8]>,
    /// Column, starts, ends.
    pub slices: &'a [(u32, &'a [u8], &'a [u8])],
    /// Rows that failed.
    pub errors: Vec<RowError>,
}

impl Checker {
    /// For a guest whose `open` gave these fields, the columns of `slices` being ranges of the first port.
    pub fn new(
        input: RecordBatch,
        fields: &[WireField],
        slices: &[u32],
        shape: RowShape,
        most: Bytes,
    ) -> Result<Self, String> {
        let emitted = from_wire(&WireSchema { fields: fields.iter().cloned().map(Into::into).collect() })?;
        let viewed = |field: &Arc<Field>| Field::clone(field).with_data_type(viewed_type(field.data_type()));
        let output = Schema::new(emitted.fields().iter().map(viewed).collect::<Vec<_>>());
        let slices: Arc<[_]> = slices.iter().map(|column| SliceColumn { column: *column, port: 0 }).collect();
        Ok(Self(Collector::new(input, Arc::new(emitted), Arc::new(output), slices, shape, most)))
    }

    /// Takes one emission in, or says why not.
    pub fn emit(&mut self, emitted: Emitted<'_>) -> Result<(), String> {
        let Emitted { rows, nodes, buffers, parents, slices, errors } = emitted;
        self.0
            .admit([nodes.len(), buffers.len(), slices.len(), errors.len()])
            .and_then(|()| self.0.emit(Emission { rows, nodes, buffers, parents, slices, errors }))
            .map_err(|refusal| match refusal {
                Refusal::Lie(what) => what,
                Refusal::TooMuch(bytes) => format!("{bytes} bytes are too much"),
                Refusal::Ending(error) => error.message,
            })
    }

    /// What came of the batch.
    pub fn finish(self) -> Result<Processed, String> {
        self.0.finish()
    }
}
