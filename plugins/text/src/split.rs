//! Cuts a text into chunks.
//!
//! The cutting is `text-splitter`'s: the highest level of structure whose pieces fit (paragraphs, lines, sentences, words,
//! characters; for markdown its blocks) is filled up to the size. Plain text by characters, which is what most ask for, is cut
//! by [`Characters`] at the same places many times as fast. All else goes through the crate itself, whose cost for each chunk
//! grows with all of the text that is left, which makes a megabyte without line breaks a matter of minutes. So plain text is
//! given to it in windows of some dozen chunks: where a chunk ends depends only on what comes within its size, so all chunks of
//! a window are final but for the last few, and the next window begins at the first of those. What a line of markdown means
//! depends on what stands above it, so its windows are whole [`blocks`](mod@blocks), and the next begins at the last chunk that
//! begins with one. Only a link is lost to that: if its definition is in another window, it is text. A block of many chunks that
//! isn't a list is cut as a whole, at the crate's cost: a table of a megabyte takes seconds.

use text_splitter::{ChunkConfig, MarkdownSplitter, TextSplitter};

use crate::blocks;
use crate::characters::Characters;
use crate::measure::{Measure, Unit};
use crate::tokens::Encoding;

/// Chunks that the first window is guessed to hold.
const GUESS: usize = 32;
/// Chunks at the end of a window that more text could change.
const OPEN: usize = 3;
/// A window that holds fewer chunks grows, ...
const FEWEST: usize = 12;
/// ... and after one that holds more the next is smaller.
const MOST: usize = 96;
/// Bytes of the smallest window.
const SMALLEST: usize = 256;

/// What structure a text has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// Paragraphs, lines, sentences, words.
    #[default]
    Text,
    /// Markdown's: headings, blocks, list items, then as `text`. Code blocks are kept whole where they fit.
    Markdown,
}

/// How to cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The greatest length of a chunk; a single character may be longer when the unit is tokens.
    pub size: usize,
    /// How much of its predecessor a chunk repeats, at most: whole pieces of the level of structure that it was cut at, so that
    /// it may be nothing. Less than `size`.
    pub overlap: usize,
    /// What lengths are counted in.
    pub unit: Unit,
    /// Which tokens, for that unit.
    pub encoding: Encoding,
    /// What structure to look for.
    pub by: By,
    /// Whether chunks lose the white space at their ends.
    pub trim: bool,
}

impl Cut {
    /// Calls `take` with the byte range of each chunk of `text`, in order. No chunk is empty.
    pub fn chunks(&self, text: &str, mut take: impl FnMut(usize, usize)) {
        let bytes = match (self.by, self.unit) {
            (By::Text, Unit::Characters) => {
                let Self { size, overlap, trim, .. } = *self;
                return Characters { size, overlap, trim }.chunks(text).for_each(|(start, end)| take(start, end));
            }
            (By::Markdown, Unit::Characters) => 1,
            (_, Unit::Tokens) => 4,
            (_, Unit::Words) => 6,
            (_, Unit::Sentences) => 80,
        };
        self.chunks_by_windows(text, self.size.saturating_mul(bytes * GUESS).max(SMALLEST), take);
    }

    /// As [`chunks`](Self::chunks), with a first window of so many bytes.
    fn chunks_by_windows(&self, text: &str, mut window: usize, mut take: impl FnMut(usize, usize)) {
        // Where windows may begin and end; anywhere if none.
        let blocks = (self.by == By::Markdown).then(|| blocks::starts(text));
        let mut start = 0;
        let mut chunks = Vec::new();
        while start < text.len() {
            let end = start.saturating_add(window);
            let end = match &blocks {
                None => text.floor_char_boundary(end),
                Some(blocks) => blocks.get(blocks.partition_point(|block| *block < end)).copied().unwrap_or(text.len()),
            };
            chunks.clear();
            self.split(&text[start..end], &mut chunks);
            let last = end == text.len();
            let done = match (last, &blocks) {
                (true, _) => chunks.len(),
                (false, _) if chunks.len() < FEWEST => 0,
                (false, None) => chunks.len() - OPEN,
                (false, Some(blocks)) => {
                    let begins = |chunk: &usize| blocks.binary_search(&(start + chunks[*chunk].0)).is_ok();
                    (1..=chunks.len() - OPEN).rev().find(begins).unwrap_or(0)
                }
            };
            if done == 0 && !last {
                window = (end - start).saturating_mul(2);
                continue;
            }
            for (from, to) in &chunks[..done] {
                take(start + from, start + to);
            }
            let Some((next, _)) = chunks.get(done) else { return };
            start += next;
            if chunks.len() > MOST {
                window = (window / 2).max(SMALLEST);
            }
        }
    }

