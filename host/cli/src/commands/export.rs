//! `dflow-host export`: what is saved of stages, packed into one file for handing over.

use std::sync::Arc;

use dflow_pipeline::{Bytes, exit};
use dflow_run::Engine;
use serde_json::json;

use crate::{failure::Failure, interrupt, outside::Outside, settings::PackSettings, terminal::Terminal, words};

/// Packs stages.
pub(crate) fn export(settings: &PackSettings, outside: &Outside, terminal: &Arc<Terminal>) -> Result<u8, Failure> {
    let draft = settings.kept.pipeline.read(outside)?;
    let engine = Engine::new(settings.kept.engine.clone())?;
    interrupt::watch(engine.cancel().clone(), terminal.clone())?;
    let plan = interrupt::unless_raised(engine.cancel(), engine.plan(&draft, None, None))?;
    let exported = engine.export(&plan, &settings.stages, &settings.pack);
    if engine.cancel().is_raised() {
        return Err(Failure::Interrupted { goes_on: false });
    }
    let (stages, bytes) = exported?;
    if settings.kept.json {
        let document = json!({ "pack": settings.pack, "bytes": bytes, "stages": stages });
        terminal.print(format!("{document}\n").as_bytes())?;
        return Ok(exit::DONE);
    }
    for stage in stages {
        let (rows, files) = (words::plural(stage.rows, "row"), words::plural(stage.files, "file"));
        terminal.say(&format!("packed `{}`: {rows} in {files} ({})", stage.stage, Bytes(stage.bytes)));
    }
    let pack = words::from_folder(&settings.pack.display().to_string(), &settings.kept.seen_from);
    terminal.say(&format!("{pack} is {}; `dflow-host import` takes it in beside the same pipeline", Bytes(bytes)));
    Ok(exit::DONE)
}
