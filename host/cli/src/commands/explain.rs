//! `dflow-host explain`: how a pipeline would run.

use std::sync::Arc;

use dflow_pipeline::{Bytes, exit};
use dflow_run::{Cost, Engine, Explained, Range, StageCost, Usd, Why, is_split};

use crate::{
    failure::Failure,
    outside::Outside,
    settings::PlanSettings,
    table::{Align, Table},
    terminal::Terminal,
    words,
};

/// Explains a pipeline.
pub(crate) fn explain(settings: &PlanSettings, outside: &Outside, terminal: &Arc<Terminal>) -> Result<u8, Failure> {
    let draft = settings.pipeline.read(outside)?;
    let engine = Engine::new(settings.engine.clone())?;
    if let Some(sample) = settings.cost {
        return cost(&engine.cost(&draft, sample)?, settings.json, terminal);
    }
    let plan = engine.plan(&draft, None, None)?;
    let segments = engine.explain(&plan)?;
    if segments.is_empty() {
        return Err(Failure::pipeline("this pipeline writes nothing, so there is nothing that would run")
            .hint("add a stage with `write`, or look at a stage's rows with `dflow-host eval`"));
    }
    let shown: Vec<String> = segments.iter().map(shown).collect();
    terminal.print(shown.join("\n").as_bytes())?;
    Ok(exit::DONE)
}

/// Says what models will cost.
fn cost(cost: &Cost, json: bool, terminal: &Terminal) -> Result<u8, Failure> {
    if json {
        terminal.print(format!("{}\n", serde_json::json!(cost)).as_bytes())?;
        return Ok(exit::DONE);
    }
    if cost.stages.is_empty() {
        terminal.say("no stage of this pipeline asks a model: it costs nothing");
        return Ok(exit::DONE);
    }
    let mut table = Table::new(&[
        ("stage", Align::Left),
        ("model", Align::Left),
        ("rows", Align::Right),
        ("requests", Align::Right),
        ("tokens in", Align::Right),
        ("tokens out", Align::Right),
        ("cost", Align::Right),
    ]);
    let range = |low: String, likely: String, high: String| match (low == likely, likely == high) {
        (true, true) => likely,
        (false, false) => format!("{likely} ({low} to {high})"),
        _ => format!("{low} to {high}"),
    };
    let count = |of: &Range<u64>| range(words::count(of.low), words::count(of.likely), words::count(of.high));
    let money = |of: &Range<Usd>| range(of.low.to_string(), of.likely.to_string(), of.high.to_string());
    let mut sum = Range { low: Usd(0), likely: Usd(0), high: Usd(0) };
    for stage in &cost.stages {
        let about = if stage.counted { "" } else { "about " };
        if !stage.known {
            let unknown = || "not known".to_owned();
            let (name, model) = (stage.stage.to_string(), stage.model.to_string());
            let of = |of: &Range<u64>| if stage.unseen && of.high < u64::MAX { count(of) } else { unknown() };
            table.row([name, model, of(&stage.rows), of(&stage.requests), unknown(), unknown(), unknown()]);
            continue;
        }
        table.row([
            stage.stage.to_string(),
            stage.model.to_string(),
            count(&stage.rows),
            count(&stage.requests),
            format!("{about}{}", count(&stage.input)),
            count(&stage.output),
            stage.usd.as_ref().map_or_else(|| "no price".to_owned(), money),
        ]);
        if let Some(usd) = &stage.usd {
            sum = Range {
                low: Usd(sum.low.0 + usd.low.0),
                likely: Usd(sum.likely.0 + usd.likely.0),
                high: Usd(sum.high.0 + usd.high.0),
            };
        }
    }
    terminal.print(table.lines(terminal.stdout_width()).as_bytes())?;
    let mut text = String::new();
    if cost.stages.iter().any(|stage| stage.usd.is_some()) {
        text.push_str(&format!("\nin all {}\n", money(&sum)));
    }
    for StageCost { stage, unseen, .. } in cost.stages.iter().filter(|stage| !stage.known) {
        let why = match unseen {
            true => format!("no row that was looked at comes to `{stage}`, and others may (`--sample` looks at more)"),
            false => format!("which rows `{stage}` asks about depends on answers"),
        };
        text.push_str(&format!("{why}; what that costs isn't in it\n"));
    }
    let sampled = cost.sampled.iter().map(|(source, (of, all))| match of == all {
        true => format!("all {} of `{source}`", words::plural(*all, "row")),
        false => format!("the first {} of {} of `{source}`", words::count(*of), words::plural(*all, "row")),
    });
    text.push_str(&format!("\nlooked at: {}\n", sampled.collect::<Vec<_>>().join(", ")));
    if cost.stages.iter().any(|stage| !stage.counted) {
        text.push_str(
            "tokens are estimated, four letters for one; `tokenizer = \"o200k_base\"` of a model counts them\n",
        );
    }
    text.push_str("what is answered already costs nothing, and isn't taken off here\n");
    terminal.print(text.as_bytes())?;
    Ok(exit::DONE)
}

