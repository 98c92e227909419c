//! Ranges of text that aren't in it.

use crate::attack::{Attack, Emission, bytes, field, opened, texts, unknown};
use crate::bindings::dflow::operator::types::{Batch, Failure};
use crate::bindings::exports::dflow::operator::operators::{Opened, SliceColumn};

pub(crate) struct Slices;

impl Attack for Slices {
    fn name(&self) -> &'static str {
        "slices"
    }

    fn shape(&self) -> &'static str {
        "expand"
    }

    fn open(&self, how: &str) -> Result<Opened, Failure> {
        let mut answer = opened("expand", vec![field("copy", "u", 0)]);
        answer.slices = vec![SliceColumn { column: 0, port: 0 }];
        match how {
            "of another column" => answer.slices[0].column = 1,
            "of another port" => answer.slices[0].port = 7,
            "of a number" => answer.output.fields[0].format = "l".to_owned(),
            "announced twice" => answer.slices.push(SliceColumn { column: 0, port: 0 }),
            _ => {}
        }
        Ok(answer)
    }

    /// The rows are `ünlaut`, `attack`, and a null.
    fn process(&self, how: &str, _batch: &Batch) -> Result<(), Failure> {
        let ranges = |ranges: &[(u32, u32)]| {
            let (starts, ends): (Vec<_>, Vec<_>) = ranges.iter().copied().unzip();
            (0, bytes(starts), bytes(ends))
        };
        let mut emission = Emission::rows(1).parents([1]);
        emission.slices = vec![ranges(&[(0, 1)])];
        match how {
            "past the end" => emission.slices = vec![ranges(&[(0, 7)])],
            "far outside" => emission.slices = vec![ranges(&[(0, u32::MAX)])],
            "start after end" => emission.slices = vec![ranges(&[(5, 2)])],
            "start outside" => emission.slices = vec![ranges(&[(u32::MAX, u32::MAX)])],
            "into the next row" => {
                emission.parents = Some(bytes([0]));
                emission.slices = vec![ranges(&[(0, 9)])];
            }
            "of half a character" => {
                emission.parents = Some(bytes([0]));
                emission.slices = vec![ranges(&[(1, 3)])];
            }
            "of a null" => emission = Emission { slices: vec![ranges(&[(0, 1)])], ..Emission::rows(1).parents([2]) },
            "of a row that isn't" => emission.parents = Some(bytes([3])),
            "missing" => emission.slices.clear(),
            "too short" => emission.slices[0].1.truncate(3),
            "for two rows" => emission.slices = vec![ranges(&[(0, 1), (0, 1)])],
            "twice" => emission.slices.push(ranges(&[(0, 1)])),
            "of a column that wasn't announced" => emission.slices[0].0 = 1,
            "and text too" => emission = emission.with(1, vec![vec![], bytes([0, 1]), vec![b'x']]),
            "a million of them" => emission.slices = vec![(9, vec![], vec![]); 1 << 20],
            _ => return unknown(how),
        }
        emission.send();
        Ok(())
    }

    fn behave(&self, batch: &Batch) {
        let ends = texts(batch).map(|text| text.len() as u32).collect::<Vec<_>>();
        let mut emission = Emission::rows(batch.rows).parents(0..batch.rows);
        emission.slices = vec![(0, bytes(ends.iter().map(|_| 0)), bytes(ends))];
        emission.send();
    }
}
