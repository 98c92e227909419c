//! What does a pipeline's TOML text say?
//!
//! [`read`] is what to call, or [`read_within`] where there is a `dflow.toml`. It goes over the text once: the TOML becomes a tree of values with their places, parameters
//! are put into it, each table becomes its part of the neutral form, and the stages are connected. No step stops at a
//! mistake, and what has a mistake is left out quietly by the steps after it, so that one slip gives one message.

mod graph;
mod operator;
mod place;
mod regroup;
mod relational;
mod resource;
mod schema;
mod shared;
mod sink;
mod source;
mod stage;
mod words;

pub use schema::schema;

use std::{collections::BTreeSet, path::Path, sync::Arc};

use indexmap::IndexMap;
use serde_json::Value;
use toml::de::DeTable;

use self::{
    shared::Shared,
    words::{LATER_RESOURCES, LATER_TOP, TOP},
};
use crate::{
    At, BatchLimits, Draft, Mistake, Name, Pipeline, SourceText, Sources, Verb,
    insert::Inserter,
    node::{Entry, Node, Shape},
    params::{Outside, Params},
    value::{Filled, Table},
};

/// What a pipeline is read with, besides its own text.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// The `-p KEY=VALUE` of the command line.
    pub overrides: &'a [(String, String)],
    /// Looks up an environment variable.
    pub env: &'a dyn Fn(&str) -> Option<String>,
    /// The nearest `dflow.toml`, if there is one.
    pub shared: Option<SharedFile<'a>>,
    /// The target of `--target NAME`.
    pub target: Option<&'a str>,
}

/// A `dflow.toml`: resources and parameters that pipelines share.
#[derive(Clone, Copy, Debug)]
pub struct SharedFile<'a> {
    /// Its name as it is shown.
    pub name: &'a str,
    /// Its folder, as seen from the pipeline's: empty, `..`, `../..` and so on.
    pub folder: &'a str,
    /// What it holds.
    pub text: &'a str,
}

/// Reads a pipeline from TOML text. `name` is the file's as the user gave it, `overrides` are the `-p KEY=VALUE` of the command
/// line, and `env` looks up an environment variable. With the pipeline come its text, all mistakes, and the names of the stages
/// that they touch.
pub fn read(name: &str, text: &str, overrides: &[(String, String)], env: &dyn Fn(&str) -> Option<String>) -> Draft {
    read_within(name, text, &Surroundings { overrides, env, shared: None, target: None })
}

/// As [`read`], with a `dflow.toml`. Where both have a resource or a parameter of one name, the pipeline's counts; the chosen
/// target's counts more than either.
pub fn read_within(name: &str, text: &str, surroundings: &Surroundings<'_>) -> Draft {
    let Surroundings { overrides, env, shared, target } = *surroundings;
    let mut sources = Sources::default();
    let mut found = Vec::new();
    let own = parse(&mut sources, name, "", text, &mut found);
    let around = shared.map(|file| parse(&mut sources, file.name, file.folder, file.text, &mut found));
    let (Some(mut document), Some(around)) = (own, around.map_or(Some(None), |node| node.map(Some))) else {
        let (pipeline, flawed) = (Pipeline::default(), BTreeSet::new());
        return Draft { pipeline, text: Some(Arc::new(sources)), mistakes: found, flawed };
    };

    let shared = Shared::read(around.as_ref(), target, &mut found);
    let own = Table::of(&document, &mut found).and_then(|table| table.entry("param")).map(|entry| &entry.node);
    let params = Params::read(shared.declared(own), &Outside { overrides, env }, &sources.files, &mut found);
    let mut inserter = Inserter::new(&params, &sources.files);
    if let Shape::Table(entries) = &mut document.shape {
        for entry in entries.iter_mut().filter(|entry| entry.key != "param") {
            inserter.insert(&mut entry.node, &mut found);
        }
    }
    let mut used = inserter.used;
    let merged = shared.merge(&mut document, &params, &sources.files, &mut used, &mut found);
    sources.elsewhere.extend(merged.elsewhere);
    let param = params.values(&used, &mut found);
    let (pipeline, flawed) = pipeline(&document, name, param, &merged.volumes, &mut found);
    Draft { pipeline, text: Some(Arc::new(sources)), mistakes: found, flawed }
}

/// Reads a file's TOML, and notes the text.
fn parse(sources: &mut Sources, name: &str, folder: &str, text: &str, found: &mut Vec<Mistake>) -> Option<Node> {
    let file = sources.files.len();
    let (name, folder) = (name.to_owned(), folder.to_owned());
    let mut source = SourceText { name, folder, text: text.into(), places: IndexMap::new() };
    let (document, errors) = DeTable::parse_recoverable(text);
    let node = if errors.is_empty() {
        Some(Node::document(&document, file, &mut source.places, found))
    } else {
        found.extend(errors.iter().map(|error| syntax(error, file, text)));
        None
    };
    sources.files.push(source);
    node
}

