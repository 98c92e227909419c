//! `dflow-host import PACK`: saved stages that somebody else has made are taken in.

use std::sync::Arc;

use dflow_pipeline::{Bytes, exit};
use dflow_run::Engine;
use serde_json::json;

use crate::{failure::Failure, interrupt, outside::Outside, settings::PackSettings, terminal::Terminal, words};

/// Takes a pack in.
pub(crate) fn import(settings: &PackSettings, outside: &Outside, terminal: &Arc<Terminal>) -> Result<u8, Failure> {
    let draft = settings.kept.pipeline.read(outside)?;
    let engine = Engine::new(settings.kept.engine.clone())?;
    interrupt::watch(engine.cancel().clone(), terminal.clone())?;
    let sources = engine.packed_sources(&settings.pack)?;
    let plan = interrupt::unless_raised(engine.cancel(), engine.plan_remembering(&draft, sources))?;
    let imported = engine.import(&plan, &settings.pack, settings.stale);
    if engine.cancel().is_raised() {
        return Err(Failure::Interrupted { goes_on: false });
    }
    let stages = imported?;
    if settings.kept.json {
        terminal.print(format!("{}\n", json!({ "pack": settings.pack, "stages": stages })).as_bytes())?;
        return Ok(exit::DONE);
    }
    for stage in stages {
        let (rows, files) = (words::plural(stage.rows, "row"), words::plural(stage.files, "file"));
        let what = format!("`{}`: {rows} in {files} ({})", stage.stage, Bytes(stage.bytes));
        terminal.say(&match (stage.known, stage.stale) {
            (true, _) => format!("{what} were here already"),
            (false, true) => format!(
                "{what} taken in as an earlier state; `dflow-host run --accept {}` keeps it as it is",
                stage.stage
            ),
            (false, false) => format!("{what} taken in"),
        });
    }
    Ok(exit::DONE)
}
