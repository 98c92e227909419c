//! Mistakes in a pipeline, each with its place.

use std::{fmt, ops::Range, sync::Arc};

use indexmap::IndexMap;

use crate::Fault;

/// The place of a key in a pipeline: `stage.chunks.with.size`, and the file in which it is written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct At {
    /// Which of the [`Sources`] it is in.
    file: usize,
    parts: Vec<String>,
}

impl At {
    /// A place from its parts, outermost first.
    pub fn new<S: Into<String>>(parts: impl IntoIterator<Item = S>) -> Self {
        Self { file: 0, parts: parts.into_iter().map(Into::into).collect() }
    }

    /// The place of a stage.
    pub fn stage(name: impl fmt::Display) -> Self {
        Self::new(["stage".to_owned(), name.to_string()])
    }

    /// A whole file.
    pub(crate) fn file(file: usize) -> Self {
        Self { file, parts: Vec::new() }
    }

    /// The place one key further in.
    #[must_use]
    pub fn key(&self, key: impl fmt::Display) -> Self {
        let mut at = self.clone();
        at.parts.push(key.to_string());
        at
    }

    /// The parts, outermost first.
    pub fn parts(&self) -> &[String] {
        &self.parts
    }

    /// Which of the [`Sources`] it is in.
    pub(crate) fn in_file(&self) -> usize {
        self.file
    }

    /// The place around this one, as long as there is one.
    fn around(&self) -> Option<Self> {
        let (_, parts) = self.parts.split_last()?;
        Some(Self { file: self.file, parts: parts.to_vec() })
    }

    /// Whether another place is this one, or is in it.
    pub(crate) fn holds(&self, other: &Self) -> bool {
        self.file == other.file && other.parts.starts_with(&self.parts)
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.parts.join("."))
    }
}

/// What a mistake means of a text that a key holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Within {
    /// A line of it and a character of that, both from 1.
    Place(usize, usize),
    /// A word, which shows the line of a text that has several.
    Word(String),
}

/// One mistake in a pipeline: what, where, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The key that it is about; what doesn't exist in the text points at the nearest key around it.
    pub at: At,
    /// Characters within the text of its file that are meant, when they are narrower than the key's value.
    pub span: Option<Range<usize>>,
    /// What is meant of the key's text, where only that is known.
    pub within: Option<Box<Within>>,
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
        Self { at, span: None, within: None, message: message.into(), hint: None, fault: Fault::Pipeline }
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

    /// Pointing at a part of the text that its key holds.
    #[must_use]
    pub fn within(mut self, within: Within) -> Self {
        self.within = Some(Box::new(within));
        self
    }

    /// Something that is designed but not built yet; `what` names it, in backticks where it is a word of the file.
    pub fn later(at: At, what: impl fmt::Display) -> Self {
        Self::new(at, format!("{what} is not in this version of dflow"))
    }

    /// A mistake about a name that isn't among those `known`, with the nearest one as its hint.
    pub fn unknown(at: At, what: &str, name: &str, known: &[&str]) -> Self {
        let mistake = Self::new(at, format!("unknown {what} `{name}`")).within(Within::Word(name.to_owned()));
        mistake.hint(nearest_or_list(what, name, known))
    }
}

