//! Cuts plain text into chunks of at most so many characters, at the places where `text-splitter` cuts it.
//!
//! The rule. A chunk begins at the cursor. How far it may reach, its limit, is so many characters on; where chunks are trimmed,
//! white space before and behind them isn't counted. All is one level of structure's decision:
//!
//! 1. The line breaks. A run of them has a level, which is how many lines it ends. The highest level among the runs that begin
//!    at or before the limit is the chunk's, and the chunk ends at the last run of that level: behind it, or before it where the
//!    run reaches past the limit. What the cursor stands inside of is no run.
//! 2. With no such run the sentences, words, grapheme clusters and characters from the cursor on, as `icu_segmenter` finds them:
//!    the first of these levels whose first piece fits, and the chunk ends with the last piece that fits.
//!
//! So nothing beyond the limit matters but what it takes to know the boundaries before it, and the cost is linear in the text:
//! a limit never moves back, so line breaks are looked for once in each byte, and the rest looks at one window a chunk.
//! What `text-splitter` adds for text with an overlap is kept to the letter in [`Chunks::overlapped`].

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::LazyLock;

use icu_segmenter::options::{SentenceBreakInvariantOptions, WordBreakInvariantOptions};
use icu_segmenter::{
    GraphemeClusterSegmenter, GraphemeClusterSegmenterBorrowed, SentenceSegmenter, SentenceSegmenterBorrowed,
    WordSegmenter, WordSegmenterBorrowed,
};
use memchr::{memchr2, memchr3, memrchr_iter, memrchr3_iter};

// As in `text-splitter`.
const GRAPHEMES: GraphemeClusterSegmenterBorrowed<'static> = GraphemeClusterSegmenter::new();
static SENTENCES: LazyLock<SentenceSegmenterBorrowed<'static>> =
    LazyLock::new(|| SentenceSegmenter::new(SentenceBreakInvariantOptions::default()));
static WORDS: LazyLock<WordSegmenterBorrowed<'static>> =
    LazyLock::new(|| WordSegmenter::new_dictionary(WordBreakInvariantOptions::default()));

/// Bytes behind the limit that the words before it may depend on. Runs of Thai and the like are looked up in a dictionary as
/// a whole, however long, but where its words end is decided by the few words that follow.
const AHEAD: usize = 4096;

/// How to cut.
#[derive(Clone, Copy)]
pub struct Characters {
    /// Characters that a chunk has at most.
    pub size: usize,
    /// Characters that a chunk repeats of its predecessor at most. Less than `size`.
    pub overlap: usize,
    /// Whether chunks lose the white space at their ends.
    pub trim: bool,
}

impl Characters {
    /// The byte ranges of the chunks of a text, in order. No chunk is empty.
    pub fn chunks(self, text: &str) -> Chunks<'_> {
        Chunks {
            text,
            cut: self,
            cursor: 0,
            done: 0,
            runs: VecDeque::new(),
            scanned: 0,
            white: 0..0,
            ends: Vec::new(),
            #[cfg(test)]
            looked_at: 0,
        }
    }
}

/// Consecutive line breaks.
struct Run {
    start: usize,
    end: usize,
    /// Lines that it ends.
    level: usize,
}

/// The chunks of one text.
pub struct Chunks<'text> {
    text: &'text str,
    cut: Characters,
    cursor: usize,
    /// Where the last chunk ended.
    done: usize,
    /// The runs from the cursor to where was scanned.
    runs: VecDeque<Run>,
    scanned: usize,
    /// White space that was found: its end is the farthest that was.
    white: Range<usize>,
    /// Where the pieces end that make up the chunk at hand.
    ends: Vec<usize>,
    #[cfg(test)]
    looked_at: usize,
}

impl Iterator for Chunks<'_> {
    type Item = (usize, usize);

    fn next(&mut self) -> Option<(usize, usize)> {
        while self.cursor < self.text.len() {
            let start = self.cursor;
            let (first, limit) = self.limit();
            let end = if limit == self.text.len() { self.finish() } else { self.advance(limit) };
            let last = start + self.trimmed(&self.text[start..end]).len();
            // With an overlap there may be nothing new in a chunk.
            if first < last && last > self.done {
                self.done = last;
                return Some((first, last));
            }
        }
        None
    }
}

