//! `dflow-host plugin test`: a plugin's cases, in the sandbox.

use std::sync::Arc;

use dflow_pipeline::exit;
use dflow_run::SCHEMA_VERSION;
use serde_json::json;

use super::{make::built, text, workbench};
use crate::{args::PluginTestArgs, failure::Failure, outside::Outside, terminal::Terminal, words};

/// Builds a project and runs its cases; exits as for a broken plugin when one fails.
pub(crate) fn test(args: &PluginTestArgs, outside: &Outside, terminal: &Arc<Terminal>) -> Result<u8, Failure> {
    let (project, _) = built(&outside.folder.join(&args.folder), outside)?;
    let workbench = workbench(outside, terminal)?;
    let plugin = workbench.load(&text(project.component())?)?;
    let tested = dflow_kit::test(&workbench, &plugin, &project.cases(), args.bless)?;
    if workbench.is_interrupted() {
        return Err(Failure::Interrupted { goes_on: false });
    }
    let failed = tested.iter().filter(|case| case.wrong.is_some()).count();
    if args.json {
        let document = json!({ "schema_version": SCHEMA_VERSION, "plugin": plugin.name(), "digest": plugin.digest(), "cases": tested });
        terminal.print(format!("{document}\n").as_bytes())?;
    } else {
        for case in &tested {
            let mut text = format!("{} {}\n", if case.wrong.is_none() { "ok    " } else { "FAILED" }, case.case);
            text.extend(case.wrong.iter().map(|wrong| format!("       {}\n", wrong.replace('\n', "\n       "))));
            terminal.print(text.as_bytes())?;
        }
        let (passed, failed) = (words::count((tested.len() - failed) as u64), words::count(failed as u64));
        terminal.say(&format!(
            "{passed} passed, {failed} failed{}",
            if args.bless { "; the cases hold what came out" } else { "" }
        ));
    }
    Ok(if failed > 0 { exit::PLUGIN } else { exit::DONE })
}
