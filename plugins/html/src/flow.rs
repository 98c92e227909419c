//! Lays text out on lines the way a browser's `innerText` does.
//!
//! Both operators write through [`Flow`], so that `text` and `extract` agree about white space: runs of it become one blank,
//! blocks begin on a line of their own, paragraphs are set apart by one empty line, cells by a tab, and what is preformatted
//! stays as it is. Everything is appended to one buffer for the whole batch; documents are told apart by where they begin.

use memchr::memchr;
use wide::u8x16;

/// What has to come between the text written so far and the next, in ascending strength.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Gap {
    None,
    Blank,
    Tab,
    Line,
    EmptyLine,
}

/// Text under construction: the texts of all documents so far, one behind the other.
#[derive(Debug)]
pub struct Flow {
    out: Vec<u8>,
    /// Where the current document begins in `out`.
    start: usize,
    gap: Gap,
    /// How many preformatted elements are open, and where in `out` the outermost began.
    preformatted: u32,
    preformatted_start: usize,
    /// A newline right behind `<pre>` is not part of the text.
    drop_newline: bool,
    /// How many lists are open.
    lists: u32,
}

impl Flow {
    /// An empty flow with room for `capacity` bytes of text.
    pub fn with_capacity(capacity: usize) -> Self {
        Self {
            out: Vec::with_capacity(capacity),
            start: 0,
            gap: Gap::None,
            preformatted: 0,
            preformatted_start: 0,
            drop_newline: false,
            lists: 0,
        }
    }

    /// How many bytes were written so far. What is pending between two words is not counted.
    pub fn len(&self) -> usize {
        self.out.len()
    }

    /// Whether the current document has no text yet.
    pub fn is_empty(&self) -> bool {
        self.out.len() == self.start
    }

    /// The bytes written since `start`, a former [`Flow::len`].
    pub fn since(&self, start: usize) -> &[u8] {
        &self.out[start.min(self.out.len())..]
    }

    /// Writes text of the document, entities decoded.
    pub fn text(&mut self, text: &[u8]) {
        if self.preformatted > 0 {
            self.verbatim(text);
        } else {
            self.collapsed(text);
        }
    }

    fn verbatim(&mut self, mut text: &[u8]) {
        if self.drop_newline && !text.is_empty() {
            self.drop_newline = false;
            text = text.strip_prefix(b"\n").unwrap_or(text);
        }
        if text.is_empty() {
            return;
        }
        self.fill_gap();
        if memchr(0, text).is_some() {
            self.out.extend(text.iter().filter(|byte| **byte != 0));
        } else {
            self.out.extend_from_slice(text);
        }
    }

    fn collapsed(&mut self, text: &[u8]) {
        let mut at = 0;
        while at < text.len() {
            if is_white(text[at]) {
                // A parser drops NUL characters of the body; they separate nothing.
                if text[at] != 0 {
                    self.gap = self.gap.max(Gap::Blank);
                }
                at += 1;
                continue;
            }
            let run = at;
            at += plain_run(&text[at..]);
            self.fill_gap();
            self.out.extend_from_slice(&text[run..at]);
        }
    }

    fn fill_gap(&mut self) {
        if self.gap != Gap::None {
            if !self.is_empty() {
                match self.gap {
                    Gap::None => {}
                    Gap::Blank => self.out.push(b' '),
                    Gap::Tab => self.out.push(b'\t'),
                    Gap::Line if self.preformatted > 0 && self.out.ends_with(b"\n") => {}
                    Gap::Line => self.out.push(b'\n'),
                    Gap::EmptyLine => self.out.extend_from_slice(b"\n\n"),
                }
            }
            self.gap = Gap::None;
        }
    }

    /// What follows begins on a line of its own.
    pub fn line(&mut self) {
        self.gap = self.gap.max(Gap::Line);
    }

    /// What follows is set apart by an empty line.
    pub fn empty_line(&mut self) {
        self.gap = self.gap.max(Gap::EmptyLine);
    }

    /// `<br>`: a second one in a row leaves an empty line, more of them add nothing.
    pub fn line_break(&mut self) {
        if self.preformatted > 0 {
            self.verbatim(b"\n");
        } else {
            self.gap = if self.gap < Gap::Line { Gap::Line } else { Gap::EmptyLine };
        }
    }

    /// What follows is the next cell of a row.
    pub fn cell(&mut self) {
        self.gap = self.gap.max(Gap::Tab);
    }

    /// A list begins: an inner one continues its item, an outer one is set apart.
    pub fn open_list(&mut self) {
        self.list_edge();
        self.lists = self.lists.saturating_add(1);
    }

    /// A list ends.
    pub fn close_list(&mut self) {
        self.lists = self.lists.saturating_sub(1);
        self.list_edge();
    }

    fn list_edge(&mut self) {
        if self.lists == 0 {
            self.empty_line();
        } else {
            self.line();
        }
    }

    /// Preformatted text begins.
    pub fn open_preformatted(&mut self) {
        self.empty_line();
        if self.preformatted == 0 {
            self.preformatted_start = self.out.len();
            self.drop_newline = true;
        }
        self.preformatted = self.preformatted.saturating_add(1);
    }

