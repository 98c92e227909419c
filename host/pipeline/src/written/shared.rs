//! `dflow.toml`: resources and parameters that pipelines share, and named targets that put others in their place.
//!
//! What the pipeline itself says counts more than what is shared, and what the chosen target says counts more than both. A resource
//! is taken as a whole: the keys of two resources of one name are never mixed. Only what a pipeline names becomes part of it; the
//! rest is looked at for mistakes.

use std::{borrow::Cow, collections::HashSet};

use super::{
    resource,
    words::{LATER_RESOURCES, LATER_TOP},
};
use crate::{
    At, Mistake, SourceText,
    insert::Inserter,
    mistake::nearest_or_list,
    node::{Entry, Node, Shape},
    params::{Declared, Outside, Params},
    value::Table,
};

/// The kinds of resources that can be shared.
const KINDS: &[&str] = &["volume", "plugin", "model"];
/// The keys of a target.
const TARGET: &[&str] = &["param", "volume", "model", "plugin"];
/// The keys of the file.
const TOP: &[&str] = &["param", "volume", "model", "plugin", "target"];

/// What is shared, and the target that was chosen.
#[derive(Default)]
pub(super) struct Shared<'a> {
    base: &'a [Entry],
    chosen: &'a [Entry],
    /// The targets that weren't chosen.
    others: Vec<&'a [Entry]>,
}

/// What the resources of a pipeline and those that are shared come to.
pub(super) struct Merged {
    /// The resources that are written elsewhere: their places in the pipeline, and their own.
    pub(super) elsewhere: Vec<(At, At)>,
    /// Every volume that the pipeline could name.
    pub(super) volumes: Vec<String>,
    /// Every model that it could name.
    models: Vec<String>,
}

impl<'a> Shared<'a> {
    /// Looks at the keys of the file, if there is one, and finds the target that is asked for.
    pub(super) fn read(document: Option<&'a Node>, target: Option<&str>, found: &mut Vec<Mistake>) -> Self {
        let Some(document) = document else {
            found.extend(target.map(|name| {
                Mistake::new(At::default(), format!("there is no target `{name}`, as there is no `dflow.toml`")).hint(
                    format!("write `[target.{name}]` into a `dflow.toml` in the pipeline's folder, or in one above it"),
                )
            }));
            return Self::default();
        };
        let base = only(document, TOP, found).unwrap_or_default();
        let targets =
            key(base, "target").and_then(|node| Table::of(node, found)).map_or(&[][..], |table| table.entries);
        let mut shared = Self { base, ..Self::default() };
        for entry in targets {
            let Some(entries) = only(&entry.node, TARGET, found) else { continue };
            if target == Some(&entry.key) {
                shared.chosen = entries;
            } else {
                shared.others.push(entries);
            }
        }
        if let Some(name) = target.filter(|name| !targets.iter().any(|entry| entry.key == *name)) {
            let known: Vec<&str> = targets.iter().map(|entry| entry.key.as_str()).collect();
            let mistake =
                Mistake::new(document.at.key("target"), format!("unknown target `{name}` in `--target {name}`"));
            found.push(mistake.hint(nearest_or_list("target", name, &known)));
        }
        shared
    }