fn syntax(error: &toml::de::Error, file: usize, text: &str) -> Mistake {
    let mut message = error.message().to_owned();
    // Some of the parser's messages begin like sentences.
    if let Some(head) = message.get_mut(..1) {
        head.make_ascii_lowercase();
    }
    if message == "duplicate key"
        && let Some(key) = error.span().and_then(|span| text.get(span))
    {
        message = format!("duplicate key `{key}`");
    }
    Mistake { span: error.span(), ..Mistake::new(At::file(file), message) }
}

/// The neutral form, which is whole if nothing was `found`, and the stages that are flawed. `param` are the parameters' values, and
/// `volumes` all that could be named.
fn pipeline(
    document: &Node,
    file: &str,
    param: IndexMap<Name, Value>,
    volumes: &[String],
    found: &mut Vec<Mistake>,
) -> (Pipeline, BTreeSet<String>) {
    let entries = match &document.shape {
        Shape::Table(entries) => &entries[..],
        _ => &[],
    };
    let table = Table { at: &document.at, entries };
    for entry in table.entries.iter().filter(|entry| !TOP.contains(&entry.key.as_str())) {
        let key = entry.key.as_str();
        found.push(if LATER_RESOURCES.contains(&key) {
            Mistake::later(entry.node.at.clone(), format!("the resource `{key}`")).on(entry.span.clone())
        } else {
            entry.unknown(TOP, LATER_TOP)
        });
    }

    let node = |key| table.entry(key).map(|entry| &entry.node);
    let volume_names: Vec<&str> = volumes.iter().map(String::as_str).collect();
    let volumes = resource::entries(node("volume"), found);
    let plugins = resource::entries(node("plugin"), found);
    let written = resource::entries(node("stage"), found);
    if written.is_empty() && node("stage").is_none_or(|node| matches!(node.shape, Shape::Table(_))) {
        found.push(
            Mistake::new(At::new(["stage"]), "the pipeline has no stage")
                .hint("add a source, such as `[stage.pages]` with `read = \"*.html\"`"),
        );
    }
    let batch = node("batch").and_then(|node| resource::batch(node, BatchLimits::default(), found)).unwrap_or_default();
    let mut stages: Vec<_> = written.iter().map(|entry| stage::read(entry, &volume_names, batch, found)).collect();
    graph::connect(&mut stages, found);
    // A name that isn't one is no stage's, so that its readers would seem to read nothing.
    let reads_no_name = |stage: &stage::WrittenStage<'_>| stage.from.iter().any(|s| s.name.parse::<Name>().is_err());
    let lost: BTreeSet<&str> = stages.iter().filter(|stage| reads_no_name(stage)).map(|stage| stage.name).collect();

    let pipeline = Pipeline {
        name: table.get("name", found).map_or_else(|| stem(file), |Filled(name)| name),
        param,
        volume: resource::named(volumes, |entry, found| resource::volume(entry, &volume_names, found), found),
        plugin: resource::named(plugins, resource::plugin, found),
        stage: stages.into_iter().filter_map(|stage| stage.stage).collect(),
        batch,
    };
    let resources = |entries: &[Entry], good: &dyn Fn(&str) -> bool| -> Vec<String> {
        let bad = |e: &&Entry| !good(&e.key) || e.node.is_broken() || touched(found, &e.node.at);
        entries.iter().filter(bad).map(|e| e.key.clone()).collect()
    };
    let volumes = resources(volumes, &|name| pipeline.volume.contains_key(name));
    let plugins = resources(plugins, &|name| pipeline.plugin.contains_key(name));
    let on_one = |path: &String| place::volume(path).is_some_and(|volume| volumes.iter().any(|bad| bad == volume));
    let names_one = |verb: &Verb| match verb {
        Verb::Read(read) => read.path.iter().any(on_one),
        Verb::Write(write) => on_one(&write.path),
        Verb::Use(operator) => plugins.contains(&operator.plugin),
        _ => false,
    };
    let flawed = written.iter().filter(|entry| {
        let stage = pipeline.stage.get(entry.key.as_str());
        lost.contains(entry.key.as_str())
            || entry.node.is_broken()
            || touched(found, &entry.node.at)
            || stage.is_none_or(|stage| names_one(&stage.verb))
    });
    let flawed = flawed.map(|entry| entry.key.clone()).collect();
    (pipeline, flawed)
}

/// Whether a mistake is in the entry of a table of resources or stages.
fn touched(found: &[Mistake], entry: &At) -> bool {
    found.iter().any(|mistake| entry.holds(&mistake.at))
}

/// The file's name without its folder and its ending.
fn stem(file: &str) -> String {
    Path::new(file).file_stem().map_or_else(|| "pipeline".to_owned(), |stem| stem.to_string_lossy().into_owned())
}