impl Chunks<'_> {
    /// Takes all that is left.
    fn finish(&mut self) -> usize {
        self.cursor = self.text.len();
        self.cursor
    }

    /// Takes the pieces before the limit: where they end. The cursor moves there, or with an overlap some pieces less far.
    fn advance(&mut self, limit: usize) -> usize {
        self.ends.clear();
        self.scan(limit);
        if let Some(level) = self.level(limit) {
            self.lines(level, limit);
        } else {
            self.fall_back(limit);
        }
        let end = *self.ends.last().expect("a character fits");
        self.cursor = if self.cut.overlap == 0 { end } else { self.overlapped(end) };
        end
    }

    /// `chunk` without the white space at its end, if it is to lose that.
    fn trimmed<'chunk>(&self, chunk: &'chunk str) -> &'chunk str {
        if self.cut.trim { chunk.trim_end() } else { chunk }
    }

    /// Where the chunk's first character is, and the farthest place where it may end.
    fn limit(&mut self) -> (usize, usize) {
        if !self.cut.trim {
            return (self.cursor, self.after(self.cursor, self.cut.size));
        }
        let first = self.skip_white(self.cursor);
        let full = self.after(first, self.cut.size);
        (first, self.skip_white(full))
    }

    /// Where the white space at a place ends. A long stretch of it is in reach of many chunks, and walked through once.
    fn skip_white(&mut self, at: usize) -> usize {
        if self.white.contains(&at) {
            return self.white.end;
        }
        let end = self.text.len() - self.text[at..].trim_start().len();
        self.look_at(end - at);
        if end > self.white.end {
            self.white = at..end;
        }
        end
    }

    /// The place so many characters after another, or the text's end.
    fn after(&mut self, at: usize, mut characters: usize) -> usize {
        let bytes = self.text.as_bytes();
        let mut end = at;
        while characters > 0 && bytes.len() - end > characters {
            let next = end + characters;
            characters -= count(&bytes[end..next]);
            self.look_at(next - end);
            end = next;
        }
        if characters > 0 { bytes.len() } else { self.text.ceil_char_boundary(end) }
    }

    /// Finds the runs that begin at or before the limit.
    fn scan(&mut self, limit: usize) {
        let bytes = self.text.as_bytes();
        let scanned = self.scanned;
        while self.scanned <= limit {
            let Some(at) = memchr2(b'\n', b'\r', &bytes[self.scanned..=limit]) else {
                self.scanned = limit + 1;
                break;
            };
            let start = self.scanned + at;
            let length = bytes[start..].iter().take_while(|byte| matches!(byte, b'\n' | b'\r')).count();
            let end = start + length;
            // `\r\n` ends one line.
            let pairs = bytes[start..end].windows(2).filter(|pair| pair == b"\r\n").count();
            self.runs.push_back(Run { start, end, level: length - pairs });
            self.scanned = end;
        }
        self.look_at(self.scanned - scanned);
        while self.runs.front().is_some_and(|run| run.start < self.cursor) {
            self.runs.pop_front();
        }
    }

    /// The runs that may decide where the chunk ends.
    fn runs(&self, limit: usize) -> impl Iterator<Item = &Run> {
        // One at the cursor is a piece of its own, and has to fit.
        let fits = move |run: &&Run| if run.start == self.cursor { run.end <= limit } else { run.start <= limit };
        self.runs.iter().take_while(fits)
    }

    /// The highest level of line breaks.
    fn level(&self, limit: usize) -> Option<usize> {
        self.runs(limit).map(|run| run.level).max()
    }

    /// Takes the pieces that runs of a level make.
    fn lines(&mut self, level: usize, limit: usize) {
        let mut ends = std::mem::take(&mut self.ends);
        for run in self.runs(limit).filter(|run| run.level == level) {
            ends.extend((run.start > self.cursor).then_some(run.start));
            ends.extend((run.end <= limit).then_some(run.end));
        }
        self.ends = ends;
    }

    /// Takes the pieces of the highest level below the line breaks.
    fn fall_back(&mut self, limit: usize) {
        let (text, cursor) = (self.text, self.cursor);
        let ahead = text.floor_char_boundary(limit.saturating_add(AHEAD));
        self.look_at(limit - cursor);
        self.sentences(limit);
        if !self.ends.is_empty() && !self.within_grapheme(limit, ahead) {
            return;
        }
        self.ends.clear();
        let from = self.word(limit);
        self.take(from, WORDS.segment_str(&text[from..ahead]), limit);
        if self.ends.is_empty() {
            self.take(cursor, GRAPHEMES.segment_str(&text[cursor..ahead]), limit);
        }
        if self.ends.is_empty() {
            self.take(cursor, text[cursor..].char_indices().map(|(at, _)| at), limit);
        }
    }

    /// Takes the pieces that end at or before the limit, of boundaries counted from a place.
    fn take(&mut self, from: usize, boundaries: impl Iterator<Item = usize>, limit: usize) {
        // The first is the place itself.
        self.ends.extend(boundaries.skip(1).map(|end| from + end).take_while(|end| *end <= limit));
    }

    /// Takes the sentences, without an overlap the last ones only.
    fn sentences(&mut self, limit: usize) {
        let bytes = self.text.as_bytes();
        let mut from = self.cursor;
        if self.cut.overlap == 0 {
            // Whatever stands before: a full stop, a space and a capital letter are two sentences.
            let sure = |at: &usize| matches!(bytes[from + at + 1..], [b' ', b'A'..=b'Z', ..]);
            if let Some(at) = memrchr3_iter(b'.', b'!', b'?', &bytes[from..limit - 1]).find(sure) {
                from += at + 2;
                self.ends.push(from);
            }
        }
        // In ASCII few bytes end one.
        let window = &bytes[from..limit];
        let window = &window[..memchr3(b'.', b'!', b'?', window).unwrap_or(window.len())];
        let window = &window[..memchr2(b'\n', b'\r', window).unwrap_or(window.len())];
        let ascii = if window.is_ascii() { None } else { window.iter().position(|byte| !byte.is_ascii()) };
        let ending = from + ascii.unwrap_or(window.len());
        if ending < limit {
            // What follows it depends on the character before it, and on no other.
            let from = if ending > from { ending - 1 } else { from };
            let known = known_end(self.text, from, limit);
            self.look_at(known - limit);
            self.take(from, SENTENCES.segment_str(&self.text[from..known]), limit);
        }
    }

    /// From where to look for the ends of words: what ends before isn't needed.
    fn word(&self, limit: usize) -> usize {
        if self.cut.overlap > 0 {
            return self.cursor;
        }
        let bytes = self.text.as_bytes();
        // Whatever stands before: behind a space a word begins.
        let sure = |at: &usize| bytes[self.cursor + at + 1].is_ascii_alphanumeric();
        memrchr_iter(b' ', &bytes[self.cursor..limit]).find(sure).map_or(self.cursor, |at| self.cursor + at)
    }

    /// Whether the first grapheme cluster doesn't fit and the first word is longer still: then no sentence in it is looked for.
    fn within_grapheme(&self, limit: usize, ahead: usize) -> bool {
        let rest = &self.text[self.cursor..ahead];
        let fits = |grapheme: &usize| self.cursor + grapheme <= limit;
        let Some(grapheme) = GRAPHEMES.segment_str(rest).nth(1).filter(|end| !fits(end)) else { return false };
        WORDS.segment_str(rest).nth(1) > Some(grapheme)
    }

    /// Where the next chunk begins so that it repeats pieces of the last, which ended here: a search that `text-splitter` means
    /// to find the most that are allowed, and that can miss them.
    fn overlapped(&mut self, end: usize) -> usize {
        let (mut start, mut low, mut high) = (end, 0, self.ends.len() - 1);
        while low <= high {
            let middle = low + (high - low) / 2;
            let offset = if middle == 0 { self.cursor } else { self.ends[middle - 1] };
            let piece = &self.text[offset..end];
            let piece = if self.cut.trim { piece.trim() } else { piece };
            let length = count(piece.as_bytes());
            self.look_at(end - offset);
            if length <= self.cut.overlap && offset < start && offset > self.cursor {
                start = offset;
            }
            if length < self.cut.overlap && middle > 0 {
                high = middle - 1;
            } else {
                low = middle + 1;
            }
        }
        start
    }

    /// Tests that the cost is linear go by this.
    fn look_at(&mut self, bytes: usize) {
        #[cfg(test)]
        {
            self.looked_at += bytes;
        }
        #[cfg(not(test))]
        let _ = bytes;
    }
}