    /// The parameters that are declared, with the pipeline's `own`.
    pub(super) fn declared<'b>(&self, own: Option<&'b Node>) -> Declared<'b>
    where
        'a: 'b,
    {
        Declared { target: key(self.chosen, "param"), own, shared: key(self.base, "param") }
    }

    /// Puts the resources that the pipeline names into its document, in which parameters have been put already. Those that it
    /// doesn't name needn't have values for their parameters: they are another pipeline's.
    pub(super) fn merge(
        &self,
        document: &mut Node,
        params: &Params,
        files: &[SourceText],
        used: &mut HashSet<String>,
        found: &mut Vec<Mistake>,
    ) -> Merged {
        let own_file = document.at.in_file();
        let mut merged = Merged { elsewhere: Vec::new(), volumes: Vec::new(), models: Vec::new() };
        for entries in &self.others {
            let declared = Declared { own: key(entries, "param"), ..Declared::default() };
            Params::read(declared, &Outside { overrides: &[], env: &|_| None, flow: None }, files, found);
        }
        let Shape::Table(top) = &mut document.shape else { return merged };
        let (models, _) = self.chosen_of("model", resources(top, "model").to_vec());
        merged.models.extend(models.into_iter().map(|entry| entry.key));
        for kind in KINDS {
            let (entries, mut unnamed) = self.chosen_of(kind, take(top, kind));
            if *kind == "volume" {
                merged.volumes.extend(entries.iter().map(|entry| entry.key.clone()));
            }
            let mut kept = Vec::new();
            // The manifest of a volume may be in another one, and a model may have another in its place.
            let nodes: Vec<Node> = entries.iter().map(|entry| entry.node.clone()).collect();
            let in_other = |name: &str| match *kind {
                "volume" => nodes.iter().any(|node| mentions(node, &format!("{name}://"))),
                // What takes a model's place when that fails.
                "model" => nodes.iter().any(|node| mentions(node, name)),
                _ => false,
            };
            for mut entry in entries {
                // Parameters have been put into the pipeline's own.
                if entry.node.at.in_file() == own_file {
                    rebase(&mut entry.node, kind, files);
                } else {
                    if !named(kind, &entry.key, top) && !in_other(&entry.key) {
                        unnamed.push(entry);
                        continue;
                    }
                    let mut inserter = Inserter::new(params, files);
                    inserter.insert(&mut entry.node, found);
                    used.extend(inserter.used);
                    rebase(&mut entry.node, kind, files);
                }
                if own_file > 0 || entry.node.at.in_file() > 0 {
                    merged.elsewhere.push((At::new([*kind, entry.key.as_str()]), entry.node.at.clone()));
                }
                kept.push(entry);
            }
            put(top, kind, kept);
            for mut entry in unnamed {
                Inserter::new(params, files).insert(&mut entry.node, &mut Vec::new());
                resource::name(&entry, found);
                let models: Vec<&str> = merged.models.iter().map(String::as_str).collect();
                match *kind {
                    "volume" => {
                        let volumes: Vec<&str> = merged.volumes.iter().map(String::as_str).collect();
                        drop(resource::volume(&entry, &volumes, found));
                    }
                    "model" => drop(super::model::model(&entry, &models, found)),
                    _ => drop(resource::plugin(&entry, &models, found)),
                }
            }
        }
        merged
    }

    /// The resources of a kind that count, given the pipeline's own, and those that don't.
    fn chosen_of(&self, kind: &str, own: Vec<Entry>) -> (Vec<Entry>, Vec<Entry>) {
        let (mut counting, mut others) = (own, Vec::new());
        for entry in resources(self.chosen, kind) {
            if let Some(i) = counting.iter().position(|own| own.key == entry.key) {
                others.push(std::mem::replace(&mut counting[i], entry.clone()));
            } else {
                counting.push(entry.clone());
            }
        }
        for entry in resources(self.base, kind) {
            let list = if counting.iter().any(|other| other.key == entry.key) { &mut others } else { &mut counting };
            list.push(entry.clone());
        }
        others.extend(self.others.iter().flat_map(|target| resources(target, kind)).cloned());
        (counting, others)
    }
}

/// The entries of a table that holds no other keys. Resources of later versions are told apart.
fn only<'a>(node: &'a Node, known: &[&str], found: &mut Vec<Mistake>) -> Option<&'a [Entry]> {
    let table = Table::of(node, found)?;
    for entry in table.entries {
        let key = entry.key.as_str();
        if KINDS.contains(&key) {
            Table::of(&entry.node, found);
        } else if LATER_RESOURCES.contains(&key) {
            found.push(Mistake::later(entry.node.at.clone(), format!("the resource `{key}`")).on(entry.span.clone()));
        } else if !known.contains(&key) {
            found.push(entry.unknown(known, LATER_TOP));
        }
    }
    Some(table.entries)
}

fn key<'a>(entries: &'a [Entry], key: &str) -> Option<&'a Node> {
    entries.iter().find(|entry| entry.key == key).map(|entry| &entry.node)
}

/// The resources of a kind. Whether they stand in a table has been asked before.
fn resources<'a>(entries: &'a [Entry], kind: &str) -> &'a [Entry] {
    match key(entries, kind).map(|node| &node.shape) {
        Some(Shape::Table(entries)) => entries,
        _ => &[],
    }
}

/// Takes the pipeline's own resources of a kind out of it. What isn't a table stays for others to complain about.
fn take(top: &mut [Entry], kind: &str) -> Vec<Entry> {
    match top.iter_mut().find(|entry| entry.key == kind).map(|entry| &mut entry.node.shape) {
        Some(Shape::Table(entries)) => std::mem::take(entries),
        _ => Vec::new(),
    }
}

