//! Where some bytes are, a bit for each byte.

use super::TURN;
use super::lanes::{Lanes, WIDTH};

/// A bit for each byte of a text: whether it is one of those looked for.
///
/// Made once for all values of a column, which lie one after the other, it answers for each value by shifts and counts of zeros.
#[derive(Clone, Debug)]
pub struct Mask {
    /// One bit a byte, the first lowest; a word more than there are bytes for, so that a window may reach past the end.
    words: Vec<u64>,
    length: usize,
}

impl Mask {
    /// Looks for `wanted` in `bytes`.
    pub fn of(bytes: &[u8], wanted: u8) -> Self {
        Self::of_any(bytes, [wanted])
    }

    /// Looks for any of several.
    pub fn of_any<const N: usize>(bytes: &[u8], wanted: [u8; N]) -> Self {
        let wanted = wanted.map(Lanes::all);
        let found = |lanes: Lanes| wanted.iter().fold(Lanes::all(0), |all, one| all.or(lanes.equal(*one)));
        let mut words = Vec::with_capacity(bytes.len() / 64 + 2);
        let (turns, rest) = bytes.as_chunks::<TURN>();
        for turn in turns {
            words.extend_from_slice(&bits::<TURN, { TURN / 64 }>(turn, &found));
        }
        for part in rest.chunks(64) {
            let mut padded = [0; 64];
            padded[..part.len()].copy_from_slice(part);
            let kept = u64::MAX >> (64 - part.len());
            words.push(bits::<64, 1>(&padded, &found)[0] & kept);
        }
        words.push(0);
        Self { words, length: bytes.len() }
    }

    /// The 64 bits from `at` on, that of `at` lowest; zeros after the last byte.
    ///
    /// # Panics
    ///
    /// When `at` is beyond the end.
    #[inline]
    pub fn window(&self, at: usize) -> u64 {
        let (word, shift) = (at / 64, at % 64);
        let low = self.words[word] >> shift;
        // Shifted twice, since a shift by 64 isn't one.
        let high = self.words.get(word + 1).map_or(0, |next| next << 1 << (63 - shift));
        low | high
    }

    /// The first that was found at `from` or after it, before `end`.
    #[inline]
    pub fn next(&self, from: usize, end: usize) -> Option<usize> {
        let mut at = from;
        while at < end.min(self.length) {
            let window = self.window(at);
            if window != 0 {
                return Some(at + window.trailing_zeros() as usize).filter(|found| *found < end);
            }
            at += 64;
        }
        None
    }

    /// How many were found.
    pub fn count(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// The positions of all, ascending.
    pub fn positions(&self) -> impl Iterator<Item = usize> {
        self.words.iter().enumerate().flat_map(|(index, word)| {
            let mut left = *word;
            std::iter::from_fn(move || {
                let bit = (left != 0).then(|| left.trailing_zeros() as usize)?;
                left &= left - 1;
                Some(index * 64 + bit)
            })
        })
    }
}

/// The words of a whole number of them.
#[inline(always)]
fn bits<const N: usize, const WORDS: usize>(bytes: &[u8; N], found: &impl Fn(Lanes) -> Lanes) -> [u64; WORDS] {
    let (lanes, _) = bytes.as_chunks::<WIDTH>();
    std::array::from_fn(|word| {
        let bits = |i: usize| found(Lanes::load(&lanes[word * 4 + i])).high_bits();
        bits(0) | bits(1) << 16 | bits(2) << 32 | bits(3) << 48
    })
}

/// How often `wanted` is in `bytes`.
pub fn count(bytes: &[u8], wanted: u8) -> usize {
    let lanes = Lanes::all(wanted);
    let found = |other: Lanes| lanes.equal(other);
    let (turns, rest) = bytes.as_chunks::<TURN>();
    let mut total = 0;
    for turn in turns {
        let words = bits::<TURN, { TURN / 64 }>(turn, &found);
        total += words.iter().map(|word| word.count_ones() as usize).sum::<usize>();
    }
    total + rest.iter().filter(|byte| **byte == wanted).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::tests::noise;

    #[test]
    fn finds_what_a_loop_finds() {
        for length in [0, 1, 15, 63, 64, 65, 255, 256, 257, 511, 1000] {
            let bytes: Vec<u8> = noise(length, length as u64).iter().map(|byte| byte % 16).collect();
            for wanted in [vec![3], vec![0], vec![1, 2, 15]] {
                let expected: Vec<usize> = (0..length).filter(|i| wanted.contains(&bytes[*i])).collect();
                let mask = match wanted[..] {
                    [a] => Mask::of(&bytes, a),
                    _ => Mask::of_any(&bytes, [wanted[0], wanted[1], wanted[2]]),
                };
                assert_eq!(mask.positions().collect::<Vec<_>>(), expected, "{length} {wanted:?}");
                assert_eq!(mask.count(), expected.len());
                for from in 0..length {
                    let next = expected.iter().copied().find(|at| *at >= from);
                    assert_eq!(mask.next(from, length), next);
                    assert_eq!(mask.next(from, from + 3), next.filter(|at| *at < from + 3));
                    let window = expected.iter().filter(|at| (from..from + 64).contains(*at));
                    assert_eq!(mask.window(from), window.fold(0, |bits, at| bits | 1 << (at - from)));
                }
                assert_eq!(count(&bytes, wanted[0]), bytes.iter().filter(|byte| **byte == wanted[0]).count());
            }
        }
    }
}