/// A hint about a name that isn't known: the nearest known one, or all of them.
pub(crate) fn nearest_or_list(what: &str, name: &str, known: &[&str]) -> String {
    match nearest(name, known) {
        Some(near) => format!("did you mean `{near}`?"),
        None if known.is_empty() => format!("there is no {what} here"),
        None => {
            let hint = format!("there is: {}", listed(known));
            // The names of several columns in one are those of a csv file with another delimiter.
            let delimiter = known.iter().find_map(|name| name.chars().find(|c| [';', '\t', '|'].contains(c)));
            match delimiter.filter(|_| what.starts_with("column")) {
                Some(c) => format!("{hint}; of csv, `csv = {{ delimiter = \"{}\" }}` cuts it", c.escape_default()),
                None => hint,
            }
        }
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

/// One of the texts that a pipeline was read from, and where each key stands in it.
#[derive(Clone, Debug, Default)]
pub struct SourceText {
    /// The file's name as the user gave it, or would.
    pub name: String,
    /// Its folder, against which paths in it are read, as seen from the pipeline's folder: `..`, or empty for that folder itself.
    pub folder: String,
    /// The whole text.
    pub text: Arc<str>,
    /// Where each key's name and value stand (bytes).
    pub places: IndexMap<At, (Range<usize>, Range<usize>)>,
}

/// The texts that a pipeline was read from: its own file, and the files that it takes something from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// Its own comes first.
    pub files: Vec<SourceText>,
    /// Parts of the pipeline that are written in another file: their place in the pipeline, and in that file.
    pub(crate) elsewhere: IndexMap<At, At>,
}

impl Sources {
    /// One text.
    pub fn one(text: SourceText) -> Self {
        Self { files: vec![text], elsewhere: IndexMap::new() }
    }

    /// The text and the characters in it that a mistake points at: its own, or its key's value, or the nearest key around it.
    pub fn place(&self, mistake: &Mistake) -> Option<(&SourceText, Range<usize>)> {
        let at = self.written(&mistake.at);
        let text = self.files.get(at.file)?;
        let within = || text.within(&at, mistake.within.as_ref()?);
        let span = mistake.span.clone().or_else(within).or_else(|| text.span(&at))?;
        (span.end <= text.text.len()).then_some((text, span))
    }

    /// Where a part of the pipeline is written.
    fn written(&self, at: &At) -> At {
        let around = std::iter::successors(Some(at.clone()), At::around);
        let moved = around.into_iter().find_map(|outer| Some((outer.parts.len(), self.elsewhere.get(&outer)?)));
        match moved {
            Some((depth, to)) => at.parts[depth..].iter().fold(to.clone(), |at, part| at.key(part)),
            None => at.clone(),
        }
    }

    /// The names of the files in which there are mistakes, in their order. What has no place is the pipeline's own.
    pub(crate) fn names(&self, mistakes: &[Mistake]) -> Vec<&str> {
        let of = |i: usize| mistakes.iter().any(|mistake| self.written(&mistake.at).file == i);
        self.files.iter().enumerate().filter(|(i, _)| of(*i)).map(|(_, file)| file.name.as_str()).collect()
    }
}

impl SourceText {
    /// The characters of a key's value, or the name of the nearest key around it.
    fn span(&self, at: &At) -> Option<Range<usize>> {
        let mut outer = Some(at.clone());
        while let Some(key) = outer {
            if let Some((name, value)) = self.places.get(&key) {
                // A missing key is shown at the name of the table that lacks it, not over all of the table's lines.
                let value = (key == *at && !self.text[value.clone()].contains('\n')).then(|| value.clone());
                return Some(value.unwrap_or_else(|| name.clone()));
            }
            outer = key.around();
        }
        None
    }

    /// The characters that are meant of a key's text; `None` where they can't be told from how it is written.
    fn within(&self, at: &At, within: &Within) -> Option<Range<usize>> {
        let value = self.places.get(at)?.1.clone();
        let written = self.text.get(value.clone())?;
        let quote = ["\"\"\"", "'''", "\"", "'"].into_iter().find(|quote| written.starts_with(quote))?;
        let inner = written.strip_prefix(quote)?.strip_suffix(quote)?;
        // A line break right behind three quotes isn't part of the text.
        let text = match quote.len() {
            3 => inner.strip_prefix("\r\n").or_else(|| inner.strip_prefix('\n')).unwrap_or(inner),
            _ => inner,
        };
        let start = value.start + quote.len() + (inner.len() - text.len());
        let span = match within {
            Within::Place(line, column) => {
                let before: usize = text.split_inclusive('\n').take(line.checked_sub(1)?).map(str::len).sum();
                let line = text.split('\n').nth(line - 1)?.trim_end();
                let escapes = |part: &str| quote.starts_with('"') && part.contains('\\');
                if escapes(&text[..before]) {
                    return None;
                }
                if line.contains("${") || escapes(line) {
                    // What is read isn't as long as what is written.
                    before + (line.len() - line.trim_start().len())..before + line.len()
                } else {
                    let head: usize = line.chars().take(column.checked_sub(1)?).map(char::len_utf8).sum();
                    let word = line[head..].find(|c: char| !is_of_word(c)).unwrap_or(line.len() - head);
                    before + head..before + head + word
                }
            }
            Within::Word(word) if text.contains('\n') && !word.is_empty() => {
                let ends = |c: Option<char>| !c.is_some_and(is_of_word);
                let mut found = text.match_indices(word.as_str()).filter(|(at, word)| {
                    ends(text[..*at].chars().next_back()) && ends(text[at + word.len()..].chars().next())
                });
                match (found.next(), found.next()) {
                    (Some((at, word)), None) => at..at + word.len(),
                    _ => return None,
                }
            }
            Within::Word(_) => return None,
        };
        Some(start + span.start..start + span.end)
    }
}

fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// All mistakes of a pipeline, at least one.
#[derive(Clone, Debug)]
pub struct Mistakes {
    /// The texts they are in, if the pipeline was read from any.
    pub source: Option<Arc<Sources>>,
    /// In the order in which they stand in the texts.
    pub list: Vec<Mistake>,
}

impl Mistakes {
    /// The mistakes, sorted by place; `None` when there is none.
    pub fn collect(source: Option<Arc<Sources>>, mut list: Vec<Mistake>) -> Option<Self> {
        if let Some(sources) = &source {
            list.sort_by_key(|m| {
                (sources.written(&m.at).file, sources.place(m).map_or(usize::MAX, |(_, span)| span.start))
            });
        }
        // A file that several flows share is read for each of them.
        let all = std::mem::take(&mut list);
        all.into_iter().for_each(|mistake| {
            if !list.contains(&mistake) {
                list.push(mistake);
            }
        });
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
