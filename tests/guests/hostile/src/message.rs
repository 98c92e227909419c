//! Words without end: a hundred megabytes of them.

use crate::attack::{Attack, Emission, field, opened, unknown};
use crate::bindings::dflow::operator::logging::{self, Level};
use crate::bindings::dflow::operator::types::{Batch, Failure};
use crate::bindings::exports::dflow::operator::operators::Opened;

pub(crate) struct Message;

fn long() -> String {
    "many words ".repeat(100_000_000 / 11 + 1)
}

impl Attack for Message {
    fn name(&self) -> &'static str {
        "message"
    }

    fn open(&self, how: &str) -> Result<Opened, Failure> {
        match how {
            "refusing settings" => Err(Failure::Settings(long())),
            "refusing to open" => Err(Failure::Other(long())),
            "panicking in open" => panic!("{}", long()),
            _ => Ok(opened("map", vec![field("copy", "u", 0)])),
        }
    }

    fn process(&self, how: &str, batch: &Batch) -> Result<(), Failure> {
        let mut emission = Emission::copy(batch);
        match how {
            "of a row's error" => emission = Emission::of(&[b"a", b"b"]).error(2, "k", long()),
            "of a row's error, as its kind" => emission = Emission::of(&[b"a", b"b"]).error(2, long(), "m"),
            "giving up" => return Err(Failure::Data(long())),
            "panicking" => panic!("{}", long()),
            "logging" => logging::log(Level::Info, "t", &long()),
            "logging, as the target" => logging::log(Level::Info, &long(), "m"),
            _ => return unknown(how),
        }
        emission.send();
        Ok(())
    }
}
