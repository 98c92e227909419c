//! Never comes back.

use std::hint::black_box;

use crate::attack::{Attack, Emission, field, opened};
use crate::bindings::dflow::operator::types::{Batch, Failure};
use crate::bindings::exports::dflow::operator::operators::Opened;

pub(crate) struct Spin;

impl Attack for Spin {
    fn name(&self) -> &'static str {
        "spin"
    }

    fn open(&self, how: &str) -> Result<Opened, Failure> {
        if how == "open" {
            spin();
        }
        Ok(opened("map", vec![field("copy", "u", 0)]))
    }

    fn process(&self, how: &str, _batch: &Batch) -> Result<(), Failure> {
        if how == "after the first row" {
            Emission::of(&[b"done"]).send();
        }
        spin()
    }
}

fn spin() -> ! {
    let mut turns = 0u64;
    loop {
        turns = black_box(turns + 1);
    }
}
