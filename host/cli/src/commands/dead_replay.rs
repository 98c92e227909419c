//! `dflow-host dead replay`: tries rows again that failed.

use std::sync::Arc;

use dflow_pipeline::{Name, exit};
use dflow_run::{Engine, History, Replayed};

use crate::{
    failure::{Failure, warn},
    interrupt,
    outside::Outside,
    settings::{RunSettings, Watch},
    terminal::Terminal,
    watch::failures,
    words,
};

/// Tries rows again that failed: at one stage, or at all.
pub(crate) fn replay(
    settings: &RunSettings,
    stage: Option<&Name>,
    outside: &Outside,
    terminal: &Arc<Terminal>,
) -> Result<u8, Failure> {
    let draft = settings.pipeline.read(outside)?;
    let state = &settings.engine.state;
    if History::open(state)?.is_none() {
        terminal.say(&format!("nothing was run: there is no journal in `{}`\n", state.display()));
        return Ok(exit::DONE);
    }
    let engine = Engine::new(settings.engine.clone())?;
    interrupt::watch(engine.cancel().clone(), terminal.clone())?;
    let planned = engine.plan(&draft, None, None);
    let plan = interrupt::unless_raised(engine.cancel(), planned)?;
    if settings.watch == Watch::Person {
        warn(&plan, terminal);
    }
    let replayed = engine.replay(&draft, &plan, stage)?;
    match settings.watch {
        Watch::Json => {
            let text = serde_json::to_string(&replayed).map_err(|e| Failure::outside(e.to_string()))?;
            terminal.print(format!("{text}\n").as_bytes())?;
        }
        Watch::Person => terminal.say(&said(&replayed, terminal.stderr_width())),
        Watch::Quiet => {}
    }
    Ok(replayed.report.exit)
}

fn said(replayed: &Replayed, width: Option<usize>) -> String {
    let mut text = String::new();
    for tried in &replayed.tried {
        let passed = words::count(tried.rows - tried.failed);
        let failed = match tried.failed {
            0 => String::new(),
            failed => format!(", {} failed again", words::count(failed)),
        };
        let (rows, stage, sinks) = (words::plural(tried.rows, "row"), &tried.stage, words::names(&tried.sinks));
        text.push_str(&format!("{rows} of stage `{stage}` tried again for {sinks}: {passed} passed{failed}\n"));
    }
    for stale in &replayed.stale {
        let (rows, stage, sinks) = (words::plural(stale.rows, "row"), &stale.stage, words::names(&stale.sinks));
        text.push_str(&format!("{rows} of stage `{stage}` left to the next run for {sinks}: {}\n", stale.why));
    }
    if replayed.cut_short > 0 {
        let rows = words::plural(replayed.cut_short, "row");
        text.push_str(&format!("{rows} of a run that was cut short are left as they are\n"));
    }
    if text.is_empty() {
        text.push_str("no rows are dead letters\n");
    }
    if !replayed.stale.is_empty() || replayed.cut_short > 0 {
        text.push_str("hint: `dflow-host run` does anew what they are a part of\n");
    }
    let failed = replayed.report.stages.iter().map(|stage| stage.failed).sum();
    let failures = failures::grouped(&replayed.report.failures, failed, width);
    if !failures.is_empty() {
        text.push_str(&format!("\nfailed\n{failures}"));
    }
    text
}
