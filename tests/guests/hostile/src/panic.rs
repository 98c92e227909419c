//! Panics, and says why.

use crate::attack::{Attack, Emission, field, opened, unknown};
use crate::bindings::dflow::operator::logging::{self, Level};
use crate::bindings::dflow::operator::types::{Batch, Failure};
use crate::bindings::exports::dflow::operator::operators::Opened;

pub(crate) struct Panic;

impl Attack for Panic {
    fn name(&self) -> &'static str {
        "panic"
    }

    fn open(&self, how: &str) -> Result<Opened, Failure> {
        match how {
            "in open" => panic!("it can't be opened, says the guest"),
            _ => Ok(opened("map", vec![field("copy", "u", 0)])),
        }
    }

    fn process(&self, how: &str, batch: &Batch) -> Result<(), Failure> {
        match how {
            "with a message" => panic!("a row said so, one of {}", batch.rows),
            "without a word" => core::arch::wasm32::unreachable(),
            "after its results" => {
                Emission::copy(batch).send();
                panic!("all results were given")
            }
            // What is said under this name is shown only when the call traps.
            "a false alarm" => {
                logging::log(Level::Error, "panic", "nothing happened");
                Emission::copy(batch).send();
                Ok(())
            }
            _ => unknown(how),
        }
    }
}
