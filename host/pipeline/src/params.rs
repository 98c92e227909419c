//! Parameters: what `[param]` and the command line say, and the values that come of it.

use std::{collections::HashSet, mem::discriminant};

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde_json::Value;

use crate::{
    At, Mistake, Name, SourceText,
    insert::pieces_of,
    mistake::nearest_or_list,
    node::{Entry, Node, Shape},
    value::Table,
};

/// The parameters of a pipeline by name, those with mistakes too.
#[derive(Default)]
pub(crate) struct Params {
    by_name: IndexMap<String, Param>,
    /// The stage that uses the file as a flow, and gives values by `with`.
    pub(crate) caller: Option<String>,
}

/// One parameter.
pub(crate) struct Param {
    pub(crate) at: At,
    /// The environment variable that it is read from.
    pub(crate) env: Option<String>,
    /// Whether its value must not be seen.
    pub(crate) secret: bool,
    /// Whether it is declared for several pipelines, of which this one may not know it.
    shared: bool,
    /// Its value; `None` when there is none, [`Shape::Broken`] inside when a mistake has been noted.
    pub(crate) value: Option<Node>,
    /// A value of the type that it is to have; without one it is a string.
    like: Option<Shape>,
}

/// A parameter that isn't just its default.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "keys are read one by one; this says in the schema which there are")]
pub(crate) struct Described {
    /// Its value when nobody gives another, and the type of what is given.
    default: Option<Value>,
    /// The environment variable that it is read from. `-p KEY=VALUE` counts more.
    env: Option<String>,
    /// Whether its value must not be seen: then it can't be put into settings, URLs or anything else that is shown or stored.
    secret: Option<bool>,
}

/// The tables of parameters, those that count more first.
#[derive(Clone, Copy, Default)]
pub(crate) struct Declared<'a> {
    /// The chosen target's.
    pub(crate) target: Option<&'a Node>,
    /// The pipeline's own.
    pub(crate) own: Option<&'a Node>,
    /// Those that pipelines share.
    pub(crate) shared: Option<&'a Node>,
}

/// What gives parameters their values besides the files.
pub(crate) struct Outside<'a> {
    /// The `-p KEY=VALUE` of the command line, in their order; the last one of a key counts.
    pub(crate) overrides: &'a [(String, String)],
    /// Looks up an environment variable.
    pub(crate) env: &'a dyn Fn(&str) -> Option<String>,
    /// Of a flow's file, the stage that uses it and its `with`: then `overrides` are for shared parameters alone.
    pub(crate) flow: Option<(&'a str, &'a [Entry])>,
}

impl Params {
    /// Reads what is declared. `files` are the texts in which that stands.
    pub(crate) fn read(
        declared: Declared<'_>,
        outside: &Outside<'_>,
        files: &[SourceText],
        found: &mut Vec<Mistake>,
    ) -> Self {
        let mut params: IndexMap<String, Param> = IndexMap::new();
        for (node, shared) in [(declared.own, false), (declared.shared, true)] {
            for entry in entries(node, found) {
                let param = Param::read(&entry.node, shared, files, found);
                params.entry(entry.key.clone()).or_insert(param);
            }
        }
        for entry in entries(declared.target, found) {
            let param = Param::read(&entry.node, true, files, found);
            let param = match params.get(&entry.key) {
                Some(before) => param.instead_of(before, &entry.key, found),
                None => param,
            };
            params.insert(entry.key.clone(), param);
        }
        for (name, param) in &mut params {
            param.give(name, outside, found);
        }
        let known: Vec<&str> = params.keys().map(String::as_str).collect();
        if let Some((_, with)) = outside.flow {
            let own: Vec<&str> = params.iter().filter(|(_, p)| !p.shared).map(|(name, _)| name.as_str()).collect();
            for entry in with.iter().filter(|entry| !own.contains(&entry.key.as_str())) {
                let at = entry.node.at.clone();
                found.push(Mistake::unknown(at, "parameter of the flow", &entry.key, &own).on(entry.span.clone()));
            }
        }
        for (key, _) in outside.overrides.iter().filter(|_| outside.flow.is_none()) {
            if !known.contains(&key.as_str()) {
                let mistake = Mistake::new(At::new(["param"]), format!("unknown parameter `{key}` in `-p {key}=…`"));
                found.push(mistake.hint(nearest_or_list("parameter", key, &known)));
            }
        }
        Self { by_name: params, caller: outside.flow.map(|(caller, _)| caller.to_owned()) }
    }

