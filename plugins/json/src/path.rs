//! Paths into a JSON value.
//!
//! The language is JSONPath as RFC 9535 has it. `serde_json_path` was taken since it gives references to the values found and
//! passes the RFC's compliance suite; `jsonpath-rust` writes the place of every value that it passes on the way.

use std::fmt;
use std::str::FromStr;

use serde_json::Value;
use serde_json_path::JsonPath;

/// How deep brackets may nest: the parser is recursive, and a guest's stack is small.
const DEEPEST: usize = 16;

/// A path into a JSON value.
#[derive(Clone, Debug, schemars::JsonSchema)]
#[schemars(with = "String")]
pub struct Path {
    text: String,
    parsed: JsonPath,
    is_singular: bool,
}

impl Path {
    /// The values at this path, in the order of the document.
    pub(crate) fn find<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        self.parsed.query(value).all()
    }

    /// Whether the path is made of names and indexes alone, so that it finds one value at most.
    pub(crate) fn is_singular(&self) -> bool {
        self.is_singular
    }
}

impl FromStr for Path {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if !text.starts_with('$') {
            let dot = if text.starts_with(['.', '[']) { "" } else { "." };
            return Err(format!(
                "`{text}` is not a path\nhint: a path begins with `$`, the whole value: `${dot}{text}`"
            ));
        }
        let shape = Shape::of(text);
        if shape.depth > DEEPEST {
            return Err(format!("`{text}` is not a path: its brackets nest {} deep, at most {DEEPEST}", shape.depth));
        }
        let parsed = JsonPath::parse(text).map_err(|error| {
            format!("`{text}` is not a path: {error}\nhint: paths are JSONPath (RFC 9535), such as `$.user.id` or `$.tags[*]`")
        })?;
        Ok(Self { text: text.to_owned(), parsed, is_singular: shape.is_singular })
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl<'de> serde::Deserialize<'de> for Path {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What a path's characters outside of quotes say. Every selector that may find several values has a character of its own.
struct Shape {
    depth: usize,
    is_singular: bool,
}

impl Shape {
    fn of(text: &str) -> Self {
        let mut shape = Self { depth: 0, is_singular: true };
        let (mut quote, mut escaped, mut depth, mut last) = (None, false, 0_usize, ' ');
        for character in text.chars() {
            match (quote, character) {
                (Some(_), _) if escaped => escaped = false,
                (Some(_), '\\') => escaped = true,
                (Some(open), _) if open == character => quote = None,
                (Some(_), _) => {}
                (None, '\'' | '"') => quote = Some(character),
                (None, '[' | '(') => {
                    depth += 1;
                    shape.depth = shape.depth.max(depth);
                }
                (None, ']' | ')') => depth = depth.saturating_sub(1),
                (None, '*' | ',' | ':' | '?') => shape.is_singular = false,
                (None, '.') if last == '.' => shape.is_singular = false,
                (None, _) => {}
            }
            last = character;
        }
        shape
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn singular_paths_are_told_from_others() {
        for (text, is_singular) in [
            ("$", true),
            ("$.a.b", true),
            ("$['a'][\"b\"][0][-1]", true),
            ("$['*,:?[..']", true),
            ("$['it\\'s*']", true),
            ("$.*", false),
            ("$[*]", false),
            ("$..a", false),
            ("$[0,1]", false),
            ("$[1:2]", false),
            ("$[?@.a]", false),
        ] {
            let path: Path = text.parse().expect(text);
            assert_eq!(path.is_singular(), is_singular, "{text}");
        }
    }

    #[test]
    fn functions_are_there() {
        let value = json!([{"a": "xy"}, {"a": "x"}]);
        for (text, found) in [("$[?length(@.a) == 1].a", 1), ("$[?match(@.a, 'x.')].a", 1), ("$[?search(@.a, 'x')]", 2)]
        {
            assert_eq!(text.parse::<Path>().expect(text).find(&value).len(), found, "{text}");
        }
    }

    #[test]
    fn nested_brackets_are_refused() {
        let nested = format!("$[?{}@.a{}]", "(".repeat(100_000), ")".repeat(100_000));
        assert!(nested.parse::<Path>().is_err());
    }
}
