//! Lies made of valid parts. A guest includes this file too.

use dflow_boundary::WireNode;

/// Changes one thing about the parts of a batch: a byte, a size, a count. `below` gives a number below another.
pub(crate) fn mutate(below: &mut impl FnMut(usize) -> usize, nodes: &mut Vec<WireNode>, buffers: &mut Vec<Vec<u8>>) {
    let number = |below: &mut dyn FnMut(usize) -> usize, now: u32| match below(5) {
        0 => now.wrapping_add(1),
        1 => now.wrapping_sub(1),
        2 => 0,
        3 => below(100) as u32,
        _ => u32::MAX - below(9) as u32,
    };
    // Bytes are where most lies fit in.
    if below(4) > 0 && !buffers.is_empty() {
        let buffer = below(buffers.len());
        let length = buffers[buffer].len();
        match below(8) {
            0 => buffers[buffer].truncate(below(length + 1)),
            1 => buffers[buffer].extend([0xff; 9].iter().take(below(9) + 1)),
            2 => drop(buffers.remove(buffer)),
            3 => buffers.insert(buffer, vec![1; below(20)]),
            4 => {
                let other = below(buffers.len());
                buffers.swap(buffer, other);
            }
            _ if length > 0 => {
                let byte = below(length);
                buffers[buffer][byte] = match below(4) {
                    0 => 0xff,
                    1 => 0,
                    2 => buffers[buffer][byte] ^ (1 << below(8)),
                    _ => below(256) as u8,
                };
            }
            _ => {}
        }
    } else if !nodes.is_empty() {
        let node = below(nodes.len());
        match below(5) {
            0 => nodes[node].length = number(below, nodes[node].length),
            1 => nodes[node].null_count = number(below, nodes[node].null_count),
            2 => nodes[node].buffers = number(below, nodes[node].buffers),
            3 => drop(nodes.remove(node)),
            _ => nodes.insert(node, WireNode { length: below(9) as u32, null_count: 0, buffers: 2 }),
        }
    }
}
