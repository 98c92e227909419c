//! An `open` whose answer is no schema, or not that of what it emits.

use crate::attack::{Attack, Emission, bytes, field, opened, unknown};
use crate::bindings::dflow::operator::types::{Batch, Failure};
use crate::bindings::exports::dflow::operator::operators::Opened;

pub(crate) struct Schemas;

impl Attack for Schemas {
    fn name(&self) -> &'static str {
        "schema"
    }

    fn open(&self, how: &str) -> Result<Opened, Failure> {
        let one = || field("copy", "u", 0);
        let mut answer = opened("map", vec![one()]);
        let fields = &mut answer.output.fields;
        match how {
            "two of one name" => fields.push(one()),
            "no name" => fields[0].name.clear(),
            "a name of a megabyte" => fields[0].name = "n".repeat(1 << 20),
            "an unknown format" => fields[0].format = "?".to_owned(),
            "a format of a megabyte" => fields[0].format = "?".repeat(1 << 20),
            "a format with a zero" => fields[0].format = "u\0u".to_owned(),
            "a fixed size below zero" => fields[0].format = "w:-1".to_owned(),
            "children that don't follow" => fields[0].children = 3,
            "four billion children" => fields[0].children = u32::MAX,
            "a list of nothing" => fields[0].format = "+l".to_owned(),
            "a map of text" => *fields = vec![field("copy", "+m", 1), field("item", "u", 0)],
            "a union of a thousand" => {
                let ids = (0..1000).map(|i| i.to_string()).collect::<Vec<_>>().join(",");
                *fields = vec![field("copy", &format!("+us:{ids}"), 1000)];
                fields.extend((0..1000).map(|_| field("m", "i", 0)));
            }
            "a million columns" => *fields = (0..1_000_000).map(|i| field(&i.to_string(), "i", 0)).collect(),
            "a time zone that isn't" => fields[0].format = "tsu:Mars/Base".to_owned(),
            "metadata of twenty megabytes" => fields[0].metadata = vec![("k".to_owned(), "v".repeat(20 << 20))],
            "a shape that isn't" => answer.shape = "reduce".to_owned(),
            "a wider shape" => answer.shape = "expand".to_owned(),
            "a shape of a megabyte" => answer.shape = "s".repeat(1 << 20),
            _ => {}
        }
        Ok(answer)
    }

    fn process(&self, how: &str, batch: &Batch) -> Result<(), Failure> {
        let emission = Emission::copy(batch);
        let emission = match how {
            "another column" => emission.with(3, vec![vec![], bytes([1, 2, 3])]),
            "no column" => Emission::rows(3),
            _ => return unknown(how),
        };
        emission.send();
        Ok(())
    }
}
