//! `dflow-host show`: the tree of stages, what is kept of each, and whether a run would leave it alone.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use dflow_pipeline::{Bytes, Name, Pipeline, Verb, exit};
use dflow_run::{Engine, Output, Plan, Status};
use serde_json::{Value, json};

use crate::{
    failure::Failure,
    outside::Outside,
    settings::KeptSettings,
    table::{Align, Table},
    terminal::Terminal,
    words,
};

/// What a stage does is cut there, in columns of text.
const WIDTH: usize = 60;

/// Shows the tree.
pub(crate) fn show(settings: &KeptSettings, outside: &Outside, terminal: &Arc<Terminal>) -> Result<u8, Failure> {
    let draft = settings.pipeline.read(outside)?;
    let engine = Engine::new(settings.engine.clone())?;
    let plan = engine.plan(&draft, None, None)?;
    let outputs = engine.outputs(&plan)?;
    let text = match settings.json {
        true => document(&plan, &outputs)?,
        false => tree(&plan, &outputs, &settings.seen_from, terminal.stdout_width()),
    };
    terminal.print(text.as_bytes())?;
    Ok(exit::DONE)
}

/// One JSON document: parameters, and a list of stages.
fn document(plan: &Plan, outputs: &[Output]) -> Result<String, Failure> {
    let stages: Vec<Value> = plan
        .stages
        .iter()
        .map(|(name, stage)| {
            let output = outputs.iter().find(|output| output.stage == *name);
            json!({ "stage": name, "from": stage.from, "does": does(&plan.pipeline, name), "output": output })
        })
        .collect();
    let document = json!({ "pipeline": plan.pipeline.name, "parameters": plan.pipeline.param, "stages": stages });
    Ok(serde_json::to_string(&document).map_err(|e| Failure::outside(e.to_string()))? + "\n")
}

fn tree(plan: &Plan, outputs: &[Output], seen_from: &Path, width: Option<usize>) -> String {
    let mut text = format!("{}\n", plan.pipeline.name);
    for (name, value) in &plan.pipeline.param {
        text.push_str(&format!("  {name} = {value}\n"));
    }
    let read: BTreeSet<&Name> = plan.stages.values().flat_map(|stage| &stage.from).collect();
    let roots: Vec<&Name> = plan.stages.keys().filter(|name| !read.contains(name)).collect();
    let (mut seen, mut lines) = (BTreeSet::new(), Vec::new());
    for root in roots {
        branch(plan, root, "", "", &mut seen, &mut lines);
    }
    let mut table =
        Table::new(&[("stage", Align::Left), ("", Align::Left), ("does", Align::Left), ("kept", Align::Left)]);
    for (name, label) in lines {
        let output = outputs.iter().find(|output| output.stage == *name);
        let status = output.map(|output| output.status.as_str().to_owned()).unwrap_or_default();
        let kept = output.map(|output| kept(output, seen_from)).unwrap_or_default();
        table.row([label, status, does(&plan.pipeline, name), kept]);
    }
    text.push('\n');
    text.push_str(&table.lines(width));
    let count = |status: Status| outputs.iter().filter(|output| output.status == status).count() as u64;
    let (stale, pending) = (count(Status::Stale), count(Status::Pending));
    text.push_str(&match (stale, pending) {
        (0, 0) => "\nall complete: a run would do nothing\n".to_owned(),
        (0, _) => format!("\na run would make {}\n", words::plural(pending, "output")),
        _ => format!(
            "\na run would make {}; `dflow-host why STAGE` says why one is STALE\n",
            words::plural(stale + pending, "output")
        ),
    });
    text
}

/// A stage and those that it reads, each below its reader; a second time only its name.
fn branch<'a>(
    plan: &'a Plan,
    name: &'a Name,
    first: &str,
    others: &str,
    seen: &mut BTreeSet<&'a Name>,
    lines: &mut Vec<(&'a Name, String)>,
) {
    let below = plan.stages.get(name).map(|stage| stage.from.as_slice()).unwrap_or_default();
    let again = !seen.insert(name) && !below.is_empty();
    lines.push((name, format!("{first}{name}{}", if again { " (as above)" } else { "" })));
    if again {
        return;
    }
    for (i, from) in below.iter().enumerate() {
        let last = i + 1 == below.len();
        let (branch_first, branch_others) = if last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        branch(plan, from, &format!("{others}{branch_first}"), &format!("{others}{branch_others}"), seen, lines);
    }
}

/// The verb, and what it is done with where that is short.
fn does(pipeline: &Pipeline, name: &Name) -> String {
    let Some(stage) = pipeline.stage.get(name) else { return String::new() };
    let settings = |with: &serde_json::Map<String, Value>| {
        with.iter().map(|(key, value)| format!(" {key}={}", value.to_string().trim_matches('"'))).collect::<String>()
    };
    let text = match &stage.verb {
        Verb::Use(written) => format!("{}/{}{}", written.plugin, written.operator, settings(&written.with)),
        Verb::Python(script) | Verb::Js(script) => {
            let function = script.named().unwrap_or_else(|| stage.verb.keyword().to_owned());
            format!("{function}{}", settings(&script.with))
        }
        Verb::Command(command) => format!("{}{}", command.text(), settings(&command.with)),
        Verb::Read(read) => format!("read {}", read.path.join(" ")),
        Verb::Filter(condition) => format!("filter {condition}"),
        Verb::Write(write) => format!("write {}", write.path),
        verb => verb.keyword().to_owned(),
    };
    words::fit(&text, WIDTH)
}

/// What is kept, in a few words.
fn kept(output: &Output, seen_from: &Path) -> String {
    let place = words::from_folder(&output.place, seen_from);
    match output.files {
        0 => place,
        files => {
            let (rows, files) = (words::plural(output.rows, "row"), words::plural(files, "file"));
            format!("{rows} in {files} ({}), {place}", Bytes(output.bytes))
        }
    }
}
