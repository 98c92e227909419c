//! `dflow-host report RUN`: what came of a run, as it was said at its end.

use dflow_pipeline::exit;
use dflow_run::{History, RunReport};

use crate::{
    commands::runs::ended,
    failure::Failure,
    settings::JournalSettings,
    table::paragraph,
    terminal::Terminal,
    watch::{page::page, summary::summary},
    words,
};

/// Digits of a digest that are printed: enough to tell two apart.
const SHORT: usize = 12;

/// Prints the report of a run.
pub(crate) fn report(settings: &JournalSettings, terminal: &Terminal) -> Result<u8, Failure> {
    let history = History::open(&settings.state)?.ok_or_else(|| {
        Failure::outside(format!("there is no journal in `{}`", settings.state.display()))
            .hint("name the pipeline that was run, or its folder with `--state`")
    })?;
    let run = match &settings.run {
        Some(run) => history.run(run)?,
        None => history.runs()?.into_iter().next(),
    };
    let run = run.ok_or_else(|| {
        let name = settings.run.as_deref().unwrap_or("last");
        Failure::outside(format!("there is no run `{name}` in this journal")).hint("`dflow-host runs` lists them")
    })?;
    let Some(report) = &run.report else {
        let what = format!("run {} has no report: it {}", run.run, said(&ended(&run)));
        return Err(Failure::outside(what).hint("only a run that comes to its end has one"));
    };
    if let Some(path) = &settings.html {
        let page = page(report, &run.started, &run.host)
            .map_err(|e| Failure::outside(format!("the page can't be made: {e}")))?;
        std::fs::write(path, page).map_err(|e| Failure::outside(format!("can't write `{}`: {e}", path.display())))?;
        terminal
            .say(&format!("the report is in {}", words::from_folder(&path.display().to_string(), &settings.seen_from)));
        return Ok(exit::DONE);
    }
    let width = terminal.stdout_width();
    let text = match settings.json {
        true => serde_json::to_string(report).map_err(|e| Failure::outside(e.to_string()))? + "\n",
        false => summary(report, &settings.seen_from, width) + &made_of(report, width),
    };
    terminal.print(text.as_bytes())?;
    Ok(exit::DONE)
}

/// What it was made of: digests, cut short.
fn made_of(report: &RunReport, width: Option<usize>) -> String {
    let Some(of) = &report.made_of else { return String::new() };
    let short = |digest: &str| format!("sha256:{}", digest.get(..SHORT).unwrap_or(digest));
    let host = of.host_digest.as_deref().map(|digest| format!(" {}", short(digest))).unwrap_or_default();
    let mut text = format!("made of dflow-host {}{host}, pipeline {}", of.host, short(&of.pipeline));
    for (name, digest) in &of.plugins {
        text.push_str(&format!(", `{name}` {}", short(digest)));
    }
    for (source, inputs) in &of.inputs {
        text.push_str(&format!(", {} of `{source}` {}", words::plural(inputs.files, "file"), short(&inputs.digest)));
    }
    paragraph(&text, width)
}

/// How it ended, within a sentence.
fn said(ended: &str) -> String {
    if ended.starts_with("exit") { format!("ended with {ended}") } else { ended.to_owned() }
}
