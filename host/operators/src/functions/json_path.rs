//! Finds values in JSON text by a path.
//!
//! A path that names one place is walked over the text itself: nothing is built, and only what the path names is kept. All
//! other paths (wildcards, slices, filters, descendants) are asked of a tree.

use std::{borrow::Cow, fmt, ops::Range};

use jiter::{Jiter, JiterResult, Peek};
use jsonpath_rust::{
    parser::{
        model::{JpQuery, Segment, Selector},
        parse_json_path,
    },
    query::js_path_process,
};
use serde_json::Value;

/// Parts of the longest path.
const PARTS: usize = 100;

/// A path, parsed.
#[derive(Debug)]
pub(super) enum JsonPath {
    /// One place: names and indices from the front.
    Place(Vec<Part>),
    /// Any number of places.
    Query(JpQuery),
}

/// One step of a path that names one place.
#[derive(Debug, PartialEq)]
pub(super) enum Part {
    /// A member of an object.
    Member(String),
    /// An element of an array.
    Element(usize),
}

impl JsonPath {
    /// Parses a path of RFC 9535, whose `$` may be left out: `user.name` and `[0].id` are paths too.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let whole = match text.chars().next() {
            Some('$') => Cow::Borrowed(text),
            Some('[' | '.') => Cow::Owned(format!("${text}")),
            Some(_) => Cow::Owned(format!("$.{text}")),
            None => return Err("it is empty; `$` is the whole document".to_owned()),
        };
        let query = parse_json_path(&whole).map_err(|error| wrong(&error, whole.len() - text.len()))?;
        if query.segments.len() > PARTS {
            return Err(format!("it has {} parts, {PARTS} are the most", query.segments.len()));
        }
        let parts: Option<Vec<Part>> = query.segments.iter().map(part).collect();
        Ok(parts.map_or_else(|| Self::Query(query), Self::Place))
    }

    /// Whether there may be several values in one document.
    pub(super) fn is_query(&self) -> bool {
        matches!(self, Self::Query(_))
    }

    /// The text of the value that is found in a document; of several, that of an array of them. `None` where there is none, or
    /// where the document isn't JSON or nested too deeply (about 100 levels), or, for a query, has a number beyond float64.
    pub(super) fn find<'a>(&self, document: &'a str) -> Option<Cow<'a, str>> {
        match self {
            Self::Place(parts) => {
                let mut json = Jiter::new(document.as_bytes());
                let found = place(&mut json, parts).ok()?;
                json.finish().ok()?;
                document.get(found?).map(Cow::Borrowed)
            }
            Self::Query(query) => {
                let tree: Value = serde_json::from_str(document).ok()?;
                let found = js_path_process(query, &tree).ok()?;
                let values: Vec<&Value> = found.into_iter().map(|found| found.val()).collect();
                serde_json::to_string(&values).ok().map(Cow::Owned)
            }
        }
    }
}

fn part(segment: &Segment) -> Option<Part> {
    match segment {
        Segment::Selector(Selector::Name(name)) => Some(Part::Member(name.clone())),
        Segment::Selector(Selector::Index(index)) => usize::try_from(*index).ok().map(Part::Element),
        _ => None,
    }
}

/// The first line of the parser's message that says something, its place counted in the text as it was written.
fn wrong(error: &impl fmt::Display, added: usize) -> String {
    let text = error.to_string();
    let place = text.split("--> 1:").nth(1).and_then(|rest| rest.lines().next()?.trim().parse::<usize>().ok());
    let expected = text.lines().find_map(|line| line.trim().strip_prefix("= "));
    match (place, expected) {
        (Some(place), Some(expected)) => {
            format!("{} at character {}", expected.replace('_', " "), place.saturating_sub(added).max(1))
        }
        _ => text.lines().next().unwrap_or_default().to_owned(),
    }
}

