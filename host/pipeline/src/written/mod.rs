//! What does a pipeline's TOML text say?
//!
//! [`read`] is what to call, or [`read_within`] where there is a `dflow.toml`. It goes over the text once: the TOML becomes a tree of values with their places, parameters
//! are put into it, each table becomes its part of the neutral form, and the stages are connected. No step stops at a
//! mistake, and what has a mistake is left out quietly by the steps after it, so that one slip gives one message.

mod ask;
mod command;
mod dead;
mod flow;
mod grant;
mod graph;
mod json_schema;
mod model;
mod open;
mod operator;
mod place;
mod regroup;
mod relational;
mod resource;
mod schema;
mod script;
mod shared;
mod sink;
mod source;
mod stage;
mod steps;
mod trial;
mod words;

pub use flow::FlowFile;
pub use json_schema::referred;
pub use schema::schema;

use std::{
    collections::{BTreeSet, HashMap},
    path::{Path, PathBuf},
    sync::Arc,
};

use indexmap::IndexMap;
use serde_json::Value;
use toml::de::DeTable;

use self::{
    shared::Shared,
    words::{LATER_RESOURCES, LATER_TOP, TOP},
};
use crate::{
    At, BatchLimits, Command, Draft, Mistake, Name, Pipeline, Script, SourceText, Sources, Stage, Verb,
    form::DEAD,
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
    /// Reads a file that the pipeline names, by its path from the pipeline's folder; else says why it can't, as a phrase.
    pub file: &'a dyn Fn(&str) -> Result<FlowFile, String>,
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
    read_within(name, text, &Surroundings { overrides, env, shared: None, target: None, file: &no_file })
}

fn no_file(path: &str) -> Result<FlowFile, String> {
    Err(format!("there is no other file here, such as `{path}`"))
}

/// As [`read`], with a `dflow.toml`. Where both have a resource or a parameter of one name, the pipeline's counts; the chosen
/// target's counts more than either.
pub fn read_within(name: &str, text: &str, surroundings: &Surroundings<'_>) -> Draft {
    let mut sources = Sources::default();
    let mut found = Vec::new();
    let own = parse(&mut sources, name, "", text, &mut found);
    let around = surroundings.shared.map(|file| parse(&mut sources, file.name, file.folder, file.text, &mut found));
    let (Some(document), Some(around)) = (own, around.map_or(Some(None), |node| node.map(Some))) else {
        let (pipeline, flawed) = (Pipeline::default(), BTreeSet::new());
        return Draft { pipeline, text: Some(Arc::new(sources)), mistakes: found, flawed };
    };
    let base = Path::new(name).file_name().and_then(|name| name.to_str()).unwrap_or(name);
    let mut reader = Reader { surroundings, around, sources, read: HashMap::new(), own: base, way: Vec::new() };
    let (pipeline, flawed) = reader.document(document, name, None, &mut found);
    Draft { pipeline, text: Some(Arc::new(reader.sources)), mistakes: found, flawed }
}

/// Reads a pipeline's file and those that it uses as flows.
struct Reader<'a> {
    surroundings: &'a Surroundings<'a>,
    /// The `dflow.toml`, for all of them.
    around: Option<Node>,
    sources: Sources,
    /// The flows' files that were read, each with its tree, if it is TOML.
    read: HashMap<PathBuf, (String, Option<Node>)>,
    /// The pipeline's file, as seen from its folder.
    own: &'a str,
    /// The flows that are being read, each used by the one before it.
    way: Vec<(PathBuf, String)>,
}

/// A flow's file as it is used: the stage that does, by its whole name, and what it says.
struct Call<'a> {
    caller: Name,
    with: &'a [Entry],
}

