//! Keeps chunks of text that are long enough, and made of words.

use dflow_plugin::arrow::{RecordBatch, Schema};
use dflow_plugin::{Description, Emitter, Failure, Opened, Operator, Port, Rows, Shape};

/// Settings of `validator/prose`.
#[derive(Clone, Debug, serde::Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The least length of a text, in characters.
    pub length: usize,
    /// The least share of its characters that are alphabetic, from 0 to 1.
    pub alphabetic: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { length: 40, alphabetic: 0.4 }
    }
}

impl Settings {
    /// Whether a text is kept.
    pub fn keeps(&self, text: &str) -> bool {
        let (length, alphabetic) = if text.is_ascii() {
            (text.len(), text.bytes().filter(u8::is_ascii_alphabetic).count())
        } else {
            text.chars().fold((0, 0), |(all, letters), c| (all + 1, letters + usize::from(c.is_alphabetic())))
        };
        length >= self.length && alphabetic as f64 >= self.alphabetic * length as f64
    }
}

/// Drops texts that are short, or hardly made of letters.
pub struct Prose {
    settings: Settings,
}

impl Operator for Prose {
    type Settings = Settings;

    fn describe() -> Description {
        Description::new("prose", Shape::Filter)
            .version("0.1.0")
            .summary("keeps texts that are long enough, and made of words")
            .port(Port::utf8("text", "the text to judge"))
    }

    fn open(settings: Settings, _input: &Schema) -> Result<(Self, Opened), Failure> {
        if !(0.0..=1.0).contains(&settings.alphabetic) {
            let share = settings.alphabetic;
            return Err(Failure::settings(format!("setting `alphabetic` is {share}, it must be from 0 to 1")));
        }
        Ok((Self { settings }, Opened::new(Shape::Filter)))
    }

    fn process(&mut self, input: &RecordBatch, emit: &mut Emitter<'_>) -> Result<(), Failure> {
        let texts = dflow_plugin::text(input, 0)?.iter().enumerate();
        let kept = texts.filter(|(_, text)| text.is_some_and(|text| self.settings.keeps(text)));
        let parents = kept.map(|(row, _)| row as u32).collect();
        emit.rows(Rows::new(vec![]).parents(parents))?;
        Ok(())
    }
}

dflow_plugin::export!(
    plugin = "validator",
    version = env!("CARGO_PKG_VERSION"),
    summary = "judges chunks of text",
    operators = [Prose]
);

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use dflow_plugin::arrow::{ArrayRef, StringArray};
    use dflow_plugin::testing;

    use super::*;

    #[test]
    fn prose_is_kept() {
        let (short, long) = ("a".repeat(39), "a".repeat(40));
        let (just, fewer) =
            (format!("{}{}", "a".repeat(16), "-".repeat(24)), format!("{}{}", "a".repeat(15), "-".repeat(25)));
        let foreign = format!("{}{}", "é".repeat(16), "–".repeat(24));
        let texts = [Some(&short), Some(&long), None, Some(&just), Some(&fewer), Some(&foreign)];
        let texts: ArrayRef = Arc::new(StringArray::from_iter(texts));
        let input = RecordBatch::try_from_iter_with_nullable([("text", texts, true)]).unwrap();
        assert_eq!(testing::run::<Prose>("{}", &input).unwrap().parents, [1, 3, 5]);
        let strict = testing::run::<Prose>(r#"{"alphabetic": 1.5}"#, &input).unwrap_err();
        assert!(strict.to_string().contains("from 0 to 1"), "{strict}");
    }
}
