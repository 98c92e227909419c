//! Names and messages that would take over a terminal or forge a line of a log.

use crate::attack::{Attack, Emission, field, opened, unknown};
use crate::bindings::dflow::operator::logging::{self, Level};
use crate::bindings::dflow::operator::types::{Batch, Failure};
use crate::bindings::exports::dflow::operator::operators::Opened;

pub(crate) struct Names;

/// Clears the screen, rings, writes from right to left, goes back to the line's beginning.
const EVIL: &str = "\u{1b}[2J\u{1b}]0;owned\u{7}evil\u{202e}txt\r\u{0}\u{9b}31m";

impl Attack for Names {
    fn name(&self) -> &'static str {
        "names"
    }

    fn open(&self, how: &str) -> Result<Opened, Failure> {
        match how {
            "a column" => Ok(opened("map", vec![field(EVIL, "u", 0)])),
            "a member" => Ok(opened("map", vec![field("copy", "+s", 1), field(EVIL, "u", 0)])),
            "a format" => Ok(opened("map", vec![field("copy", EVIL, 0)])),
            "a time zone" => Ok(opened("map", vec![field("copy", &format!("tsu:{EVIL}"), 0)])),
            "a shape" => Ok(opened(EVIL, vec![field("copy", "u", 0)])),
            "a refusal" => Err(Failure::Settings(EVIL.to_owned())),
            _ => Ok(opened("map", vec![field("copy", "u", 0)])),
        }
    }

    fn process(&self, how: &str, batch: &Batch) -> Result<(), Failure> {
        let mut emission = Emission::copy(batch);
        match how {
            "an error's kind" => emission = Emission::of(&[b"a", b"b"]).error(2, EVIL, "m"),
            "an error's message" => emission = Emission::of(&[b"a", b"b"]).error(2, "k", EVIL),
            "giving up" => return Err(Failure::Data(EVIL.to_owned())),
            "a panic" => panic!("{EVIL}"),
            "a log line" => logging::log(Level::Info, EVIL, EVIL),
            _ => return unknown(how),
        }
        emission.send();
        Ok(())
    }
}
