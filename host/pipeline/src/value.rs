//! Reading values: the type that a key wants, out of what was written.

use indexmap::IndexMap;

use crate::{
    At, Bytes, MaxFailures, Millis, Mistake, OneOrMany,
    form::percent,
    mistake::nearest,
    node::{Entry, Node, Shape},
};

/// What can be read from a value of a pipeline's text.
pub(crate) trait FromNode: Sized {
    /// The value; `None` when it isn't one, and then the mistake has been noted.
    fn from_node(node: &Node, found: &mut Vec<Mistake>) -> Option<Self>;
}

impl FromNode for String {
    fn from_node(node: &Node, found: &mut Vec<Mistake>) -> Option<Self> {
        match &node.shape {
            Shape::Text(text) => Some(text.clone()),
            _ => node.wrong("a string", found),
        }
    }
}

/// A string that holds more than white space.
pub(crate) struct Filled(pub(crate) String);

impl FromNode for Filled {
    fn from_node(node: &Node, found: &mut Vec<Mistake>) -> Option<Self> {
        filled(node, String::from_node(node, found)?, found).map(Self)
    }
}

/// A SQL expression: a string, or a number or a boolean that stands for itself.
pub(crate) struct Expression(pub(crate) String);

impl FromNode for Expression {
    fn from_node(node: &Node, found: &mut Vec<Mistake>) -> Option<Self> {
        match &node.shape {
            Shape::Text(text) => filled(node, text.clone(), found).map(Self),
            Shape::Whole(_) | Shape::Float(_) | Shape::Bool(_) => node.shape.literal().map(Self),
            _ => node.wrong("a SQL expression in a string", found),
        }
    }
}

fn filled(node: &Node, text: String, found: &mut Vec<Mistake>) -> Option<String> {
    if text.trim().is_empty() {
        found.push(Mistake::new(node.at.clone(), format!("{} is empty", node.subject())));
        return None;
    }
    Some(text)
}

impl FromNode for bool {
    fn from_node(node: &Node, found: &mut Vec<Mistake>) -> Option<Self> {
        match node.shape {
            Shape::Bool(truth) => Some(truth),
            _ => node.wrong("`true` or `false`", found),
        }
    }
}

impl FromNode for u64 {
    fn from_node(node: &Node, found: &mut Vec<Mistake>) -> Option<Self> {
        match node.shape {
            Shape::Whole(number) => number.try_into().map_or_else(
                |_| {
                    found.push(Mistake::new(
                        node.at.clone(),
                        format!("{} can't be negative, found {number}", node.subject()),
                    ));
                    None
                },
                Some,
            ),
            _ => node.wrong("a whole number", found),
        }
    }
}

impl FromNode for u32 {
    fn from_node(node: &Node, found: &mut Vec<Mistake>) -> Option<Self> {
        let number = u64::from_node(node, found)?;
        let fits = number.try_into().ok();
        if fits.is_none() {
            let message = format!("{} can be at most {}, found {number}", node.subject(), Self::MAX);
            found.push(Mistake::new(node.at.clone(), message));
        }
        fits
    }
}

impl FromNode for Bytes {
    fn from_node(node: &Node, found: &mut Vec<Mistake>) -> Option<Self> {
        match &node.shape {
            Shape::Whole(_) => u64::from_node(node, found).map(Self),
            Shape::Text(text) => measured(node, text.parse(), found),
            _ => node.wrong("a size such as `\"512MiB\"`", found),
        }
    }
}

impl FromNode for Millis {
    fn from_node(node: &Node, found: &mut Vec<Mistake>) -> Option<Self> {
        match &node.shape {
            Shape::Text(text) => measured(node, text.parse(), found),
            _ => node.wrong("a time such as `\"10s\"`", found),
        }
    }
}

impl FromNode for MaxFailures {
    fn from_node(node: &Node, found: &mut Vec<Mistake>) -> Option<Self> {
        match &node.shape {
            Shape::Whole(_) => u64::from_node(node, found).map(Self::Count),
            Shape::Text(text) => {
                // A parameter that is given on the command line is text.
                let count = || text.trim().parse().ok().map(Self::Count);
                let parsed = percent::parse(text).map(Self::Share).or_else(count);
                let wrong = || format!("`{text}` is neither a number of rows nor a share such as `1%`");
                measured(node, parsed.ok_or_else(wrong), found)
            }
            _ => node.wrong("a number of rows, or a share such as `\"1%\"`", found),
        }
    }
}

fn measured<T>(node: &Node, parsed: Result<T, String>, found: &mut Vec<Mistake>) -> Option<T> {
    parsed.map_err(|message| found.push(Mistake::new(node.at.clone(), message))).ok()
}

