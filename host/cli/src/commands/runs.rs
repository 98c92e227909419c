//! `dflow-host runs`: what was run of a pipeline, the last run first.

use dflow_pipeline::exit;
use dflow_run::{History, PastRun};

use crate::{
    failure::Failure,
    settings::JournalSettings,
    table::{Align, Table},
    terminal::Terminal,
    words,
};

/// Lists the runs.
pub(crate) fn runs(settings: &JournalSettings, terminal: &Terminal) -> Result<u8, Failure> {
    let runs = match History::open(&settings.state)? {
        Some(history) => history.runs()?,
        None => Vec::new(),
    };
    let text = match settings.json {
        true => json(&runs)?,
        false if runs.is_empty() => format!("nothing was run: there is no journal in `{}`\n", settings.state.display()),
        false => table(&runs),
    };
    terminal.print(text.as_bytes())?;
    Ok(exit::DONE)
}

fn json(runs: &[PastRun]) -> Result<String, Failure> {
    let mut lines = String::new();
    for run in runs {
        lines.push_str(&serde_json::to_string(run).map_err(|e| Failure::outside(e.to_string()))?);
        lines.push('\n');
    }
    Ok(lines)
}

fn table(runs: &[PastRun]) -> String {
    let mut table = Table::new(&[
        ("run", Align::Left),
        ("began", Align::Left),
        ("took", Align::Right),
        ("tasks", Align::Right),
        ("before", Align::Right),
        ("failed rows", Align::Right),
        ("ended", Align::Left),
    ]);
    for run in runs {
        let failed = |report: &dflow_run::RunReport| report.stages.iter().map(|s| s.failed + s.skipped).sum();
        table.row([
            run.run.clone(),
            run.started.clone(),
            run.seconds.map(words::seconds).unwrap_or_default(),
            words::count(run.tasks),
            run.report.as_ref().map_or_else(String::new, |report| words::some(report.reused.tasks as u64)),
            run.report.as_ref().map_or_else(String::new, |report| words::some(failed(report))),
            ended(run),
        ]);
    }
    table.without_blank(&["before", "failed rows"]).lines(None)
}

/// How a run ended, in words.
pub(crate) fn ended(run: &PastRun) -> String {
    let first = run.first.map(|first| format!(" (`--first {first}`)")).unwrap_or_default();
    if run.imported {
        return "was an import".to_owned();
    }
    match (run.exit, &run.message) {
        (None, _) if run.going_on => format!("is going on{first}"),
        (None, _) => format!("was killed{first}"),
        (Some(exit::DONE), _) => format!("done{first}"),
        (Some(exit::INTERRUPTED), _) => format!("was interrupted{first}"),
        (Some(code), Some(message)) => format!("exit {code}: {}{first}", words::fit(message, 100)),
        (Some(code), None) => format!("exit {code}{first}"),
    }
}
