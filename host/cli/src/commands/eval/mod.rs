//! `dflow-host eval`: what becomes of a few rows; nothing is written.

mod given;
mod show;

pub(super) use show::{json as show_json, table as show_table};

use std::{collections::BTreeMap, sync::Arc};

use arrow::array::RecordBatch;
use dflow_pipeline::{Draft, Fault, Name, OnError, Pipeline, Verb, exit};
use dflow_run::{Columns, Engine, EngineSettings, Evaluated, Plan, StageCounts};

use crate::{
    failure::Failure,
    interrupt,
    outside::Outside,
    settings::{EvalSettings, Given},
    terminal::Terminal,
    watch::failures,
    words,
};

/// The rows of each source that are taken when none can be given.
const FIRST_ROWS: u64 = 10;

/// Evaluates a stage on given rows, or on the first ones of a pipeline that reads its own.
pub(crate) fn eval(settings: &EvalSettings, outside: &Outside, terminal: &Arc<Terminal>) -> Result<u8, Failure> {
    let draft = settings.pipeline.read(outside)?;
    let pipeline = &draft.pipeline;
    let own = settings.given == Given::Unsaid && inputs(pipeline).next().is_none();
    let first = own.then_some(FIRST_ROWS);
    let engine = Engine::new(EngineSettings { first, ..settings.engine.clone() })?;
    if !draft.mistakes.is_empty() {
        engine.plan(&draft, None, None)?;
    }
    let input = if own { None } else { Some(input(pipeline, &settings.pipeline.file.display().to_string())?) };
    let target = match &settings.stage {
        Some(stage) => stage.clone(),
        None => target(&draft, &engine)?,
    };
    let rows = match input {
        Some(input) => {
            let columns = columns(&draft, input, &target, &engine)?;
            let rows = given::rows(&settings.given, &columns, outside)?;
            if rows.num_rows() == 0 {
                terminal.say("no rows were given: stdin or the file is empty");
            }
            Some(rows)
        }
        None => None,
    };
    // While rows are typed, Ctrl-C does what it always does; from here on it ends guests first.
    interrupt::watch(engine.cancel().clone(), terminal.clone())?;
    let evaluated = evaluate(&draft, &target, rows, &engine);
    if engine.cancel().is_raised() {
        return Err(Failure::Interrupted { goes_on: false });
    }
    let evaluated = evaluated?;
    print(&evaluated, settings.json, terminal)?;
    let failed: u64 = evaluated.counts.values().map(|counts| counts.failed + counts.skipped).sum();
    if failed > 0 {
        let grouped = failures::grouped(&evaluated.failures, failed, terminal.stderr_width());
        terminal.say(&format!("{} failed\n{grouped}", words::plural(failed, "row")));
    }
    Ok(if failed_beyond(pipeline, &evaluated.counts) { exit::ROWS } else { exit::DONE })
}

fn evaluate(draft: &Draft, target: &Name, rows: Option<RecordBatch>, engine: &Engine) -> Result<Evaluated, Failure> {
    let plan = engine.plan(draft, Some(target), rows)?;
    Ok(engine.eval(&plan)?)
}

fn print(evaluated: &Evaluated, json: bool, terminal: &Terminal) -> Result<(), Failure> {
    if json {
        return terminal.print(&show::json(&evaluated.rows)?);
    }
    match evaluated.rows.iter().map(RecordBatch::num_rows).sum() {
        0usize => terminal.say("no rows came out"),
        _ => terminal.print(show::table(&evaluated.rows, terminal.stdout_width().unwrap_or(100))?.as_bytes())?,
    }
    Ok(())
}

/// The stages to which rows can be given.
fn inputs(pipeline: &Pipeline) -> impl Iterator<Item = &Name> {
    pipeline.stage.iter().filter(|(_, stage)| matches!(stage.verb, Verb::Input(_))).map(|(name, _)| name)
}

/// The stage whose rows are given.
fn input<'a>(pipeline: &'a Pipeline, file: &str) -> Result<&'a Name, Failure> {
    let mut inputs = inputs(pipeline);
    match (inputs.next(), inputs.next()) {
        (Some(name), None) => Ok(name),
        (Some(one), Some(other)) => {
            Err(Failure::usage(format!("`{file}` has several `input` stages, `{one}` and `{other}`; rows can be given to one")))
        }
        (None, _) => Err(Failure::usage(format!("`{file}` has no `input` stage to give rows to"))
            .hint("add one (`[stage.given]` with `input = { text = \"utf8\" }`), or leave the rows out: then the first ones of its own sources are taken")),
    }
}

/// The columns of the rows to give.
///
/// The input stage is planned alone, which takes no plugin. Where that fails, so does the whole, with every mistake.
fn columns(draft: &Draft, input: &Name, target: &Name, engine: &Engine) -> Result<Columns, Failure> {
    let mut alone = draft.clone();
    alone.pipeline.stage.retain(|name, _| name == input);
    let mut planned = engine
        .plan(&alone, Some(input), None)
        .map_err(|one| engine.plan(draft, Some(target), None).err().unwrap_or(one))?;
    let stage = planned.stages.shift_remove(input);
    stage.map(|stage| stage.columns).ok_or_else(|| Failure::Error {
        message: format!("stage `{input}` has no plan"),
        hint: Some("this is a mistake of dflow's; please report it".to_owned()),
        fault: Some(Fault::Internal),
    })
}

/// The stage that is shown when none is named: the one sink, or the one stage that nothing reads.
fn target(draft: &Draft, engine: &Engine) -> Result<Name, Failure> {
    let stages = draft.pipeline.stage.iter();
    let sinks: Vec<&Name> =
        stages.filter(|(_, stage)| matches!(stage.verb, Verb::Write(_))).map(|(name, _)| name).collect();
    if let [sink] = sinks.as_slice() {
        return Ok((*sink).clone());
    }
    let ends: Vec<Name> = match sinks.as_slice() {
        // What a query reads, planning finds in its text.
        [] => unread(&engine.plan(draft, None, None)?),
        sinks => sinks.iter().map(|sink| (*sink).clone()).collect(),
    };
    match ends.as_slice() {
        [end] => Ok(end.clone()),
        ends => {
            let names: Vec<_> = ends.iter().map(|name| format!("`{name}`")).collect();
            Err(Failure::usage(format!("this pipeline ends in several stages: {}", names.join(", ")))
                .hint(format!("say which one is to be shown: `--stage {}`", ends.first().map_or("NAME", Name::as_str))))
        }
    }
}

/// The stages that nothing reads. Those of a flow are its own.
fn unread(plan: &Plan) -> Vec<Name> {
    let read = |name: &Name| plan.stages.values().any(|stage| stage.from.contains(name));
    plan.stages.keys().filter(|name| !name.as_str().contains('.') && !read(name)).cloned().collect()
}

/// Whether more rows failed than their stages allow.
fn failed_beyond(pipeline: &Pipeline, counts: &BTreeMap<Name, StageCounts>) -> bool {
    counts.iter().any(|(name, counts)| {
        let Some(stage) = pipeline.stage.get(name) else { return false };
        let routed = pipeline.dead_of(name).is_some();
        !routed && stage.on_error != OnError::Skip && !stage.max_failures.allows(counts.failed, counts.rows_in)
    })
}
