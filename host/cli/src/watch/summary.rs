//! What stays at the end of a run: what each stage did, what was written, what failed.

use std::path::Path;

use dflow_pipeline::{Bytes, Name};
use dflow_run::{Asked, OutputFile, RunReport, StageReport, Usd};

use crate::{
    table::{Align, Table, paragraph},
    watch::failures,
    words,
};

/// How many files are named one by one.
const NAMED: usize = 8;

/// The summary of a run, for a terminal of `width` columns, if it is one; paths are shown as seen from `folder`.
pub(crate) fn summary(report: &RunReport, folder: &Path, width: Option<usize>) -> String {
    let mut text = stages(&report.stages, width);
    text.push_str(&asked(&report.stages, width));
    text.push_str(&outputs(&report.outputs, folder, width));
    let failed: u64 = report.stages.iter().map(|stage| stage.failed + stage.skipped).sum();
    let failures = failures::grouped(&report.failures, failed, width);
    if !failures.is_empty() {
        text.push_str(&format!("\nfailed\n{failures}"));
    }
    text.push('\n');
    text.extend(end(report).lines().map(|line| paragraph(line, width)));
    text
}

fn stages(stages: &[StageReport], width: Option<usize>) -> String {
    let mut table = Table::new(&[
        ("stage", Align::Left),
        ("what", Align::Left),
        ("rows in", Align::Right),
        ("before", Align::Right),
        ("rows out", Align::Right),
        ("filtered", Align::Right),
        ("pruned", Align::Right),
        ("expanded", Align::Right),
        ("failed", Align::Right),
        ("skipped", Align::Right),
        ("core time", Align::Right),
        ("rows/s a core", Align::Right),
    ]);
    for stage in stages {
        let each = stage.rows_out as f64 / stage.rows_in.saturating_sub(stage.failed + stage.skipped) as f64;
        table.row([
            stage.stage.to_string(),
            stage.operator.clone().unwrap_or_else(|| stage.verb.clone()),
            words::count(stage.rows_in),
            words::some(stage.reused),
            words::count(stage.rows_out),
            words::some(stage.filtered),
            if stage.pruned == 0 { String::new() } else { words::plural(stage.pruned, "file") },
            if stage.expanded && each.is_finite() { format!("×{each:.1}") } else { String::new() },
            words::count(stage.failed),
            words::some(stage.skipped),
            words::seconds(stage.seconds),
            words::rate(stage.rows_in.saturating_sub(stage.reused), stage.seconds),
        ]);
    }
    let table = table.without_blank(&["before", "filtered", "pruned", "expanded", "skipped"]);
    let expendable = &["rows/s a core", "core time", "before", "pruned", "expanded", "filtered", "skipped", "rows in"];
    table.expendable(expendable).lines(width)
}

/// What stages asked of models.
fn asked(stages: &[StageReport], width: Option<usize>) -> String {
    let mut table = Table::new(&[
        ("asked", Align::Left),
        ("model", Align::Left),
        ("requests", Align::Right),
        ("known rows", Align::Right),
        ("tokens in", Align::Right),
        ("cached", Align::Right),
        ("tokens out", Align::Right),
        ("cost", Align::Right),
    ]);
    let mut any = false;
    for stage in stages.iter().filter(|stage| stage.asks()) {
        any = true;
        let Asked { calls, input_tokens, cached_tokens, output_tokens, usd } = stage.asked;
        table.row([
            stage.stage.to_string(),
            stage.operator.clone().unwrap_or_default(),
            words::count(calls),
            words::some(stage.recalled),
            words::count(input_tokens),
            words::some(cached_tokens),
            words::count(output_tokens),
            if usd == 0 { String::new() } else { Usd(usd).to_string() },
        ]);
    }
    if any {
        let table = table.without_blank(&["known rows", "cached", "cost"]);
        format!("\n{}", table.expendable(&["cached", "known rows", "requests"]).lines(width))
    } else {
        String::new()
    }
}

