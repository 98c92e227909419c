//! Types within types, a thousand deep.

use crate::attack::{Attack, Emission, bytes, field, opened, unknown};
use crate::bindings::dflow::operator::types::{Batch, Failure};
use crate::bindings::exports::dflow::operator::operators::Opened;

pub(crate) struct Nesting;

const DEEP: usize = 1000;

impl Attack for Nesting {
    fn name(&self) -> &'static str {
        "nesting"
    }

    fn open(&self, how: &str) -> Result<Opened, Failure> {
        let nested = |format: &str, depth: usize| {
            let mut fields = vec![field("copy", format, 1)];
            fields.extend((1..depth).map(|_| field("item", format, 1)));
            fields.push(field("item", "u", 0));
            opened("map", fields)
        };
        Ok(match how {
            "lists in the schema" => nested("+l", DEEP),
            "structs in the schema" => nested("+s", DEEP),
            // Their keys' field holds the values' type as a child.
            "dictionaries in the schema" => nested("i", DEEP),
            "a hundred thousand" => nested("+l", 100_000),
            "as deep as is allowed" => nested("+l", 64),
            _ => opened("map", vec![field("copy", "u", 0)]),
        })
    }

    /// The rows are three.
    fn process(&self, how: &str, batch: &Batch) -> Result<(), Failure> {
        let list = || vec![vec![], bytes([0, 1, 2, 3])];
        let mut emission = Emission::rows(batch.rows);
        let deep = match how {
            "in the emission" => DEEP,
            "as deep as is allowed" => 64,
            _ => return unknown(how),
        };
        for _ in 0..deep {
            emission.node(3, list());
        }
        emission.nodes.extend(&batch.nodes);
        emission.buffers.extend(batch.buffers.iter().cloned());
        emission.send();
        Ok(())
    }
}
