//! `dflow-host why STAGE`: what has changed since it was whole.

use std::{path::Path, sync::Arc};

use dflow_pipeline::exit;
use dflow_run::{Change, Engine, Reasons, Status};
use serde_json::Value;

use crate::{failure::Failure, outside::Outside, settings::KeptSettings, terminal::Terminal, words};

/// So many files are named; of more their number is told.
const NAMED: usize = 5;
/// The width of a value.
const WIDTH: usize = 100;

/// Says what has changed.
pub(crate) fn why(settings: &KeptSettings, outside: &Outside, terminal: &Arc<Terminal>) -> Result<u8, Failure> {
    let draft = settings.pipeline.read(outside)?;
    let engine = Engine::new(settings.engine.clone())?;
    let plan = engine.plan(&draft, None, None)?;
    let reasons = engine.why(&plan, settings.stage.as_deref().unwrap_or_default())?;
    let text = match settings.json {
        true => serde_json::to_string(&reasons).map_err(|e| Failure::outside(e.to_string()))? + "\n",
        false => told(&reasons, &settings.seen_from),
    };
    terminal.print(text.as_bytes())?;
    Ok(exit::DONE)
}

fn told(reasons: &Reasons, seen_from: &Path) -> String {
    let output = &reasons.output;
    let place = words::from_folder(&output.place, seen_from);
    let when = output.started.as_deref().unwrap_or("an earlier run");
    match output.status {
        Status::Complete => {
            format!("`{}` is COMPLETE: nothing has changed since the run of {when} ({place})\n", output.stage)
        }
        Status::Pending => format!("`{}` is PENDING: it was never whole\n", output.stage),
        Status::Stale => {
            let mut text = format!("`{}` is STALE: since it was whole in the run of {when},\n", output.stage);
            reasons.changes.iter().for_each(|change| text.push_str(&line(change)));
            text
        }
    }
}

fn line(change: &Change) -> String {
    match change {
        Change::Parameter { name, old, new } => {
            format!("  parameter `{name}` has changed: {} → {}\n", value(old), value(new))
        }
        Change::Stage { stage, key, old, new } => {
            format!("  stage `{stage}`, {key} has changed: {} → {}\n", value(old), value(new))
        }
        Change::Added { stage } => format!("  stage `{stage}` has come in\n"),
        Change::Removed { stage } => format!("  stage `{stage}` has gone\n"),
        Change::Data { stage, added, changed, removed } => {
            let mut text = String::new();
            for (files, what) in [(added, "new"), (changed, "changed"), (removed, "gone")] {
                if files.is_empty() {
                    continue;
                }
                let mut named: Vec<String> = files.iter().take(NAMED).map(|file| format!("`{file}`")).collect();
                if files.len() > NAMED {
                    named.push("…".to_owned());
                }
                let count = words::plural(files.len() as u64, "file");
                text.push_str(&format!("  source `{stage}`, {count} {what}: {}\n", named.join(", ")));
            }
            text
        }
        Change::Replay => {
            "  rows that failed are to be tried again (`dflow-host dead replay` left them to the next run)\n".to_owned()
        }
        Change::Files => {
            "  its files aren't as they were left: removed, cut off, or without a column that is read now\n".to_owned()
        }
        Change::Printed { stage } => {
            format!("  nothing has changed, but `{stage}` writes the same rows to standard output, in each run\n")
        }
    }
}

/// A value in one line.
fn value(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        other => words::fit(&other.to_string(), WIDTH),
    }
}
