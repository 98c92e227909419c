//! Offsets that don't say where values are.

use crate::attack::{Attack, Emission, bytes, unknown};
use crate::bindings::dflow::operator::types::{Batch, Failure};

pub(crate) struct Offsets;

impl Attack for Offsets {
    fn name(&self) -> &'static str {
        "offsets"
    }

    fn process(&self, how: &str, batch: &Batch) -> Result<(), Failure> {
        let mut emission = Emission::copy(batch);
        emission.buffers[1] = bytes(match how {
            "decrease" => [0, 4, 2, 8],
            "outside" => [0, 1, 7, 1000],
            "far outside" => [0, 1, 7, i32::MAX as u32],
            "negative" => [0, 1, -5i32 as u32, 8],
            "first negative" => [-1i32 as u32, 1, 7, 8],
            "all outside" => [1_000_000, 1_000_001, 1_000_002, 1_000_003],
            _ => return unknown(how),
        });
        emission.send();
        Ok(())
    }
}
