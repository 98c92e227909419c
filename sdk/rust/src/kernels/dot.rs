//! How alike two vectors are.

/// Values of one turn, and sums that don't wait for each other.
const TURN: usize = 64;
const SUMS: usize = 16;

/// The sum of products. Its last bits are the same on every machine: in which order it is summed is part of the answer.
///
/// # Panics
///
/// When one is longer than the other.
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len(), "vectors of different lengths");
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<TURN>(), b.as_chunks::<TURN>());
    let mut sums = [0f32; SUMS];
    for (a, b) in a.iter().zip(b) {
        for part in 0..TURN / SUMS {
            for i in 0..SUMS {
                sums[i] += a[part * SUMS + i] * b[part * SUMS + i];
            }
        }
    }
    for (i, (a, b)) in a_rest.iter().zip(b_rest).enumerate() {
        sums[i % SUMS] += a * b;
    }
    sums.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::tests::noise;

    #[test]
    fn sums_what_a_loop_sums() {
        for length in [0, 1, 15, 16, 63, 64, 65, 384, 1000] {
            let values = |seed| noise(length, seed).iter().map(|byte| f32::from(*byte) - 128.0).collect::<Vec<_>>();
            let (a, b) = (values(1), values(2));
            // Whole numbers that are small enough to be summed exactly.
            let expected: f32 = a.iter().zip(&b).map(|(a, b)| a * b).sum();
            assert_eq!(dot(&a, &b), expected);
        }
    }
}
