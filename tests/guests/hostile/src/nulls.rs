//! Values that take no bytes, by the billion.

use crate::attack::{Attack, Emission, bytes, field, opened, unknown};
use crate::bindings::dflow::operator::types::{Batch, Failure, Field};
use crate::bindings::exports::dflow::operator::operators::Opened;

pub(crate) struct Nulls;

const BILLION: u32 = 1_000_000_000;

impl Attack for Nulls {
    fn name(&self) -> &'static str {
        "nulls"
    }

    fn shape(&self) -> &'static str {
        "expand"
    }

    fn open(&self, how: &str) -> Result<Opened, Failure> {
        let run_ends = Field { nullable: false, ..field("run_ends", "i", 0) };
        let fields = match how {
            "rows" => vec![field("copy", "n", 0)],
            "in a list" => vec![field("copy", "+l", 1), field("item", "n", 0)],
            "in fixed-size lists" => vec![field("copy", "+w:1000000000", 1), field("item", "n", 0)],
            "of no width" => vec![field("copy", "w:0", 0)],
            "structs of nothing" => vec![field("copy", "+s", 0)],
            "one run" => vec![field("copy", "+r", 2), run_ends, field("values", "i", 0)],
            _ => vec![field("copy", "u", 0)],
        };
        Ok(opened("expand", fields))
    }

    /// The rows are three.
    fn process(&self, how: &str, _batch: &Batch) -> Result<(), Failure> {
        let all_null = |mut emission: Emission| {
            if let Some(last) = emission.nodes.last_mut() {
                last.null_count = last.length;
            }
            emission
        };
        let one = Emission::rows(1);
        let emission = match how {
            "rows" => all_null(Emission::rows(BILLION).with(BILLION, vec![])),
            "in a list" => all_null(one.with(1, vec![vec![], bytes([0, BILLION])]).with(BILLION, vec![])),
            "in fixed-size lists" => all_null(Emission::rows(3).with(3, vec![vec![]]).with(3_000_000_000, vec![])),
            "of no width" => Emission::rows(BILLION).with(BILLION, vec![vec![], vec![]]),
            "structs of nothing" => Emission::rows(BILLION).with(BILLION, vec![vec![]]),
            "one run" => Emission::rows(BILLION)
                .with(BILLION, vec![])
                .with(1, vec![vec![], bytes([BILLION])])
                .with(1, vec![vec![], bytes([7])]),
            _ => return unknown(how),
        };
        emission.send();
        Ok(())
    }
}
