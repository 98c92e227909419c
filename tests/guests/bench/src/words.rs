//! The second words of texts: what `token2` does, without what it is called with.

use crate::kernels::Mask;

/// Where the second word of each text lies in it, words being what spaces are between; nothing where there is only one. The texts are
/// those of an array: `offsets` into `values`.
pub fn second_words(offsets: &[i32], values: &[u8]) -> (Vec<u32>, Vec<u32>) {
    let spaces = Mask::of(values, b' ');
    let count = offsets.len().saturating_sub(1);
    let (mut starts, mut ends) = (Vec::with_capacity(count), Vec::with_capacity(count));
    for pair in offsets.windows(2) {
        let (start, end) = second(&spaces, pair[0] as usize, pair[1] as usize);
        starts.push(start);
        ends.push(end);
    }
    (starts, ends)
}

/// Where the second word of the text at `from..to` lies in it.
#[inline]
fn second(spaces: &Mask, from: usize, to: usize) -> (u32, u32) {
    // Most have their first two spaces among their first 64 bytes.
    let window = spaces.window(from);
    let end = (window & window.wrapping_sub(1)).trailing_zeros();
    if (end as usize) < 64.min(to - from) {
        return (window.trailing_zeros() + 1, end);
    }
    match spaces.next(from, to) {
        None => (0, 0),
        Some(first) => {
            let end = spaces.next(first + 1, to).unwrap_or(to);
            ((first + 1 - from) as u32, (end - from) as u32)
        }
    }
}
