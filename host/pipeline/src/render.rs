//! How mistakes are shown to a person.

use std::{fmt, fmt::Write, ops::Range};

use miette::{
    Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteError, MietteSpanContents, Severity,
    SourceCode, SourceSpan, SpanContents,
};

use crate::{Mistake, Mistakes, SourceText};

/// Renders mistakes for a terminal of `width` columns: each with its file, line and column, the line itself with the characters
/// underlined, and its hint; at the end, how many there are. Ends with a line feed.
pub fn render(mistakes: &Mistakes, colour: bool, width: usize) -> String {
    rendered(mistakes, Severity::Error, "mistake", colour, width)
}

/// Renders what is no mistake but may surprise, like mistakes.
pub fn render_warnings(warnings: &Mistakes, colour: bool, width: usize) -> String {
    rendered(warnings, Severity::Warning, "warning", colour, width)
}

fn rendered(mistakes: &Mistakes, severity: Severity, word: &str, colour: bool, width: usize) -> String {
    let theme = if colour { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
    let handler = GraphicalReportHandler::new_themed(theme).with_width(width).with_context_lines(1).with_links(false);
    let mut out = String::new();
    for mistake in &mistakes.list {
        let place = mistakes.source.as_ref().and_then(|sources| sources.place(mistake));
        let place = place.map(|(text, span)| (Lines(text), span));
        let mut shown = Shown { mistake, severity, place, with_hint: false };
        let plain = report(&handler, &shown);
        shown.with_hint = true;
        let whole = report(&handler, &shown);
        // What the handler calls help is called a hint everywhere else here; it comes last, after all of `plain`.
        let hint = whole.strip_prefix(&plain).unwrap_or_default().replacen("help:", "hint:", 1);
        out.extend([&plain, &hint, "\n"]);
    }
    let count = mistakes.list.len();
    let files = mistakes.source.as_ref().map(|sources| sources.names(&mistakes.list).join(" and "));
    let files = files.filter(|names| !names.is_empty()).unwrap_or_else(|| "the pipeline".to_owned());
    // Writing to a string can't fail.
    let _ = writeln!(out, "{count} {word}{} in {files}", if count == 1 { "" } else { "s" });
    out
}

fn report(handler: &GraphicalReportHandler, shown: &Shown<'_>) -> String {
    let mut out = String::new();
    if handler.render_report(&mut out, shown).is_err() {
        // Nothing that is asked of the handler here fails, but a mistake is worth showing whatever happens.
        out = format!("  × {}\n", shown.mistake.message);
    }
    out
}

/// A mistake as miette wants it.
#[derive(Debug)]
struct Shown<'a> {
    mistake: &'a Mistake,
    severity: Severity,
    place: Option<(Lines<'a>, Range<usize>)>,
    with_hint: bool,
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.mistake.message)
    }
}

impl std::error::Error for Shown<'_> {}

impl Diagnostic for Shown<'_> {
    fn severity(&self) -> Option<Severity> {
        Some(self.severity)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.place.as_ref().map(|(text, _)| text as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let (text, span) = self.place.as_ref()?;
        let span = if span.is_empty() { text.visible(span.start) } else { span.clone() };
        Some(Box::new(std::iter::once(LabeledSpan::new(None, span.start, span.len()))))
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        let hint = self.mistake.hint.as_ref().filter(|_| self.with_hint)?;
        Some(Box::new(hint))
    }
}

/// A text of which whole lines are shown. miette's own sources show either the marked characters alone (no lines of context)
/// or the lines before and after them too.
#[derive(Debug)]
struct Lines<'a>(&'a SourceText);

impl Lines<'_> {
    /// The character at a place, or the last one of its line: something to underline where something is missing.
    fn visible(&self, at: usize) -> Range<usize> {
        let (before, after) = self.0.text.split_at_checked(at).unwrap_or(("", ""));
        match (before.chars().next_back(), after.chars().next()) {
            (_, Some(next)) if !matches!(next, '\n' | '\r') => at..at + next.len_utf8(),
            (Some(last), _) if last != '\n' => at - last.len_utf8()..at,
            _ => at..at,
        }
    }
}

impl SourceCode for Lines<'_> {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        lines_before: usize,
        _lines_after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let text = self.0.text.as_bytes();
        let (mut start, mut end) = (span.offset(), span.offset() + span.len());
        if end > text.len() {
            return Err(MietteError::OutOfBounds);
        }
        let line_start = text[..start].iter().rposition(|byte| *byte == b'\n').map_or(0, |i| i + 1);
        let column = String::from_utf8_lossy(&text[line_start..start]).chars().count();
        let line = text[..start].iter().filter(|byte| **byte == b'\n').count();
        // Asked without context, miette only wants to know the line and column of the first character.
        let context = lines_before > 0;
        if context {
            start = line_start;
            if !text[start..end].ends_with(b"\n") {
                end += text[end..].iter().position(|byte| *byte == b'\n').unwrap_or(text.len() - end);
            }
        }
        let data = &text[start..end];
        let count = data.iter().filter(|byte| **byte == b'\n').count() + 1;
        let span = SourceSpan::from((start, end - start));
        let column = if context { 0 } else { column };
        Ok(Box::new(MietteSpanContents::new_named(self.0.name.clone(), data, span, line, column, count)))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{At, Sources};

    fn rendered(text: &str, span: Range<usize>) -> String {
        let source = SourceText { name: "p.toml".to_owned(), text: text.into(), ..SourceText::default() };
        let list = vec![Mistake::new(At::default(), "wrong").on(span)];
        render(&Mistakes { source: Some(Arc::new(Sources::one(source))), list }, false, 80)
    }

    #[test]
    fn any_characters_of_any_text_can_be_shown() {
        for text in ["", "\n", "a", "größe = 1\r\nx = \"…\"\r\n", "\t日本 = 2\n\n"] {
            let places: Vec<usize> = text.char_indices().map(|(i, _)| i).chain([text.len()]).collect();
            for (n, start) in places.iter().enumerate() {
                for end in &places[n..] {
                    let shown = rendered(text, *start..*end);
                    assert!(
                        shown.starts_with("  × wrong\n") && shown.contains("[p.toml:"),
                        "{text:?} {start}..{end}\n{shown}"
                    );
                }
            }
        }
    }

    #[test]
    fn columns_are_counted_in_characters() {
        let text = "größe = 1\nx = \"äh\" y\n";
        let y = text.find('y').expect("it is there");
        let shown = rendered(text, y..y + 1);
        assert!(shown.contains("[p.toml:2:10]"), "{shown}");
        assert!(shown.contains(" 2 │ x = \"äh\" y\n   ·          ─\n"), "{shown}");
    }

    #[test]
    fn what_is_not_in_the_text_is_shown_without_it() {
        assert_eq!(rendered("a = 1\n", 7..9), "  × wrong\n\n1 mistake in p.toml\n");
        let nowhere = Mistakes { source: None, list: vec![Mistake::new(At::stage("a"), "wrong").hint("right it")] };
        assert_eq!(render(&nowhere, false, 80), "  × wrong\n  hint: right it\n\n1 mistake in the pipeline\n");
    }
}
