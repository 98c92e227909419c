//! Floods the log.

use crate::attack::{Attack, Emission, unknown};
use crate::bindings::dflow::operator::logging::{self, Level};
use crate::bindings::dflow::operator::types::{Batch, Failure};

pub(crate) struct Log;

impl Attack for Log {
    fn name(&self) -> &'static str {
        "log"
    }

    fn process(&self, how: &str, batch: &Batch) -> Result<(), Failure> {
        match how {
            "lines" => (0..100_000).for_each(|i| logging::log(Level::Warn, "flood", &format!("line {i}"))),
            "debug lines" => (0..100_000).for_each(|i| logging::log(Level::Debug, "flood", &format!("line {i}"))),
            "printed lines" => (0..100_000).for_each(|i| print(format!("line {i}\n").as_bytes())),
            "one printed line" => (0..1_000).for_each(|_| print(&[b'x'; 4096])),
            "long printed lines" => (0..1_000).for_each(|i| print(format!("{i} {}\n", "x".repeat(9_000)).as_bytes())),
            "lines of newlines" => (0..1_000).for_each(|_| logging::log(Level::Warn, "flood", &"\n".repeat(1000))),
            _ => return unknown(how),
        }
        Emission::copy(batch).send();
        Ok(())
    }
}

/// Prints in the way in which a toolchain's library does it: no more at a time than the stream takes.
fn print(mut bytes: &[u8]) {
    let stdout = wasip2::cli::stdout::get_stdout();
    while !bytes.is_empty() {
        let room = stdout.check_write().expect("standard output takes what is printed") as usize;
        let (now, later) = bytes.split_at(room.min(bytes.len()).min(4096));
        stdout.blocking_write_and_flush(now).expect("standard output takes what it says that it takes");
        bytes = later;
    }
}
