//! A value as it stands in a pipeline's text: what it holds, and where.

use std::ops::Range;

use indexmap::IndexMap;
use serde_json::{Number, Value};
use toml::{
    Spanned,
    de::{DeInteger, DeTable, DeValue},
};

use crate::{At, Mistake};

/// Where each key's name and value stand in a text.
pub(crate) type Places = IndexMap<At, (Range<usize>, Range<usize>)>;

/// A value with its place.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) at: At,
    /// The characters of the value, quotes included.
    pub(crate) span: Range<usize>,
    /// The parameter that the whole value was put in from.
    pub(crate) param: Option<String>,
    pub(crate) shape: Shape,
}

/// What a value holds.
#[derive(Clone, Debug)]
pub(crate) enum Shape {
    Text(String),
    Whole(i64),
    Float(f64),
    Bool(bool),
    Time(String),
    List(Vec<Node>),
    /// In the order of the text.
    Table(Vec<Entry>),
    /// A mistake about it has been noted; nobody needs to complain again.
    Broken,
}

/// A key of a table with its value.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: String,
    /// The characters of the key's name.
    pub(crate) span: Range<usize>,
    pub(crate) node: Node,
}

impl Node {
    /// The whole document, the `file`-th that is read; notes the place of each key and each item.
    pub(crate) fn document(
        table: &Spanned<DeTable<'_>>,
        file: usize,
        places: &mut Places,
        found: &mut Vec<Mistake>,
    ) -> Self {
        let at = At::file(file);
        let entries = entries(table.get_ref(), &at, places, found);
        Self { at, span: table.span(), param: None, shape: Shape::Table(entries) }
    }

    /// A value that stands alone in `text`, such as the one of `-p KEY=VALUE`. `None` when it isn't TOML's.
    pub(crate) fn alone(text: &str, at: &At) -> Option<Self> {
        let value = DeValue::parse(text).ok()?;
        let mut found = Vec::new();
        let node = node(&value, at.clone(), &mut Places::new(), &mut found);
        found.is_empty().then_some(node)
    }

    /// The mistake that this value isn't what was `expected`. Gives `None`, so that a reader can end with it.
    pub(crate) fn wrong<T>(&self, expected: &str, found: &mut Vec<Mistake>) -> Option<T> {
        if !matches!(self.shape, Shape::Broken) {
            let mistake = Mistake::new(
                self.at.clone(),
                format!("{} must be {expected}, found {}", self.subject(), self.shape.kind()),
            );
            found.push(match &self.param {
                Some(param) => mistake.hint(format!("the value is the one of parameter `{param}`")),
                None => mistake,
            });
        }
        None
    }

    /// What messages call this value: its key, or an item of its list's key.
    pub(crate) fn subject(&self) -> String {
        match self.at.parts() {
            [.., list, last] if last.parse::<usize>().is_ok() => format!("an item of `{list}`"),
            [.., last] => format!("`{last}`"),
            [] => "the pipeline".to_owned(),
        }
    }

    /// Whether a mistake about it, or about something in it, has been noted.
    pub(crate) fn is_broken(&self) -> bool {
        match &self.shape {
            Shape::Broken => true,
            Shape::List(items) => items.iter().any(Self::is_broken),
            Shape::Table(entries) => entries.iter().any(|entry| entry.node.is_broken()),
            _ => false,
        }
    }

    /// The value as JSON. Times become strings; what JSON can't hold is a mistake.
    pub(crate) fn json(&self, found: &mut Vec<Mistake>) -> Value {
        match &self.shape {
            Shape::Text(text) | Shape::Time(text) => Value::String(text.clone()),
            Shape::Whole(number) => Value::from(*number),
            Shape::Float(number) => Number::from_f64(*number).map_or_else(
                || {
                    found.push(
                        Mistake::new(self.at.clone(), format!("{} is not a finite number", self.subject()))
                            .hint("infinities and NaN can't be written here"),
                    );
                    Value::Null
                },
                Value::Number,
            ),
            Shape::Bool(truth) => Value::Bool(*truth),
            Shape::List(items) => items.iter().map(|item| item.json(found)).collect(),
            Shape::Table(entries) => entries.iter().map(|e| (e.key.clone(), e.node.json(found))).collect(),
            Shape::Broken => Value::Null,
        }
    }

    /// The same value at another place.
    pub(crate) fn moved(&self, at: &At, span: &Range<usize>, param: &str) -> Self {
        let shape = match &self.shape {
            Shape::List(items) => {
                Shape::List(items.iter().enumerate().map(|(i, item)| item.moved(&at.key(i), span, param)).collect())
            }
            other => other.clone(),
        };
        Self { at: at.clone(), span: span.clone(), param: Some(param.to_owned()), shape }
    }
}

impl Shape {
    /// What messages call such a value.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "a string",
            Self::Whole(_) => "a whole number",
            Self::Float(_) => "a number with a fraction",
            Self::Bool(_) => "a boolean",
            Self::Time(_) => "a time",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
            Self::Broken => "nothing",
        }
    }

    /// How a single value is put inside a string, or is written as a literal of SQL. `None` for lists and tables.
    pub(crate) fn literal(&self) -> Option<String> {
        match self {
            Self::Text(text) | Self::Time(text) => Some(text.clone()),
            Self::Whole(number) => Some(number.to_string()),
            Self::Float(number) => Some(format!("{number:?}")),
            Self::Bool(truth) => Some(truth.to_string()),
            Self::List(_) | Self::Table(_) | Self::Broken => None,
        }
    }
}

fn entries(table: &DeTable<'_>, at: &At, places: &mut Places, found: &mut Vec<Mistake>) -> Vec<Entry> {
    let mut pairs: Vec<_> = table.iter().collect();
    // `toml` sorts keys by name unless it is built otherwise.
    pairs.sort_by_key(|(key, _)| key.span().start);
    let mut entries = Vec::with_capacity(pairs.len());
    for (key, value) in pairs {
        let name = key.get_ref().to_string();
        let at = at.key(&name);
        places.insert(at.clone(), (key.span(), value.span()));
        entries.push(Entry { key: name, span: key.span(), node: node(value, at, places, found) });
    }
    entries
}

fn node(value: &Spanned<DeValue<'_>>, at: At, places: &mut Places, found: &mut Vec<Mistake>) -> Node {
    let shape = match value.get_ref() {
        DeValue::String(text) => Shape::Text(text.to_string()),
        DeValue::Integer(number) => whole(number).unwrap_or_else(|| {
            found.push(Mistake::new(at.clone(), format!("`{number}` doesn't fit into 64 bits")));
            Shape::Broken
        }),
        DeValue::Float(number) => number.as_str().parse().map_or_else(
            |_| {
                found.push(Mistake::new(at.clone(), format!("`{number}` is not a number")));
                Shape::Broken
            },
            Shape::Float,
        ),
        DeValue::Boolean(truth) => Shape::Bool(*truth),
        DeValue::Datetime(time) => Shape::Time(time.to_string()),
        DeValue::Array(items) => {
            let mut list = Vec::with_capacity(items.len());
            for (i, item) in items.iter().enumerate() {
                let at = at.key(i);
                places.insert(at.clone(), (item.span(), item.span()));
                list.push(node(item, at, places, found));
            }
            Shape::List(list)
        }
        DeValue::Table(table) => Shape::Table(entries(table, &at, places, found)),
    };
    Node { at, span: value.span(), param: None, shape }
}

fn whole(number: &DeInteger<'_>) -> Option<Shape> {
    i64::from_str_radix(number.as_str(), number.radix()).ok().map(Shape::Whole)
}
