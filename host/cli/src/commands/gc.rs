//! `dflow-host gc`: saved outputs of earlier states go, when the user says so.

use std::time::Duration;

use dflow_pipeline::{Bytes, exit};
use dflow_run::{collectable, forget, stored};

use crate::{
    failure::Failure,
    settings::GcSettings,
    table::{Align, Table},
    terminal::Terminal,
    words,
};

/// Seconds of a day.
const DAY: u64 = 24 * 60 * 60;

/// Shows what may go, and with `--yes` removes it.
pub(crate) fn gc(settings: &GcSettings, terminal: &Terminal) -> Result<u8, Failure> {
    if settings.older_than.is_none() && settings.keep.is_none() {
        return Err(Failure::usage("it isn't said what may go").hint(
            "`--older-than DAYS`: what no run has used since; `--keep N`: what is beyond the last N of each stage",
        ));
    }
    let unused = settings.older_than.map(|days| Duration::from_secs(days.saturating_mul(DAY)));
    let old = collectable(stored(&settings.state)?, settings.keep, unused);
    if old.is_empty() {
        terminal.say("nothing to collect");
        return Ok(exit::DONE);
    }
    let mut table = Table::new(&[
        ("stage", Align::Left),
        ("last used", Align::Left),
        ("rows", Align::Right),
        ("files", Align::Right),
        ("size", Align::Right),
    ]);
    for output in &old {
        let (rows, files) = (words::count(output.rows), words::count(output.files.len() as u64));
        table.row([output.stage.to_string(), output.started.clone(), rows, files, Bytes(output.bytes).to_string()]);
    }
    terminal.print(table.lines(terminal.stdout_width()).as_bytes())?;
    let size = Bytes(old.iter().map(|output| output.bytes).sum());
    if settings.yes {
        forget(&settings.state, &old)?;
        terminal.say(&format!("{size} removed"));
    } else {
        terminal.say(&format!("`--yes` removes them ({size})"));
    }
    Ok(exit::DONE)
}
