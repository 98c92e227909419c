//! Buffers that aren't as many, or not as large, as the types of the columns have.

use crate::attack::{Attack, Emission, unknown};
use crate::bindings::dflow::operator::emitting::{self, Output};
use crate::bindings::dflow::operator::types::{Batch, Failure, Node};

pub(crate) struct Buffers;

impl Attack for Buffers {
    fn name(&self) -> &'static str {
        "buffers"
    }

    fn process(&self, how: &str, batch: &Batch) -> Result<(), Failure> {
        let mut emission = Emission::copy(batch);
        match how {
            "short offsets" => emission.buffers[1].truncate(12),
            "offsets cut within one" => emission.buffers[1].truncate(15),
            "no offsets" => emission.buffers[1].clear(),
            "short values" => drop(emission.buffers[2].pop()),
            "short validity" => {
                // Nine values need two bytes.
                emission = Emission::of(&[&b"x"[..]; 9]);
                emission.buffers[0] = vec![0xff];
            }
            "one too few" => drop(emission.buffers.pop()),
            "one too many" => emission.buffers.push(vec![1, 2, 3]),
            "node has none" => emission.nodes[0].buffers = 0,
            "node has four billion" => emission.nodes[0].buffers = u32::MAX,
            "nulls that aren't" => emission.nodes[0].null_count = 2,
            "nulls that aren't counted" => emission.buffers[0] = vec![0],
            "no node" => emission.nodes.clear(),
            "another node" => emission.nodes.push(Node { length: 3, null_count: 0, buffers: 0 }),
            // Lists of lists cost the host more than the guest.
            "millions of empty ones" => {
                let empty: &[u8] = &[];
                return lend(batch.rows, &emission.nodes, &vec![empty; 6 << 20]);
            }
            "millions of nodes" => {
                let nodes = vec![Node { length: 0, null_count: 0, buffers: 0 }; 4 << 20];
                return lend(batch.rows, &nodes, &[]);
            }
            "one, lent a million times" => {
                let large = vec![b'x'; 4 << 20];
                return lend(batch.rows, &emission.nodes, &vec![large.as_slice(); 1 << 20]);
            }
            _ => return unknown(how),
        }
        emission.send();
        Ok(())
    }
}

fn lend(rows: u32, nodes: &[Node], buffers: &[&[u8]]) -> Result<(), Failure> {
    emitting::emit(Output { rows, nodes, buffers, parents: None, slices: &[], errors: &[] });
    Ok(())
}