/// Where the value at a place stands. All of the text is read, so that what isn't JSON is noticed; of members with the same
/// name the last counts, as in a tree.
fn place(json: &mut Jiter<'_>, parts: &[Part]) -> JiterResult<Option<Range<usize>>> {
    let next = json.peek()?;
    let Some((part, rest)) = parts.split_first() else {
        let start = json.current_index();
        json.known_skip(next)?;
        return Ok(Some(start..json.current_index()));
    };
    let mut found = None;
    match (next, part) {
        (Peek::Object, Part::Member(name)) => {
            let mut meant = json.known_object()?.map(|key| key == name);
            while let Some(this) = meant {
                match this {
                    true => found = place(json, rest)?,
                    false => json.next_skip()?,
                }
                meant = json.next_key()?.map(|key| key == name);
            }
        }
        (Peek::Array, Part::Element(index)) => {
            let mut element = json.known_array()?;
            let mut at = 0;
            while let Some(next) = element {
                match at == *index {
                    true => found = place(json, rest)?,
                    false => json.known_skip(next)?,
                }
                at += 1;
                element = json.array_step()?;
            }
        }
        _ => json.known_skip(next)?,
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, document: &str) -> Option<String> {
        JsonPath::parse(path).expect("a path").find(document).map(Cow::into_owned)
    }

    #[test]
    fn a_place_is_found_with_and_without_the_dollar() {
        let document = r#" {"a": {"b": [10, {"c d": "x"}]}, "": 1, "b.c": 2} "#;
        for (path, value) in [
            ("$.a.b[0]", Some("10")),
            ("a.b[0]", Some("10")),
            ("a.b[1]['c d']", Some("\"x\"")),
            ("$['b.c']", Some("2")),
            ("['b.c']", Some("2")),
            ("$['']", Some("1")),
            ("a.b[2]", None),
            ("a.b.c", None),
            ("a[0]", None),
            ("$", Some(r#"{"a": {"b": [10, {"c d": "x"}]}, "": 1, "b.c": 2}"#)),
        ] {
            assert_eq!(found(path, document).as_deref(), value, "{path}");
            assert!(!JsonPath::parse(path).expect("a path").is_query(), "{path}");
        }
    }

    #[test]
    fn queries_give_arrays() {
        let document = r#"{"a": [{"n": 1, "t": "x"}, {"n": 2}, {"n": 3, "t": "y"}]}"#;
        for (path, value) in [
            ("$.a[*].n", "[1,2,3]"),
            ("a[-1].n", "[3]"),
            ("a[0:2].n", "[1,2]"),
            ("$..t", r#"["x","y"]"#),
            ("$.a[?@.n > 1].t", r#"["y"]"#),
            ("$.none[*]", "[]"),
        ] {
            assert_eq!(found(path, document).as_deref(), Some(value), "{path}");
        }
    }

    #[test]
    fn hostile_documents_have_no_value() {
        let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
        let deep_members = format!("{}1{}", "{\"a\":".repeat(100_000), "}".repeat(100_000));
        for document in [
            "",
            "{",
            "{\"a\": 1",
            "{\"a\": 1}}",
            "{\"a\": 1} x",
            "{\"a\": NaN}",
            "{'a': 1}",
            "{\"a\": \"\\ud800\"}",
            "{\"a\": \"\\q\"}",
            "{\"a\": 01}",
            "\u{feff}{\"a\": 1}",
            &deep,
            &deep_members,
        ] {
            for path in ["$.a", "$..a"] {
                assert_eq!(found(path, document), None, "{path} {:.40}", document);
            }
        }
    }

    #[test]
    fn the_last_of_several_members_counts() {
        for path in ["$.a", "$['a']"] {
            assert_eq!(found(path, r#"{"a": 1, "a": 2, "b": {"a": 3}}"#).as_deref(), Some("2"));
        }
        assert_eq!(found("$.a.b", r#"{"a": {"b": 1}, "a": 5}"#), None);
        assert_eq!(found("$..a", r#"{"a": 1, "a": 2}"#).as_deref(), Some("[2]"));
    }

    #[test]
    fn numbers_keep_their_digits() {
        let digits = "9".repeat(400);
        assert_eq!(found("$.a", &format!("{{\"a\": {digits}}}")), Some(digits));
        assert_eq!(found("$.a", r#"{"a": 1e999}"#).as_deref(), Some("1e999"));
    }

    #[test]
    fn a_wrong_path_says_where() {
        for (path, message) in
            [("", "it is empty; `$` is the whole document"), ("a[", "at character 3"), ("$.a[", "at character 5")]
        {
            let error = JsonPath::parse(path).expect_err("not a path");
            assert!(error.contains(message), "{path}: {error}");
        }
        assert!(JsonPath::parse(&format!("$.{}", vec!["a"; 101].join("."))).is_err());
    }
}