    /// A parameter by its name.
    pub(crate) fn get(&self, name: &str) -> Option<&Param> {
        self.by_name.get(name)
    }

    /// The names of all.
    pub(crate) fn names(&self) -> Vec<&str> {
        self.by_name.keys().map(String::as_str).collect()
    }

    /// What a run is identified by and shows: the values, without secrets and what has no value. Of those that pipelines share,
    /// the ones that this pipeline has `used`.
    pub(crate) fn values(&self, used: &HashSet<String>, found: &mut Vec<Mistake>) -> IndexMap<Name, Value> {
        let mut values = IndexMap::new();
        let own = |(name, param): &(&String, &Param)| !param.secret && (!param.shared || used.contains(*name));
        for (name, param) in self.by_name.iter().filter(own) {
            if let (Ok(name), Some(node)) = (name.parse(), &param.value) {
                values.insert(name, node.json(found));
            }
        }
        values
    }
}

/// The entries of a table of parameters; notes those whose names aren't names.
fn entries<'a>(node: Option<&'a Node>, found: &mut Vec<Mistake>) -> &'a [Entry] {
    let entries = node.and_then(|node| Table::of(node, found)).map_or(&[][..], |table| table.entries);
    for entry in entries {
        if let Err(error) = entry.key.parse::<Name>() {
            found.push(error.mistake(entry.node.at.clone()).on(entry.span.clone()));
        }
    }
    entries
}

impl Param {
    fn read(node: &Node, shared: bool, files: &[SourceText], found: &mut Vec<Mistake>) -> Self {
        let mut param = Self { at: node.at.clone(), env: None, secret: false, shared, value: None, like: None };
        if matches!(node.shape, Shape::Table(_)) {
            param.described(node, files, found);
        } else {
            param.value = Some(default(node, files, found));
        }
        param.like = param.value.as_ref().map(|node| node.shape.clone());
        param
    }

    /// A target's parameter, which stands for one that is declared already, and is of its kind.
    fn instead_of(mut self, before: &Self, name: &str, found: &mut Vec<Mistake>) -> Self {
        self.shared = before.shared;
        if before.secret && !self.secret {
            let mistake = Mistake::new(self.at.clone(), format!("parameter `{name}` is a secret"));
            found.push(mistake.hint("write it as `{ env = \"VARIABLE\", secret = true }`"));
            self.value = self.value.as_ref().map(broken);
        }
        match (&before.like, &mut self.value) {
            (Some(Shape::Broken), _) | (_, Some(Node { shape: Shape::Broken, .. })) => {}
            (Some(Shape::Float(_)), Some(Node { shape: shape @ Shape::Whole(_), .. })) => {
                if let Shape::Whole(number) = *shape {
                    *shape = Shape::Float(number as f64);
                }
            }
            (Some(like), Some(node)) if discriminant(like) != discriminant(&node.shape) => {
                let (wanted, kind) = (like.kind(), node.shape.kind());
                let mistake =
                    Mistake::new(node.at.clone(), format!("parameter `{name}` must be {wanted}, found {kind}"));
                found.push(mistake.hint("its type is the one of its default"));
                *node = broken(node);
            }
            _ => {}
        }
        self.like = before.like.clone().or(self.like);
        self.secret |= before.secret;
        self
    }

