//! `dflow-host plugin bench`: how fast are a plugin's operators?

use std::sync::Arc;

use dflow_kit::Measured;
use dflow_pipeline::{Bytes, exit};
use dflow_run::SCHEMA_VERSION;
use serde_json::json;

use super::{Subject, workbench};
use crate::{
    args::TriedArgs,
    failure::Failure,
    outside::Outside,
    table::{Align, Table},
    terminal::Terminal,
};

/// Measures all operators that have a case with rows.
pub(crate) fn bench(args: &TriedArgs, outside: &Outside, terminal: &Arc<Terminal>) -> Result<u8, Failure> {
    let subject = Subject::find(&args.plugin, args.cases.clone(), outside)?;
    let workbench = workbench(outside, terminal)?;
    let plugin = workbench.load(&subject.plugin)?;
    let cases = subject.cases.ok_or_else(|| {
        Failure::usage("operators are measured on the rows of their cases").hint("`--cases DIR` says where these are")
    })?;
    let mut measured = dflow_kit::measure(&workbench, &plugin, &cases)?;
    if let Some((project, sdk)) = &subject.project {
        project.measure_native(sdk, &mut measured)?;
    }
    if args.json {
        let document = json!({ "schema_version": SCHEMA_VERSION, "plugin": plugin.name(), "digest": plugin.digest(), "operators": measured });
        terminal.print(format!("{document}\n").as_bytes())?;
    } else {
        terminal.print(shown(plugin.name(), &measured).lines(terminal.stdout_width()).as_bytes())?;
    }
    Ok(exit::DONE)
}

fn shown(plugin: &str, measured: &[Measured]) -> Table {
    let right = |name| (name, Align::Right);
    let mut table = Table::new(&[
        ("operator", Align::Left),
        right("rows/s"),
        right("MB/s"),
        right("of native"),
        right("µs a batch"),
        right("ms to start"),
        right("memory"),
        ("rows of", Align::Left),
    ]);
    for one in measured {
        let per_row = one.bytes as f64 / one.rows.max(1) as f64;
        table.row([
            format!("{plugin}/{}", one.operator),
            rounded(one.rows_per_second),
            rounded(one.rows_per_second * per_row / 1e6),
            one.native_rows_per_second.map(|native| format!("{:.2}", one.rows_per_second / native)).unwrap_or_default(),
            format!("{:.1}", one.seconds_per_batch * 1e6),
            format!("{:.1}", one.seconds_to_start * 1e3),
            Bytes(one.memory).to_string(),
            format!("{}, {} a batch", one.case, one.rows),
        ]);
    }
    table.without_blank(&["of native"])
}

/// Three digits, and a letter for thousands and millions.
fn rounded(number: f64) -> String {
    match number {
        n if n >= 1e6 => format!("{:.2} M", n / 1e6),
        n if n >= 1e4 => format!("{:.0} k", n / 1e3),
        n if n >= 1e3 => format!("{:.1} k", n / 1e3),
        n => format!("{n:.0}"),
    }
}
