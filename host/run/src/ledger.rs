//! The books: what went in and out of each stage, and whether it balances.

use std::collections::BTreeMap;

use dflow_operators::{StageCounts, StepError};
use dflow_pipeline::{Fault, Name, OnError, Verb};
use dflow_plan::{Plan, Segment};
use dflow_wasm::RowShape;

use crate::report::StageReport;

/// What each stage of a segment did.
pub(crate) fn stages(plan: &Plan, segment: &Segment, counts: &BTreeMap<Name, StageCounts>) -> Vec<StageReport> {
    let of = |name: &Name| counts.get(name).copied().unwrap_or_default();
    let report = |name: &Name| {
        let (stage, own) = (&plan.pipeline.stage[name], of(name));
        let from = &plan.stages[name].from;
        let below: StageCounts = from.iter().fold(StageCounts::default(), |mut sum, from| {
            sum.add(&of(from));
            sum
        });
        let relational = match stage.verb {
            Verb::Use(_) => !segment.operators.contains(name),
            Verb::Write(_) => false,
            _ => !stage.verb.is_source(),
        };
        let rows_in = if relational { below.rows_out } else { own.rows_in };
        let filtered = match stage.verb {
            Verb::Filter(_) | Verb::Limit(_) => rows_in.saturating_sub(own.rows_out),
            // What a later stage's filter dropped before it came out.
            _ => own.filtered + own.rows_made.saturating_sub(own.rows_out),
        };
        let operator = match &stage.verb {
            Verb::Use(written) => Some(format!("{}/{}", written.plugin, written.operator)),
            _ => None,
        };
        StageReport {
            stage: name.clone(),
            verb: stage.verb.keyword(),
            operator,
            rows_in,
            rows_out: own.rows_out,
            filtered,
            expanded: plan.shapes.get(name) == Some(&RowShape::Expand),
            skipped: own.skipped,
            failed: own.failed,
            // Each stage's time holds that of the stages below it.
            seconds: (own.nanos.saturating_sub(below.nanos) + own.aside) as f64 / 1e9,
            bytes: own.bytes,
        }
    };
    segment.stages.iter().map(report).collect()
}

/// Checks that each row of each row-wise stage ended as exactly one of: out, filtered, skipped, failed.
///
/// Where a limit ends the reading early, stages below it have rows on their way that nobody asked for; their books are open.
///
/// # Errors
/// Names the stage and both sides.
pub(crate) fn check(plan: &Plan, segment: &Segment, stages: &[StageReport]) -> Result<(), StepError> {
    if segment.ordered {
        return Ok(());
    }
    for report in stages {
        let stage = &plan.pipeline.stage[&report.stage];
        let kept = report.rows_out + report.filtered + report.skipped + report.failed;
        let balances = match (&stage.verb, plan.shapes.get(&report.stage)) {
            (Verb::Use(_), Some(RowShape::Map | RowShape::Filter)) => report.rows_in == kept,
            (Verb::Set(_) | Verb::Select(_) | Verb::Filter(_), _) => report.rows_in == kept,
            (verb, _) if verb.is_source() => report.rows_in == kept,
            _ => true,
        };
        let given: u64 = plan.stages[&report.stage]
            .from
            .iter()
            .filter_map(|from| stages.iter().find(|s| s.stage == *from))
            .map(|s| s.rows_out)
            .sum();
        let arrives = match &stage.verb {
            Verb::Use(_) | Verb::Write(_) => report.rows_in == given,
            _ => true,
        };
        if !balances || !arrives {
            let what = format!(
                "the books of stage `{}` don't balance: given {given}, in {}, out {}, filtered {}, skipped {}, failed {}",
                report.stage, report.rows_in, report.rows_out, report.filtered, report.skipped, report.failed
            );
            return Err(StepError::new(Fault::Internal, what).hint("this is a mistake of dflow's; please report it"));
        }
    }
    Ok(())
}

/// Failed rows beyond what their stages allow.
pub(crate) fn failed_beyond(plan: &Plan, stages: &[StageReport]) -> u64 {
    let beyond = |report: &StageReport| {
        let stage = &plan.pipeline.stage[&report.stage];
        let allowed = if stage.on_error == OnError::Skip { u64::MAX } else { stage.max_failures };
        if report.failed > allowed { report.failed } else { 0 }
    };
    stages.iter().map(beyond).sum()
}
