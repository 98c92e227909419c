//! `dflow-host rerun RUN`: a run is repeated beside its outputs, and the two are compared.

use std::sync::Arc;

use dflow_pipeline::{Draft, exit};
use dflow_run::{Engine, EngineSettings, Rerun, Silent, make_room, recorded};

use crate::{failure::Failure, interrupt, settings::RerunSettings, terminal::Terminal, words};

/// The exit code when rows are different, as that of `diff`, or when none can be compared.
const DIFFERENT: u8 = 1;

/// Repeats a run.
pub(crate) fn rerun(settings: &RerunSettings, terminal: &Arc<Terminal>) -> Result<u8, Failure> {
    let state = &settings.engine.state;
    let recorded = recorded(state, settings.run.as_deref())?;
    let place = std::path::absolute(state).unwrap_or_else(|_| state.clone()).join("reruns").join(&recorded.run);
    make_room(&place)?;
    // What models answered then, they answer now.
    let again = EngineSettings { state: place.clone(), answered: Some(state.clone()), ..settings.engine.clone() };
    let engine = Engine::new(again)?;
    interrupt::watch(engine.cancel().clone(), terminal.clone())?;
    let planned = engine.plan(&Draft::from(recorded.elsewhere(&place)), None, None);
    let plan = Arc::new(interrupt::unless_raised(engine.cancel(), planned)?);
    engine.run(&plan, &Silent)?;
    let rerun = engine.compare(&plan, &recorded, state)?;
    let text = match settings.json {
        true => serde_json::to_string(&rerun).map_err(|e| Failure::outside(e.to_string()))? + "\n",
        false => told(&rerun, settings),
    };
    terminal.print(text.as_bytes())?;
    if rerun.equal {
        // The same rows needn't be there twice.
        make_room(&place)?;
    }
    Ok(if rerun.equal { exit::DONE } else { DIFFERENT })
}

fn told(rerun: &Rerun, settings: &RerunSettings) -> String {
    let mut text = format!("run {} of {}, repeated\n", rerun.run, rerun.started);
    for line in &rerun.circumstances {
        text.push_str(&format!("  {line}\n"));
    }
    text.push('\n');
    for sink in &rerun.sinks {
        let (then, now) = (words::plural(sink.rows_then, "row"), words::plural(sink.rows_now, "row"));
        let note = sink.note.as_deref().unwrap_or_default();
        text.push_str(&match sink.equal {
            Some(true) if note.is_empty() => format!("{}: equal, {now}\n", sink.sink),
            Some(true) => format!("{}: equal, {now}, {note}\n", sink.sink),
            Some(false) => format!("{}: different, {then} then and {now} now; {note}\n", sink.sink),
            None => format!("{}: can't be compared ({now} now): {note}\n", sink.sink),
        });
    }
    let place = words::from_folder(&rerun.place.display().to_string(), &settings.seen_from);
    if !rerun.equal {
        text.push_str(&format!("\nthe outputs of the repetition are in {place}\n"));
    }
    text
}
