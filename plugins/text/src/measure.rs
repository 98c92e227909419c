//! How long a piece of text is, in the unit of one's choice.
//!
//! A splitter measures overlapping pieces of one text over and over. Where the unit has boundaries of its own (words,
//! sentences) they are looked up once for the text, and a piece is measured by two binary searches.

use std::ops::Range;

use text_splitter::{Characters, ChunkSizer};
use unicode_segmentation::UnicodeSegmentation;

use crate::tokens::{Encoding, Tokens};

/// What a text's length is counted in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Unicode code points.
    #[default]
    Characters,
    /// Words after Unicode's rules (UAX 29): punctuation is none, an ideograph is one.
    Words,
    /// Sentences after Unicode's rules (UAX 29).
    Sentences,
    /// Tokens of a language model, see `encoding`.
    Tokens,
}

/// Measures pieces of one text.
pub enum Measure<'text> {
    /// In characters.
    Characters,
    /// In characters of a text in which each is a byte.
    Bytes,
    /// In what has boundaries of its own.
    Spans(Spans<'text>),
    /// In tokens of each piece by itself.
    Tokens(&'static Tokens),
}

impl<'text> Measure<'text> {
    /// Makes ready to measure pieces of `text`.
    pub fn new(unit: Unit, encoding: Encoding, text: &'text str) -> Self {
        match unit {
            Unit::Characters if text.is_ascii() => Self::Bytes,
            Unit::Characters => Self::Characters,
            Unit::Words => Self::Spans(Spans::new(text, text.unicode_word_indices())),
            Unit::Sentences => Self::Spans(Spans::new(text, text.split_sentence_bound_indices())),
            Unit::Tokens => Self::Tokens(encoding.tokens()),
        }
    }
}

impl ChunkSizer for Measure<'_> {
    fn size(&self, piece: &str) -> usize {
        match self {
            Self::Characters => Characters.size(piece),
            Self::Bytes => piece.len(),
            Self::Spans(spans) => spans.touched(piece),
            Self::Tokens(tokens) => tokens.count(piece),
        }
    }
}

/// Where the words (or sentences) of a text are.
pub struct Spans<'text> {
    text: &'text str,
    /// Ascending and apart; without the white space around them.
    spans: Vec<Range<usize>>,
}

impl<'text> Spans<'text> {
    fn new(text: &'text str, pieces: impl Iterator<Item = (usize, &'text str)>) -> Self {
        let spans = pieces.filter_map(|(start, piece)| {
            let start = start + (piece.len() - piece.trim_start().len());
            let piece = piece.trim();
            (!piece.is_empty()).then_some(start..start + piece.len())
        });
        Self { text, spans: spans.collect() }
    }

    /// How many of them a piece of the text holds, wholly or in part.
    fn touched(&self, piece: &str) -> usize {
        let start = (piece.as_ptr() as usize)
            .checked_sub(self.text.as_ptr() as usize)
            .filter(|start| start + piece.len() <= self.text.len())
            .expect("what is measured is a piece of the text that the spans were made of");
        let end = start + piece.len();
        let begun = self.spans.partition_point(|span| span.start < end);
        let done = self.spans.partition_point(|span| span.end <= start);
        begun.saturating_sub(done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_count_what_they_say() {
        let text = "Don't panic. 東京 e\u{301}! 👩‍👩‍👧";
        for (unit, length) in [(Unit::Characters, 25), (Unit::Words, 5), (Unit::Sentences, 3)] {
            assert_eq!(Measure::new(unit, Encoding::default(), text).size(text), length, "{unit:?}");
        }
    }

    #[test]
    fn pieces_count_what_they_touch() {
        let text = "one two  three";
        let Measure::Spans(words) = Measure::new(Unit::Words, Encoding::default(), text) else { panic!("spans") };
        for (range, length) in
            [(0..0, 0), (0..3, 1), (0..4, 1), (0..5, 2), (2..5, 2), (7..9, 0), (8..14, 1), (0..14, 3)]
        {
            assert_eq!(words.touched(&text[range.clone()]), length, "{range:?}");
        }
    }
}
