//! `flow`: another pipeline file, whose stages become this one's.

use std::{collections::BTreeSet, path::PathBuf};

use super::open::names;
use crate::{
    At, Classify, Draft, Embed, Flow, Given, Mistake, Name, Pipeline, Prompt, Stage, Verb,
    mistake::listed,
    node::{Entry, Node, Shape},
    value::{Filled, FromNode, Table},
};

/// A file that a pipeline names, read.
#[derive(Clone, Debug)]
pub struct FlowFile {
    /// Its name as it is shown.
    pub name: String,
    /// Where it really is: two paths to one file are one file.
    pub real: PathBuf,
    /// What it holds.
    pub text: String,
}

/// Reads the keys of a `flow` stage.
pub(super) fn flow(node: &Node, stage: Table<'_>, found: &mut Vec<Mistake>) -> Option<Flow> {
    let path = Filled::from_node(node, found).map(|Filled(path)| path);
    if let Some(path) = path.as_deref().filter(|path| path.contains("://")) {
        let mistake = Mistake::new(node.at.clone(), format!("`{path}` is not a path to a pipeline file"));
        found.push(mistake.hint("write it as seen from this file's folder: `flows/clean.toml`"));
        return None;
    }
    let input = stage.get("in", found).unwrap_or_default();
    let output = names(stage, found);
    let end = stage.get::<Filled>("output", found).map(|Filled(end)| end);
    let with = match stage.entry("with").and_then(|entry| Table::of(&entry.node, found)) {
        Some(table) => table.entries.iter().map(|entry| (entry.key.clone(), entry.node.json(found))).collect(),
        None => serde_json::Map::new(),
    };
    for key in ["on_error", "max_failures", "batch"].iter().filter_map(|key| stage.entry(key)) {
        let message = format!("`{}` goes with the stages in the flow's file, not with the flow", key.key);
        found.push(Mistake::new(key.node.at.clone(), message).on(key.span.clone()));
    }
    // Without a `from` that says one stage, a mistake is noted where stages are connected.
    let rows = match stage.entry("from").map(|from| &from.node.shape) {
        Some(Shape::Text(name)) => Name::made(name),
        Some(Shape::List(list)) => match list.as_slice() {
            [Node { shape: Shape::Text(name), .. }] => Name::made(name),
            _ => return None,
        },
        _ => return None,
    };
    Some(Flow { path: path?, rows, input, output, with, end })
}

/// Puts the stages of a flow's file into the pipeline that uses it as the stage `caller`, and gives the stage of it whose rows come
/// out. `at` is the caller's place, `file` the name of the flow's, which may say how batches are cut.
pub(super) fn graft(
    into: &mut Pipeline,
    flow: &Flow,
    caller: &Name,
    (inner, says_batch): (Draft, bool),
    (at, file): (&At, &str),
    found: &mut Vec<Mistake>,
) -> (Option<Name>, BTreeSet<String>) {
    let Draft { pipeline: mut inner, mut flawed, mistakes, .. } = inner;
    let sound = mistakes.is_empty();
    found.extend(mistakes);
    let end = ends(&inner, flow, sound, (at, file), found);
    let inputs: Vec<Name> = inputs(&inner).cloned().collect();
    if inputs.is_empty() && sound {
        let mistake = Mistake::new(at.key("flow"), format!("`{file}` has no `input` stage for the rows to go in"));
        found.push(mistake.hint("add `[stage.rows]` with `input = { text = \"utf8\" }`, and read from it"));
    }
    let batch = inner.batch;
    let mut place = into.stage.get_index_of(caller).unwrap_or(into.stage.len());
    let (volumes, plugins) = (inner.volume.clone(), inner.plugin.clone());
    let in_volume = |path: &str| match path.split_once("://") {
        Some((volume, rest)) if volumes.contains_key(volume) => format!("{caller}.{volume}://{rest}"),
        _ => path.to_owned(),
    };
    for (name, mut volume) in std::mem::take(&mut inner.volume) {
        volume.manifest = volume.manifest.as_deref().map(in_volume);
        into.volume.insert(caller.part(name), volume);
    }
    for (name, mut plugin) in std::mem::take(&mut inner.plugin) {
        plugin.grant.models.iter_mut().for_each(|model| *model = caller.part(&*model));
        into.plugin.insert(caller.part(name), plugin);
    }
    for (name, mut model) in std::mem::take(&mut inner.model) {
        model.fallback.iter_mut().for_each(|other| *other = caller.part(&*other));
        into.model.insert(caller.part(name), model);
    }
    for (name, mut stage) in inner.stage {
        stage.within = Some(stage.within.map_or_else(|| caller.clone(), |within| caller.part(within)));
        stage.from = stage.from.iter().map(|from| caller.part(from)).collect();
        if says_batch && stage.batch.is_none() {
            stage.batch = Some(batch);
        }
        match &mut stage.verb {
            Verb::Input(columns) => {
                if inputs.first() != Some(&name) {
                    flawed.insert(name.to_string());
                }
                let given = Given { flow: caller.clone(), columns: columns.0.clone(), input: flow.input.clone() };
                // Its names are those of who gives the rows.
                stage = Stage { within: None, from: vec![flow.rows.clone()], verb: Verb::Given(given), ..stage };
            }
            Verb::Read(read) => read.path.iter_mut().for_each(|path| *path = in_volume(path)),
            Verb::Open(open) => {
                if let Some(volume) = open.volume.as_mut().filter(|volume| volumes.contains_key(volume.as_str())) {
                    *volume = format!("{caller}.{volume}");
                }
            }
            Verb::Use(operator) if plugins.contains_key(operator.plugin.as_str()) => {
                operator.plugin = format!("{caller}.{}", operator.plugin);
            }
            Verb::Prompt(Prompt { asking, .. })
            | Verb::Embed(Embed { asking, .. })
            | Verb::Classify(Classify { asking, .. }) => {
                asking.model = caller.part(&asking.model);
            }
            Verb::Join(join) => join.with = caller.part(&join.with),
            Verb::Flow(flow) => flow.rows = caller.part(&flow.rows),
            Verb::Given(given) => given.flow = caller.part(&given.flow),
            Verb::Dead(of) => *of = caller.part(&*of),
            Verb::Steps(steps) => steps.0.iter_mut().for_each(|step| *step = caller.part(&*step)),
            _ => {}
        }
        into.stage.shift_insert(place, caller.part(name), stage);
        place += 1;
    }
    let flawed = flawed.iter().map(|name| caller.part(name).to_string()).collect();
    (end.map(|end| caller.part(end)), flawed)
}