impl Reader<'_> {
    /// What a file says, with the flows that it uses; and its stages that are flawed.
    fn document(
        &mut self,
        mut document: Node,
        name: &str,
        call: Option<&Call<'_>>,
        found: &mut Vec<Mistake>,
    ) -> (Pipeline, BTreeSet<String>) {
        let Surroundings { overrides, env, target, .. } = *self.surroundings;
        let around = self.around.clone();
        let files = &self.sources.files;
        let shared = Shared::read(around.as_ref(), target, found);
        let own = Table::of(&document, found).and_then(|table| table.entry("param")).map(|entry| &entry.node);
        let outside = Outside { overrides, env, flow: call.map(|call| (call.caller.as_str(), call.with)) };
        let params = Params::read(shared.declared(own), &outside, files, found);
        let mut inserter = Inserter::new(&params, files);
        if let Shape::Table(entries) = &mut document.shape {
            for entry in entries.iter_mut().filter(|entry| entry.key != "param") {
                inserter.insert(&mut entry.node, found);
            }
        }
        let mut used = inserter.used;
        let merged = shared.merge(&mut document, &params, files, &mut used, found);
        let param = params.values(&used, found);
        let within = call.map(|call| &call.caller);
        let part = |name: &str| within.map_or_else(|| name.to_owned(), |within| within.part(name).to_string());
        self.sources.elsewhere.extend(merged.elsewhere.into_iter().map(|(at, to)| match at.parts() {
            [kind, name] => (At::new([kind.as_str(), &part(name)]), to),
            _ => (at, to),
        }));
        self.pipeline(&document, name, param, &merged.volumes, within, found)
    }

    /// Puts the stages of a flow's file into the pipeline. Gives those of them that are flawed.
    fn flow(
        &mut self,
        into: &mut Pipeline,
        (entry, name): (&Entry, &Name),
        within: Option<&Name>,
        found: &mut Vec<Mistake>,
    ) -> BTreeSet<String> {
        let Some(Stage { verb: Verb::Flow(flow), .. }) = into.stage.get(name) else { return BTreeSet::new() };
        let (at, flow) = (&entry.node.at, flow.clone());
        let itself = || BTreeSet::from([name.to_string()]);
        let folder = self.sources.files.get(at.in_file()).map_or("", |file| file.folder.as_str());
        let path = shared::from_pipeline(&flow.path, folder).into_owned();
        let file = match (self.surroundings.file)(&path) {
            Ok(file) => file,
            Err(why) => {
                found.push(Mistake::new(at.key("flow"), why));
                return itself();
            }
        };
        if self.way.is_empty() {
            self.way.extend((self.surroundings.file)(self.own).ok().map(|own| (own.real, own.name)));
        }
        if let Some(start) = self.way.iter().position(|(real, _)| *real == file.real) {
            let names = self.way[start..].iter().map(|(_, name)| name.as_str()).chain([file.name.as_str()]);
            let circle = names.collect::<Vec<_>>().join(" → ");
            let mistake = Mistake::new(at.key("flow"), format!("this flow uses itself: {circle}"));
            found.push(mistake.hint("one of these files must do without the next"));
            return itself();
        }
        let mut inner = Vec::new();
        if !self.read.contains_key(&file.real) {
            let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
            let node = parse(&mut self.sources, &file.name, folder, &file.text, found);
            self.read.insert(file.real.clone(), (file.name.clone(), node));
        }
        let Some((shown, Some(document))) = self.read.get(&file.real).cloned() else { return itself() };
        let with = Table { at, entries: entries_of(&entry.node) }.entry("with");
        let with = with.map_or(&[][..], |with| entries_of(&with.node));
        let caller = within.map_or_else(|| name.clone(), |within| within.part(name));
        let says_batch = Table { at, entries: entries_of(&document) }.entry("batch").is_some();
        self.way.push((file.real, file.name));
        let (pipeline, flawed) = self.document(document, &shown, Some(&Call { caller, with }), &mut inner);
        self.way.pop();
        let draft = Draft { pipeline, text: None, mistakes: inner, flawed };
        let (end, flawed) = flow::graft(into, &flow, name, (draft, says_batch), (at, &shown), found);
        match (end, into.stage.get_mut(name)) {
            (Some(end), Some(stage)) => {
                stage.from = vec![end];
                flawed
            }
            _ => flawed.into_iter().chain(itself()).collect(),
        }
    }
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

