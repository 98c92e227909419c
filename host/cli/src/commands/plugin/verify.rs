//! `dflow-host plugin verify`: do operators keep what every operator must?

use std::sync::Arc;

use dflow_kit::{Verdict, Verified, VerifiedOperator};
use dflow_pipeline::exit;
use dflow_run::{Profile, SCHEMA_VERSION};
use serde_json::json;

use super::{Subject, workbench};
use crate::{
    args::TriedArgs,
    failure::Failure,
    outside::Outside,
    table::{Align, Table},
    terminal::Terminal,
    words,
};

/// Verifies all operators; exits as for a broken plugin when something fails.
pub(crate) fn verify(args: &TriedArgs, outside: &Outside, terminal: &Arc<Terminal>) -> Result<u8, Failure> {
    let subject = Subject::find(&args.plugin, args.cases.clone(), outside)?;
    let workbench = workbench(outside, terminal)?;
    let verified = dflow_kit::verify(&workbench, &subject.plugin, subject.cases.as_deref())?;
    if workbench.is_interrupted() {
        return Err(Failure::Interrupted { goes_on: false });
    }
    if args.json {
        let mut document = json!(verified);
        document["schema_version"] = SCHEMA_VERSION.into();
        document["passed"] = verified.has_passed().into();
        terminal.print(format!("{document}\n").as_bytes())?;
    } else {
        for operator in &verified.operators {
            terminal.print(shown(&verified, operator, terminal.stdout_width()).as_bytes())?;
        }
        terminal.say(&sum(&verified));
    }
    Ok(if verified.has_passed() { exit::DONE } else { exit::PLUGIN })
}

fn shown(verified: &Verified, operator: &VerifiedOperator, width: Option<usize>) -> String {
    let compared = match operator.profile {
        Profile::Pure => "pure",
        Profile::Seeded => "seeded",
        Profile::Open => "open: its answers aren't compared",
    };
    let mut text = format!("{}/{} {}, {compared}\n", verified.plugin, operator.name, verified.version);
    let mut table =
        Table::new(&[("  check", Align::Left), ("tried", Align::Right), ("", Align::Left), ("", Align::Left)]);
    let mut findings = String::new();
    for check in &operator.checks {
        let verdict = match check.verdict {
            Verdict::Skipped => "-",
            Verdict::Passed => "ok",
            Verdict::Limit => "limit",
            Verdict::Failed => "FAILED",
        };
        table.row([format!("  {}", check.name), check.tried.to_string(), verdict.to_owned(), check.what.to_owned()]);
        for finding in &check.findings {
            findings.push_str(&format!("  {}: {}\n", check.name, finding.replace('\n', "\n    ")));
        }
        let more = check.found.saturating_sub(check.findings.len());
        if more > 0 {
            findings.push_str(&format!("  {}: and {}\n", check.name, words::plural(more as u64, "more such finding")));
        }
    }
    text.push_str(&table.lines(width));
    text.push_str(&findings);
    text.push('\n');
    text
}

fn sum(verified: &Verified) -> String {
    let checks = || verified.operators.iter().flat_map(|operator| &operator.checks);
    let of = |verdict| checks().filter(|check| check.verdict == verdict).count() as u64;
    let limits = match of(Verdict::Limit) {
        0 => String::new(),
        limits => format!(", {} at a limit", words::count(limits)),
    };
    let passed = of(Verdict::Passed) + of(Verdict::Limit);
    format!("{} passed{limits}, {} failed", words::count(passed), words::count(of(Verdict::Failed)))
}
