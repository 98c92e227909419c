//! Operators that are measured, in the sandbox and natively.
//!
//! [`nothing`](Nothing) emits nothing, [`identity`](Identity) its columns, [`whole`](Whole) its text as ranges: what is left is the boundary.
//! `token2` and `total` are small operators, `kernels` calls the loops of the SDK. [`words`] and [`arithmetic`] need nothing but these loops, so that the
//! benchmark of the host has them natively, too.

use dflow_plugin::arrow::{Array, DataType, Field, RecordBatch, Schema};
use dflow_plugin::kernels;
use dflow_plugin::{Description, Emitter, Failure, Opened, Operator, Port, Rows, Shape};

pub mod arithmetic;
mod sdk;
mod token2;
mod total;
pub mod words;

/// No settings.
#[derive(Debug, Default, serde::Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NoSettings {}

struct Nothing;

impl Operator for Nothing {
    type Settings = NoSettings;

    fn describe() -> Description {
        Description::new("nothing", Shape::Filter).summary("looks at nothing and emits nothing").any_columns()
    }

    fn open(_settings: NoSettings, _input: &Schema) -> Result<(Self, Opened), Failure> {
        Ok((Self, Opened::new(Shape::Filter)))
    }

    fn process(&mut self, _input: &RecordBatch, _emit: &mut Emitter<'_>) -> Result<(), Failure> {
        Ok(())
    }
}

struct Identity;

impl Operator for Identity {
    type Settings = NoSettings;

    fn describe() -> Description {
        Description::new("identity", Shape::Map).summary("gives its columns back").any_columns()
    }

    fn open(_settings: NoSettings, input: &Schema) -> Result<(Self, Opened), Failure> {
        let same = |opened: Opened, field: &std::sync::Arc<Field>| opened.column(Field::clone(field));
        Ok((Self, input.fields().iter().fold(Opened::new(Shape::Map), same)))
    }

    fn process(&mut self, input: &RecordBatch, emit: &mut Emitter<'_>) -> Result<(), Failure> {
        emit.map(input.columns().to_vec()).map(drop)
    }
}

struct Whole;

impl Operator for Whole {
    type Settings = NoSettings;

    fn describe() -> Description {
        Description::new("whole", Shape::Map)
            .summary("gives its text back as ranges of itself")
            .port(Port::utf8("text", "what is given back"))
    }

    fn open(_settings: NoSettings, _input: &Schema) -> Result<(Self, Opened), Failure> {
        Ok((Self, Opened::new(Shape::Map).slice(Field::new("text", DataType::Utf8, true), 0)))
    }

    fn process(&mut self, input: &RecordBatch, emit: &mut Emitter<'_>) -> Result<(), Failure> {
        let text = dflow_plugin::text(input, 0)?;
        let ends = text.value_offsets().windows(2).map(|pair| (pair[1] - pair[0]) as u32).collect();
        emit.rows(Rows::new(vec![]).slice(0, vec![0; text.len()], ends)).map(drop)
    }
}

dflow_plugin::export!(
    plugin = "bench",
    version = env!("CARGO_PKG_VERSION"),
    summary = "what is measured",
    operators = [Nothing, Identity, Whole, token2::Token2, total::Total, sdk::Kernels]
);
