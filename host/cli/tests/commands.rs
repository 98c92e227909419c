//! The binary, run as a person or a script would, on pipelines that need no plugin.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

const NUMBERS: &str = r#"
[param]
least = 2

[stage.numbers]
values = [{ n = 1, word = "one" }, { n = 2, word = "two" }, { n = 3, word = "three" }]

[stage.large]
from = "numbers"
filter = "n >= ${least}"

[stage.shown]
from = "large"
write = "-"
columns = { word = "word" }
"#;

const GIVEN: &str = r#"
[stage.given]
input = { text = "utf8" }

[stage.measured]
from = "given"
set = { letters = "length(text)" }
"#;

const TWO: &str = r#"
[stage.given]
input = { title = "utf8", size = "int64" }

[stage.doubled]
sql = "SELECT title, size * 2 AS size FROM given"

[stage.named]
from = "given"
select = ["title"]
"#;

/// A folder with a pipeline file in it.
fn folder(pipeline: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("pipeline.toml"), pipeline).expect("a file");
    folder
}

fn host(folder: &Path, typed: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dflow-host"));
    command.current_dir(folder).args(typed).stdin(Stdio::null()).env_remove("DFLOW_LOG");
    command.env("DFLOW_CACHE_DIR", folder.join("cache"));
    command
}

