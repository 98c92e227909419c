//! A run's report as a page: one HTML file that needs no other.

use std::collections::BTreeMap;

use dflow_pipeline::{Bytes, Name};
use dflow_run::{Asked, RunReport, StageReport, Usd};
use minijinja::{AutoEscape, Environment, Value, context};

use crate::{
    watch::failures::{Group, example, groups},
    words,
};

const PAGE: &str = include_str!("page.html");
/// Sizes in the graph, in pixels.
const BOX: (usize, usize) = (190, 62);
const GAP: (usize, usize) = (56, 18);
/// A text in a box is at most so many characters.
const FITS: usize = 26;

/// The page of a report. `started` says when the run began, as `2026-11-25T20:48:14Z`.
///
/// # Errors
/// A mistake of ours in the template.
pub(crate) fn page(report: &RunReport, started: &str, host: &str) -> Result<String, minijinja::Error> {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    let stages: Vec<Value> = report.stages.iter().map(stage).collect();
    let failures: Vec<Value> = groups(&report.failures).into_iter().map(failed).collect();
    let files = report.outputs.iter().map(|file| {
        let (rows, size) = (words::count(file.rows), Bytes(file.bytes).to_string());
        context! { stage => file.sink.as_str(), rows, size, path => file.path }
    });
    let context = context! {
        pipeline => report.pipeline,
        run => report.run,
        started,
        host,
        took => words::seconds(report.seconds),
        exit => report.exit,
        tasks => words::plural((report.tasks + report.reused.tasks) as u64, "task"),
        before => words::some(report.reused.tasks as u64),
        memory => Bytes(report.memory).to_string(),
        made_of => report.made_of.as_ref().map(Value::from_serialize),
        spilled => (report.spilled > 0).then(|| Bytes(report.spilled).to_string()),
        graph => graph(&report.stages),
        files => files.collect::<Vec<_>>(),
        asked => report.stages.iter().filter(|stage| stage.asks()).map(asked).collect::<Vec<_>>(),
        stages,
        failures,
    };
    environment.render_str(PAGE, context)
}

fn what(stage: &StageReport) -> &str {
    stage.operator.as_deref().unwrap_or(&stage.verb)
}

fn stage(stage: &StageReport) -> Value {
    context! {
        name => stage.stage.as_str(),
        what => what(stage),
        rows_in => words::count(stage.rows_in),
        before => words::some(stage.reused),
        rows_out => words::count(stage.rows_out),
        filtered => words::some(stage.filtered),
        failed => words::some(stage.failed),
        skipped => words::some(stage.skipped),
        time => words::seconds(stage.seconds),
        rate => words::rate(stage.rows_in.saturating_sub(stage.reused), stage.seconds),
        bytes => if stage.bytes > 0 { Bytes(stage.bytes).to_string() } else { String::new() },
    }
}

/// What a stage asked of a model.
fn asked(stage: &StageReport) -> Value {
    let Asked { calls, input_tokens, cached_tokens, output_tokens, usd } = stage.asked;
    context! {
        name => stage.stage.as_str(),
        model => what(stage),
        calls => words::count(calls),
        known => words::some(stage.recalled),
        input => words::count(input_tokens),
        cached => words::some(cached_tokens),
        output => words::count(output_tokens),
        cost => if usd == 0 { String::new() } else { Usd(usd).to_string() },
    }
}

/// What was wrong with rows, the most frequent first.
fn failed(Group { stage, kind, message, rows }: Group<'_>) -> Value {
    let example = rows.iter().find_map(|row| example(row)).unwrap_or_default();
    context! { rows => words::count(rows.len() as u64), stage, kind, message, example }
}

/// Stages as boxes in columns, each to the right of those that it reads, and lines between them.
fn graph(stages: &[StageReport]) -> Value {
    let mut columns: BTreeMap<&Name, usize> = BTreeMap::new();
    // Each stage stands after those that it reads.
    for stage in stages {
        let column = stage.from.iter().filter_map(|from| columns.get(from)).max().map_or(0, |column| column + 1);
        columns.insert(&stage.stage, column);
    }
    let mut heights: Vec<usize> = Vec::new();
    let mut places: BTreeMap<&Name, (usize, usize)> = BTreeMap::new();
    for stage in stages {
        let column = columns[&stage.stage];
        heights.resize(heights.len().max(column + 1), 0);
        places.insert(&stage.stage, (1 + column * (BOX.0 + GAP.0), 1 + heights[column] * (BOX.1 + GAP.1)));
        heights[column] += 1;
    }
    let nodes = stages.iter().map(|stage| {
        let (x, y) = places[&stage.stage];
        let rows = match stage.rows_in == stage.rows_out {
            true => words::plural(stage.rows_out, "row"),
            false => format!("{} → {}", words::count(stage.rows_in), words::plural(stage.rows_out, "row")),
        };
        let (name, what) = (words::fit(stage.stage.as_str(), FITS), words::fit(what(stage), FITS));
        context! { x, y, name, what, rows, failed => words::some(stage.failed) }
    });
    let edges = stages.iter().flat_map(|stage| {
        let places = &places;
        let (x2, y2) = places[&stage.stage];
        stage.from.iter().filter_map(move |from| {
            let (x1, y1) = places.get(from)?;
            let half = BOX.1 / 2;
            Some(context! { x1 => x1 + BOX.0, y1 => y1 + half, x2, y2 => y2 + half })
        })
    });
    let most = heights.iter().max().copied().unwrap_or(0);
    context! {
        box_width => BOX.0,
        box_height => BOX.1,
        width => 2 + heights.len() * (BOX.0 + GAP.0),
        height => 2 + most * (BOX.1 + GAP.1),
        nodes => nodes.collect::<Vec<_>>(),
        edges => edges.collect::<Vec<_>>(),
    }
}
