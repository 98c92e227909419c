//! The loops that operators are made of, written for how guests run.
//!
//! A guest's loops ask at each turn whether their time is up. That costs nothing where a turn does much, and up to five times the work
//! where it does little, as in what a compiler makes of `bytes.iter().filter(…).count()`. These kernels do 256 bytes a turn, with
//! the 16 bytes at a time that WebAssembly has.
//!
//! | kernel | question |
//! | --- | --- |
//! | [`Mask`] | where are the bytes that a text is cut at? Lines, words and fields are what lies between |
//! | [`count`] | how many such bytes are there? |
//! | [`is_ascii`], [`is_utf8`] | is it text? |
//! | [`hash`] | which of many is it? |
//! | [`dot`] | how alike are two vectors? |
//!
//! The same code runs natively, with what the processor has; a plain loop is what each is tested against.

mod check;
mod dot;
mod hash;
mod lanes;
mod mask;

pub use check::{is_ascii, is_utf8};
pub use dot::dot;
pub use hash::hash;
pub use mask::{Mask, count};

/// Bytes of one turn of a loop.
const TURN: usize = 256;

#[cfg(test)]
mod tests {
    /// Bytes that look like nothing, the same each time.
    pub(super) fn noise(length: usize, seed: u64) -> Vec<u8> {
        let mut state = seed;
        let mut byte = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        };
        (0..length).map(|_| byte()).collect()
    }
}
