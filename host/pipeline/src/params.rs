//! Parameters: what `[param]` and the command line say, and the values that come of it.

use serde_json::Value;

use crate::{
    At, Mistake, Name,
    insert::pieces,
    mistake::nearest_or_list,
    node::{Node, Shape},
    value::Table,
};
use indexmap::IndexMap;

/// The parameters of a pipeline by name, those with mistakes too.
pub(crate) struct Params(IndexMap<String, Param>);

/// One parameter.
pub(crate) struct Param {
    pub(crate) at: At,
    /// The environment variable that it is read from.
    pub(crate) env: Option<String>,
    /// Whether its value must not be seen.
    pub(crate) secret: bool,
    /// Its value; `None` when there is none, [`Shape::Broken`] inside when a mistake has been noted.
    pub(crate) value: Option<Node>,
}

/// What gives parameters their values besides the file.
pub(crate) struct Outside<'a> {
    /// The `-p KEY=VALUE` of the command line, in their order; the last one of a key counts.
    pub(crate) overrides: &'a [(String, String)],
    /// Looks up an environment variable.
    pub(crate) env: &'a dyn Fn(&str) -> Option<String>,
}

impl Params {
    /// The parameters of `[param]`, if there is one. `text` is the whole file.
    pub(crate) fn read(node: Option<&Node>, outside: &Outside<'_>, text: &str, found: &mut Vec<Mistake>) -> Self {
        let mut params = IndexMap::new();
        for entry in node.and_then(|node| Table::of(node, found)).map_or(&[][..], |table| table.entries) {
            if let Err(error) = entry.key.parse::<Name>() {
                found.push(Mistake::new(entry.node.at.clone(), error.to_string()).on(entry.span.clone()));
            }
            params.insert(entry.key.clone(), Param::read(&entry.key, &entry.node, outside, text, found));
        }
        let known: Vec<&str> = params.keys().map(String::as_str).collect();
        for (key, _) in outside.overrides {
            if !known.contains(&key.as_str()) {
                let mistake = Mistake::new(At::new(["param"]), format!("unknown parameter `{key}` in `-p {key}=…`"));
                found.push(mistake.hint(nearest_or_list("parameter", key, &known)));
            }
        }
        Self(params)
    }

    /// A parameter by its name.
    pub(crate) fn get(&self, name: &str) -> Option<&Param> {
        self.0.get(name)
    }

    /// The names of all.
    pub(crate) fn names(&self) -> Vec<&str> {
        self.0.keys().map(String::as_str).collect()
    }

    /// What a run is identified by and shows: the values, without secrets and what has no value.
    pub(crate) fn values(&self, found: &mut Vec<Mistake>) -> IndexMap<Name, Value> {
        let mut values = IndexMap::new();
        for (name, param) in self.0.iter().filter(|(_, param)| !param.secret) {
            if let (Ok(name), Some(node)) = (name.parse(), &param.value) {
                values.insert(name, node.json(found));
            }
        }
        values
    }
}

impl Param {
    fn read(name: &str, node: &Node, outside: &Outside<'_>, text: &str, found: &mut Vec<Mistake>) -> Self {
        let mut param = Self { at: node.at.clone(), env: None, secret: false, value: None };
        if matches!(node.shape, Shape::Table(_)) {
            param.described(node, text, found);
        } else {
            param.value = Some(default(node, text, found));
        }
        let given = outside.overrides.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.clone());
        let given = match (given, &param.env) {
            (Some(value), _) => Some((value.clone(), format!("`-p {name}={}`", param.shown(&value)))),
            (None, Some(variable)) => (outside.env)(variable).map(|value| (value, format!("`${variable}`"))),
            (None, None) => None,
        };
        if let Some((given, origin)) = given {
            param.value = Some(param.converted(name, &given, &origin, found));
        }
        param
    }

    /// Reads `{ env = "X", secret = true }` and `{ default = 400, env = "X" }`.
    fn described(&mut self, node: &Node, text: &str, found: &mut Vec<Mistake>) {
        let Some(table) = Table::only(node, &["default", "env", "secret"], &[], found) else { return };
        self.env = table.get("env", found);
        self.secret = table.get("secret", found).unwrap_or(false);
        self.value = table.entry("default").map(|entry| default(&entry.node, text, found));
        if self.secret
            && let Some(entry) = table.entry("default")
        {
            let mistake =
                Mistake::new(entry.node.at.clone(), "a secret can't have a `default`: it would stand in the file");
            found.push(mistake.hint("give it by `env`").on(entry.span.clone()));
        } else if table.entry("env").or(table.entry("default")).is_none() {
            if table.lacks("env") && table.lacks("default") {
                let message = format!("{} has neither `env` nor `default`", node.subject());
                let mistake = Mistake::new(node.at.clone(), message);
                found.push(mistake.hint("write its value, or `{ env = \"VARIABLE\" }`"));
            }
            self.value = Some(broken(node));
        }
    }

    /// `given` as a value of the default's type. Without a default it is a string.
    fn converted(&self, name: &str, given: &str, origin: &str, found: &mut Vec<Mistake>) -> Node {
        let plain = Node { at: self.at.clone(), span: 0..0, param: None, shape: Shape::Text(given.to_owned()) };
        let Some(default) = &self.value else { return plain };
        let written = Node::alone(given.trim(), &self.at).unwrap_or_else(|| plain.clone());
        let shape = match (&default.shape, written.shape) {
            (Shape::Text(_), _) => plain.shape,
            (Shape::Broken, _) => Shape::Broken,
            (Shape::Float(_), Shape::Whole(number)) => Shape::Float(number as f64),
            (wanted, shape) if std::mem::discriminant(wanted) == std::mem::discriminant(&shape) => shape,
            (wanted, shape) => {
                let message =
                    format!("parameter `{name}` must be {}, found {} in {origin}", wanted.kind(), shape.kind());
                let mistake = Mistake::new(self.at.clone(), message);
                found.push(match wanted {
                    Shape::List(_) => mistake.hint("a list is written as in the file: `[\"a\", \"b\"]`"),
                    _ => mistake.hint("its type is the one of its default"),
                });
                Shape::Broken
            }
        };
        Node { shape, ..plain }
    }

    fn shown<'a>(&self, value: &'a str) -> &'a str {
        if self.secret { "…" } else { value }
    }
}

