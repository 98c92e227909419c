//! `dflow-host plugin diff`: what is new in another version of a plugin?

use std::sync::Arc;

use dflow_kit::differences;
use dflow_pipeline::exit;
use dflow_run::SCHEMA_VERSION;
use serde_json::json;

use super::{component, workbench};
use crate::{
    args::DiffArgs,
    failure::Failure,
    outside::Outside,
    table::{Align, Table},
    terminal::Terminal,
};

/// Shows what differs.
pub(crate) fn diff(args: &DiffArgs, outside: &Outside, terminal: &Arc<Terminal>) -> Result<u8, Failure> {
    let workbench = workbench(outside, terminal)?;
    let load = |named: &str| Ok::<_, Failure>(workbench.load(&component(named, outside)?)?);
    let (before, after) = (load(&args.before)?, load(&args.after)?);
    let found = differences(&before, &after);
    if args.json {
        let digests = [before.digest(), after.digest()];
        let document = json!({ "schema_version": SCHEMA_VERSION, "digests": digests, "differences": found });
        terminal.print(format!("{document}\n").as_bytes())?;
        return Ok(exit::DONE);
    }
    if found.is_empty() {
        let same = if before.digest() == after.digest() { "the same component" } else { "nothing but code differs" };
        terminal.say(same);
        return Ok(exit::DONE);
    }
    let left = |name| (name, Align::Left);
    let mut table = Table::new(&[left("operator"), left("what"), left("before"), left("after")]);
    for one in found {
        let shown = |side: Option<String>| side.unwrap_or_else(|| "-".to_owned());
        table.row([one.operator.unwrap_or_default(), one.what, shown(one.before), shown(one.after)]);
    }
    terminal.print(table.lines(terminal.stdout_width()).as_bytes())?;
    Ok(exit::DONE)
}
