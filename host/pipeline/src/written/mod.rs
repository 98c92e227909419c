//! What does a pipeline's TOML text say?
//!
//! [`read`] is all there is to call. It goes over the text once: the TOML becomes a tree of values with their places, parameters
//! are put into it, each table becomes its part of the neutral form, and the stages are connected. No step stops at a
//! mistake, and what has a mistake is left out quietly by the steps after it, so that one slip gives one message.

mod graph;
mod operator;
mod place;
mod regroup;
mod relational;
mod resource;
mod sink;
mod source;
mod stage;
mod words;

use std::{collections::BTreeSet, path::Path, sync::Arc};

use toml::de::DeTable;

use self::words::{LATER_RESOURCES, LATER_TOP, TOP};
use crate::{
    At, BatchLimits, Draft, Mistake, Pipeline, SourceText, Verb,
    insert::Inserter,
    node::{Entry, Node, Shape},
    params::{Outside, Params},
    value::{Filled, Table},
};

/// Reads a pipeline from TOML text. `name` is the file's as the user gave it, `overrides` are the `-p KEY=VALUE` of the command
/// line, and `env` looks up an environment variable. With the pipeline come its text, all mistakes, and the names of the stages
/// that they touch.
pub fn read(name: &str, text: &str, overrides: &[(String, String)], env: &dyn Fn(&str) -> Option<String>) -> Draft {
    let mut source = SourceText { name: name.to_owned(), text: text.into(), ..SourceText::default() };
    let mut found = Vec::new();
    let (document, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        let mistakes = errors.iter().map(|error| syntax(error, text)).collect();
        let (pipeline, flawed) = (Pipeline::default(), BTreeSet::new());
        return Draft { pipeline, text: Some(Arc::new(source)), mistakes, flawed };
    }
    let mut document = Node::document(&document, &mut source.places, &mut found);
    let source = Arc::new(source);

    let param = Table::of(&document, &mut found).and_then(|table| table.entry("param")).map(|entry| &entry.node);
    let params = Params::read(param, &Outside { overrides, env }, text, &mut found);
    if let Shape::Table(entries) = &mut document.shape {
        let mut inserter = Inserter::new(&params, text);
        for entry in entries.iter_mut().filter(|entry| entry.key != "param") {
            inserter.insert(&mut entry.node, &mut found);
        }
    }
    let (pipeline, flawed) = pipeline(&document, name, &params, &mut found);
    Draft { pipeline, text: Some(source), mistakes: found, flawed }
}

fn syntax(error: &toml::de::Error, text: &str) -> Mistake {
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
    Mistake { span: error.span(), ..Mistake::new(At::default(), message) }
}

/// The neutral form, which is whole if nothing was `found`, and the stages that are flawed.
fn pipeline(document: &Node, file: &str, params: &Params, found: &mut Vec<Mistake>) -> (Pipeline, BTreeSet<String>) {
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
    let volumes = resource::entries(node("volume"), found);
    let volume_names: Vec<&str> = volumes.iter().map(|entry| entry.key.as_str()).collect();
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

    let pipeline = Pipeline {
        name: table.get("name", found).map_or_else(|| stem(file), |Filled(name)| name),
        param: params.values(found),
        volume: resource::named(volumes, resource::volume, found),
        plugin: resource::named(plugins, resource::plugin, found),
        stage: stages.into_iter().filter_map(|stage| stage.stage).collect(),
        batch,
    };
    let resources = |kind, entries: &[Entry], good: &dyn Fn(&str) -> bool| -> Vec<String> {
        let bad = |e: &&Entry| !good(&e.key) || e.node.is_broken() || touched(found, kind, &e.key);
        entries.iter().filter(bad).map(|e| e.key.clone()).collect()
    };
    let volumes = resources("volume", volumes, &|name| pipeline.volume.contains_key(name));
    let plugins = resources("plugin", plugins, &|name| pipeline.plugin.contains_key(name));
    let on_one = |path: &String| place::volume(path).is_some_and(|volume| volumes.iter().any(|bad| bad == volume));
    let names_one = |verb: &Verb| match verb {
        Verb::Read(read) => read.path.iter().any(on_one),
        Verb::Write(write) => on_one(&write.path),
        Verb::Use(operator) => plugins.contains(&operator.plugin),
        _ => false,
    };
    let flawed = written.iter().filter(|entry| {
        let stage = pipeline.stage.get(entry.key.as_str());
        entry.node.is_broken()
            || touched(found, "stage", &entry.key)
            || stage.is_none_or(|stage| names_one(&stage.verb))
    });
    let flawed = flawed.map(|entry| entry.key.clone()).collect();
    (pipeline, flawed)
}

/// Whether a mistake is in the entry of a table of resources or stages.
fn touched(found: &[Mistake], table: &str, name: &str) -> bool {
    found.iter().any(|mistake| matches!(mistake.at.parts(), [t, n, ..] if t == table && n == name))
}

/// The file's name without its folder and its ending.
fn stem(file: &str) -> String {
    Path::new(file).file_stem().map_or_else(|| "pipeline".to_owned(), |stem| stem.to_string_lossy().into_owned())
}
