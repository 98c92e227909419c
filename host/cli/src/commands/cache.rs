//! `dflow-host cache`: what models have answered and is kept.

use std::time::Duration;

use dflow_pipeline::{Bytes, exit};
use dflow_run::{History, KeptAnswers, Usd, collect_answers};
use serde_json::json;

use crate::{
    args::{CacheCommand, CacheGcArgs, JournalArgs},
    failure::Failure,
    outside::Outside,
    settings::JournalSettings,
    table::{Align, Table},
    terminal::Terminal,
    words,
};

/// Seconds of a day.
const DAY: u64 = 24 * 60 * 60;

/// Does what was typed.
pub(crate) fn cache(command: CacheCommand, outside: &Outside, terminal: &Terminal) -> Result<u8, Failure> {
    match command {
        CacheCommand::Stats(args) => stats(args, outside, terminal),
        CacheCommand::Gc(args) => gc(args, outside, terminal),
    }
}

fn stats(args: JournalArgs, outside: &Outside, terminal: &Terminal) -> Result<u8, Failure> {
    let settings = JournalSettings::of_runs(args, outside);
    let kept = match History::open(&settings.state)? {
        Some(history) => history.answers()?,
        None => Vec::new(),
    };
    if settings.json {
        terminal.print(format!("{}\n", json!(kept)).as_bytes())?;
    } else if kept.is_empty() {
        terminal.say("no answers of models are kept");
    } else {
        terminal.print(table(&kept, terminal.stdout_width()).as_bytes())?;
    }
    Ok(exit::DONE)
}

fn table(kept: &[KeptAnswers], width: Option<usize>) -> String {
    let mut table = Table::new(&[
        ("stage", Align::Left),
        ("model", Align::Left),
        ("answers", Align::Right),
        ("of rows", Align::Right),
        ("shared", Align::Right),
        ("size", Align::Right),
        ("tokens", Align::Right),
        ("cost", Align::Right),
    ]);
    for KeptAnswers { stage, model, answers, rows, shared, bytes, tokens, usd } in kept {
        let cost = if *usd == 0 { String::new() } else { Usd(*usd).to_string() };
        table.row([
            stage.clone(),
            model.clone(),
            words::count(*answers),
            words::count(*rows),
            words::some(*shared),
            Bytes(*bytes).to_string(),
            words::count(*tokens),
            cost,
        ]);
    }
    table.without_blank(&["shared", "cost"]).lines(width)
}

fn gc(args: CacheGcArgs, outside: &Outside, terminal: &Terminal) -> Result<u8, Failure> {
    let settings = JournalSettings::of_runs(args.journal, outside);
    if History::open(&settings.state)?.is_none() {
        terminal.say("nothing was run here");
        return Ok(exit::DONE);
    }
    let older = args.older_than.map(|days| Duration::from_secs(days.saturating_mul(DAY)));
    let (answers, bytes) = collect_answers(&settings.state, older, args.stage.as_deref())?;
    if settings.json {
        terminal.print(format!("{}\n", json!({ "answers": answers, "bytes": bytes })).as_bytes())?;
    } else {
        terminal.say(&format!("{} removed ({})", words::plural(answers, "answer"), Bytes(bytes)));
    }
    Ok(exit::DONE)
}