/// Exit code, stdout, stderr.
fn told(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("what is told is text");
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn run(folder: &Path, typed: &[&str]) -> (Option<i32>, String, String) {
    told(&host(folder, typed).output().expect("the host starts"))
}

fn run_with(folder: &Path, typed: &[&str], stdin: &[u8]) -> (Option<i32>, String, String) {
    let mut command = host(folder, typed);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the host starts");
    child.stdin.take().expect("it is piped").write_all(stdin).expect("the host reads");
    told(&child.wait_with_output().expect("the host ends"))
}

#[test]
fn run_writes_rows_to_stdout_and_the_summary_to_stderr() {
    let folder = folder(NUMBERS);
    let (code, out, err) = run(folder.path(), &["run"]);
    assert_eq!((code, out.as_str()), (Some(0), "{\"word\":\"two\"}\n{\"word\":\"three\"}\n"), "{err}");
    for part in ["sink `shown` is done: 2 rows in 1 task\n", "\nlarge    filter ", "\ndone in "] {
        assert!(err.contains(part), "{part:?} in {err}");
    }
    let (code, out, err) = run(folder.path(), &["run", "-q", "-p", "least=3"]);
    assert_eq!((code, out.as_str(), err.as_str()), (Some(0), "{\"word\":\"three\"}\n", ""));
}

#[test]
fn run_tells_events_as_json() {
    let folder = folder(&NUMBERS.replace("write = \"-\"", "write = \"out.jsonl\""));
    let (code, out, err) = run(folder.path(), &["run", "--json"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    let events = out.lines().map(|line| serde_json::from_str(line).expect("each line is JSON"));
    // How often it tells of progress is a matter of time.
    let events: Vec<serde_json::Value> =
        events.filter(|event: &serde_json::Value| event["event"] != "progress").collect();
    assert_eq!(events[0]["schema_version"], 1);
    let names: Vec<_> = events.iter().map(|event| event["event"].as_str().unwrap_or_default()).collect();
    assert_eq!(names, ["started", "task_done", "sink_done", "finished"]);
    assert_eq!(events[2]["rows"], 2);
    assert_eq!(events[3]["report"]["outputs"][0]["rows"], 2);
    assert_eq!(fs::read_to_string(folder.path().join("out.jsonl")).expect("it was written").lines().count(), 2);
}

#[test]
fn json_and_a_sink_on_stdout_are_refused_together() {
    let (code, out, err) = run(folder(NUMBERS).path(), &["run", "--json"]);
    assert_eq!(code, Some(2));
    assert!(out.starts_with("{\"event\":\"failed\",\"schema_version\":1,\"exit\":2,"), "{out}");
    assert!(err.starts_with("error: `--json` and stage `shown` would both write to stdout\nhint: "), "{err}");
}

#[test]
fn mistakes_are_the_pipeline_s_in_every_command() {
    let folder = folder(&NUMBERS.replace("n >= ", "m >= ").replace("write = \"-\"", "write = \"out.jsonl\""));
    for command in ["run", "check", "explain"] {
        let (code, out, err) = run(folder.path(), &[command]);
        assert_eq!((code, out.as_str()), (Some(3), ""), "{command}");
        assert!(
            err.contains("unknown column `m`") && err.ends_with("1 mistake in pipeline.toml\n"),
            "{command}: {err}"
        );
    }
    let (code, out, err) = run(folder.path(), &["run", "--json"]);
    let event: serde_json::Value = serde_json::from_str(&out).expect("one event");
    assert_eq!((code, &event["mistakes"][0]["place"]["line"]), (Some(3), &serde_json::json!(10)), "{err}");
}

#[test]
fn check_shows_stages_and_explain_plans() {
    let folder = folder(NUMBERS);
    let (code, out, err) = run(folder.path(), &["check"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert_eq!(
        out,
        "stage    what    from     columns\n\
         numbers  values           n int64, word utf8\n\
         large    filter  numbers  all of numbers\n\
         shown    write   large    word utf8\n\
         \n\
         ok: 3 stages, 1 sink\n"
    );
    let (code, out, err) = run(folder.path(), &["explain"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(
        out.starts_with("segment `shown`: 1 task, as rows go their way one by one\n  source `numbers`: 1 split, "),
        "{out}"
    );
    assert!(out.contains("; reads `n`, `word`\n  logical plan\n"), "{out}");
}

#[test]
fn eval_takes_rows_from_anywhere() {
    let folder = folder(GIVEN);
    let rows = "{\"text\":\"a\",\"letters\":1}\n{\"text\":\"ünï\",\"letters\":3}\n";
    fs::write(folder.path().join("rows.txt"), "a\nünï\n").expect("a file");
    fs::write(folder.path().join("rows.jsonl"), "{\"text\": \"a\"}\n\n{\"text\": \"ünï\"}\n").expect("a file");
    for typed in [&["eval", "a", "ünï"][..], &["eval", "--input", "rows.txt"], &["eval", "--input", "rows.jsonl"]] {
        assert_eq!(run(folder.path(), typed), (Some(0), rows.to_owned(), String::new()), "{typed:?}");
    }
    assert_eq!(run_with(folder.path(), &["eval"], "a\nünï\n".as_bytes()), (Some(0), rows.to_owned(), String::new()));
    let (code, out, err) = run(folder.path(), &["eval"]);
    assert_eq!((code, out.as_str(), err.as_str()), (Some(0), "", "no rows were given: stdin or the file is empty\n"));
    let (code, _, err) = run_with(folder.path(), &["eval"], b"a\n\xff\n");
    assert_eq!((code, err.as_str()), (Some(2), "error: stdin is not UTF-8 text (line 2)\n"));
}

#[test]
fn eval_of_several_ends_asks_which_one() {
    let folder = folder(TWO);
    let row = "{ \"title\": \"x\", \"size\": 2 }";
    let (code, _, err) = run(folder.path(), &["eval", row]);
    assert_eq!(code, Some(2));
    assert_eq!(
        err,
        "error: this pipeline ends in several stages: `doubled`, `named`\n\
         hint: say which one is to be shown: `--stage doubled`\n"
    );
    let (code, out, err) = run(folder.path(), &["eval", "--stage", "doubled", row]);
    assert_eq!((code, out.as_str(), err.as_str()), (Some(0), "{\"title\":\"x\",\"size\":4}\n", ""));
    let (code, _, err) = run(folder.path(), &["eval", "--stage", "dubled", row]);
    assert!(code == Some(3) && err.contains("unknown stage `dubled`") && err.contains("`doubled`"), "{code:?} {err}");
    let (code, _, err) = run(folder.path(), &["eval", "--stage", "named", "{ \"titel\": \"x\" }"]);
    assert_eq!((code, err.as_str()), (Some(2), "error: row 1: there is no column `titel`; there is `title`, `size`\n"));
}

#[test]
fn eval_needs_an_input() {
    let (code, _, err) = run(folder(NUMBERS).path(), &["eval", "x"]);
    assert!(
        code == Some(2) && err.contains("no `input` stage") && err.contains("leave the rows out"),
        "{code:?} {err}"
    );
}

#[test]
fn what_is_typed_wrongly_is_usage() {
    let folder = folder(NUMBERS);
    for (typed, part) in [
        (&["chekc"][..], "'check'"),
        (&["run", "--wrokers", "2"], "--workers"),
        (&["run", "--first", "none"], "--first"),
        (&["plugin"], "inspect"),
    ] {
        let (code, out, err) = run(folder.path(), typed);
        assert!(code == Some(2) && err.contains(part), "{typed:?}: {code:?} {out} {err}");
    }
    let bad_log = host(folder.path(), &["check"]).env("DFLOW_LOG", "a=b=c").output().expect("the host starts");
    let (code, _, err) = told(&bad_log);
    assert!(code == Some(2) && err.starts_with("error: `DFLOW_LOG=a=b=c` can't be read: "), "{code:?} {err}");
}

#[test]
fn a_plugin_that_is_none_is_named() {
    let folder = folder("");
    fs::write(folder.path().join("text.wasm"), "not wasm").expect("a file");
    let (code, _, err) = run(folder.path(), &["plugin", "inspect", "text.wasm"]);
    assert!(code == Some(5) && err.contains("is not a WebAssembly component"), "{code:?} {err}");
    let (code, _, err) = run(folder.path(), &["plugin", "inspect", "nowhere"]);
    assert!(code == Some(6) && err.contains("`nowhere`") && err.contains("plugin list"), "{code:?} {err}");
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let folder = folder(GIVEN);
    let mut child = host(folder.path(), &["eval"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the host starts");
    drop(child.stdout.take());
    let rows = "some text\n".repeat(100_000);
    child.stdin.take().expect("it is piped").write_all(rows.as_bytes()).expect("the host reads");
    let (code, _, err) = told(&child.wait_with_output().expect("the host ends"));
    assert_eq!((code, err.as_str()), (Some(0), ""));
}

/// Counts ten thousand million rows, joined of ten tables of ten.
const LONG: &str = r#"
[stage.a]
values = [{ n = 0 }, { n = 1 }, { n = 2 }, { n = 3 }, { n = 4 }, { n = 5 }, { n = 6 }, { n = 7 }, { n = 8 }, { n = 9 }]

[stage.counted]
sql = """
SELECT count(DISTINCT a.n * b.n * c.n + d.n * e.n * f.n + g.n * h.n + i.n + j.n) AS n
FROM a, a AS b, a AS c, a AS d, a AS e, a AS f, a AS g, a AS h, a AS i, a AS j"""

[stage.out]
from = "counted"
write = "-"
"#;

#[test]
#[cfg(unix)]
fn ctrl_c_is_answered_at_once_and_ends_at_once_the_second_time() {
    let folder = folder(LONG);
    let mut child =
        host(folder.path(), &["run"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the host starts");
    let mut lines = BufReader::new(child.stderr.take().expect("it is piped")).lines().map_while(Result::ok);
    let first = lines.next().expect("it says that it runs");
    assert!(first.starts_with("running 1 task"), "{first}");
    let press = || {
        let pressed = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
        assert!(pressed.expect("there is `kill`").success());
        Instant::now()
    };
    let at = press();
    let said = lines.next().expect("it says that it was interrupted");
    assert!(said.starts_with("interrupted: "), "{said}");
    assert!(at.elapsed() < Duration::from_millis(250), "{:?}", at.elapsed());
    let at = press();
    assert_eq!(child.wait().expect("it ends").code(), Some(130));
    assert!(at.elapsed() < Duration::from_millis(250), "{:?}", at.elapsed());
}