impl<T: FromNode> FromNode for OneOrMany<T> {
    fn from_node(node: &Node, found: &mut Vec<Mistake>) -> Option<Self> {
        match &node.shape {
            Shape::List(items) => all(items.iter().map(|item| T::from_node(item, found))).map(Self),
            _ => T::from_node(node, found).map(|one| Self(vec![one])),
        }
    }
}

impl<T: FromNode> FromNode for IndexMap<String, T> {
    fn from_node(node: &Node, found: &mut Vec<Mistake>) -> Option<Self> {
        let table = Table::of(node, found)?;
        all(table.entries.iter().map(|e| T::from_node(&e.node, found).map(|value| (e.key.clone(), value))))
    }
}

/// All of the values, if none is missing. Takes every one of them, so that each can note its mistakes.
pub(crate) fn all<T, C: FromIterator<T>>(values: impl Iterator<Item = Option<T>>) -> Option<C> {
    let values: Vec<Option<T>> = values.collect();
    values.into_iter().collect()
}

/// One of several words. `later` are those that a version to come will know.
pub(crate) fn choice<T: Copy>(
    node: &Node,
    what: &str,
    known: &[(&str, T)],
    later: &[&str],
    found: &mut Vec<Mistake>,
) -> Option<T> {
    let word = String::from_node(node, found)?;
    let chosen = known.iter().find(|(name, _)| *name == word).map(|(_, value)| *value);
    if chosen.is_none() {
        found.push(if later.contains(&word.as_str()) {
            Mistake::later(node.at.clone(), format!("{what} `{word}`"))
        } else {
            Mistake::unknown(node.at.clone(), what, &word, &known.iter().map(|(name, _)| *name).collect::<Vec<_>>())
        });
    }
    chosen
}

/// A table, whose keys are read one by one.
#[derive(Clone, Copy)]
pub(crate) struct Table<'a> {
    pub(crate) at: &'a At,
    pub(crate) entries: &'a [Entry],
}

impl<'a> Table<'a> {
    /// The value as a table.
    pub(crate) fn of(node: &'a Node, found: &mut Vec<Mistake>) -> Option<Self> {
        match &node.shape {
            Shape::Table(entries) => Some(Self { at: &node.at, entries }),
            _ => node.wrong("a table", found),
        }
    }

    /// The value as a table that holds no keys but the `known` ones; `later` are those of a version to come.
    pub(crate) fn only(node: &'a Node, known: &[&str], later: &[&str], found: &mut Vec<Mistake>) -> Option<Self> {
        let table = Self::of(node, found)?;
        for entry in table.entries.iter().filter(|e| !known.contains(&e.key.as_str())) {
            found.push(entry.unknown(known, later));
        }
        Some(table)
    }

    /// A key's entry.
    pub(crate) fn entry(&self, key: &str) -> Option<&'a Entry> {
        self.entries.iter().find(|e| e.key == key)
    }

    /// Whether a key isn't there, nor anything that is a slip of it (which is reported as a key that isn't known).
    pub(crate) fn lacks(&self, key: &str) -> bool {
        !self.entries.iter().any(|entry| entry.key == key || nearest(&entry.key, &[key]).is_some())
    }

    /// A key's value; `None` when it is absent, or wrong and noted.
    pub(crate) fn get<T: FromNode>(&self, key: &str, found: &mut Vec<Mistake>) -> Option<T> {
        T::from_node(&self.entry(key)?.node, found)
    }

    /// The settings of a stage, `with`, as JSON; none when it is absent.
    pub(crate) fn settings(&self, found: &mut Vec<Mistake>) -> serde_json::Map<String, serde_json::Value> {
        let table = self.entry("with").and_then(|entry| Table::of(&entry.node, found));
        let settings = table.iter().flat_map(|table| table.entries);
        settings.map(|entry| (entry.key.clone(), entry.node.json(found))).collect()
    }

    /// The node of a key that must be there.
    pub(crate) fn required(&self, key: &str, example: &str, found: &mut Vec<Mistake>) -> Option<&'a Node> {
        if self.lacks(key) {
            let name = self.at.parts().last().map_or("the pipeline", String::as_str);
            found.push(
                Mistake::new(self.at.key(key), format!("`{name}` has no `{key}`"))
                    .hint(format!("add `{key} = {example}`")),
            );
        }
        self.entry(key).map(|entry| &entry.node)
    }
}

impl Entry {
    /// The mistake that this key isn't known.
    pub(crate) fn unknown(&self, known: &[&str], later: &[&str]) -> Mistake {
        let at = self.node.at.clone();
        let mistake = if later.contains(&self.key.as_str()) {
            Mistake::later(at, format!("`{}`", self.key))
        } else {
            Mistake::unknown(at, "key", &self.key, known)
        };
        mistake.on(self.span.clone())
    }
}
