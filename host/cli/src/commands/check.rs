//! `dflow-host check`: every mistake, or what each stage's rows look like.

use std::sync::Arc;

use dflow_pipeline::{Name, Verb, exit};
use dflow_run::{Engine, Plan, StagePlan, type_text};

use crate::{
    failure::{Failure, warn},
    outside::Outside,
    settings::PlanSettings,
    table::{Align, Table},
    terminal::Terminal,
    watch::what,
    words,
};

/// Checks a pipeline.
pub(crate) fn check(settings: &PlanSettings, outside: &Outside, terminal: &Arc<Terminal>) -> Result<u8, Failure> {
    let draft = settings.pipeline.read(outside)?;
    let engine = Engine::new(settings.engine.clone())?;
    let plan = engine.plan(&draft, None, None)?;
    warn(&plan, terminal);
    terminal.print(shown(&plan, terminal.stdout_width()).as_bytes())?;
    Ok(exit::DONE)
}

fn shown(plan: &Plan, width: Option<usize>) -> String {
    let mut table =
        Table::new(&[("stage", Align::Left), ("what", Align::Left), ("from", Align::Left), ("columns", Align::Left)]);
    for (name, stage) in &plan.stages {
        let from: Vec<_> = stage.from.iter().map(|from| from.as_str()).collect();
        let verb = plan.pipeline.stage.get(name).map(|stage| what(&stage.verb)).unwrap_or_default();
        table.row([name.to_string(), verb, from.join(", "), columns(plan, name, stage)]);
    }
    let sinks = plan.pipeline.stage.values().filter(|stage| matches!(stage.verb, Verb::Write(_))).count();
    let (stages, sinks) = (words::plural(plan.stages.len() as u64, "stage"), words::plural(sinks as u64, "sink"));
    let commands = plan.pipeline.stage.iter().filter(|(_, stage)| matches!(stage.verb, Verb::Command(_)));
    let commands: Vec<Name> = commands.map(|(name, _)| name.clone()).collect();
    let needs = match commands.as_slice() {
        [] => String::new(),
        _ => format!("; `run` needs `--allow-commands` for {}", words::names(&commands)),
    };
    format!("{}\nok: {stages}, {sinks}{needs}\n", table.lines(width))
}

/// A stage's columns and their types; those that it hands on from the one stage it reads are named by that stage.
fn columns(plan: &Plan, name: &Name, stage: &StagePlan) -> String {
    let of = |stage: &StagePlan, content: Option<&str>| -> Vec<String> {
        let visible = stage.columns.visible.iter().filter_map(|(column, described)| {
            let shown = match (column.strip_prefix('#'), content) {
                // What a file of a row holds, and what it is known by, have names of the sink's own.
                (Some("content"), Some(content)) => content,
                (Some("id" | "uri"), Some(_)) => return None,
                _ => column.as_str(),
            };
            Some(format!("{shown} {}", type_text(described.data_type())))
        });
        visible.collect()
    };
    let content = match plan.pipeline.stage.get(name).map(|stage| &stage.verb) {
        Some(Verb::Write(write)) => write.column.as_deref(),
        _ => None,
    };
    let columns = of(stage, content);
    let below = match stage.from.as_slice() {
        [from] => plan.stages.get(from).map(|below| (from, of(below, None))),
        _ => None,
    };
    match below {
        Some((from, below)) if columns.starts_with(&below) && below.len() > 1 => {
            let all = format!("all of {from}");
            [all].into_iter().chain(columns.into_iter().skip(below.len())).collect::<Vec<_>>().join(", ")
        }
        _ => columns.join(", "),
    }
}
