//! `dflow-host run`: check, plan, run, commit, and say what came of it.

use std::sync::Arc;

use dflow_pipeline::{Pipeline, Verb};
use dflow_run::{Engine, Observer, Plan, RunReport, Silent};

use crate::{
    failure::{Failure, warn},
    interrupt,
    outside::Outside,
    settings::{RunSettings, Watch},
    terminal::Terminal,
    watch::{
        bars::{Bars, Wait},
        events::{self, Events},
        failures,
        lines::Lines,
        summary::summary,
    },
};

/// Runs a pipeline.
pub(crate) fn run(settings: &RunSettings, outside: &Outside, terminal: &Arc<Terminal>) -> Result<u8, Failure> {
    let report = finish(settings, outside, terminal).inspect_err(|failure| {
        if settings.watch == Watch::Json {
            events::failed(failure, terminal);
        }
    })?;
    match settings.watch {
        Watch::Person => terminal.say(&format!("\n{}", summary(&report, &settings.seen_from, terminal.stderr_width()))),
        Watch::Quiet if report.failed_beyond > 0 => terminal.say(&failed(&report, terminal.stderr_width())),
        Watch::Quiet | Watch::Json => {}
    }
    Ok(report.exit)
}

fn finish(settings: &RunSettings, outside: &Outside, terminal: &Arc<Terminal>) -> Result<RunReport, Failure> {
    let draft = settings.pipeline.read(outside)?;
    let to_stdout = stdout_sink(&draft.pipeline);
    if let (Some(stage), Watch::Json) = (to_stdout, settings.watch) {
        return Err(Failure::usage(format!("`--json` and stage `{stage}` would both write to stdout"))
            .hint("leave `--json` out, or write to a file"));
    }
    let engine = Engine::new(settings.engine.clone())?;
    interrupt::watch(engine.cancel().clone(), terminal.clone())?;
    // Live lines would be drawn into the rows of a sink that shows them on the same terminal.
    let live = settings.watch == Watch::Person
        && terminal.stderr_is_terminal()
        && !(to_stdout.is_some() && terminal.stdout_is_terminal());
    let planned = {
        let _wait = live.then(|| Wait::new("planning", terminal.clone()));
        engine.plan(&draft, None, None)
    };
    let plan = Arc::new(interrupt::unless_raised(engine.cancel(), planned)?);
    if settings.watch == Watch::Person {
        warn(&plan, terminal);
    }
    let observer = observer(&plan, settings.watch, live, terminal);
    let report = engine.run(&plan, observer.as_ref());
    drop(observer);
    Ok(report?)
}

/// Who watches.
fn observer(plan: &Plan, watch: Watch, live: bool, terminal: &Arc<Terminal>) -> Box<dyn Observer> {
    match watch {
        Watch::Quiet => Box::new(Silent),
        Watch::Json => Box::new(Events::new(terminal.clone())),
        Watch::Person if live => Box::new(Bars::new(plan, terminal.clone())),
        Watch::Person => Box::new(Lines::new(plan, terminal.clone())),
    }
}

/// The sink that writes to stdout, if one does.
fn stdout_sink(pipeline: &Pipeline) -> Option<&str> {
    let stdout =
        pipeline.stage.iter().find(|(_, stage)| matches!(&stage.verb, Verb::Write(write) if write.path == "-"));
    stdout.map(|(name, _)| name.as_str())
}

/// What must be said even when nothing is to be.
fn failed(report: &RunReport, width: Option<usize>) -> String {
    let total = report.stages.iter().map(|stage| stage.failed + stage.skipped).sum();
    format!("failed\n{}", failures::grouped(&report.failures, total, width))
}
