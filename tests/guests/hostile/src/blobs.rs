//! Reads of files that it wasn't given, where there is no file, too much, and when it may not.

use crate::attack::{Attack, Emission, field, opened, unknown};
use crate::bindings::dflow::operator::blobs::{self, Range};
use crate::bindings::dflow::operator::types::{Batch, Failure};
use crate::bindings::exports::dflow::operator::operators::Opened;

pub(crate) struct Blobs;

/// The port of files.
const FILE: u32 = 1;

impl Attack for Blobs {
    fn name(&self) -> &'static str {
        "blobs"
    }

    fn ports(&self) -> &'static str {
        r#",{"name":"file","types":["file"]}"#
    }

    fn open(&self, how: &str) -> Result<Opened, Failure> {
        if how == "from open" {
            blobs::read(&[range(FILE, 0, 0, 1)]);
        }
        Ok(opened("map", vec![field("copy", "u", 0)]))
    }

    fn process(&self, how: &str, batch: &Batch) -> Result<(), Failure> {
        let ranges = match how {
            "of a port of text" => vec![range(0, 0, 0, 1)],
            "of no port" => vec![range(9, 0, 0, 1)],
            "of a row beyond the batch" => vec![range(FILE, batch.rows, 0, 1)],
            "of a row without a file" => vec![range(FILE, 1, 0, 1)],
            "a million at once" => vec![range(FILE, 0, 0, 0); 1_000_000],
            "more than may come in" => vec![range(FILE, 0, 0, u32::MAX); 3],
            "past the end" => {
                vec![range(FILE, 0, 2, 9), range(FILE, 0, u64::MAX, u32::MAX / 1024), range(FILE, 2, 0, 9)]
            }
            _ => return unknown(how),
        };
        let mut emission = copy(batch);
        let told = blobs::read(&ranges).into_iter().map(|read| match read {
            Ok(bytes) => format!("{:?}", String::from_utf8_lossy(&bytes)),
            Err(why) => why,
        });
        let told = told.collect::<Vec<_>>().join(", ");
        // All rows fail with what the host has said.
        (emission.rows, emission.nodes, emission.buffers) = (0, Vec::new(), Vec::new());
        emission.node(0, vec![vec![], vec![], vec![]]);
        for row in 0..batch.rows {
            emission = emission.error(row, "told", told.as_str());
        }
        emission.send();
        Ok(())
    }

    fn behave(&self, batch: &Batch) {
        copy(batch).send();
    }
}

fn range(port: u32, row: u32, offset: u64, length: u32) -> Range {
    Range { port, row, offset, length }
}

/// The column `text` alone.
fn copy(batch: &Batch) -> Emission {
    let mut emission = Emission::copy(batch);
    emission.nodes.truncate(1);
    emission.buffers.truncate(3);
    emission
}
