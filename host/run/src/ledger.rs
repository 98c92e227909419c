//! The books: what went in and out of each stage, and whether it balances.

use std::collections::BTreeMap;

use dflow_io::Prepared;
use dflow_operators::{StageCounts, StepError};
use dflow_pipeline::{Fault, Name, OnError, Verb};
use dflow_plan::{Plan, Segment};
use dflow_wasm::RowShape;

use crate::report::{Asked, StageReport};

/// What each stage of a segment did.
pub(crate) fn stages(plan: &Plan, segment: &Segment, counts: &BTreeMap<Name, StageCounts>) -> Vec<StageReport> {
    let of = |name: &Name| {
        let mut own = counts.get(name).copied().unwrap_or_default();
        // What was tried again went in once, and the last time is what counts. Of such a task alone the failed rows are fewer than none.
        own.rows_in = own.rows_in.wrapping_sub(own.replayed);
        own.failed = own.failed.wrapping_sub(own.replayed);
        own
    };
    let report = |name: &Name| {
        let (stage, own) = (&plan.pipeline.stage[name], of(name));
        let from = &plan.stages[name].from;
        // What several read runs beside them, so its time isn't within theirs.
        let below = from.iter().filter(|from| !segment.shared.contains(from)).map(|from| of(from).nanos).sum();
        // What is saved is a source of those that read it.
        let reads = segment.sources.iter().any(|source| source.stage == *name);
        let rows_in = match stage.verb {
            _ if reads => own.rows_in,
            // A map whose columns nobody reads doesn't run: what goes in comes out.
            Verb::Use(_)
            | Verb::Python(_)
            | Verb::Js(_)
            | Verb::Open(_)
            | Verb::Prompt(_)
            | Verb::Embed(_)
            | Verb::Classify(_)
                if !segment.operators.contains(name) =>
            {
                own.rows_out
            }
            _ => own.rows_in,
        };
        let filtered = match stage.verb {
            _ if reads => own.filtered + own.rows_made.saturating_sub(own.rows_out),
            Verb::Sql(_) | Verb::Join(_) | Verb::Group(_) | Verb::Explode(_) | Verb::Write(_) => own.filtered,
            // With what a later stage's filter dropped before it came out.
            Verb::Use(_)
            | Verb::Python(_)
            | Verb::Js(_)
            | Verb::Open(_)
            | Verb::Command(_)
            | Verb::Prompt(_)
            | Verb::Embed(_)
            | Verb::Classify(_) => own.filtered + own.rows_made.saturating_sub(own.rows_out),
            _ => rows_in.saturating_sub(own.rows_out),
        };
        let operator = match &stage.verb {
            Verb::Use(written) => Some(format!("{}/{}", written.plugin, written.operator)),
            Verb::Python(script) | Verb::Js(script) => script.named(),
            verb => verb.asking().map(|asking| asking.model.to_string()),
        };
        StageReport {
            stage: name.clone(),
            from: from.clone(),
            verb: stage.verb.keyword().to_owned(),
            operator,
            rows_in,
            rows_out: own.rows_out,
            filtered,
            pruned: 0,
            expanded: matches!(stage.verb, Verb::Explode(_)) || plan.shapes.get(name) == Some(&RowShape::Expand),
            skipped: own.skipped,
            failed: own.failed,
            reused: 0,
            recalled: own.recalled,
            asked: Asked {
                calls: own.calls,
                input_tokens: own.input_tokens,
                cached_tokens: own.cached_tokens,
                output_tokens: own.output_tokens,
                usd: own.usd,
            },
            // Each stage's time holds that of the stages below it.
            seconds: (own.nanos.saturating_sub(below) + own.aside) as f64 / 1e9,
            bytes: own.bytes,
        }
    };
    segment.stages.iter().map(report).collect()
}

