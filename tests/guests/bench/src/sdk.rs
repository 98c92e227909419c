//! `kernels`: calls a kernel of the SDK on all bytes of its first column, a number of times.

use std::hint::black_box;

use dflow_plugin::arrow::{AsArray, RecordBatch, Schema, types::Float32Type};
use dflow_plugin::kernels::{Mask, count, dot, hash, is_ascii, is_utf8};
use dflow_plugin::{Description, Emitter, Failure, Opened, Operator, Shape};

/// Settings of `kernels`.
#[derive(Debug, Default, serde::Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Which.
    kernel: String,
    /// How often.
    times: usize,
}

pub(crate) struct Kernels(Settings);

impl Operator for Kernels {
    type Settings = Settings;

    fn describe() -> Description {
        Description::new("kernels", Shape::Filter).summary("calls a kernel, and emits nothing").any_columns()
    }

    fn open(settings: Settings, _input: &Schema) -> Result<(Self, Opened), Failure> {
        Ok((Self(settings), Opened::new(Shape::Filter)))
    }

    fn process(&mut self, input: &RecordBatch, _emit: &mut Emitter<'_>) -> Result<(), Failure> {
        let column = input.column(0);
        for _ in 0..self.0.times {
            if let Some(numbers) = column.as_primitive_opt::<Float32Type>() {
                let (a, b) = numbers.values().split_at(numbers.len() / 2);
                black_box(dot(black_box(a), b));
                continue;
            }
            let bytes = black_box(column.as_binary::<i32>().value_data());
            match self.0.kernel.as_str() {
                "mask" => drop(black_box(Mask::of(bytes, b' '))),
                "mask of 3" => drop(black_box(Mask::of_any(bytes, [b' ', b'\n', b'\t']))),
                "count" => drop(black_box(count(bytes, b'\n'))),
                "ascii" => drop(black_box(is_ascii(bytes))),
                "utf8" => drop(black_box(is_utf8(bytes))),
                "hash" => drop(black_box(hash(bytes, 0))),
                // What a compiler makes of a plain loop, to compare.
                "plain count" => drop(black_box(bytes.iter().filter(|byte| **byte == b'\n').count())),
                other => return Err(Failure::settings(format!("there is no kernel `{other}`"))),
            }
        }
        Ok(())
    }
}
