//! `dflow-host load STAGE`: the rows that are kept of a saved stage.

use std::{path::PathBuf, sync::Arc};

use dflow_pipeline::{Draft, Pipeline, exit, written};
use dflow_run::{Engine, EngineSettings, Kept, Silent, Status};

use super::eval::{show_json, show_table};
use crate::{failure::Failure, interrupt, outside::Outside, settings::LoadSettings, terminal::Terminal, words};

/// Shows rows, or writes them.
pub(crate) fn load(settings: &LoadSettings, outside: &Outside, terminal: &Arc<Terminal>) -> Result<u8, Failure> {
    let stage = settings.kept.stage.as_deref().unwrap_or_default();
    let draft = settings.kept.pipeline.read(outside)?;
    let engine = Engine::new(settings.kept.engine.clone())?;
    let kept = engine.kept(&engine.plan(&draft, None, None)?, stage)?;
    if kept.status != Status::Complete {
        terminal.say(&format!("note: `{stage}` is {}; these rows are of when it was whole last", kept.status.as_str()));
    }
    match &settings.to {
        None => shown(settings, &kept, outside, terminal),
        Some(to) => written_to(settings, &kept, to, stage, outside, terminal),
    }
}

/// A pipeline that reads the rows under the names that the stage shows, as its stage `shown`, and what is done with them.
fn reading(kept: &Kept, rest: &str) -> Result<Pipeline, Failure> {
    let mut text = String::from("[stage.rows]\nread = [");
    for file in &kept.files {
        text.push_str(&format!("{},", quoted(&file.display().to_string())));
    }
    text.push_str("]\nformat = \"parquet\"\n[stage.shown]\nfrom = \"rows\"\n[stage.shown.select]\n");
    for (name, flat) in &kept.columns {
        text.push_str(&format!("{} = {}\n", quoted(name), quoted(flat)));
    }
    text.push_str(rest);
    Ok(written::read("load.toml", &text, &[], &|_| None).whole()?)
}

/// A text in TOML. A dollar would begin a parameter.
fn quoted(text: &str) -> String {
    serde_json::Value::String(text.replace("${", "$${")).to_string()
}

fn shown(settings: &LoadSettings, kept: &Kept, outside: &Outside, terminal: &Arc<Terminal>) -> Result<u8, Failure> {
    let pipeline = reading(kept, &format!("[stage.first]\nfrom = \"shown\"\nlimit = {}\n", settings.rows))?;
    let first = pipeline.stage.keys().last().cloned();
    let engine = Engine::new(settings.kept.engine.clone())?;
    let plan = engine.plan(&Draft::from(pipeline), first.as_ref(), None)?;
    let rows = engine.eval(&plan)?.rows;
    if settings.kept.json || !outside.stdout_is_terminal {
        terminal.print(&show_json(&rows)?)?;
    } else {
        terminal.print(show_table(&rows, terminal.stdout_width().unwrap_or(100))?.as_bytes())?;
    }
    Ok(exit::DONE)
}

fn written_to(
    settings: &LoadSettings,
    kept: &Kept,
    to: &str,
    stage: &str,
    outside: &Outside,
    terminal: &Arc<Terminal>,
) -> Result<u8, Failure> {
    let place = if to == "-" { to.to_owned() } else { outside.folder.join(to).display().to_string() };
    // A path that ends in a slash is a folder.
    let place = if to.ends_with('/') && !place.ends_with('/') { format!("{place}/") } else { place };
    let out = format!("[stage.out]\nfrom = \"shown\"\nwrite = {}\nmode = \"replace\"\n", quoted(&place));
    let format = settings.format.map(|format| format!("format = \"{}\"\n", format.word())).unwrap_or_default();
    let pipeline = reading(kept, &format!("{out}{format}"))?;
    // What is in the making is ours alone, and gone afterwards.
    let state: PathBuf = settings.kept.engine.state.join("tmp").join(format!("load-{}", std::process::id()));
    let engine = Engine::new(EngineSettings { state: state.clone(), ..settings.kept.engine.clone() })?;
    interrupt::watch(engine.cancel().clone(), terminal.clone())?;
    let planned = engine.plan(&Draft::from(pipeline), None, None);
    let plan = Arc::new(interrupt::unless_raised(engine.cancel(), planned)?);
    let report = engine.run(&plan, &Silent);
    drop(std::fs::remove_dir_all(&state));
    let report = report?;
    if to != "-" {
        let rows = report.outputs.iter().map(|output| output.rows).sum();
        let place = words::from_folder(&place, &settings.kept.seen_from);
        terminal.say(&format!("{} of `{stage}` in {place}", words::plural(rows, "row")));
    }
    Ok(report.exit)
}