fn outputs(outputs: &[OutputFile], folder: &Path, width: Option<usize>) -> String {
    let mut sinks: Vec<&Name> = Vec::new();
    for output in outputs {
        if !sinks.contains(&&output.sink) {
            sinks.push(&output.sink);
        }
    }
    let mut table =
        Table::new(&[("written", Align::Left), ("rows", Align::Right), ("size", Align::Right), ("where", Align::Left)]);
    for sink in sinks {
        let files: Vec<&OutputFile> = outputs.iter().filter(|output| output.sink == *sink).collect();
        let row = |rows: u64, bytes: u64, place: String| {
            [sink.to_string(), words::count(rows), Bytes(bytes).to_string(), place]
        };
        if files.len() <= NAMED {
            for file in files {
                let place = if file.path == "-" { "stdout".to_owned() } else { words::from_folder(&file.path, folder) };
                table.row(row(file.rows, file.bytes, place));
            }
        } else {
            let (rows, bytes) = files.iter().fold((0, 0), |sum, file| (sum.0 + file.rows, sum.1 + file.bytes));
            let parent = Path::new(&files[0].path).parent().unwrap_or(Path::new("")).display().to_string();
            let place =
                format!("{} in {}", words::plural(files.len() as u64, "file"), words::from_folder(&parent, folder));
            table.row(row(rows, bytes, place));
        }
    }
    if outputs.is_empty() { String::new() } else { format!("\n{}", table.expendable(&["size"]).lines(width)) }
}

/// What earlier runs had done.
fn before(report: &RunReport) -> String {
    let done = |number: usize, what: String| format!("{what} {} done before", if number == 1 { "was" } else { "were" });
    match (report.tasks, report.reused.tasks) {
        (_, 0) => String::new(),
        (0, tasks) => {
            let what = done(tasks, words::plural(tasks as u64, "task"));
            format!("; nothing was left to do, as {what} (`--fresh` does it again)")
        }
        (new, tasks) => {
            let (all, files) =
                (words::plural((new + tasks) as u64, "task"), words::plural(report.reused.files, "file"));
            format!("; {}", done(tasks, format!("{} of {all}, with {files},", words::count(tasks as u64))))
        }
    }
}

fn end(report: &RunReport) -> String {
    let time = words::seconds(report.seconds);
    let sum = |routed: bool| {
        let stages = report.stages.iter().filter(|stage| report.is_routed(&stage.stage) == routed);
        stages.map(|stage| stage.failed).sum::<u64>()
    };
    let (failed, routed) = (sum(false), sum(true));
    let rows = words::plural(failed, if routed == 0 { "row" } else { "other row" });
    let disk = match report.spilled {
        0 => String::new(),
        bytes => format!("; {} of rows didn't fit into memory and went through the disk", Bytes(bytes)),
    };
    let went = match routed {
        0 => String::new(),
        1 => "; 1 row that failed went on to who reads it".to_owned(),
        routed => format!("; {} that failed went on to who reads them", words::plural(routed, "row")),
    };
    let of_content = report.stages.iter().filter(|stage| stage.verb == "use");
    let known = match of_content.map(|stage| stage.recalled).sum() {
        0 => String::new(),
        rows => format!("; {} had results of the same content already", words::plural(rows, "row")),
    };
    let paid = match report.usd {
        0 => String::new(),
        usd => format!(" for {}", Usd(usd)),
    };
    let before = paid + &before(report) + &known + &went;
    match (failed, report.failed_beyond) {
        (0, _) => format!("done in {time}{disk}{before}\n"),
        (_, 0) => format!("done in {time}{disk}{before}; {rows} failed, no more than may\n"),
        _ => format!(
            "done in {time}{disk}{before}, but {rows} failed (exit {})\n\
             hint: `on_error = \"skip\"` or `max_failures = {failed}` in a stage says that this is no failure of the run\n",
            report.exit
        ),
    }
}

#[cfg(test)]
mod tests {
    use dflow_run::Reused;

    use super::*;
    use crate::watch::failures::tests::failure;

    fn stage(name: &str, what: &str, rows: [u64; 5], expanded: bool, seconds: f64) -> StageReport {
        let [rows_in, rows_out, filtered, failed, skipped] = rows;
        let operator = what.contains('/').then(|| what.to_owned());
        let verb = if operator.is_some() { "use".to_owned() } else { what.to_owned() };
        let stage = name.parse().expect("a name");
        let (pruned, reused, bytes) = (0, 0, 0);
        StageReport {
            stage,
            from: Vec::new(),
            verb,
            operator,
            rows_in,
            rows_out,
            filtered,
            pruned,
            expanded,
            skipped,
            failed,
            reused,
            recalled: 0,
            asked: Asked::default(),
            seconds,
            bytes,
        }
    }