fn put(top: &mut Vec<Entry>, kind: &str, entries: Vec<Entry>) {
    match top.iter_mut().find(|entry| entry.key == kind).map(|entry| &mut entry.node.shape) {
        Some(Shape::Table(own)) => *own = entries,
        Some(_) => {}
        None if entries.is_empty() => {}
        None => {
            let node = Node { at: At::new([kind]), span: 0..0, param: None, shape: Shape::Table(entries) };
            top.push(Entry { key: kind.to_owned(), span: 0..0, node });
        }
    }
}

/// Whether a stage names a resource: `volume://…` anywhere, or `use = "plugin/…"`.
fn named(kind: &str, name: &str, top: &[Entry]) -> bool {
    let stages = resources(top, "stage");
    match kind {
        "plugin" => {
            let texts = stages.iter().filter_map(|stage| match &stage.node.shape {
                Shape::Table(entries) => key(entries, "use").or(key(entries, "steps")),
                _ => None,
            });
            let names = |text: &str| text.split_once('/').is_some_and(|(plugin, _)| plugin == name);
            texts.into_iter().any(|node| any_text(node, &names))
        }
        "model" => {
            let default = key(top, "default_model");
            let is_default = default.is_none_or(|node| any_text(node, &|text| text == name));
            // Those that the pipeline uses are in their place already.
            let granted = |plugin: &Entry| match &plugin.node.shape {
                Shape::Table(keys) => key(keys, "grant").is_some_and(|grant| any_text(grant, &|text| text == name)),
                _ => false,
            };
            stages.iter().any(|stage| asks(&stage.node, name, is_default))
                || resources(top, "plugin").iter().any(granted)
        }
        // Places that are found in rows (`open`) can be in any volume.
        _ => {
            let opens = |entry: &Entry| match &entry.node.shape {
                Shape::Table(keys) => {
                    key(keys, "open").is_some()
                        || key(keys, "steps").is_some_and(|steps| match &steps.shape {
                            Shape::List(items) => items
                                .iter()
                                .any(|item| matches!(&item.shape, Shape::Table(keys) if key(keys, "open").is_some())),
                            _ => false,
                        })
                }
                _ => false,
            };
            stages.iter().any(|stage| opens(stage) || mentions(&stage.node, &format!("{name}://")))
        }
    }
}

/// Whether a stage, or a step of it, asks a model: one that names none means the default, or the only one.
fn asks(node: &Node, name: &str, is_default: bool) -> bool {
    match &node.shape {
        Shape::Table(keys) => match (key(keys, "model"), key(keys, "steps")) {
            (Some(model), _) => any_text(model, &|text| text == name),
            (None, Some(steps)) => asks(steps, name, is_default),
            (None, None) => is_default && ["prompt", "embed", "classify"].iter().any(|verb| key(keys, verb).is_some()),
        },
        Shape::List(items) => items.iter().any(|item| asks(item, name, is_default)),
        _ => false,
    }
}

fn mentions(node: &Node, text: &str) -> bool {
    any_text(node, &|value| value.contains(text))
}

/// Whether a text in a value, however deep, is one that is looked for.
fn any_text(node: &Node, is: &dyn Fn(&str) -> bool) -> bool {
    match &node.shape {
        Shape::Text(value) => is(value),
        Shape::List(items) => items.iter().any(|item| any_text(item, is)),
        Shape::Table(entries) => entries.iter().any(|entry| any_text(&entry.node, is)),
        _ => false,
    }
}

/// Makes a resource's paths ones from the pipeline's folder. They are written as ones from the folder of its own file.
fn rebase(resource: &mut Node, kind: &str, files: &[SourceText]) {
    let folder = files.get(resource.at.in_file()).map_or("", |file| &file.folder);
    let Shape::Table(entries) = &mut resource.shape else { return };
    let paths: &[&str] = match kind {
        "volume" => &["url", "manifest"],
        "model" => &["tokenizer"],
        _ => &["source"],
    };
    let is_name = |text: &str| kind == "model" && !text.contains(['/', '.']);
    for entry in entries.iter_mut().filter(|entry| paths.contains(&entry.key.as_str())) {
        if let Shape::Text(text) = &mut entry.node.shape
            && !is_name(text)
        {
            *text = from_pipeline(text, folder).into_owned();
        }
    }
}

/// A path that is relative to a folder, as one that is relative to the pipeline's folder. Absolute paths and URLs stay as they are.
pub(super) fn from_pipeline<'a>(path: &'a str, folder: &str) -> Cow<'a, str> {
    if folder.is_empty() || path.trim().is_empty() || path.starts_with('/') || path.contains("://") {
        return path.into();
    }
    format!("{folder}/{path}").into()
}
