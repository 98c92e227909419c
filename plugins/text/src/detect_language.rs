//! The operator `detect_language`: which language is a text in?
//!
//! `whatlang` compares the text's letters and most frequent groups of three letters with those of 70 languages. `whichlang` is
//! faster but knows 16 languages and says nothing of its confidence; `lingua` is surer of single words but brings 5 MB a language.

use std::borrow::Cow;
use std::sync::Arc;

use dflow_plugin::arrow::{DataType, Field, Float64Builder, RecordBatch, Schema, StringBuilder};
use dflow_plugin::{Description, Emitter, Failure, Opened, Operator, Port, Shape};
use whatlang::{Detector, Lang, Script};

/// Bytes of a text that are looked at: more of them change nothing but the time.
const SAMPLE: usize = 16 * 1024;

/// Settings of `text/detect_language`.
#[derive(Clone, Debug, serde::Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The languages that may be found, by their ISO 639-1 codes. All that are known unless given. The fewer they are, the surer
    /// short texts are told apart.
    pub languages: Option<Vec<Language>>,
    /// The least confidence: below it `language` is null. From 0 to 1.
    #[schemars(range(min = 0, max = 1))]
    pub minimum: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { languages: None, minimum: 0.2 }
    }
}

/// A language that can be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Language(Lang);

impl Language {
    fn all() -> impl Iterator<Item = &'static str> {
        Lang::all().iter().map(|lang| code(*lang))
    }
}

impl<'de> serde::Deserialize<'de> for Language {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Lang::all().iter().find(|lang| code(**lang) == text).map(|lang| Self(*lang)).ok_or_else(|| {
            let mut known: Vec<_> = Self::all().collect();
            known.sort_unstable();
            serde::de::Error::custom(format!("unknown language `{text}`, expected one of {}", known.join(" ")))
        })
    }
}

impl schemars::JsonSchema for Language {
    fn schema_name() -> Cow<'static, str> {
        "Language".into()
    }

    fn json_schema(_generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        // Not the list: it would be the widest thing that `plugin inspect` prints.
        schemars::json_schema!({ "type": "string", "pattern": "^[a-z]{2}$" })
    }
}

/// Guesses the language of each text. A null text gives nulls; one without letters has neither language nor script.
pub struct DetectLanguage {
    detector: Detector,
    /// The languages that may be found; all when there are none.
    languages: Vec<Lang>,
    minimum: f64,
}

/// What is known of a text's language.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Guess {
    language: Option<Lang>,
    /// How sure the likeliest language is, also when it isn't named.
    confidence: f64,
    script: Option<Script>,
}

impl Operator for DetectLanguage {
    type Settings = Settings;

    fn describe() -> Description {
        Description::new("detect_language", Shape::Map)
            .version("0.1.0")
            .summary("the language of a text (ISO 639-1), how sure that is from 0 to 1, and its script (ISO 15924)")
            .port(Port::utf8("text", "the text; its first 16 KiB are looked at"))
    }

    fn open(settings: Settings, _input: &Schema) -> Result<(Self, Opened), Failure> {
        let minimum = settings.minimum;
        if !(0.0..=1.0).contains(&minimum) {
            return Err(Failure::settings(format!("setting `minimum` is {minimum}, it must be from 0 to 1")));
        }
        let languages: Vec<_> = settings.languages.iter().flatten().map(|language| language.0).collect();
        let detector = match settings.languages {
            None => Detector::new(),
            Some(_) if languages.is_empty() => {
                return Err(Failure::settings(
                    "setting `languages` is empty\nhint: name some, such as `[\"en\", \"de\"]`, or leave it out for all",
                ));
            }
            Some(_) => Detector::with_allowlist(languages.clone()),
        };
        let opened = Opened::new(Shape::Map)
            .column(Field::new("language", DataType::Utf8, true))
            .column(Field::new("confidence", DataType::Float64, true))
            .column(Field::new("script", DataType::Utf8, true));
        Ok((Self { detector, languages, minimum }, opened))
    }

    fn process(&mut self, input: &RecordBatch, emit: &mut Emitter<'_>) -> Result<(), Failure> {
        let texts = dflow_plugin::text(input, 0)?;
        let (mut languages, mut confidences) = (StringBuilder::new(), Float64Builder::new());
        let mut scripts = StringBuilder::new();
        for text in texts {
            let guess = text.map(|text| self.guess(text));
            languages.append_option(guess.and_then(|guess| guess.language).map(code));
            confidences.append_option(guess.map(|guess| guess.confidence));
            scripts.append_option(guess.and_then(|guess| guess.script).map(script_code));
        }
        emit.map(vec![Arc::new(languages.finish()), Arc::new(confidences.finish()), Arc::new(scripts.finish())])?;
        Ok(())
    }
}