/// A default, which may be anything but a table or a time, and refers to nothing.
fn default(node: &Node, text: &str, found: &mut Vec<Mistake>) -> Node {
    let before = found.len();
    let mut node = node.clone();
    let wrong: Option<()> = match &mut node.shape {
        Shape::Time(_) => node.wrong("a string, a number, a boolean or a list", found),
        Shape::Table(_) => node.wrong("a string, a number, a boolean or a list", found),
        _ => Some(()),
    };
    if wrong.is_some() {
        plain(&mut node, text, found);
    }
    if found.len() > before { broken(&node) } else { node }
}

/// Takes the `$${` of strings for `${`, and refuses what refers to other parameters.
fn plain(node: &mut Node, text: &str, found: &mut Vec<Mistake>) {
    match &mut node.shape {
        Shape::Text(value) => {
            let mut out = String::new();
            for piece in pieces(value, text, &node.span) {
                if let Some(name) = piece.param {
                    let message = format!("a parameter can't refer to another one, found `${{{name}}}`");
                    found.push(
                        Mistake { span: piece.span, ..Mistake::new(node.at.clone(), message) }
                            .hint("put both in where they are used; a literal `${` is written `$${`"),
                    );
                }
                out.push_str(piece.text);
            }
            *value = out;
        }
        Shape::List(items) => items.iter_mut().for_each(|item| plain(item, text, found)),
        _ => {}
    }
}

fn broken(node: &Node) -> Node {
    Node { shape: Shape::Broken, ..node.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a parameter's default becomes when the command line or the environment gives `given`.
    fn converted(default: &str, given: &str) -> Result<Value, String> {
        let mut found = Vec::new();
        let text = format!("x = {default}");
        let table = toml::de::DeTable::parse(&text).expect("the test's TOML is right");
        let node = Node::document(&table, &mut IndexMap::new(), &mut found);
        let overrides = [("x".to_owned(), given.to_owned())];
        let outside = Outside { overrides: &overrides, env: &|_| None };
        let values = Params::read(Some(&node), &outside, &text, &mut found).values(&mut found);
        match found.first() {
            Some(mistake) => Err(mistake.message.clone()),
            None => Ok(values["x"].clone()),
        }
    }

    #[test]
    fn given_values_take_the_type_of_the_default() {
        for (default, given, value) in [
            ("400", "200", "200"),
            ("400", " -1_000 ", "-1000"),
            ("0.5", "2", "2.0"),
            ("0.5", "1e3", "1000.0"),
            ("true", "false", "false"),
            ("'a'", "007", "\"007\""),
            ("'a'", " b \"", "\" b \\\"\""),
            ("'a'", "", "\"\""),
            ("['a']", "['b', \"c\"]", "[\"b\",\"c\"]"),
            ("[1]", "[]", "[]"),
            ("{ env = 'X' }", "7", "\"7\""),
            ("{ env = 'X', default = 7 }", "8", "8"),
        ] {
            assert_eq!(
                converted(default, given).map(|value| value.to_string()),
                Ok(value.to_owned()),
                "{default} {given}"
            );
        }
        for (default, given, kinds) in [
            ("400", "many", "must be a whole number, found a string"),
            ("400", "", "must be a whole number, found a string"),
            ("400", "0.5", "must be a whole number, found a number with a fraction"),
            ("400", "99999999999999999999", "must be a whole number, found a string"),
            ("0.5", "half", "must be a number with a fraction, found a string"),
            ("true", "1", "must be a boolean, found a whole number"),
            ("['a']", "a", "must be a list, found a string"),
            ("['a']", "[a]", "must be a list, found a string"),
        ] {
            let message = converted(default, given).expect_err(given);
            assert!(message.contains(kinds), "{default} {given}: {message}");
        }
    }
}
