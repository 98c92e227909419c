//! Mistakes in a pipeline, each with its place.

use std::{fmt, ops::Range, sync::Arc};

use indexmap::IndexMap;

use crate::Fault;

/// The place of a key in a pipeline: `stage.chunks.with.size`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct At(Vec<String>);

impl At {
    /// A place from its parts, outermost first.
    pub fn new<S: Into<String>>(parts: impl IntoIterator<Item = S>) -> Self {
        Self(parts.into_iter().map(Into::into).collect())
    }

    /// The place of a stage.
    pub fn stage(name: impl fmt::Display) -> Self {
        Self(vec!["stage".to_owned(), name.to_string()])
    }

    /// The place one key further in.
    #[must_use]
    pub fn key(&self, key: impl fmt::Display) -> Self {
        let mut parts = self.0.clone();
        parts.push(key.to_string());
        Self(parts)
    }

    /// The parts, outermost first.
    pub fn parts(&self) -> &[String] {
        &self.0
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("."))
    }
}

/// One mistake in a pipeline: what, where, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The key that it is about; what doesn't exist in the text points at the nearest key around it.
    pub at: At,
    /// Characters within the text that are meant, when they are narrower than the key's value.
    pub span: Option<Range<usize>>,
    /// A lowercase phrase without a full stop.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
    /// Whose: the pipeline's, unless planning met a broken file or plugin.
    pub fault: Fault,
}

impl Mistake {
    /// A mistake at a key.
    pub fn new(at: At, message: impl Into<String>) -> Self {
        Self { at, span: None, message: message.into(), hint: None, fault: Fault::Pipeline }
    }

    /// With another fault than the pipeline's.
    #[must_use]
    pub fn fault(mut self, fault: Fault) -> Self {
        self.fault = fault;
        self
    }

    /// With a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Pointing at these characters (bytes of the text) instead of at all of its key's value.
    #[must_use]
    pub fn on(mut self, span: Range<usize>) -> Self {
        self.span = Some(span);
        self
    }

    /// Something that is designed but not built yet; `what` names it, in backticks where it is a word of the file.
    pub fn later(at: At, what: impl fmt::Display) -> Self {
        Self::new(at, format!("{what} is not in this version of dflow"))
    }

    /// A mistake about a name that isn't among those `known`, with the nearest one as its hint.
    pub fn unknown(at: At, what: &str, name: &str, known: &[&str]) -> Self {
        Self::new(at, format!("unknown {what} `{name}`")).hint(nearest_or_list(what, name, known))
    }
}

/// A hint about a name that isn't known: the nearest known one, or all of them.
pub(crate) fn nearest_or_list(what: &str, name: &str, known: &[&str]) -> String {
    match nearest(name, known) {
        Some(near) => format!("did you mean `{near}`?"),
        None if known.is_empty() => format!("there is no {what} here"),
        None => format!("there is: {}", listed(known)),
    }
}

/// Names in backticks, with commas.
pub(crate) fn listed(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// The known name that `name` is most likely a slip of.
pub(crate) fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    known
        .iter()
        .map(|k| (strsim::damerau_levenshtein(&name.to_lowercase(), &k.to_lowercase()), *k))
        .min()
        .filter(|(distance, _)| *distance <= 1.max(name.chars().count() / 3))
        .map(|(_, k)| k)
}

/// The text that a pipeline was read from, and where each key stands in it.
#[derive(Clone, Debug, Default)]
pub struct SourceText {
    /// The file's name as the user gave it.
    pub name: String,
    /// The whole text.
    pub text: Arc<str>,
    /// Where each key's name and value stand (bytes).
    pub places: IndexMap<At, (Range<usize>, Range<usize>)>,
}

impl SourceText {
    /// The characters that a mistake points at: its own, or its key's value, or the nearest key around it.
    pub fn span(&self, mistake: &Mistake) -> Option<Range<usize>> {
        if let Some(span) = &mistake.span {
            return Some(span.clone());
        }
        let mut parts = mistake.at.parts();
        let whole = parts.len();
        while !parts.is_empty() {
            if let Some((key, value)) = self.places.get(&At(parts.to_vec())) {
                // A missing key is shown at the name of the table that lacks it, not over all of the table's lines.
                return Some(if parts.len() == whole && !self.text[value.clone()].contains('\n') {
                    value.clone()
                } else {
                    key.clone()
                });
            }
            parts = &parts[..parts.len() - 1];
        }
        None
    }
}

/// All mistakes of a pipeline, at least one.
#[derive(Clone, Debug)]
pub struct Mistakes {
    /// The text they are in, if the pipeline was read from one.
    pub source: Option<Arc<SourceText>>,
    /// In the order in which they stand in the text.
    pub list: Vec<Mistake>,
}

impl Mistakes {
    /// The mistakes, sorted by place; `None` when there is none.
    pub fn collect(source: Option<Arc<SourceText>>, mut list: Vec<Mistake>) -> Option<Self> {
        if let Some(text) = &source {
            list.sort_by_key(|m| text.span(m).map_or(usize::MAX, |s| s.start));
        }
        list.dedup();
        (!list.is_empty()).then_some(Self { source, list })
    }
}

impl Mistakes {
    /// The exit code: the pipeline's when it is to blame for any of them, else the first one's.
    pub fn exit_code(&self) -> u8 {
        let fault = self.list.iter().map(|m| m.fault).find(|f| *f == Fault::Pipeline);
        fault.or_else(|| self.list.first().map(|m| m.fault)).unwrap_or(Fault::Pipeline).exit_code()
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, mistake) in self.list.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            if !mistake.at.parts().is_empty() {
                write!(f, "{}: ", mistake.at)?;
            }
            f.write_str(&mistake.message)?;
            if let Some(hint) = &mistake.hint {
                write!(f, "\n  hint: {hint}")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}