    /// Preformatted text ends; an end without a beginning is nothing.
    pub fn close_preformatted(&mut self) {
        if self.preformatted == 1 {
            self.trim_end(self.preformatted_start);
        }
        self.preformatted = self.preformatted.saturating_sub(1);
        self.drop_newline = false;
        self.empty_line();
    }

    /// Ends the current document and returns where it ends, which is where the next one begins.
    pub fn finish(&mut self) -> usize {
        self.trim_end(self.start);
        self.start = self.out.len();
        self.gap = Gap::None;
        self.preformatted = 0;
        self.drop_newline = false;
        self.lists = 0;
        self.start
    }

    /// Drops what was written of the current document.
    pub fn discard(&mut self) {
        self.out.truncate(self.start);
        self.finish();
    }

    /// Puts the text of another flow in the place of what was written of the current document.
    pub fn replace(&mut self, other: Self) {
        self.discard();
        self.out.extend_from_slice(&other.out);
    }

    /// The texts of all documents, one behind the other.
    pub fn into_bytes(self) -> Vec<u8> {
        self.out
    }

    fn trim_end(&mut self, floor: usize) {
        while self.out.len() > floor && self.out.last().is_some_and(|byte| is_white(*byte)) {
            self.out.pop();
        }
    }
}

/// How many bytes of a text that begins with no white space are already what they have to become: words, one blank between them.
fn plain_run(text: &[u8]) -> usize {
    let mut at = 0;
    // A block's last byte is looked at again with the next block, since what follows a blank decides.
    while let Some(block) = text[at..].first_chunk::<16>() {
        let block = u8x16::from(*block);
        let bits = |byte: u8| block.simd_eq(u8x16::splat(byte)).to_bitmask();
        let blank = bits(b' ');
        let white = WHITE.iter().fold(blank, |white, byte| white | bits(*byte));
        let stop = ((white & !blank) | (blank & (white >> 1))) & 0x7fff;
        if stop != 0 {
            return at + stop.trailing_zeros() as usize;
        }
        at += 15;
    }
    while at < text.len() {
        let goes_on =
            !is_white(text[at]) || (text[at] == b' ' && text.get(at + 1).is_some_and(|next| !is_white(*next)));
        if !goes_on {
            break;
        }
        at += 1;
    }
    at
}

/// White space but the blank.
const WHITE: [u8; 5] = [b'\n', b'\t', b'\r', 0x0c, 0];

/// White space of HTML, and NUL, which is not part of any text.
fn is_white(byte: u8) -> bool {
    byte == b' ' || WHITE.contains(&byte)
}

/// One line of text out of several: white space of any script trimmed, its runs made one blank.
pub fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Flow)) -> String {
        let mut flow = Flow::with_capacity(64);
        write(&mut flow);
        flow.finish();
        String::from_utf8(flow.into_bytes()).expect("text stays text")
    }

    #[test]
    fn white_space_collapses_wherever_it_stands() {
        for length in 1..40 {
            for at in 0..length {
                for white in [" ", "  ", " \n", "\n", "\t ", "\0", "\u{c}", "\u{1}"] {
                    let text = format!("{}{white}{}", "x".repeat(at), "y".repeat(length - at));
                    let expected = text.split([' ', '\n', '\t', '\u{c}']).filter(|word| !word.is_empty());
                    let expected = expected.collect::<Vec<_>>().join(" ").replace('\0', "");
                    assert_eq!(written(|flow| flow.text(text.as_bytes())), expected, "{text:?}");
                }
            }
        }
    }

    #[test]
    fn white_space_collapses_across_pieces() {
        let text = written(|flow| {
            for piece in ["  a ", "", " b\n\tc", "d", "\u{c}e\0f ", "  "] {
                flow.text(piece.as_bytes());
            }
        });
        assert_eq!(text, "a b cd ef");
    }

    #[test]
    fn gaps_don_t_add_up() {
        let text = written(|flow| {
            flow.empty_line();
            flow.text(b"a");
            flow.line();
            flow.text(b" ");
            flow.empty_line();
            flow.line();
            flow.text(b"b");
            flow.line_break();
            flow.text(b"c");
            for _ in 0..5 {
                flow.line_break();
            }
            flow.text(b"d");
        });
        assert_eq!(text, "a\n\nb\nc\n\nd");
    }

    #[test]
    fn preformatted_text_stays_but_for_its_ends() {
        let text = written(|flow| {
            flow.text(b"before");
            flow.open_preformatted();
            flow.text(b"\n  fn main() {\n");
            flow.text(b"  }\n\n");
            flow.close_preformatted();
            flow.text(b" after ");
            flow.open_preformatted();
            flow.text(b"\n\n  ");
            flow.close_preformatted();
            flow.close_preformatted();
        });
        assert_eq!(text, "before\n\n  fn main() {\n  }\n\nafter");
    }

    #[test]
    fn documents_don_t_see_each_other() {
        let mut flow = Flow::with_capacity(0);
        flow.text(b"one ");
        flow.open_preformatted();
        assert_eq!(flow.finish(), 3);
        assert!(flow.is_empty());
        flow.text(b" two  words");
        assert_eq!(flow.finish(), 12);
        flow.text(b"gone");
        flow.discard();
        assert_eq!(flow.into_bytes(), b"onetwo words");
    }
}