impl Reader<'_> {
    /// The neutral form, which is whole if nothing was `found`, and the stages that are flawed. `param` are the parameters' values, and
    /// `volumes` all that could be named; `within` is the stage of which this file is the flow.
    fn pipeline(
        &mut self,
        document: &Node,
        file: &str,
        param: IndexMap<Name, Value>,
        volumes: &[String],
        within: Option<&Name>,
        found: &mut Vec<Mistake>,
    ) -> (Pipeline, BTreeSet<String>) {
        let table = Table { at: &document.at, entries: entries_of(document) };
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
        let models = resource::entries(node("model"), found);
        let model_names: Vec<&str> = models.iter().map(|entry| entry.key.as_str()).collect();
        let default_model = table.get::<Filled>("default_model", found).map(|Filled(name)| name);
        if let Some(name) = default_model.as_deref().filter(|name| !model_names.contains(name)) {
            found.push(Mistake::unknown(document.at.key("default_model"), "model", name, &model_names));
        }
        let default_model = default_model.filter(|name| model_names.contains(&name.as_str()));
        let only = if let [only] = model_names.as_slice() { Some(*only) } else { None };
        let known_models = ask::Models { names: &model_names, default: default_model.as_deref().or(only) };
        let max_usd = table.entry("max_usd").and_then(|entry| model::usd(&entry.node, found));
        if within.is_some() && max_usd.is_some() {
            found.push(
                Mistake::new(
                    document.at.key("max_usd"),
                    "`max_usd` is of a whole run, and a flow's file is a part of one",
                )
                .hint("write it in the pipeline, or in the `[model.NAME]` here"),
            );
        }
        let plugins = resource::entries(node("plugin"), found);
        let written = resource::entries(node("stage"), found);
        if within.is_some() {
            flow::refuse(written, file, found);
        }
        if written.is_empty() && node("stage").is_none_or(|node| matches!(node.shape, Shape::Table(_))) {
            found.push(
                Mistake::new(document.at.key("stage"), "the pipeline has no stage")
                    .hint("add a source, such as `[stage.pages]` with `read = \"*.html\"`"),
            );
        }
        let batch =
            node("batch").and_then(|node| resource::batch(node, BatchLimits::default(), found)).unwrap_or_default();
        let plain = written;
        let is_step = |entry: &Entry| !plain.iter().any(|stage| stage.key == entry.key);
        let mut written: Vec<Entry> = written.iter().flat_map(|entry| steps::expand(entry, found)).collect();
        let folder = self.sources.files.get(document.at.in_file()).map_or_else(String::new, |file| file.folder.clone());
        written.iter_mut().for_each(|entry| rebase(entry, &folder));
        for entry in written.iter().filter(|entry| within.is_some() || is_step(entry)) {
            let name = within.map_or_else(|| entry.key.clone(), |within| within.part(&entry.key).to_string());
            self.sources.elsewhere.insert(At::stage(name), entry.node.at.clone());
        }
        let read = |entry| stage::read(entry, is_step(entry), (&volume_names, known_models), batch, found);
        let mut stages: Vec<_> = written.iter().map(read).collect();
        let routed = graph::connect(&mut stages, found);
        // A name that isn't one is no stage's, so that its readers would seem to read nothing.
        let there = |name: &str| written.iter().any(|entry| entry.key == name && is_step(entry));
        let no_name = |name: &str| {
            let name = routed.iter().map(Name::as_str).find(|of| dead::of(name) == Some(*of)).unwrap_or(name);
            name.parse::<Name>().is_err() && !there(name)
        };
        let reads_no_name = |stage: &stage::WrittenStage<'_>| stage.from.iter().any(|s| no_name(&s.name));
        let lost: BTreeSet<&str> = stages.iter().filter(|stage| reads_no_name(stage)).map(|stage| stage.name).collect();

        let mut pipeline = Pipeline {
            name: table.get("name", found).map_or_else(|| stem(file), |Filled(name)| name),
            param,
            volume: resource::named(volumes, |entry, found| resource::volume(entry, &volume_names, found), found),
            model: resource::named(models, |entry, found| model::model(entry, &model_names, found), found),
            default_model: default_model.as_deref().and_then(|name| name.parse().ok()),
            max_usd,
            plugin: resource::named(plugins, |entry, found| resource::plugin(entry, &model_names, found), found),
            stage: stages.into_iter().filter_map(|stage| stage.stage).collect(),
            test: Vec::new(),
            batch,
        };
        let stage_names: Vec<&str> = plain.iter().map(|entry| entry.key.as_str()).collect();
        pipeline.test = node("test").map(|node| trial::tests(node, &stage_names, found)).unwrap_or_default();
        for of in &routed {
            let dead = of.part(DEAD);
            let place = written.iter().find(|entry| entry.key == of.as_str()).map(|entry| entry.node.at.clone());
            let whole = within.map_or_else(|| dead.to_string(), |within| within.part(&dead).to_string());
            self.sources.elsewhere.extend(place.map(|at| (At::stage(whole), at)));
            dead::insert(&mut pipeline, of, dead);
        }
        for stage in pipeline.stage.values_mut() {
            match &mut stage.verb {
                Verb::Command(Command { folder: own, .. })
                | Verb::Python(Script { folder: own, .. })
                | Verb::Js(Script { folder: own, .. }) => own.clone_from(&folder),
                _ => {}
            }
        }
        let resources = |entries: &[Entry], good: &dyn Fn(&str) -> bool| -> Vec<String> {
            let bad = |e: &&Entry| !good(&e.key) || e.node.is_broken() || touched(found, &e.node.at);
            entries.iter().filter(bad).map(|e| e.key.clone()).collect()
        };
        let volumes = resources(volumes, &|name| pipeline.volume.contains_key(name));
        let plugins = resources(plugins, &|name| pipeline.plugin.contains_key(name));
        let models = resources(models, &|name| pipeline.model.contains_key(name));
        let on_one = |path: &String| place::volume(path).is_some_and(|volume| volumes.iter().any(|bad| bad == volume));
        let names_one = |verb: &Verb| match verb {
            Verb::Read(read) => read.path.iter().any(on_one),
            Verb::Write(write) => on_one(&write.path),
            Verb::Use(operator) => {
                let granted = pipeline.plugin.get(operator.plugin.as_str()).map_or(&[][..], |of| &of.grant.models);
                plugins.contains(&operator.plugin)
                    || granted.iter().any(|model| models.iter().any(|bad| model.as_str() == bad))
            }
            other => other.asking().is_some_and(|asking| models.iter().any(|bad| asking.model.as_str() == bad)),
        };
        let flawed = written.iter().filter(|entry| {
            let stage = pipeline.stage.get(entry.key.as_str());
            lost.contains(entry.key.as_str())
                || entry.node.is_broken()
                || touched(found, &entry.node.at)
                || stage.is_none_or(|stage| names_one(&stage.verb))
        });
        let mut flawed: BTreeSet<String> = flawed.map(|entry| entry.key.clone()).collect();
        let flows = written.iter().filter(|entry| !flawed.contains(&entry.key)).filter_map(|entry| {
            let (name, stage) = pipeline.stage.get_key_value(entry.key.as_str())?;
            matches!(stage.verb, Verb::Flow(_)).then(|| (entry, name.clone()))
        });
        for (entry, name) in flows.collect::<Vec<_>>() {
            flawed.extend(self.flow(&mut pipeline, (entry, &name), within, found));
        }
        (pipeline, flawed)
    }
}

/// Makes the paths that a stage reads ones from the pipeline's folder.
fn rebase(stage: &mut Entry, folder: &str) {
    let Shape::Table(keys) = &mut stage.node.shape else { return };
    let Some(read) = keys.iter_mut().find(|key| key.key == "read") else { return };
    let moved = |node: &mut Node| {
        if let Shape::Text(path) = &mut node.shape {
            *path = shared::from_pipeline(path, folder).into_owned();
        }
    };
    match &mut read.node.shape {
        Shape::List(items) => items.iter_mut().for_each(moved),
        _ => moved(&mut read.node),
    }
}

fn entries_of(table: &Node) -> &[Entry] {
    match &table.shape {
        Shape::Table(entries) => entries,
        _ => &[],
    }
}

/// Whether a mistake is in the entry of a table of resources or stages.
fn touched(found: &[Mistake], entry: &At) -> bool {
    found.iter().any(|mistake| entry.holds(&mistake.at))
}

/// The file's name without its folder and its ending.
fn stem(file: &str) -> String {
    Path::new(file).file_stem().map_or_else(|| "pipeline".to_owned(), |stem| stem.to_string_lossy().into_owned())
}