    /// Takes the value that the command line or the environment gives.
    fn give(&mut self, name: &str, outside: &Outside<'_>, found: &mut Vec<Mistake>) {
        if let (Some((_, with)), false) = (outside.flow, self.shared) {
            match with.iter().find(|entry| entry.key == name) {
                Some(entry) => self.value = Some(self.fitted(name, &entry.node, found)),
                None => {
                    let given = self.env.as_deref().and_then(|variable| Some(((outside.env)(variable)?, variable)));
                    if let Some((given, variable)) = given {
                        self.value = Some(self.converted(name, &given, &format!("`${variable}`"), found));
                    }
                }
            }
            return;
        }
        let given = outside.overrides.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.clone());
        let given = match (given, &self.env) {
            (Some(value), _) => Some((value.clone(), format!("`-p {name}={}`", self.shown(&value)))),
            (None, Some(variable)) => (outside.env)(variable).map(|value| (value, format!("`${variable}`"))),
            (None, None) => None,
        };
        if let Some((given, origin)) = given {
            self.value = Some(self.converted(name, &given, &origin, found));
        }
    }

    /// A value that a flow is given, of the default's type.
    fn fitted(&self, name: &str, node: &Node, found: &mut Vec<Mistake>) -> Node {
        let mut node = node.clone();
        if self.secret {
            let mistake = Mistake::new(node.at.clone(), format!("parameter `{name}` of the flow is a secret"));
            found.push(mistake.hint("the flow's file takes it from the environment itself"));
            return broken(&node);
        }
        let wrong = match (&self.like, &node.shape) {
            (_, Shape::Broken) | (Some(Shape::Broken), _) => return broken(&node),
            (Some(Shape::Float(_)), Shape::Whole(number)) => {
                node.shape = Shape::Float(*number as f64);
                return node;
            }
            (Some(like), shape) => (discriminant(like) != discriminant(shape)).then(|| like.kind()),
            (None, Shape::Text(_)) => None,
            (None, _) => Some("a string"),
        };
        match wrong {
            None => node,
            Some(wanted) => {
                let kind = node.shape.kind();
                let message = format!("parameter `{name}` of the flow must be {wanted}, found {kind}");
                let hint = match self.like {
                    Some(_) => "its type is the one of its default",
                    None => "without a default it is a string",
                };
                found.push(Mistake::new(node.at.clone(), message).hint(hint));
                broken(&node)
            }
        }
    }

    /// Reads `{ env = "X", secret = true }` and `{ default = 400, env = "X" }`.
    fn described(&mut self, node: &Node, files: &[SourceText], found: &mut Vec<Mistake>) {
        let Some(table) = Table::only(node, &["default", "env", "secret"], &[], found) else { return };
        self.env = table.get("env", found);
        self.secret = table.get("secret", found).unwrap_or(false);
        self.value = table.entry("default").map(|entry| default(&entry.node, files, found));
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
        let Some(like) = &self.like else { return plain };
        let written = Node::alone(given.trim(), &self.at).unwrap_or_else(|| plain.clone());
        let shape = match (like, written.shape) {
            (Shape::Text(_), _) => plain.shape,
            (Shape::Broken, _) => Shape::Broken,
            (Shape::Float(_), Shape::Whole(number)) => Shape::Float(number as f64),
            (wanted, shape) if discriminant(wanted) == discriminant(&shape) => shape,
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
fn default(node: &Node, files: &[SourceText], found: &mut Vec<Mistake>) -> Node {
    let before = found.len();
    let mut node = node.clone();
    let wrong: Option<()> = match &mut node.shape {
        Shape::Time(_) => node.wrong("a string, a number, a boolean or a list", found),
        Shape::Table(_) => node.wrong("a string, a number, a boolean or a list", found),
        _ => Some(()),
    };
    if wrong.is_some() {
        plain(&mut node, files, found);
    }
    if found.len() > before { broken(&node) } else { node }
}

/// Takes the `$${` of strings for `${`, and refuses what refers to other parameters.
fn plain(node: &mut Node, files: &[SourceText], found: &mut Vec<Mistake>) {
    match &mut node.shape {
        Shape::Text(value) => {
            let value = std::mem::take(value);
            let mut out = String::new();
            for piece in pieces_of(&value, node, files) {
                if let Some(name) = piece.param {
                    let message = format!("a parameter can't refer to another one, found `${{{name}}}`");
                    found.push(
                        Mistake { span: piece.span, ..Mistake::new(node.at.clone(), message) }
                            .hint("put both in where they are used; a literal `${` is written `$${`"),
                    );
                }
                out.push_str(piece.text);
            }
            node.shape = Shape::Text(out);
        }
        Shape::List(items) => items.iter_mut().for_each(|item| plain(item, files, found)),
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
        let node = Node::document(&table, 0, &mut IndexMap::new(), &mut found);
        let overrides = [("x".to_owned(), given.to_owned())];
        let outside = Outside { overrides: &overrides, env: &|_| None, flow: None };
        let declared = Declared { own: Some(&node), ..Declared::default() };
        let params = Params::read(declared, &outside, &[], &mut found);
        let values = params.values(&HashSet::new(), &mut found);
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
