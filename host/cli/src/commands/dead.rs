//! `dflow-host dead`: the rows that failed, read from what runs have kept of them; a run may go on meanwhile.

use std::{path::Path, sync::Arc};

use arrow::{
    array::{Array, AsArray, RecordBatch},
    datatypes::{DataType, UInt32Type},
    util::display::{ArrayFormatter, FormatOptions},
};
use dflow_pipeline::{Bytes, Codec, Format, Name, exit};
use dflow_run::{DeadGroup, DeadRows};

use crate::{
    args::{DeadCommand, DeadExportArgs, DeadListArgs, DeadShowArgs, JournalArgs},
    commands::dead_replay,
    failure::Failure,
    outside::Outside,
    settings::{JournalSettings, RunSettings},
    table::{Align, Table, wrapped},
    terminal::Terminal,
    words,
};

/// How wide a row is shown where nobody's window says.
const WIDTH: usize = 120;
/// How many ways of failing are listed to a person.
const LISTED: usize = 50;
/// Columns that are shown apart from a row's own.
const TOLD: [&str; 10] = [
    "stage",
    "run",
    "row",
    "uri",
    "error_fault",
    "error_kind",
    "error_message",
    "error_attempts",
    "error_at",
    "error_code",
];

/// Does what was typed behind `dead`.
pub(crate) fn dead(command: DeadCommand, outside: &Outside, terminal: &Arc<Terminal>) -> Result<u8, Failure> {
    match command {
        DeadCommand::Replay(args) => {
            let stage = args.stage.clone();
            dead_replay::replay(&RunSettings::of_replay(args, outside), stage.as_ref(), outside, terminal)
        }
        DeadCommand::List(DeadListArgs { journal }) => {
            let settings = JournalSettings::of_runs(journal, outside);
            list(&settings, terminal)
        }
        DeadCommand::Show(DeadShowArgs { journal, stage, row, rows }) => {
            let of = (stage.as_ref(), row.as_deref());
            show(&JournalSettings::of_runs(journal, outside), of, rows, terminal)
        }
        DeadCommand::Export(DeadExportArgs { file, state, stage, to }) => {
            let journal = JournalArgs { file, state, json: false };
            let settings = JournalSettings::of_runs(journal, outside);
            export(&settings, stage.as_ref(), &outside.folder.join(to), terminal)
        }
    }
}

/// The rows that failed, of one stage or all; or why there are none.
fn rows(settings: &JournalSettings, stage: Option<&Name>) -> Result<Result<DeadRows, String>, Failure> {
    let Some(all) = DeadRows::open(&settings.state)? else {
        return Ok(Err(format!("nothing was run: there is no journal in `{}`", settings.state.display())));
    };
    let Some(stage) = stage else {
        return Ok(if all.rows() > 0 { Ok(all) } else { Err("no rows have failed".to_owned()) });
    };
    let of_stage = all.of_stage(stage);
    Ok(match (of_stage.rows(), all.stages().as_slice()) {
        (0, []) => Err("no rows have failed".to_owned()),
        (0, others) => Err(format!("no rows have failed at `{stage}`; some have at {}", words::names(others))),
        _ => Ok(of_stage),
    })
}

fn list(settings: &JournalSettings, terminal: &Terminal) -> Result<u8, Failure> {
    let text = match rows(settings, None)? {
        Ok(rows) if settings.json => lines(&rows.groups()?)?,
        Ok(rows) => table(&rows.groups()?, terminal.stdout_width()),
        Err(_) if settings.json => String::new(),
        Err(why) => why + "\n",
    };
    terminal.print(text.as_bytes())?;
    Ok(exit::DONE)
}

fn lines(groups: &[DeadGroup]) -> Result<String, Failure> {
    let mut lines = String::new();
    for group in groups {
        lines.push_str(&serde_json::to_string(group).map_err(|e| Failure::outside(e.to_string()))?);
        lines.push('\n');
    }
    Ok(lines)
}

fn table(groups: &[DeadGroup], width: Option<usize>) -> String {
    let mut table = Table::new(&[
        ("stage", Align::Left),
        ("rows", Align::Right),
        ("routed", Align::Left),
        ("whose", Align::Left),
        ("kind", Align::Left),
        ("what", Align::Left),
    ]);
    for group in groups.iter().take(LISTED) {
        table.row([
            group.stage.to_string(),
            words::count(group.rows),
            if group.routed { "yes" } else { "" }.to_owned(),
            group.fault.clone(),
            words::fit(&group.kind, 32),
            words::fit(&group.message, 300),
        ]);
    }
    let more = match groups.len().saturating_sub(LISTED) {
        0 => String::new(),
        more => format!("and {} (`--json` lists all)\n", words::plural(more as u64, "other kind")),
    };
    table.without_blank(&["routed"]).lines(width) + &more
}

