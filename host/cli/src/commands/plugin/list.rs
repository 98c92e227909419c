//! `dflow-host plugin list`: what ships with this host.

use dflow_kit::Workbench;
use dflow_pipeline::exit;
use dflow_run::shipped_names;

use crate::{
    failure::Failure,
    table::{Align, Table},
    terminal::Terminal,
};

/// Lists the plugins that ship with this host.
pub(crate) fn list(workbench: &Workbench, terminal: &Terminal) -> Result<u8, Failure> {
    let mut table = Table::new(&[
        ("use", Align::Left),
        ("version", Align::Left),
        ("shape", Align::Left),
        ("what it does", Align::Left),
    ]);
    let mut names = shipped_names().peekable();
    if names.peek().is_none() {
        terminal.say("this dflow-host was built without the plugins that ship with it\nhint: run `plugins/build`, then build the host again");
    }
    for name in names {
        let plugin = workbench.load(name)?;
        for operator in &plugin.description().operators {
            table.row([
                format!("{name}/{}", operator.name),
                operator.version.clone(),
                operator.shape.to_string(),
                operator.summary.clone(),
            ]);
        }
    }
    terminal.print(table.lines(terminal.stdout_width()).as_bytes())?;
    Ok(exit::DONE)
}
