//! Calls itself until the stack ends.

use std::hint::black_box;

use crate::attack::Attack;
use crate::bindings::dflow::operator::types::{Batch, Failure};

pub(crate) struct Recurse;

impl Attack for Recurse {
    fn name(&self) -> &'static str {
        "recurse"
    }

    fn process(&self, _how: &str, _batch: &Batch) -> Result<(), Failure> {
        black_box(recurse(0));
        Ok(())
    }
}

fn recurse(depth: u64) -> u64 {
    if black_box(depth) == u64::MAX { 0 } else { black_box(recurse(depth + 1)) + 1 }
}