impl DetectLanguage {
    fn guess(&self, text: &str) -> Guess {
        let text = &text[..text.floor_char_boundary(SAMPLE)];
        let Some(info) = self.detector.detect(text) else {
            return Guess { script: self.detector.detect_script(text), ..Guess::default() };
        };
        let script = Some(info.script());
        // A script that one language alone is written in is not asked whether that is one of those wanted.
        if !self.languages.is_empty() && !self.languages.contains(&info.lang()) {
            return Guess { script, ..Guess::default() };
        }
        // Sums of floats in the order of a hash table: their last digits differ from call to call.
        let confidence = (info.confidence() * 1e6).round() / 1e6;
        let language = (confidence >= self.minimum).then_some(info.lang());
        Guess { language, confidence, script }
    }
}

/// The ISO 639-1 code of a language.
fn code(language: Lang) -> &'static str {
    match language {
        Lang::Epo => "eo",
        Lang::Eng => "en",
        Lang::Rus => "ru",
        Lang::Cmn => "zh",
        Lang::Spa => "es",
        Lang::Por => "pt",
        Lang::Ita => "it",
        Lang::Ben => "bn",
        Lang::Fra => "fr",
        Lang::Deu => "de",
        Lang::Ukr => "uk",
        Lang::Kat => "ka",
        Lang::Ara => "ar",
        Lang::Hin => "hi",
        Lang::Jpn => "ja",
        Lang::Heb => "he",
        Lang::Yid => "yi",
        Lang::Pol => "pl",
        Lang::Amh => "am",
        Lang::Jav => "jv",
        Lang::Kor => "ko",
        Lang::Nob => "nb",
        Lang::Dan => "da",
        Lang::Swe => "sv",
        Lang::Fin => "fi",
        Lang::Tur => "tr",
        Lang::Nld => "nl",
        Lang::Hun => "hu",
        Lang::Ces => "cs",
        Lang::Ell => "el",
        Lang::Bul => "bg",
        Lang::Bel => "be",
        Lang::Mar => "mr",
        Lang::Kan => "kn",
        Lang::Ron => "ro",
        Lang::Slv => "sl",
        Lang::Hrv => "hr",
        Lang::Srp => "sr",
        Lang::Mkd => "mk",
        Lang::Lit => "lt",
        Lang::Lav => "lv",
        Lang::Est => "et",
        Lang::Tam => "ta",
        Lang::Vie => "vi",
        Lang::Urd => "ur",
        Lang::Tha => "th",
        Lang::Guj => "gu",
        Lang::Uzb => "uz",
        Lang::Pan => "pa",
        Lang::Aze => "az",
        Lang::Ind => "id",
        Lang::Tel => "te",
        Lang::Pes => "fa",
        Lang::Mal => "ml",
        Lang::Ori => "or",
        Lang::Mya => "my",
        Lang::Nep => "ne",
        Lang::Sin => "si",
        Lang::Khm => "km",
        Lang::Tuk => "tk",
        Lang::Aka => "ak",
        Lang::Zul => "zu",
        Lang::Sna => "sn",
        Lang::Afr => "af",
        Lang::Lat => "la",
        Lang::Slk => "sk",
        Lang::Cat => "ca",
        Lang::Tgl => "tl",
        Lang::Hye => "hy",
        Lang::Cym => "cy",
    }
}

/// The ISO 15924 code of a script.
fn script_code(script: Script) -> &'static str {
    match script {
        Script::Arabic => "Arab",
        Script::Armenian => "Armn",
        Script::Bengali => "Beng",
        Script::Cyrillic => "Cyrl",
        Script::Devanagari => "Deva",
        Script::Ethiopic => "Ethi",
        Script::Georgian => "Geor",
        Script::Greek => "Grek",
        Script::Gujarati => "Gujr",
        Script::Gurmukhi => "Guru",
        Script::Hangul => "Hang",
        Script::Hebrew => "Hebr",
        Script::Hiragana => "Hira",
        Script::Kannada => "Knda",
        Script::Katakana => "Kana",
        Script::Khmer => "Khmr",
        Script::Latin => "Latn",
        Script::Malayalam => "Mlym",
        Script::Mandarin => "Hani",
        Script::Myanmar => "Mymr",
        Script::Oriya => "Orya",
        Script::Sinhala => "Sinh",
        Script::Tamil => "Taml",
        Script::Telugu => "Telu",
        Script::Thai => "Thai",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_two_letters_and_differ() {
        let mut codes: Vec<_> = Language::all().collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), Lang::all().len());
        assert!(codes.iter().all(|code| code.len() == 2));
        let mut scripts: Vec<_> = Script::all().iter().map(|script| script_code(*script)).collect();
        scripts.sort_unstable();
        scripts.dedup();
        assert_eq!(scripts.len(), Script::all().len());
    }
}
