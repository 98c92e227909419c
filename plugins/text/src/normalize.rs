//! The operator `normalize`: one spelling out of several for the same text.

use std::borrow::Cow;
use std::sync::Arc;

use dflow_plugin::arrow::{Array, DataType, Field, RecordBatch, Schema, StringBuilder};
use dflow_plugin::{Description, Emitter, Failure, Opened, Operator, Port, Shape};
use unicode_normalization::{
    IsNormalized, UnicodeNormalization, is_nfc_quick, is_nfd_quick, is_nfkc_quick, is_nfkd_quick,
};

/// A Unicode normalization form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// Composed: `é` is one character.
    #[default]
    Nfc,
    /// Decomposed: `é` is `e` and an accent.
    Nfd,
    /// Composed, and compatible characters made the same: `ﬁ` is `fi`, `①` is `1`.
    Nfkc,
    /// Decomposed, and compatible characters made the same.
    Nfkd,
    /// As it is.
    None,
}

/// What becomes of white space.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WhiteSpace {
    /// As it is.
    Keep,
    /// A run of it becomes one blank, or one empty line (two line feeds) where it holds more than one line break; none is left
    /// at the text's ends. So paragraphs stay and lines are joined.
    #[default]
    Collapse,
    /// Each line is trimmed and a run of white space in it becomes one blank. Line breaks stay, as line feeds.
    Lines,
}

/// Settings of `text/normalize`.
#[derive(Clone, Debug, Default, serde::Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The Unicode normalization form.
    pub form: Form,
    /// What becomes of white space. Line breaks are LF, CR LF, CR and Unicode's NEL, LS and PS.
    pub whitespace: WhiteSpace,
    /// Whether control characters that aren't white space are taken out.
    pub strip_control: bool,
}

impl Settings {
    /// Appends the normalized text to `out`.
    pub fn write(&self, text: &str, out: &mut String) {
        let text = self.form.apply(text);
        let characters = text.chars().filter(|c| !(self.strip_control && c.is_control() && !c.is_whitespace()));
        match self.whitespace {
            WhiteSpace::Keep if self.strip_control => out.extend(characters),
            WhiteSpace::Keep => out.push_str(&text),
            WhiteSpace::Collapse => collapse(characters, out),
            WhiteSpace::Lines => tidy_lines(characters, out),
        }
    }
}

impl Form {
    /// The text in this form: itself where it already is.
    fn apply(self, text: &str) -> Cow<'_, str> {
        // ASCII is the same in all forms.
        if self == Self::None || text.is_ascii() {
            return Cow::Borrowed(text);
        }
        let is_normalized = match self {
            Self::Nfc => is_nfc_quick(text.chars()),
            Self::Nfd => is_nfd_quick(text.chars()),
            Self::Nfkc => is_nfkc_quick(text.chars()),
            Self::Nfkd => is_nfkd_quick(text.chars()),
            Self::None => IsNormalized::Yes,
        };
        match (is_normalized, self) {
            (IsNormalized::Yes, _) | (_, Self::None) => Cow::Borrowed(text),
            (_, Self::Nfc) => Cow::Owned(text.nfc().collect()),
            (_, Self::Nfd) => Cow::Owned(text.nfd().collect()),
            (_, Self::Nfkc) => Cow::Owned(text.nfkc().collect()),
            (_, Self::Nfkd) => Cow::Owned(text.nfkd().collect()),
        }
    }
}

/// White space between two other characters.
#[derive(Default)]
struct Gap {
    is_any: bool,
    line_breaks: usize,
    after_return: bool,
}

impl Gap {
    /// Takes in a character; false when it isn't white space.
    fn widen(&mut self, character: char) -> bool {
        // Most characters are letters: they take one comparison.
        if character > ' ' && character < '\u{85}' || !character.is_whitespace() {
            return false;
        }
        let is_break = matches!(character, '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}');
        if is_break && !(character == '\n' && self.after_return) {
            self.line_breaks += 1;
        }
        self.after_return = character == '\r';
        self.is_any = true;
        true
    }
}

fn collapse(characters: impl Iterator<Item = char>, out: &mut String) {
    let start = out.len();
    let mut gap = Gap::default();
    for character in characters {
        if gap.widen(character) {
            continue;
        }
        if gap.is_any {
            if out.len() > start {
                out.push_str(if gap.line_breaks > 1 { "\n\n" } else { " " });
            }
            gap = Gap::default();
        }
        out.push(character);
    }
}

fn tidy_lines(characters: impl Iterator<Item = char>, out: &mut String) {
    let start = out.len();
    let mut gap = Gap::default();
    for character in characters {
        if gap.widen(character) {
            continue;
        }
        if gap.is_any {
            out.extend(std::iter::repeat_n('\n', gap.line_breaks));
            if gap.line_breaks == 0 && out.len() > start {
                out.push(' ');
            }
            gap = Gap::default();
        }
        out.push(character);
    }
    out.extend(std::iter::repeat_n('\n', gap.line_breaks));
}

/// Gives text one Unicode form and one kind of white space. Null stays null.
pub struct Normalize {
    settings: Settings,
}

impl Operator for Normalize {
    type Settings = Settings;

    fn describe() -> Description {
        Description::new("normalize", Shape::Map)
            .version("0.1.0")
            .summary("gives text one Unicode form and one kind of white space")
            .port(Port::utf8("text", "the text to normalize"))
    }

    fn open(settings: Settings, _input: &Schema) -> Result<(Self, Opened), Failure> {
        let opened = Opened::new(Shape::Map).column(Field::new("text", DataType::Utf8, true));
        Ok((Self { settings }, opened))
    }

    fn process(&mut self, input: &RecordBatch, emit: &mut Emitter<'_>) -> Result<(), Failure> {
        let texts = dflow_plugin::text(input, 0)?;
        let mut normalized = StringBuilder::with_capacity(texts.len(), texts.value_data().len());
        let mut buffer = String::new();
        for text in texts {
            normalized.append_option(text.map(|text| {
                buffer.clear();
                self.settings.write(text, &mut buffer);
                buffer.as_str()
            }));
        }
        emit.map(vec![Arc::new(normalized.finish())])?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_is_what_the_setting_says() {
        let text = " \u{feff}a\tb \r\n c\u{a0}\r\r\nd\u{2028}\n ";
        for (whitespace, expected) in [
            (WhiteSpace::Keep, text),
            (WhiteSpace::Collapse, "\u{feff}a b c\n\nd"),
            (WhiteSpace::Lines, "\u{feff}a b\nc\n\nd\n\n"),
        ] {
            let mut out = "x".to_owned();
            Settings { whitespace, ..Settings::default() }.write(text, &mut out);
            assert_eq!(out[1..], *expected, "{whitespace:?}");
        }
    }

    #[test]
    fn normalizing_twice_changes_nothing() {
        let text = "e\u{301} ﬁ ①\u{7} 한글 \u{1e9b}\u{323}\r\n\n  ゛\u{85}";
        for form in [Form::Nfc, Form::Nfd, Form::Nfkc, Form::Nfkd, Form::None] {
            for whitespace in [WhiteSpace::Keep, WhiteSpace::Collapse, WhiteSpace::Lines] {
                let settings = Settings { form, whitespace, strip_control: true };
                let (mut once, mut twice) = (String::new(), String::new());
                settings.write(text, &mut once);
                settings.write(&once, &mut twice);
                assert_eq!(once, twice, "{settings:?}");
            }
        }
    }
}
