//! Where a markdown document may be taken apart without a change of what its parts mean.

use pulldown_cmark::{Event, Options, Parser, Tag};

/// The offsets of the lines at which a block begins that is in no other block, or an item of a list that is in no other block:
/// ascending, without the first line's.
///
/// Each part between two of them is parsed by itself as it is in the document, but for links whose definition is elsewhere.
pub fn starts(text: &str) -> Vec<usize> {
    let mut starts = Vec::new();
    let mut depth = 0_usize;
    // The options are those of text-splitter: what is a block to it has to be one here.
    for (event, range) in Parser::new_ext(text, Options::all()).into_offset_iter() {
        let outermost = match &event {
            Event::End(_) => false,
            Event::Start(Tag::Item) => depth <= 1,
            _ => depth == 0,
        };
        if outermost {
            let line = text[..range.start].rfind('\n').map_or(0, |end| end + 1);
            if starts.last().copied().unwrap_or(0) < line {
                starts.push(line);
            }
        }
        match event {
            Event::Start(_) => depth += 1,
            Event::End(_) => depth -= 1,
            _ => {}
        }
    }
    starts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_in_blocks_and_first_lines_don_t_count() {
        let text = "# One\ntext\ntext\n\n    code\n\n- item\n  - item\n\n  text\n- next\n> quote\nlazy\n---\n| a |\n|---|\n| b |\n";
        let lines: Vec<_> = starts(text).into_iter().map(|at| text[at..].lines().next().unwrap_or_default()).collect();
        assert_eq!(lines, ["text", "    code", "- item", "- next", "> quote", "---", "| a |"]);
        assert_eq!(starts("only\nthis"), [] as [usize; 0]);
        assert_eq!(starts(""), [] as [usize; 0]);
    }
}
