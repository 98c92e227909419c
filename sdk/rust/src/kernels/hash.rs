//! A number for bytes.

use super::TURN;

/// Odd numbers without pattern: the fractions of square roots of primes.
const KEYS: [u64; 4] = [0x6a09_e667_f3bc_c909, 0xbb67_ae85_84ca_a73b, 0x3c6e_f372_fe94_f82b, 0xa54f_f53a_5f1d_36f1];

/// A hash of `bytes`: the same on every machine and in every version of this crate. Not against those who choose their bytes to collide.
pub fn hash(bytes: &[u8], seed: u64) -> u64 {
    let mut sums = KEYS.map(|key| key ^ seed);
    let (turns, rest) = bytes.as_chunks::<TURN>();
    for turn in turns {
        let (blocks, _) = turn.as_chunks::<32>();
        let blocks: &[[u8; 32]; TURN / 32] = blocks.try_into().expect("a turn is a whole number of blocks");
        for block in blocks {
            sums = mixed(sums, block);
        }
    }
    for part in rest.chunks(32) {
        let mut block = [0; 32];
        block[..part.len()].copy_from_slice(part);
        sums = mixed(sums, &block);
    }
    let both = |a: u64, b: u64| folded(a ^ KEYS[1], b ^ KEYS[3]);
    both(both(sums[0], sums[1]), both(sums[2], sums[3]) ^ bytes.len() as u64)
}

/// Takes 32 bytes in, in four sums that don't wait for each other.
#[inline(always)]
fn mixed(sums: [u64; 4], block: &[u8; 32]) -> [u64; 4] {
    let (words, _) = block.as_chunks::<8>();
    // Each step can be undone, so that other words give other sums. High bits are brought down first: a product spreads only upwards.
    std::array::from_fn(|i| {
        let sum = sums[i] ^ u64::from_le_bytes(words[i]);
        (sum ^ sum >> 32).wrapping_mul(KEYS[0] | 1).rotate_left(29)
    })
}

/// A product of 128 bits, folded.
#[inline(always)]
fn folded(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::kernels::tests::noise;

    #[test]
    fn differs_in_each_bit_and_length() {
        let bytes = noise(300, 7);
        let mut seen = HashSet::new();
        for length in 0..bytes.len() {
            assert!(seen.insert(hash(&bytes[..length], 0)), "length {length}");
        }
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut other = bytes.clone();
                other[at] ^= 1 << bit;
                assert!(seen.insert(hash(&other, 0)), "bit {bit} of byte {at}");
            }
        }
        assert!((1..1000).all(|seed| seen.insert(hash(&bytes, seed))));
        assert!((1..1000).all(|zeros| seen.insert(hash(&vec![0; zeros], 0))));
        // About as many bits are set as not, each of them in about half of all hashes.
        for bit in 0..64 {
            let set = seen.iter().filter(|hash| *hash >> bit & 1 == 1).count();
            assert!((set as f64 / seen.len() as f64 - 0.5).abs() < 0.05, "bit {bit}: {set} of {}", seen.len());
        }
    }
}
