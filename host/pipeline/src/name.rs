//! Names of stages, parameters and resources.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{At, Mistake};

/// A name: an identifier (`[A-Za-z_][A-Za-z0-9_]*`, at most 64 characters) that isn't a keyword of SQL.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, JsonSchema)]
pub struct Name(String);

/// Why a text isn't a [`Name`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not an identifier.
    #[error("`{0}` is not a name: letters, digits and `_`, not starting with a digit, at most 64")]
    Shape(String),
    /// A reserved word.
    #[error("`{0}` is a keyword of SQL and can't be a name")]
    Keyword(String),
}

impl NameError {
    /// As a mistake of where the name is written.
    pub(crate) fn mistake(self, at: At) -> Mistake {
        let mistake = Mistake::new(at, self.to_string());
        match self {
            Self::Keyword(word) => mistake.hint(format!("another name, such as `my_{word}`")),
            Self::Shape(_) => mistake,
        }
    }
}

/// The words that SQL would read otherwise than as a table's or a column's name.
#[rustfmt::skip]
const KEYWORDS: &[&str] = &[
    "all", "and", "any", "as", "asc", "between", "by", "case", "cast", "cross", "delete", "desc",
    "distinct", "drop", "else", "end", "except", "exists", "false", "fetch", "filter", "for", "from",
    "full", "group", "having", "in", "inner", "insert", "intersect", "interval", "into", "is", "join", "lateral",
    "left", "like", "limit", "natural", "not", "null", "offset", "on", "or", "order", "outer", "over", "partition", "qualify", "right", "select", "set", "some", "table", "then", "true", "union", "unnest", "update", "using", "values", "when", "where", "window", "with",
];

impl Name {
    /// The name of a part of this: `clean.trim`, or of its parts without names `clean.1`.
    #[must_use]
    pub fn part(&self, part: impl fmt::Display) -> Self {
        Self(format!("{}.{part}", self.0))
    }

    /// A name that may be one of a part. Those are made, never written in a pipeline.
    ///
    /// # Errors
    /// One of its parts is neither a name nor a number.
    pub fn whole(text: &str) -> Result<Self, NameError> {
        let mut parts = text.split('.');
        let head = parts.next().unwrap_or_default().parse::<Self>()?;
        parts.try_fold(head, |whole, part| match part.parse::<u32>() {
            Ok(number) => Ok(whole.part(number)),
            Err(_) => part.parse::<Self>().map(|part| whole.part(part)),
        })
    }

    /// A name that stands for what the user wrote, which others judge, or that nobody wrote.
    pub fn made(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The name that a part has within this; `None` when it isn't a part of this, or a part of one.
    pub fn own<'a>(&self, part: &'a str) -> Option<&'a str> {
        part.strip_prefix(&self.0)?.strip_prefix('.').filter(|own| !own.contains('.'))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let mut chars = text.chars();
        let head = chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
        if !head || !chars.all(|c| c.is_ascii_alphanumeric() || c == '_') || text.len() > 64 {
            return Err(NameError::Shape(text.to_owned()));
        }
        if KEYWORDS.contains(&text.to_ascii_lowercase().as_str()) {
            return Err(NameError::Keyword(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::whole(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_identifiers_and_not_keywords() {
        for good in ["pages", "_x", "Chunks2"] {
            assert_eq!(good.parse::<Name>().map(|n| n.to_string()), Ok(good.to_owned()));
        }
        for bad in ["", "2x", "a-b", "a.b", "größe"] {
            assert_eq!(bad.parse::<Name>(), Err(NameError::Shape(bad.to_owned())));
        }
        let made: Name = serde_json::from_str("\"clean.trim.1\"").expect("it is made of names");
        let clean: Name = "clean".parse().expect("a name");
        assert_eq!(made, clean.part("trim").part(1));
        assert_eq!(
            (clean.own("clean.trim"), clean.own("clean.trim.1"), clean.own("cleaner.x")),
            (Some("trim"), None, None)
        );
        assert!(serde_json::from_str::<Name>("\"a..b\"").is_err());
        assert_eq!("Select".parse::<Name>(), Err(NameError::Keyword("Select".to_owned())));
    }
}
