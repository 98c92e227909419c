//! Counts the tokens of OpenAI's models.
//!
//! A pattern cuts the text into pieces, and each piece is merged from bytes into ever longer tokens, the lowest rank first
//! (byte pair encoding). The merging is tiktoken-rs's. Its `CoreBPE` also holds what decoding needs, three times the memory, and
//! panics where the pattern gives up; so the two steps are put together here. `build.rs` packs the tables.

use std::sync::LazyLock;

use fancy_regex::Regex;
use rustc_hash::FxHashMap;
use tiktoken_rs::{O200K_BASE_PAT_STR, Rank, byte_pair_split};

/// The pattern of `cl100k_base`, after OpenAI's tiktoken.
const CL100K_BASE_PATTERN: &str = r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s";

/// Bytes of the longest piece that is merged as a whole.
const LONGEST_PIECE: usize = 1024;

/// Which tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// Of OpenAI's models since GPT-4o.
    #[default]
    #[serde(rename = "o200k_base")]
    O200kBase,
    /// Of GPT-4, GPT-3.5 and `text-embedding-3-*`.
    #[serde(rename = "cl100k_base")]
    Cl100kBase,
}

impl Encoding {
    /// The tokens of this encoding: unpacked at first use and kept.
    pub fn tokens(self) -> &'static Tokens {
        static O200K_BASE: LazyLock<Tokens> = LazyLock::new(|| {
            Tokens::unpack(include_bytes!(concat!(env!("OUT_DIR"), "/o200k_base.tokens")), O200K_BASE_PAT_STR)
        });
        static CL100K_BASE: LazyLock<Tokens> = LazyLock::new(|| {
            Tokens::unpack(include_bytes!(concat!(env!("OUT_DIR"), "/cl100k_base.tokens")), CL100K_BASE_PATTERN)
        });
        match self {
            Self::O200kBase => &O200K_BASE,
            Self::Cl100kBase => &CL100K_BASE,
        }
    }
}

/// The tokens of an encoding.
pub struct Tokens {
    ranks: FxHashMap<Vec<u8>, Rank>,
    pattern: Regex,
}

impl Tokens {
    fn unpack(packed: &[u8], pattern: &str) -> Self {
        let table = miniz_oxide::inflate::decompress_to_vec(packed).expect("build.rs has packed it");
        let (count, rest) = table.split_first_chunk().expect("a table begins with its count");
        let (lengths, mut bytes) = rest.split_at(u32::from_le_bytes(*count) as usize);
        let mut ranks = FxHashMap::with_capacity_and_hasher(lengths.len(), Default::default());
        for (rank, length) in (0..).zip(lengths) {
            let (token, rest) = bytes.split_at(usize::from(*length));
            ranks.insert(token.to_vec(), rank);
            bytes = rest;
        }
        Self { ranks, pattern: Regex::new(pattern).expect("the pattern is a constant that the tests compile") }
    }

    /// How many tokens `text` is. Special tokens such as `<|endoftext|>` count as the plain text that they are here.
    pub fn count(&self, text: &str) -> usize {
        let (mut count, mut counted) = (0, 0);
        for piece in self.pattern.find_iter(text) {
            // The pattern gives up when it had to try too much; what is left is then one piece.
            let Ok(piece) = piece else { break };
            count += self.merged(piece.as_str().as_bytes());
            counted = piece.end();
        }
        count + self.merged(&text.as_bytes()[counted..])
    }

    /// How many tokens a piece is. One that is longer than any word is counted in parts, since merging takes time by the square
    /// of the length: at most a token too many for each part.
    fn merged(&self, piece: &[u8]) -> usize {
        let parts = piece.chunks(LONGEST_PIECE).map(|part| match part {
            _ if self.ranks.contains_key(part) => 1,
            _ => byte_pair_split(part, &self.ranks).len(),
        });
        parts.sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_tiktoken_s() {
        let texts = [
            "",
            " ",
            "hello world, tokens",
            "  indented\n\n\n\tcode() { return 'x'; }  \r\n ",
            "I'LL don't we've 1234567 3.14 ½",
            "東京都千代田区 👩‍👩‍👧 e\u{301} שלום עולם",
            "<|endoftext|>",
            &"averyveryverylongword".repeat(40),
            &"\u{0}\u{7f}\u{ffff}".repeat(9),
        ];
        for text in texts {
            for (encoding, reference) in [
                (Encoding::O200kBase, tiktoken_rs::o200k_base_singleton()),
                (Encoding::Cl100kBase, tiktoken_rs::cl100k_base_singleton()),
            ] {
                assert_eq!(encoding.tokens().count(text), reference.count_ordinary(text), "{encoding:?}: {text:?}");
            }
        }
    }

    #[test]
    fn monotonous_text_is_counted() {
        for text in [" ".repeat(10_000), "a".repeat(10_000), "\n".repeat(10_000), "\u{301}".repeat(5_000)] {
            let count = Encoding::O200kBase.tokens().count(&text);
            assert!(count > 0 && count < text.len(), "{count}");
        }
    }
}
