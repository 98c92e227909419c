//! Emits without end, or when nobody asked.

use crate::attack::{Attack, Emission, bytes, field, opened, unknown};
use crate::bindings::dflow::operator::types::{Batch, Failure};
use crate::bindings::exports::dflow::operator::operators::Opened;

pub(crate) struct Emit;

impl Attack for Emit {
    fn name(&self) -> &'static str {
        "emit"
    }

    fn shape(&self) -> &'static str {
        "expand"
    }

    fn open(&self, how: &str) -> Result<Opened, Failure> {
        if how == "from open" {
            Emission::of(&[b"early"]).send();
        }
        Ok(opened("expand", vec![field("copy", "u", 0)]))
    }

    fn process(&self, how: &str, _batch: &Batch) -> Result<(), Failure> {
        let emission = match how {
            "large ones for ever" => Emission::of(&[&vec![b'x'; 1 << 20]]).parents([0]),
            "small ones for ever" => Emission::of(&[b""]).parents([0]),
            "nothing for ever" => Emission::rows(0).with(0, vec![vec![], bytes([0]), vec![]]).parents([]),
            _ => return unknown(how),
        };
        // What the host says to it is of no interest to this one.
        loop {
            emission.send();
        }
    }

    fn behave(&self, batch: &Batch) {
        Emission::copy(batch).parents(0..batch.rows).send();
    }
}