fn inputs(inner: &Pipeline) -> impl Iterator<Item = &Name> {
    inner.stage.iter().filter(|(_, stage)| matches!(stage.verb, Verb::Input(_))).map(|(name, _)| name)
}

/// The stage whose rows come out: the one that is said, or the only one that no other reads. Notes what else makes a file no flow.
fn ends(inner: &Pipeline, flow: &Flow, sound: bool, (at, file): (&At, &str), found: &mut Vec<Mistake>) -> Option<Name> {
    let own = inner.stage.iter().filter(|(_, stage)| stage.within.is_none());
    let names: Vec<&str> = own.clone().map(|(name, _)| name.as_str()).filter(|name| !name.contains('.')).collect();
    if let Some(end) = &flow.end {
        let found_end = inner.stage.get_key_value(end.as_str()).filter(|_| names.contains(&end.as_str()));
        if found_end.is_none() && sound {
            found.push(Mistake::unknown(at.key("output"), &format!("stage of `{file}`"), end, &names));
        }
        return found_end.map(|(name, _)| name.clone());
    }
    // A stage with a mistake may be missing here, and those that it reads aren't the end.
    if !sound {
        return None;
    }
    let read: Vec<&str> = inner.stage.values().flat_map(|stage| stage.from.iter().map(Name::as_str)).collect();
    let joined =
        |name: &str| inner.stage.values().any(|s| matches!(&s.verb, Verb::Join(join) if join.with.as_str() == name));
    // What a query reads is known when it is planned; here a stage that it names counts as read.
    let queried = |name: &str| {
        inner.stage.iter().any(|(reader, stage)| match &stage.verb {
            Verb::Sql(sql) if reader.as_str() != name => {
                sql.0.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == name)
            }
            _ => false,
        })
    };
    let unread = |name: &&&str| !read.contains(*name) && !joined(name) && !queried(name);
    let unread: Vec<&str> = names.iter().filter(unread).copied().collect();
    match unread.as_slice() {
        [end] => inner.stage.get_key_value(*end).map(|(name, _)| name.clone()),
        several => {
            let mistake = match several {
                [] => Mistake::new(at.key("flow"), format!("every stage of `{file}` is read by another")),
                _ => Mistake::new(
                    at.key("flow"),
                    format!("no other stage reads {} of `{file}`, so it isn't clear what comes out", listed(several)),
                ),
            };
            found.push(
                mistake.hint(format!(
                    "say it: `output = \"{}\"`",
                    several.first().or(names.last()).copied().unwrap_or("…")
                )),
            );
            None
        }
    }
}

/// Notes the stages of a flow's file that can't be part of a flow: those that write, and a second `input`.
pub(super) fn refuse(stages: &[Entry], file: &str, found: &mut Vec<Mistake>) {
    let with = |key: &'static str| {
        stages.iter().filter_map(move |stage| match &stage.node.shape {
            Shape::Table(keys) => keys.iter().find(|entry| entry.key == key),
            _ => None,
        })
    };
    for entry in with("write") {
        let mistake =
            Mistake::new(entry.node.at.clone(), format!("`{file}` is used as a flow, and a flow can't write"));
        found.push(mistake.hint("write in the pipeline that uses it, or keep what both share in a file of its own"));
    }
    for entry in with("input").skip(1) {
        let mistake = Mistake::new(entry.node.at.clone(), format!("`{file}` is used as a flow, which has one `input`"));
        found.push(mistake.hint("make the others `read` or `values`"));
    }
}
