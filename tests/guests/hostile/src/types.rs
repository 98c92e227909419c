//! Columns of one type with the parts of another, and values that their types can't have.

use crate::attack::{Attack, Emission, bytes, field, opened, unknown};
use crate::bindings::dflow::operator::types::{Batch, Failure, Field};
use crate::bindings::exports::dflow::operator::operators::Opened;

pub(crate) struct Types;

/// The fields of the one column of each way.
fn fields(how: &str) -> Vec<Field> {
    let not_null = |name: &str, format: &str, children| Field { nullable: false, ..field(name, format, children) };
    match how {
        "text for numbers" => vec![field("copy", "l", 0)],
        "int32 for int64" => vec![field("copy", "l", 0)],
        "null in what has none" => vec![not_null("copy", "i", 0)],
        "decimal beyond its precision" => vec![field("copy", "d:3,1", 0)],
        "time beyond the day" => vec![field("copy", "tts", 0)],
        "key outside the dictionary" => vec![field("copy", "i", 1), field("", "u", 0)],
        "negative key" => vec![field("copy", "i", 1), field("", "u", 0)],
        "view outside its buffers" | "view of no buffer" | "view with another prefix" => vec![field("copy", "vu", 0)],
        "type id of no member" => vec![field("copy", "+us:0,1", 2), field("a", "i", 0), field("b", "i", 0)],
        "union offset outside" => vec![field("copy", "+ud:0,1", 2), field("a", "i", 0), field("b", "i", 0)],
        "runs that descend" | "runs too short" => {
            vec![field("copy", "+r", 2), not_null("run_ends", "i", 0), field("values", "i", 0)]
        }
        "list outside its items" => vec![field("copy", "+l", 1), field("item", "i", 0)],
        "list view outside its items" => vec![field("copy", "+vl", 1), field("item", "i", 0)],
        "fixed-size list too short" => vec![field("copy", "+w:2", 1), field("item", "i", 0)],
        "struct of unequal columns" => vec![field("copy", "+s", 2), field("a", "i", 0), field("b", "i", 0)],
        "map with a null key" => {
            vec![field("copy", "+m", 1), not_null("entries", "+s", 2), not_null("key", "i", 0), field("value", "i", 0)]
        }
        _ => vec![field("copy", "u", 0)],
    }
}

impl Attack for Types {
    fn name(&self) -> &'static str {
        "types"
    }

    fn open(&self, how: &str) -> Result<Opened, Failure> {
        Ok(opened("map", fields(how)))
    }

    /// The rows are three.
    fn process(&self, how: &str, batch: &Batch) -> Result<(), Failure> {
        let none = Vec::new;
        let three = || bytes([1, 2, 3]);
        let empty = Emission::rows(batch.rows);
        let emission = match how {
            "text for numbers" => Emission::copy(batch),
            "int32 for int64" => empty.with(3, vec![none(), three()]),
            "numbers for text" => empty.with(3, vec![none(), three()]),
            "null in what has none" => {
                let mut emission = empty.with(3, vec![vec![0b101], three()]);
                emission.nodes[0].null_count = 1;
                emission
            }
            "decimal beyond its precision" => {
                empty.with(3, vec![none(), [1i128, 1000, 1].iter().flat_map(|v| v.to_le_bytes()).collect()])
            }
            "time beyond the day" => empty.with(3, vec![none(), bytes([0, 86_400, 1])]),
            "key outside the dictionary" => {
                empty.with(3, vec![none(), bytes([0, 1, 0])]).with(1, vec![none(), bytes([0, 1]), vec![b'x']])
            }
            "negative key" => {
                empty.with(3, vec![none(), bytes([0, u32::MAX, 0])]).with(1, vec![none(), bytes([0, 1]), vec![b'x']])
            }
            "view outside its buffers" => {
                let view = [bytes([20]), b"abcd".to_vec(), bytes([0, 1_000_000])].concat();
                empty.with(3, vec![none(), view.repeat(3), vec![b'a'; 40]])
            }
            "view of no buffer" => {
                let view = [bytes([20]), b"aaaa".to_vec(), bytes([9, 0])].concat();
                empty.with(3, vec![none(), view.repeat(3), vec![b'a'; 40]])
            }
            "view with another prefix" => {
                let view = [bytes([20]), b"zzzz".to_vec(), bytes([0, 0])].concat();
                empty.with(3, vec![none(), view.repeat(3), vec![b'a'; 40]])
            }
            "type id of no member" => {
                empty.with(3, vec![vec![0, 9, 1]]).with(3, vec![none(), three()]).with(3, vec![none(), three()])
            }
            "union offset outside" => empty
                .with(3, vec![vec![0, 0, 1], bytes([0, 900, 0])])
                .with(2, vec![none(), bytes([1, 2])])
                .with(1, vec![none(), bytes([1])]),
            "runs that descend" => {
                empty.with(3, vec![]).with(2, vec![none(), bytes([3, 2])]).with(2, vec![none(), bytes([7, 8])])
            }
            "runs too short" => {
                empty.with(3, vec![]).with(1, vec![none(), bytes([2])]).with(1, vec![none(), bytes([7])])
            }
            "list outside its items" => {
                empty.with(3, vec![none(), bytes([0, 1, 2, 900])]).with(3, vec![none(), three()])
            }
            "list view outside its items" => {
                empty.with(3, vec![none(), bytes([0, 1, 900]), bytes([1, 1, 1])]).with(3, vec![none(), three()])
            }
            "fixed-size list too short" => empty.with(3, vec![none()]).with(5, vec![none(), bytes([1, 2, 3, 4, 5])]),
            "struct of unequal columns" => {
                empty.with(3, vec![none()]).with(3, vec![none(), three()]).with(2, vec![none(), bytes([1, 2])])
            }
            "map with a null key" => {
                let mut emission = empty
                    .with(3, vec![none(), bytes([0, 1, 2, 3])])
                    .with(3, vec![none()])
                    .with(3, vec![vec![0b110], three()])
                    .with(3, vec![none(), three()]);
                emission.nodes[2].null_count = 1;
                emission
            }
            _ => return unknown(how),
        };
        emission.send();
        Ok(())
    }
}
