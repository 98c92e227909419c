//! Operators that take columns of every type: `identity` gives them back, `liar` gives back what they could have been.

use dflow_plugin::arrow::{Field, RecordBatch, Schema};
use dflow_plugin::{Description, Emitter, Failure, Opened, Operator, Shape};

#[cfg(target_arch = "wasm32")]
#[path = "../../../../sdk/rust/boundary/tests/mutate/mod.rs"]
mod mutate;

/// The columns of the input once more.
fn opened(input: &Schema) -> Opened {
    input.fields().iter().fold(Opened::new(Shape::Map), |opened, field| opened.column(Field::clone(field)))
}

/// Settings of `identity`.
#[derive(Debug, Default, serde::Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct IdentitySettings {
    /// The most rows of one emission; 0 is all of them.
    rows: usize,
}

struct Identity(IdentitySettings);

impl Operator for Identity {
    type Settings = IdentitySettings;

    fn describe() -> Description {
        Description::new("identity", Shape::Map).summary("gives its columns back").any_columns()
    }

    fn open(settings: IdentitySettings, input: &Schema) -> Result<(Self, Opened), Failure> {
        Ok((Self(settings), opened(input)))
    }

    fn process(&mut self, input: &RecordBatch, emit: &mut Emitter<'_>) -> Result<(), Failure> {
        let rows = if self.0.rows == 0 { input.num_rows().max(1) } else { self.0.rows };
        for from in (0..input.num_rows()).step_by(rows) {
            emit.map(input.slice(from, rows.min(input.num_rows() - from)).columns().to_vec())?;
        }
        Ok(())
    }
}

/// Settings of `liar`.
#[derive(Debug, Default, serde::Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LiarSettings {
    /// Of the lies.
    seed: u32,
}

struct Liar(
    #[cfg_attr(not(target_arch = "wasm32"), expect(dead_code, reason = "lies are told to a host"))] LiarSettings,
);

impl Operator for Liar {
    type Settings = LiarSettings;

    fn describe() -> Description {
        Description::new("liar", Shape::Map).summary("gives its columns back, one thing changed").any_columns()
    }

    fn open(settings: LiarSettings, input: &Schema) -> Result<(Self, Opened), Failure> {
        Ok((Self(settings), opened(input)))
    }

    #[cfg(not(target_arch = "wasm32"))]
    fn process(&mut self, _input: &RecordBatch, _emit: &mut Emitter<'_>) -> Result<(), Failure> {
        Err(Failure::Unsupported("lies are told to a host".to_owned()))
    }

    /// Past the emitter, which would notice.
    #[cfg(target_arch = "wasm32")]
    fn process(&mut self, input: &RecordBatch, _emit: &mut Emitter<'_>) -> Result<(), Failure> {
        use dflow_plugin::guest::bindings::dflow::operator::{emitting, types};

        let mut lent = dflow_boundary::Lent::new();
        input.columns().iter().try_for_each(|column| lent.push(column)).map_err(Failure::Other)?;
        let mut buffers: Vec<_> = lent.buffers.iter().map(|buffer| buffer.as_slice().to_vec()).collect();
        let mut state = u64::from(self.0.seed);
        let mut below = |end: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % end
        };
        mutate::mutate(&mut below, &mut lent.nodes, &mut buffers);
        let nodes = lent.nodes.iter().map(|node| types::Node {
            length: node.length,
            null_count: node.null_count,
            buffers: node.buffers,
        });
        emitting::emit(emitting::Output {
            rows: input.num_rows() as u32,
            nodes: &nodes.collect::<Vec<_>>(),
            buffers: &buffers.iter().map(Vec::as_slice).collect::<Vec<_>>(),
            parents: None,
            slices: &[],
            errors: &[],
        });
        Ok(())
    }
}

dflow_plugin::export!(
    plugin = "types",
    version = env!("CARGO_PKG_VERSION"),
    summary = "gives columns of every type back",
    operators = [Identity, Liar]
);
