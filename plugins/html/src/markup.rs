//! Markup as the tokenizer reads it.
//!
//! The same as html5gum's own reader of strings, but for how it looks for the next byte that means something: sixteen bytes at a
//! time. The other one takes eight, and calls a function for each byte found where addresses have 32 bits.

use std::convert::Infallible;

use html5gum::Reader;
use wide::u8x16;

/// What is left of the markup.
pub(crate) struct Markup<'a>(pub(crate) &'a [u8]);

impl Reader for Markup<'_> {
    type Error = Infallible;

    #[inline(always)]
    fn read_byte(&mut self) -> Result<Option<u8>, Infallible> {
        Ok(self.0.split_off_first().copied())
    }

    #[inline(always)]
    fn try_read_string(&mut self, text: &[u8], case_sensitive: bool) -> Result<bool, Infallible> {
        let Some((start, rest)) = self.0.split_at_checked(text.len()) else { return Ok(false) };
        let same = start == text || (!case_sensitive && start.eq_ignore_ascii_case(text));
        if same {
            self.0 = rest;
        }
        Ok(same)
    }

    #[inline(always)]
    fn read_until<'b>(&'b mut self, ends: &[u8], _: &'b mut [u8; 4]) -> Result<Option<&'b [u8]>, Infallible> {
        if self.0.is_empty() {
            return Ok(None);
        }
        // One of the ends is read alone.
        Ok(self.0.split_off(..first_of(ends, self.0).max(1)))
    }
}

/// The position of the first byte that is one of `ends`, or the length of `bytes`.
#[inline(always)]
fn first_of(ends: &[u8], bytes: &[u8]) -> usize {
    let is_end = |byte: &u8| ends.iter().any(|end| byte == end);
    // Often it is the very first.
    if bytes.first().is_some_and(is_end) {
        return 0;
    }
    let (blocks, rest) = bytes.as_chunks::<16>();
    for (i, block) in blocks.iter().enumerate() {
        let block = u8x16::from(*block);
        let found = ends.iter().fold(u8x16::ZERO, |found, end| found | block.simd_eq(u8x16::splat(*end))).to_bitmask();
        if found != 0 {
            return i * 16 + found.trailing_zeros() as usize;
        }
    }
    rest.iter().position(is_end).map_or(bytes.len(), |i| bytes.len() - rest.len() + i)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_end_before_what_means_something() {
        for length in 0..40 {
            for at in 0..length {
                let mut text = vec![b'x'; length];
                text[at] = b'<';
                assert_eq!(first_of(b"&<\0", &text), at, "{length}");
            }
            assert_eq!(first_of(b"&<\0", &vec![b'x'; length]), length);
        }
        let mut markup = Markup(b"ab<c");
        let mut runs = Vec::new();
        while let Ok(Some(run)) = markup.read_until(b"<", &mut [0; 4]) {
            runs.push(run.to_vec());
        }
        assert_eq!(runs, [&b"ab"[..], b"<", b"c"]);
    }
}