/// Where a text may be cut off so that its sentences up to the limit stay what they are.
fn known_end(text: &str, from: usize, limit: usize) -> usize {
    // A full stop ends no sentence if a small letter comes next, with no other letter between and no mark that ends one.
    let stop = |c: char| matches!(c, '.' | '\u{2024}' | '\u{fe52}' | '\u{ff0e}');
    let last = text[from..limit].chars().rev().find(|c| stop(*c) || settles(*c));
    let mut rest = text[limit..].char_indices();
    let next = if last.is_some_and(stop) { rest.find(|(_, c)| settles(*c)) } else { rest.next() };
    next.map_or(text.len(), |(at, c)| limit + at + c.len_utf8())
}

/// Whether a character settles whether the full stop before it ended a sentence. Of some that do it isn't known here.
fn settles(c: char) -> bool {
    matches!(c, 'a'..='z' | 'A'..='Z' | '\n' | '\r' | '.' | '!' | '?' | 'À'..='Ö' | 'Ø'..='ö' | 'ø'..='ɏ' | 'Α'..='Ρ' | 'α'..='ω'
        | 'А'..='я' | 'א'..='ת' | 'ء'..='ي' | 'ऄ'..='ह' | 'ก'..='ะ' | 'ぁ'..='ゖ' | 'ァ'..='ヺ' | '一'..='鿿' | '가'..='힣')
}

