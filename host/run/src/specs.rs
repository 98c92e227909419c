//! A segment's tasks, described.

use std::collections::BTreeMap;

use dflow_io::{Split, Splits};
use dflow_operators::DeadPlace;
use dflow_pipeline::Name;
use dflow_plan::{Plan, Segment};

use crate::{
    coverage::{Coverage, Position},
    engine::EngineSettings,
    grouping,
    journal::PastSplit,
    reuse::{Cutting, Reuse},
    task::TaskSpec,
    writer::TaskOutput,
};

/// A segment's tasks for what is left to do, and the files that each makes; with each where in the source it begins.
pub(crate) fn specs(
    settings: &EngineSettings,
    plan: &Plan,
    segment: &Segment,
    run: &str,
    output: &dyn Fn(&Name, u32) -> TaskOutput,
    reuse: &Reuse,
) -> Vec<(Position, TaskSpec)> {
    let spec = |number: u32, splits, partitions, tasks: usize| TaskSpec {
        version: TaskSpec::VERSION,
        run: run.to_owned(),
        number,
        pipeline: plan.pipeline.clone(),
        pins: plan.plugins.iter().map(|(name, plugin)| (name.clone(), plugin.digest().to_owned())).collect(),
        segment: segment.ends[0].clone(),
        splits,
        partitions,
        parallel: settings.workers.div_ceil(partitions * tasks),
        first: settings.first,
        outputs: segment.ends.iter().map(|end| (end.clone(), output(end, number))).collect(),
        dead: Some(DeadPlace {
            folder: settings.state.join("dead"),
            name: format!("{run}-{}-{number:05}", segment.ends[0]),
        }),
        stored: Vec::new(),
        cut: None,
        left_out: Vec::new(),
    };
    // What stays of earlier tasks comes after what there is to be done.
    let cuts = |before: usize| {
        (before as u32..).zip(&reuse.cuts).map(|(number, Cutting { position, splits, cut })| {
            let splits = BTreeMap::from([(segment.sources[0].stage.clone(), splits.clone())]);
            (*position, TaskSpec { cut: Some(cut.clone()), ..spec(number, splits, 1, 1) })
        })
    };
    let Some(left) = &reuse.left else { return cuts(0).collect() };
    // A global task sees all rows; where their order counts, or each source gives only its first rows, in one partition.
    let merges = segment.ends.iter().any(|end| output(end, 0).merge.is_some());
    if segment.global || merges || settings.first.is_some() {
        let partitions = if segment.ordered || merges || settings.first.is_some() { 1 } else { settings.workers };
        return vec![((0, 0), spec(0, left.clone(), partitions, 1))];
    }
    let source = &segment.sources[0];
    let splits = left.get(&source.stage).cloned().unwrap_or_default();
    let mut tasks = grouping::tasks(&splits, settings.workers, settings.task_bytes, source.cut);
    let mut positions: Vec<Position> = (0..tasks.len()).map(|i| (i, 0)).collect();
    if !(reuse.standing.is_empty() && reuse.cuts.is_empty()) {
        let coverage = Coverage::of(&source.kept);
        tasks = tasks.iter().flat_map(|task| without_gaps(task, &coverage)).collect();
        let position = |task: &Splits| coverage.position(&task.iter().take(1).map(PastSplit::of).collect::<Vec<_>>());
        positions = tasks.iter().map(position).collect();
    }
    let count = tasks.len();
    let splits = tasks.into_iter().map(|splits| BTreeMap::from([(source.stage.clone(), splits)]));
    let specs = splits.enumerate().map(|(number, splits)| spec(number as u32, splits, 1, count));
    positions.into_iter().zip(specs).chain(cuts(count)).collect()
}

/// A task's splits, cut where one of another task lies in between: the parts of a single file stand in source order.
fn without_gaps(splits: &Splits, coverage: &Coverage<'_>) -> Vec<Splits> {
    let follows = |a: &Split, b: &Split| coverage.in_a_row(&[PastSplit::of(a), PastSplit::of(b)]);
    let mut end = 0;
    let parts = splits.chunk_by(follows).map(|part| {
        let start = end;
        end += part.len();
        splits.part(start..end)
    });
    let parts: Vec<Splits> = parts.collect();
    if parts.is_empty() { vec![splits.clone()] } else { parts }
}