/// Checks that each row of each row-wise stage ended as exactly one of: out, filtered, skipped, failed; and that what stages give
/// is what those that read them got. Verbs that gather rows (`sql`, `join`, `group`, a `command` of all rows) or make more of them say only what went in.
///
/// Where a limit ends the reading early, stages below it have rows on their way that nobody asked for; their books are open, as
/// long as nobody else reads them to the end.
///
/// # Errors
/// Names the stage and both sides.
pub(crate) fn check(plan: &Plan, segment: &Segment, counts: &BTreeMap<Name, StageCounts>) -> Result<(), StepError> {
    let stages = stages(plan, segment, counts);
    let open = |report: &&StageReport| segment.early.contains(&report.stage);
    for report in stages.iter().filter(|report| !open(report)) {
        let stage = &plan.pipeline.stage[&report.stage];
        let kept = (report.rows_out + report.filtered + report.skipped).wrapping_add(report.failed);
        let reads = segment.sources.iter().any(|source| source.stage == report.stage);
        let balances = match (&stage.verb, plan.shapes.get(&report.stage)) {
            _ if reads => report.rows_in == kept,
            // One that makes rows anew says only what went in.
            (Verb::Command(_), None) => true,
            (Verb::Use(_) | Verb::Python(_) | Verb::Js(_) | Verb::Command(_), shape) => {
                shape == Some(&RowShape::Expand) || report.rows_in == kept
            }
            (Verb::Sql(_) | Verb::Join(_) | Verb::Group(_) | Verb::Explode(_), _) => true,
            _ => report.rows_in == kept,
        };
        if !balances {
            let what = format!(
                "the books of stage `{}` don't balance: in {}, out {}, filtered {}, skipped {}, failed {}",
                report.stage, report.rows_in, report.rows_out, report.filtered, report.skipped, report.failed
            );
            return Err(unbalanced(what));
        }
    }
    for Exchange { giving, reading } in exchanges(plan, segment, &stages) {
        if giving.iter().chain(&reading).any(open) {
            continue;
        }
        // What is shared comes out once, and goes to each reader that is still there.
        let beyond = |s: &&StageReport| counts.get(&s.stage).map_or((0, 0), |c| (c.repeated, c.unread));
        let (repeated, unread) = giving.iter().map(beyond).fold((0, 0), |sum, more| (sum.0 + more.0, sum.1 + more.1));
        let given = (giving.iter().map(|s| s.rows_out).sum::<u64>() + repeated).saturating_sub(unread);
        let read: u64 = reading.iter().map(|s| s.rows_in).sum();
        if given != read {
            let names =
                |side: &[&StageReport]| side.iter().map(|s| format!("`{}`", s.stage)).collect::<Vec<_>>().join(", ");
            let (givers, readers) = (names(&giving), names(&reading));
            return Err(unbalanced(format!(
                "the books between {givers} and {readers} don't balance: given {given}, read {read}"
            )));
        }
    }
    Ok(())
}

fn unbalanced(what: String) -> StepError {
    StepError::new(Fault::Internal, what).hint("this is a mistake of dflow's; please report it")
}

/// Stages that give rows to each other: a stage counts what it gives to all of its readers, and a reader what it gets of all.
struct Exchange<'a> {
    giving: Vec<&'a StageReport>,
    reading: Vec<&'a StageReport>,
}

fn exchanges<'a>(plan: &Plan, segment: &Segment, stages: &'a [StageReport]) -> Vec<Exchange<'a>> {
    let mut found: Vec<Exchange<'a>> = Vec::new();
    // What is saved, and dead rows, come from elsewhere.
    let source = |report: &&StageReport| segment.sources.iter().any(|source| source.stage == report.stage);
    for reader in stages.iter().filter(|report| !source(report)) {
        let from = &plan.stages[&reader.stage].from;
        let giving: Vec<&StageReport> = stages.iter().filter(|s| from.contains(&s.stage)).collect();
        if giving.is_empty() {
            continue;
        }
        let mut all = Exchange { giving, reading: vec![reader] };
        let (shared, others): (Vec<_>, Vec<_>) =
            found.into_iter().partition(|e| e.giving.iter().any(|s| from.contains(&s.stage)));
        for exchange in shared {
            all.giving.extend(exchange.giving.into_iter().filter(|s| !from.contains(&s.stage)));
            all.reading.extend(exchange.reading);
        }
        found = others;
        found.push(all);
    }
    found
}

/// Checks that as many rows failed at a stage as there are in the files from which they go on.
///
/// # Errors
/// Names the stage and both sides.
pub(crate) fn check_dead(stage: &Name, stages: &[StageReport], files: &[Prepared]) -> Result<(), StepError> {
    let Some(report) = stages.iter().find(|report| report.stage == *stage) else { return Ok(()) };
    let there: u64 = files.iter().map(|file| file.rows).sum();
    if report.failed == there {
        return Ok(());
    }
    let failed = report.failed;
    Err(unbalanced(format!("the books of the dead rows of `{stage}` don't balance: failed {failed}, given {there}")))
}

/// Failed rows beyond what their stages allow: those that others read are none.
pub(crate) fn failed_beyond(plan: &Plan, stages: &[StageReport]) -> u64 {
    let beyond = |report: &StageReport| {
        let stage = &plan.pipeline.stage[&report.stage];
        let routed = plan.pipeline.dead_of(&report.stage).is_some();
        let allowed =
            routed || stage.on_error == OnError::Skip || stage.max_failures.allows(report.failed, report.rows_in);
        if allowed { 0 } else { report.failed }
    };
    stages.iter().map(beyond).sum()
}
