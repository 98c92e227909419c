//! CSS selectors as settings.

use std::fmt;
use std::str::FromStr;

use dom_query::{Matcher, NodeRef, Selection};

/// A CSS selector.
#[derive(Clone, Debug, schemars::JsonSchema)]
#[schemars(with = "String")]
pub struct Selector {
    text: String,
    matcher: Matcher,
}

impl Selector {
    /// The elements below `root` that match, in the order of the document. What the selector says of elements around them may
    /// be true outside of `root`.
    pub(crate) fn all<'a>(&self, root: &NodeRef<'a>) -> Vec<NodeRef<'a>> {
        Selection::from(*root).select_matcher(&self.matcher).nodes().to_vec()
    }

    /// The first of them that has a value.
    pub(crate) fn first<'a, T>(&self, root: &NodeRef<'a>, value: impl Fn(&NodeRef<'a>) -> Option<T>) -> Option<T> {
        Selection::from(*root).select_matcher_iter(&self.matcher).find_map(|node| value(&node))
    }
}

impl FromStr for Selector {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let matcher = Matcher::new(text).map_err(|error| {
            let hint = if text.contains("::") {
                "\nhint: the text of an element comes by itself, an attribute with `attr`"
            } else if text.trim().is_empty() {
                "\nhint: `*` is every element"
            } else {
                ""
            };
            format!("`{text}` is not a CSS selector: {}{hint}", reason(&format!("{:?}", error.kind)))
        })?;
        Ok(Self { text: text.to_owned(), matcher })
    }
}

/// An error's name in words: `Custom(DanglingCombinator)` is `dangling combinator`.
fn reason(name: &str) -> String {
    let name = name.rsplit('(').next().unwrap_or(name).trim_end_matches(')');
    let mut words = String::with_capacity(name.len() + 8);
    for (index, character) in name.char_indices() {
        if index > 0 && character.is_ascii_uppercase() {
            words.push(' ');
        }
        words.push(character.to_ascii_lowercase());
    }
    words
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl<'de> serde::Deserialize<'de> for Selector {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
