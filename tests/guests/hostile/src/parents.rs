//! Results of rows that aren't, or aren't due.

use crate::attack::{Attack, Emission, bytes, unknown};
use crate::bindings::dflow::operator::types::{Batch, Failure};

pub(crate) struct Parents;

impl Attack for Parents {
    fn name(&self) -> &'static str {
        "parents"
    }

    fn shape(&self) -> &'static str {
        "expand"
    }

    /// The rows are three.
    fn process(&self, how: &str, batch: &Batch) -> Result<(), Failure> {
        let of = |parents: &[u32]| {
            let texts = vec![&b"x"[..]; parents.len()];
            Emission::of(&texts).parents(parents.iter().copied())
        };
        let none = || Emission::rows(0).with(0, vec![vec![], bytes([0]), vec![]]);
        let emissions = match how {
            "outside" => vec![of(&[0, 3])],
            "far outside" => vec![of(&[0, u32::MAX])],
            "descending" => vec![of(&[2, 1])],
            "descending from emission to emission" => vec![of(&[2]), of(&[1])],
            "of a row that erred" => vec![none().error(1, "k", "m"), of(&[1])],
            "an error for a row that is done" => vec![of(&[2]), none().error(1, "k", "m")],
            "an error twice" => vec![none().error(1, "k", "m"), none().error(1, "k", "m")],
            "errors that descend" => vec![none().error(2, "k", "m").error(0, "k", "m")],
            "an error outside" => vec![none().error(3, "k", "m")],
            "an error far outside" => vec![none().error(u32::MAX, "k", "m")],
            "too few" => {
                let mut emission = of(&[0, 1, 2]);
                emission.parents = Some(bytes([0, 1]));
                vec![emission]
            }
            "half a number" => {
                let mut emission = of(&[0]);
                emission.parents = Some(vec![0, 0]);
                vec![emission]
            }
            "after the last row" => vec![of(&[u32::MAX - 1]), Emission::of(&[b"x"])],
            _ => return unknown(how),
        };
        for emission in emissions {
            emission.send();
        }
        let _ = batch;
        Ok(())
    }

    fn behave(&self, batch: &Batch) {
        Emission::copy(batch).parents(0..batch.rows).send();
    }
}
