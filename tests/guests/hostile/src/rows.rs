//! Says that there are more or fewer rows than there are.

use crate::attack::{Attack, Emission, unknown};
use crate::bindings::dflow::operator::types::{Batch, Failure};

pub(crate) struct Rows;

impl Attack for Rows {
    fn name(&self) -> &'static str {
        "rows"
    }

    fn process(&self, how: &str, batch: &Batch) -> Result<(), Failure> {
        let mut emission = Emission::copy(batch);
        match how {
            "none" => return Ok(()),
            "one too few" => emission = Emission::of(&[b"a", b"b"]),
            "one too many" => emission = Emission::of(&[b"a", b"b", b"c", b"d"]),
            "more than values" => emission.nodes[0].length -= 1,
            "fewer than values" => emission.rows -= 1,
            "four billion" => emission.rows = u32::MAX,
            "four billion, with parents" => {
                emission = emission.parents(0..3);
                emission.rows = u32::MAX;
            }
            "a second time" => {
                emission.send();
            }
            _ => return unknown(how),
        }
        emission.send();
        Ok(())
    }
}