/// How many characters begin in the bytes of a text. Loops of 256 bytes a turn, since a turn costs the sandbox a check.
fn count(bytes: &[u8]) -> usize {
    let (words, rest) = bytes.as_chunks::<8>();
    let mut continued = rest.iter().filter(|byte| **byte & 0xc0 == 0x80).count();
    // A byte of the sum holds what so many words add to it.
    for words in words.chunks(usize::from(u8::MAX)) {
        let (turns, few) = words.as_chunks::<32>();
        let turns: u64 = turns.iter().map(|turn| turn.iter().map(continuing).sum::<u64>()).sum();
        let sums = turns + few.iter().map(continuing).sum::<u64>();
        continued += sums.to_ne_bytes().map(usize::from).iter().sum::<usize>();
    }
    bytes.len() - continued
}

/// A one in each byte that isn't the first of its character.
fn continuing(word: &[u8; 8]) -> u64 {
    let word = u64::from_ne_bytes(*word);
    (word >> 7) & !(word >> 6) & 0x0101_0101_0101_0101
}

#[cfg(test)]
mod tests {
    use text_splitter::{ChunkConfig, TextSplitter};

    use super::*;

    /// Pieces of text that are cut in different ways, and some that are seldom seen beside each other.
    const PIECES: [&str; 64] = [
        "word",
        "a",
        "B",
        "Word",
        " ",
        " ",
        "  ",
        "\t",
        "\n",
        "\n",
        "\n\n",
        "\n\n\n",
        "\r\n",
        "\r",
        "\u{b}",
        "\u{85}",
        "\u{2028}",
        "\u{a0}",
        "\u{3000}",
        ".",
        ". ",
        ". A",
        "!",
        "? ",
        "?! ",
        "...",
        "…",
        ",",
        ";",
        ": ",
        "-",
        "'",
        "\"",
        ") ",
        "(",
        "Mr. Fox ",
        "U.S. ",
        "3.14",
        "1,000 ",
        "42",
        ". 7 ",
        "e\u{301}",
        "\u{301}",
        "\u{200d}",
        "\u{200e}",
        "\u{ad}",
        "\u{feff}",
        "👩‍👩‍👧",
        "🇩🇪",
        "🇫",
        "👍🏽",
        "‼\u{200d}😀\u{200e}",
        "⁉",
        "東京都",
        "。",
        "カタカナ",
        "สวัสดีชาวโลก",
        "\u{e33}",
        "ကမ္ဘာ",
        "שלום ",
        "नमस्ते",
        "한국어",
        "ß",
        "averyveryverylongwordwithoutanyend",
    ];

