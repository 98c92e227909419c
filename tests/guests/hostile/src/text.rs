//! Text that is none, wherever the contract says that it is text.

use crate::attack::{Attack, Emission, bytes, field, opened, unknown};
use crate::bindings::dflow::operator::logging::{self, Level};
use crate::bindings::dflow::operator::types::{Batch, Failure};
use crate::bindings::exports::dflow::operator::operators::Opened;

pub(crate) struct Text;

/// A text that isn't UTF-8. What Rust makes of it doesn't matter: it is handed to the host as it is.
fn broken() -> String {
    // SAFETY: a lie. Nothing here looks at the characters.
    unsafe { String::from_utf8_unchecked(vec![b'a', 0xff, 0xfe]) }
}

impl Attack for Text {
    fn name(&self) -> &'static str {
        "text"
    }

    fn open(&self, how: &str) -> Result<Opened, Failure> {
        match how {
            "a column's name" => Ok(opened("map", vec![field(&broken(), "u", 0)])),
            "a format" => Ok(opened("map", vec![field("copy", &broken(), 0)])),
            "a failure" => Err(Failure::Other(broken())),
            _ => Ok(opened("map", vec![field("copy", "u", 0)])),
        }
    }

    fn process(&self, how: &str, batch: &Batch) -> Result<(), Failure> {
        let mut emission = Emission::copy(batch);
        match how {
            "a value" => emission = Emission::of(&[b"a", &[0xc3, 0x28], b"b"]),
            "a surrogate" => emission = Emission::of(&[b"a", &[0xed, 0xa0, 0x80], b"b"]),
            "an overlong one" => emission = Emission::of(&[b"a", &[0xc0, 0xaf], b"b"]),
            // Valid as a whole, and no value of it is.
            "cut by offsets" => {
                emission = Emission::of(&["a".as_bytes(), "ü".as_bytes(), b"b"]);
                emission.buffers[1] = bytes([0, 2, 3, 4]);
            }
            "below a null" => {
                emission = Emission::of(&[b"a", &[0xc3, 0x28], b"b"]);
                emission.buffers[0] = vec![0b101];
                emission.nodes[0].null_count = 1;
            }
            "an error's kind" => emission = Emission::of(&[b"a", b"b"]).error(2, broken(), "m"),
            "an error's message" => emission = Emission::of(&[b"a", b"b"]).error(2, "k", broken()),
            "a log line" => logging::log(Level::Info, "t", &broken()),
            "a log target" => logging::log(Level::Info, &broken(), "m"),
            "a failure of the batch" => return Err(Failure::Other(broken())),
            _ => return unknown(how),
        }
        emission.send();
        Ok(())
    }
}