    /// The byte ranges of the chunks of a window.
    fn split(&self, text: &str, chunks: &mut Vec<(usize, usize)>) {
        let measure = Measure::new(self.unit, self.encoding, text);
        let config = ChunkConfig::new(self.size).with_sizer(measure).with_trim(self.trim);
        let config = config.with_overlap(self.overlap).expect("settings with too much overlap were refused");
        let range = |(start, chunk): (usize, &str)| (start, start + chunk.len());
        match self.by {
            By::Text => chunks.extend(TextSplitter::new(config).chunk_indices(text).map(range)),
            By::Markdown => chunks.extend(MarkdownSplitter::new(config).chunk_indices(text).map(range)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIECES: [&str; 16] = [
        "word",
        " ",
        " ",
        "\n",
        "\n\n",
        ". ",
        "Sentence one! ",
        "e\u{301}",
        "👩‍👩‍👧",
        "東京都",
        "שלום ",
        "# Heading\n",
        "```\ncode\n```\n",
        "- item\n",
        "\r\n",
        "averyveryverylongwordwithoutanyend",
    ];

    /// Text of random pieces: the same for the same seed.
    fn text(mut seed: u64, pieces: usize) -> String {
        let mut text = String::new();
        for _ in 0..pieces {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            text.push_str(PIECES[(seed >> 60) as usize]);
        }
        text
    }

    fn cuts() -> impl Iterator<Item = Cut> {
        let units = [Unit::Characters, Unit::Words, Unit::Sentences, Unit::Tokens];
        units.into_iter().flat_map(|unit| {
            [(1, 0), (7, 0), (7, 3), (40, 0), (40, 39)].into_iter().flat_map(move |(size, overlap)| {
                [By::Text, By::Markdown].into_iter().flat_map(move |by| {
                    [true, false].map(|trim| Cut { size, overlap, unit, encoding: Encoding::Cl100kBase, by, trim })
                })
            })
        })
    }

    #[test]
    fn chunks_fit_and_leave_nothing_out() {
        for seed in 0..8 {
            let text = text(seed, 100);
            for cut in cuts() {
                let measure = Measure::new(cut.unit, cut.encoding, &text);
                let (mut covered, mut last_start) = (0, None);
                cut.chunks(&text, |start, end| {
                    let chunk = text.get(start..end).expect("chunks end at characters");
                    assert!(!chunk.is_empty(), "{cut:?}");
                    let size = text_splitter::ChunkSizer::size(&measure, chunk);
                    assert!(size <= cut.size || chunk.chars().count() == 1, "{cut:?}: {size} in {chunk:?} of {text:?}");
                    assert!(last_start < Some(start), "{cut:?}: {chunk:?} doesn't move on");
                    if start > covered {
                        let left_out = &text[covered..start];
                        assert!(
                            cut.trim && left_out.trim().is_empty(),
                            "{cut:?}: {left_out:?} is left out of {text:?}"
                        );
                    }
                    if cut.overlap == 0 {
                        assert!(start >= covered, "{cut:?}: {chunk:?} repeats");
                    }
                    (covered, last_start) = (end, Some(start));
                });
                assert!(
                    text[covered..].trim().is_empty() && (cut.trim || covered == text.len()),
                    "{cut:?} of {text:?}"
                );
            }
        }
    }

    #[test]
    fn white_has_no_chunks() {
        for cut in cuts().filter(|cut| cut.trim) {
            for white in ["", " ", "\n\n", &" \n".repeat(500)] {
                cut.chunks(white, |start, end| panic!("{cut:?}: {start} to {end} of {white:?}"));
            }
        }
    }

    #[test]
    fn windows_don_t_show() {
        for seed in 0..2 {
            let text = text(seed, 800);
            for cut in cuts().filter(|cut| cut.by == By::Markdown || matches!(cut.unit, Unit::Words | Unit::Sentences))
            {
                let chunks = |window| {
                    let mut chunks = Vec::new();
                    cut.chunks_by_windows(&text, window, |start, end| chunks.push((start, end)));
                    chunks
                };
                assert_eq!(chunks(300), chunks(usize::MAX), "{cut:?}");
            }
        }
    }
}