fn show(
    settings: &JournalSettings,
    (stage, row): (Option<&Name>, Option<&str>),
    most: u64,
    terminal: &Terminal,
) -> Result<u8, Failure> {
    let rows = match rows(settings, stage)? {
        Ok(rows) => match row {
            Some(row) => rows.of_row(row),
            None => rows,
        },
        Err(_) if settings.json => return Ok(exit::DONE),
        Err(why) => {
            terminal.print(format!("{why}\n").as_bytes())?;
            return Ok(exit::DONE);
        }
    };
    if settings.json {
        let json = rows.write(Format::Jsonl, Codec::None, most, Vec::new())?;
        terminal.print(&json)?;
        return Ok(exit::DONE);
    }
    let width = terminal.stdout_width().unwrap_or(WIDTH);
    let mut shown = 0;
    rows.each(|batch| {
        let left = usize::try_from(most - shown).unwrap_or(usize::MAX);
        for row in 0..batch.num_rows().min(left) {
            terminal.print(one(batch, row, &settings.seen_from, width)?.as_bytes())?;
            shown += 1;
        }
        Ok::<bool, Failure>(shown < most)
    })?;
    if let (0, Some(row)) = (shown, row) {
        terminal.print(format!("no row `{row}` has failed\n").as_bytes())?;
    }
    if shown < rows.rows() && row.is_none() {
        let all = rows.rows();
        terminal.print(
            format!("{} of {} are shown (`-n {all}` shows all)\n", words::count(shown), words::plural(all, "row"))
                .as_bytes(),
        )?;
    }
    Ok(exit::DONE)
}

/// One row for a person: what was wrong with it, then its columns, each in a line.
fn one(batch: &RecordBatch, row: usize, folder: &Path, width: usize) -> Result<String, Failure> {
    let options = FormatOptions::new().with_null("null");
    let value = |column: &dyn Array| -> Result<String, Failure> {
        let formatter = ArrayFormatter::try_new(column, &options);
        Ok(formatter.and_then(|f| f.value(row).try_to_string()).unwrap_or_else(|e| e.to_string()))
    };
    let told = |name: &str| -> Result<String, Failure> {
        batch.column_by_name(name).filter(|column| column.is_valid(row)).map_or_else(|| Ok(String::new()), |c| value(c))
    };
    let mut head = format!("stage `{}`", told("stage")?);
    let (id, uri) = (told("row")?, told("uri")?);
    if !id.is_empty() {
        head.push_str(&format!(", row {id}"));
    }
    if !uri.is_empty() {
        let place = uri.strip_prefix("file://").map(|path| words::from_folder(path, folder));
        head.push_str(&format!(" of {}", place.unwrap_or(uri)));
    }
    let message = format!("{}: {}", told("error_kind")?, told("error_message")?);
    let attempts = batch.column_by_name("error_attempts").and_then(|c| c.as_primitive_opt::<UInt32Type>());
    let attempts = u64::from(attempts.map_or(1, |attempts| attempts.value(row)));
    let when = format!(
        "fault: {}; {}; run {}, {}",
        told("error_fault")?,
        words::plural(attempts, "attempt"),
        told("run")?,
        told("error_at")?
    );
    let mut text =
        format!("{head}\n  {}\n  {when}\n", wrapped(&words::fit(&message, 1000), width.saturating_sub(2), 2));
    let code = told("error_code")?;
    if !code.is_empty() {
        text.push_str(&format!("  code: {code}\n"));
    }
    let schema = batch.schema();
    let own = schema.fields().iter().enumerate().filter(|(_, field)| !TOLD.contains(&field.name().as_str()));
    let own: Vec<_> = own.collect();
    let widest = own.iter().map(|(_, field)| field.name().len()).max().unwrap_or_default().min(40);
    for (i, field) in own {
        let column = batch.column(i);
        let shown = match field.data_type() {
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView if column.is_valid(row) => {
                bytes(column.as_ref(), row)
            }
            _ => value(column.as_ref())?,
        };
        let room = width.saturating_sub(widest + 4).max(20);
        text.push_str(format!("  {:widest$}  {}", field.name(), words::fit(&shown, room)).trim_end());
        text.push('\n');
    }
    text.push('\n');
    Ok(text)
}

/// How many bytes a value has.
fn bytes(column: &dyn Array, row: usize) -> String {
    let length = match column.data_type() {
        DataType::Binary => column.as_binary::<i32>().value(row).len(),
        DataType::LargeBinary => column.as_binary::<i64>().value(row).len(),
        _ => column.as_binary_view().value(row).len(),
    };
    format!("({})", Bytes(length as u64))
}

fn export(settings: &JournalSettings, stage: Option<&Name>, to: &Path, terminal: &Terminal) -> Result<u8, Failure> {
    let rows = rows(settings, stage)?.map_err(|why| Failure::outside(format!("there is nothing to export: {why}")))?;
    let made = rows.export(to)?;
    terminal.say(&format!(
        "{} in {}, {}",
        words::plural(made.rows, "row"),
        words::from_folder(&made.path.display().to_string(), &settings.seen_from),
        Bytes(made.bytes)
    ));
    Ok(exit::DONE)
}