    fn file(sink: &str, path: &str, rows: u64, bytes: u64) -> OutputFile {
        OutputFile { sink: sink.parse().expect("a name"), path: path.to_owned(), bytes, rows }
    }

    fn report() -> RunReport {
        RunReport {
            schema_version: 1,
            run: "0123".to_owned(),
            pipeline: "book".to_owned(),
            stages: vec![
                stage("pages", "read", [112, 111, 0, 1, 0], false, 0.012),
                stage("article", "html/extract", [111, 109, 0, 0, 2], false, 0.73),
                stage("chunks", "text/chunk", [109, 15_402, 0, 0, 0], true, 1.9),
                stage("long", "filter", [15_402, 15_000, 402, 0, 0], false, 0.0004),
                stage("out", "write", [15_000, 15_000, 0, 0, 0], false, 125.0),
            ],
            outputs: vec![file("out", "/here/out/chunks.parquet", 15_000, 3 << 20), file("shown", "-", 3, 120)],
            failures: vec![
                failure("pages", "encoding", "`bad.html` isn't UTF-8", None, Some("docs://bad.html")),
                failure("article", "trap", "unreachable", Some("00ff"), None),
                failure("article", "trap", "unreachable", Some("01ff"), None),
            ],
            failed_beyond: 1,
            tasks: 4,
            reused: Reused::default(),
            memory: 12 << 20,
            spilled: 0,
            seconds: 1.234,
            journal_seconds: 0.01,
            exit: 4,
            usd: 0,
            made_of: None,
        }
    }

    #[test]
    fn a_run_with_failures() {
        insta::assert_snapshot!(summary(&report(), Path::new("/here"), Some(110)));
    }

    #[test]
    fn the_tables_of_a_narrow_terminal_fit() {
        for width in [40, 60, 80, 100] {
            let text = summary(&report(), Path::new("/here"), Some(width));
            let tables = text.split("\nfailed\n").next().unwrap_or_default();
            assert!(tables.lines().all(|line| line.chars().count() <= width), "{width}\n{tables}");
        }
    }

    #[test]
    fn a_run_without() {
        let mut report = report();
        report.failures.clear();
        report.stages.drain(1..4);
        report.stages[0].failed = 0;
        report.outputs =
            (0..12).map(|i| file("out", &format!("/here/out/out-{i:05}.parquet"), 1000, 1 << 10)).collect();
        (report.failed_beyond, report.exit) = (0, 0);
        insta::assert_snapshot!(summary(&report, Path::new("/here"), Some(100)));
    }

    #[test]
    fn what_went_through_the_disk_is_told() {
        let report = RunReport { failed_beyond: 0, exit: 0, failures: Vec::new(), spilled: 3 << 20, ..report() };
        let expected = "done in 1.2 s; 3.0 MiB of rows didn't fit into memory and went through the disk; 1 row failed, \
                        no more than may\n";
        assert_eq!(end(&report), expected);
    }

    #[test]
    fn what_was_done_before_is_told() {
        let mut report = report();
        (report.failed_beyond, report.exit) = (0, 0);
        report.stages.iter_mut().for_each(|stage| (stage.failed, stage.reused) = (0, stage.rows_in / 2));
        report.reused = Reused { tasks: 2, files: 3 };
        assert_eq!(end(&report), "done in 1.2 s; 2 of 6 tasks, with 3 files, were done before\n");
        let table = stages(&report.stages[3..4], None);
        let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[1][..5], ["long", "filter", "15,402", "7,701", "15,000"], "{table}");
        report.tasks = 0;
        let all = "done in 1.2 s; nothing was left to do, as 2 tasks were done before (`--fresh` does it again)\n";
        assert_eq!(end(&report), all);
    }

    #[test]
    fn failures_that_are_allowed_are_told_and_no_more() {
        let report = RunReport { failed_beyond: 0, exit: 0, ..report() };
        assert_eq!(end(&report), "done in 1.2 s; 1 row failed, no more than may\n");
    }
}