    /// A row of numbers: the same for the same seed.
    struct Random(u64);

    impl Random {
        fn below(&mut self, bound: usize) -> usize {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) as usize % bound
        }

        /// Text of some pieces, of which few are different: what stands beside what decides.
        fn text(&mut self) -> String {
            let kinds: Vec<_> = (0..1 + self.below(16)).map(|_| PIECES[self.below(PIECES.len())]).collect();
            (0..self.below(60)).map(|_| kinds[self.below(kinds.len())]).collect()
        }

        fn cut(&mut self, largest: usize) -> Characters {
            let size = 1 + self.below(largest);
            let overlap = if self.below(2) == 0 { 0 } else { self.below(size) };
            Characters { size, overlap, trim: self.below(2) == 0 }
        }
    }

    fn expected(cut: Characters, text: &str) -> Vec<(usize, usize)> {
        let config =
            ChunkConfig::new(cut.size).with_trim(cut.trim).with_overlap(cut.overlap).expect("less than the size");
        TextSplitter::new(config).chunk_indices(text).map(|(start, chunk)| (start, start + chunk.len())).collect()
    }

    #[test]
    fn random_text_is_cut_as_by_the_splitter() {
        let mut random = Random(1);
        for round in 0..40_000 {
            let text = random.text();
            let largest = [3, 12, 40, 200][round % 4];
            let cut = random.cut(largest);
            let found: Vec<_> = cut.chunks(&text).collect();
            assert_eq!(found, expected(cut, &text), "{} {} {} of {text:?}", cut.size, cut.overlap, cut.trim);
        }
    }

    #[test]
    fn cost_is_linear() {
        let pieces =
            ["a", "word ", "東京", "1", "สวัสดี", "\u{301}", " ", "\n", "\r", "\n ", "Word. ", "1. ", "a\n\nb\nc "];
        for piece in pieces {
            // The two that windows were once needed for, at the size that they were needed at.
            let bytes = if ["a", "\n"].contains(&piece) { 10_000_000 } else { 500_000 };
            let text = piece.repeat(bytes / piece.len());
            for trim in [true, false] {
                let mut chunks = Characters { size: 1000, overlap: 0, trim }.chunks(&text);
                while chunks.next().is_some() {}
                let looks = chunks.looked_at / text.len();
                assert!(looks <= 8, "{piece:?} is looked at {looks} times");
            }
        }
    }

    #[test]
    fn what_reaches_far_is_looked_at_once() {
        let cut = |trim| Characters { size: 1000, overlap: 0, trim };
        let lines: String = (1..40).rev().map(|level| format!("a{}", "\n".repeat(level))).collect();
        for (start, far, end) in
            [(&lines[..], " ", "b"), (&lines, "\n", "b"), ("a. a. ", "1", "a"), ("a. ", "\u{301}", "a")]
        {
            let far = far.repeat(300_000);
            let text = format!("{start}{far}{end}");
            for trim in [true, false] {
                let mut chunks = cut(trim).chunks(&text);
                assert!(chunks.by_ref().count() > 0);
                assert!(chunks.looked_at < 8 * text.len(), "{} of {}", chunks.looked_at, text.len());
            }
        }
    }

    #[test]
    fn documents_are_cut_as_by_the_splitter() {
        let mut random = Random(2);
        let documents = [
            include_str!("../../../README.md"),
            include_str!("../../../host/README.md"),
            include_str!("characters.rs"),
        ];
        for document in documents {
            // Also with paragraphs as one line, and with nothing but sentences.
            for text in [document.to_owned(), document.replace(". ", ".\n"), document.replace('\n', " ")] {
                for _ in 0..40 {
                    let cut = random.cut(2000);
                    let found: Vec<_> = cut.chunks(&text).collect();
                    assert_eq!(found, expected(cut, &text), "{} {} {}", cut.size, cut.overlap, cut.trim);
                }
            }
        }
    }
}
