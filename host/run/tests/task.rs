//! A task written down, sent elsewhere and planned there from its description alone gives the same rows.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use dflow_pipeline::{Codec, Format, Name, written};
use dflow_run::{
    Cancel, Engine, EngineSettings, Faults, Files, Shipped, TaskOutput, TaskResult, TaskSpec, run_task, ship,
};

const PIPELINE: &str = r#"
[stage.lines]
read = "in.txt"
as = "line"

[stage.words]
from = "lines"
use = "text/chunk"
in = { text = "line" }
with = { size = 1, unit = "words" }

[stage.out]
from = "words"
write = "out/"
format = "jsonl"
columns = { id = "__id__", parent = "__parent_id__", index = "__index__", word = "chunk", line = "lines.line_number" }
"#;

fn engine(folder: &Path) -> Engine {
    let settings = EngineSettings {
        folder: folder.to_owned(),
        state: folder.join(".dflow"),
        cache: Some(std::env::temp_dir().join(format!("dflow-run-tests-{}", std::process::id()))),
        workers: 1,
        task_bytes: 1 << 20,
        memory: 1 << 30,
        variables: |_| None,
        tight: || {},
        first: None,
        fresh: false,
        select: Vec::new(),
        accept: Vec::new(),
        allow_commands: false,
        models: Default::default(),
        answers: None,
        answered: None,
        faults: Faults::default(),
    };
    Engine::new(settings).expect("the engine starts")
}

/// Has the plugin `text` ship, as the binary does.
fn ship_text() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins/.built/text.wasm");
    let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}; run `plugins/build` first", path.display()));
    ship(vec![Shipped { name: "text", bytes: bytes.leak(), digest: "sha256:of-text" }].leak());
}

/// Plans a task's pipeline anew and runs the task.
fn run(folder: &Path, spec: &TaskSpec) -> (TaskResult, String) {
    let engine = engine(folder);
    let plan = engine.plan(&spec.pipeline.clone().into(), None, None).expect("the pipeline is right");
    let scope = spec.scope(Cancel::new(), None);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads");
    let result =
        runtime.block_on(run_task(spec, &plan, Arc::clone(&scope), &Faults::default())).expect("the task runs");
    let file = &result.files[&spec.segment].files[0];
    let rows = std::fs::read_to_string(&file.temporary).expect("the file is there");
    (result, rows)
}

/// One file of JSON lines.
fn output(folder: PathBuf, name: &str) -> TaskOutput {
    let (name, format, codec) = (name.to_owned(), Format::Jsonl, Codec::None);
    TaskOutput { folder, staging: None, name, format, codec, files: Files::One, merge: None }
}

#[test]
fn a_task_runs_anywhere_from_its_description() {
    ship_text();
    let folder = std::env::temp_dir().join(format!("dflow-task-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("the temporary folder can be written to");
    std::fs::write(folder.join("in.txt"), "one two\n\nthree\n").expect("can be written");
    let pipeline = written::read("pipeline.toml", PIPELINE, &[], &|_| None).whole().expect("the pipeline is right");
    let plan = engine(&folder).plan(&pipeline.clone().into(), None, None).expect("the pipeline is right");
    let source = &plan.segments[0].sources[0];
    let name = |text: &str| text.parse::<Name>().expect("a name");
    let spec = TaskSpec {
        version: TaskSpec::VERSION,
        run: "r".to_owned(),
        number: 0,
        pipeline,
        pins: plan.plugins.iter().map(|(name, plugin)| (name.clone(), plugin.digest().to_owned())).collect(),
        segment: name("out"),
        splits: BTreeMap::from([(source.stage.clone(), source.splits.clone().into())]),
        partitions: 1,
        parallel: 1,
        first: None,
        outputs: BTreeMap::from([(name("out"), output(folder.join("out"), "a.jsonl"))]),
        dead: None,
        stored: Vec::new(),
        cut: None,
        left_out: Vec::new(),
    };
    let (result, rows) = run(&folder, &spec);
    assert_eq!(rows.lines().count(), 3, "{rows}");
    assert_eq!((result.counts[&name("words")].rows_in, result.counts[&name("words")].rows_out), (3, 3));

    let sent: TaskSpec =
        serde_json::from_str(&serde_json::to_string(&spec).expect("can be written")).expect("can be read");
    assert_eq!(sent, spec);
    let (other, again) = run(&folder, &sent);
    assert_eq!(again, rows);
    let answered: TaskResult =
        serde_json::from_str(&serde_json::to_string(&other).expect("can be written")).expect("can be read");
    assert_eq!(answered, other);

    // A second sink on the words: they are made once, and the task writes both.
    let both = format!(
        "{PIPELINE}[stage.long]\nfrom = \"words\"\nfilter = \"length(chunk) > 3\"\n[stage.more]\nfrom = \"long\"\nwrite = \"more/\"\nformat = \"jsonl\"\n"
    );
    let both = written::read("pipeline.toml", &both, &[], &|_| None).whole().expect("the pipeline is right");
    let plan = engine(&folder).plan(&both.clone().into(), None, None).expect("the pipeline is right");
    assert_eq!(plan.segments.len(), 1, "sinks that share stages run together");
    let output = |to: &str| output(folder.join(to), "b.jsonl");
    let outputs = BTreeMap::from([(name("out"), output("out")), (name("more"), output("more"))]);
    let (shared, rows_of_out) = run(&folder, &TaskSpec { pipeline: both, outputs, ..spec.clone() });
    assert_eq!(rows_of_out, rows);
    let more = std::fs::read_to_string(&shared.files[&name("more")].files[0].temporary).expect("the file is there");
    assert_eq!(more.lines().count(), 1, "{more}");
    let words = shared.counts[&name("words")];
    assert_eq!((words.rows_in, words.rows_out, words.repeated, words.unread), (3, 3, 3, 0));
    assert!(shared.again.is_empty(), "no stage ran once more: {:?}", shared.again);

    // Another component under the same name isn't the task's.
    let pins = BTreeMap::from([("text".to_owned(), "sha256:0".to_owned())]);
    let error = TaskSpec { pins, ..spec }.segment(&plan).err().expect("it is refused").to_string();
    assert!(error.contains("plugin `text`") && error.contains("sha256:0"), "{error}");
    std::fs::remove_dir_all(folder).expect("can be removed");
}