fn shown(segment: &Explained) -> String {
    let tasks = match (segment.global, segment.tasks) {
        (true, _) => "one task, as rows regroup or come from several sources".to_owned(),
        (false, tasks) => format!("{}, as rows go their way one by one", words::plural(tasks as u64, "task")),
    };
    let mut text = format!("segment {}: {tasks}\n", words::names(&segment.ends));
    for source in &segment.sources {
        let (splits, bytes) = (words::plural(source.splits as u64, "split"), Bytes(source.bytes));
        let pruned = match source.pruned {
            0 => String::new(),
            pruned => format!(" ({} left out by their names, sizes or ages)", words::count(pruned as u64)),
        };
        let source = &source.stage;
        text.push_str(&format!("  source `{source}`: {splits}{pruned}, {bytes}"));
        if let Some(columns) = segment.parts.iter().find_map(|part| columns(&part.logical, source.as_str())) {
            text.push_str(&format!("; reads {columns}"));
        }
        text.push('\n');
    }
    for part in segment.parts.iter().filter(|part| !part.readers.is_empty()) {
        text.push_str(&format!("  stage `{}`: runs once for {}\n", part.stage, words::names(&part.readers)));
    }
    for (stage, reader, why) in &segment.again {
        text.push_str(&match why {
            Why::Meets => format!("  stage `{stage}`: runs by itself for `{reader}`, where branches meet again\n"),
            Why::Apart => format!("  stage `{stage}`: runs here once more, apart from segment `{reader}`\n"),
        });
    }
    for part in &segment.parts {
        let of = if segment.parts.len() > 1 { format!(" of `{}`", part.stage) } else { String::new() };
        let task = if segment.tasks > 1 { " in the first task" } else { "" };
        text.push_str(&format!("  logical plan{of}\n{}", indented(&part.logical)));
        text.push_str(&format!("  physical plan{of}{task}\n{}", indented(&part.physical)));
    }
    text
}

/// The columns that a source reads, as its scan in the plan says: `TableScan: pages projection=[pages.uri, pages.content]`.
fn columns(logical: &str, source: &str) -> Option<String> {
    let scan = logical.lines().find_map(|line| {
        let rest = line.trim_start().strip_prefix("TableScan: ")?.strip_prefix(source)?;
        rest.starts_with([' ', ',']).then_some(rest)
    })?;
    let columns = scan.split_once("projection=[")?.1.split(']').next()?;
    let prefix = format!("{source}.");
    let shown = columns.split(", ").filter(|column| !is_split(column));
    let columns: Vec<_> = shown.map(|c| format!("`{}`", c.strip_prefix(&prefix).unwrap_or(c))).collect();
    Some(columns.join(", "))
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("    {line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use dflow_run::{ExplainedSource, PartText};

    use super::*;

    #[test]
    fn a_segment_says_what_it_reads_and_why_it_is_one_task() {
        let segment = Explained {
            ends: vec!["out".parse().expect("a name")],
            global: true,
            sources: vec![ExplainedSource {
                stage: "pages".parse().expect("a name"),
                splits: 112,
                pruned: 2,
                bytes: 3 << 20,
            }],
            tasks: 1,
            again: Vec::new(),
            parts: vec![PartText {
                stage: "out".parse().expect("a name"),
                readers: Vec::new(),
                logical: "Limit\n  TableScan: pages projection=[pages.uri, pages.content#bytes]".to_owned(),
                physical: "LimitExec\n  SourceExec\n".to_owned(),
            }],
        };
        assert_eq!(
            shown(&segment),
            "segment `out`: one task, as rows regroup or come from several sources
  source `pages`: 112 splits (2 left out by their names, sizes or ages), 3.0 MiB; reads `uri`, `content#bytes`
  logical plan
    Limit
      TableScan: pages projection=[pages.uri, pages.content#bytes]
  physical plan
    LimitExec
      SourceExec
"
        );
    }

    #[test]
    fn a_source_isn_t_taken_for_another_whose_name_begins_alike() {
        let logical = "TableScan: pages_b projection=[x]\nTableScan: pages projection=[y]";
        assert_eq!(columns(logical, "pages").as_deref(), Some("`y`"));
        assert_eq!(columns(logical, "page"), None);
    }
}
