//! Wants all memory.

use std::hint::black_box;

use crate::attack::{Attack, Emission, unknown};
use crate::bindings::dflow::operator::types::{Batch, Failure};

pub(crate) struct Grow;

impl Attack for Grow {
    fn name(&self) -> &'static str {
        "grow"
    }

    fn process(&self, how: &str, batch: &Batch) -> Result<(), Failure> {
        match how {
            "until it fails" => {
                let mut hoard = Vec::new();
                loop {
                    hoard.push(black_box(vec![1u8; 1 << 20]));
                }
            }
            // Page by page until the host says no, which is no failure: the rows come all the same.
            "and go on" => {
                while core::arch::wasm32::memory_grow::<0>(1) != usize::MAX {}
                Emission::copy(batch).send();
                Ok(())
            }
            _ => unknown(how),
        }
    }
}
