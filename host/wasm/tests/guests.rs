//! Real components in the sandbox: those that ship, and one that breaks what can be broken.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow::{
    array::{ArrayRef, AsArray, RecordBatch, StringViewArray, UInt64Array},
    datatypes::{DataType, Field, Schema, UInt64Type},
};
use dflow_pipeline::{Bytes, Fault, GuestLimits, Millis};
use dflow_wasm::{Cancel, Granted, Operator, Profile, SEED, Sandbox, SandboxSettings, WasmError};

/// A guest that `sdk/rust/build tests/guests` made.
fn guest(name: &str) -> Vec<u8> {
    built("tests/guests", name)
}

/// A component of a workspace.
fn built(workspace: &str, name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(workspace).join(format!(".built/{name}.wasm"));
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}; run `sdk/rust/build {workspace}` first", path.display()))
}

fn cache() -> PathBuf {
    std::env::temp_dir().join(format!("dflow-wasm-tests-{}", std::process::id()))
}

fn sandbox() -> Sandbox {
    Sandbox::new(SandboxSettings { cache: Some(cache()), cancel: Cancel::new(), account: None })
        .expect("the sandbox starts")
}

fn texts(values: &[&str]) -> RecordBatch {
    let column: ArrayRef = Arc::new(StringViewArray::from(values.to_vec()));
    RecordBatch::try_from_iter([("text", column)]).expect("one column")
}

fn utf8() -> Schema {
    Schema::new(vec![Field::new("text", DataType::Utf8View, true)])
}

fn limits() -> GuestLimits {
    GuestLimits { memory: Bytes(64 << 20), time: Millis(200), ..GuestLimits::default() }
}

async fn open(
    name: &str,
    bytes: &[u8],
    operator: &str,
    settings: serde_json::Value,
) -> Result<Arc<Operator>, WasmError> {
    let plugin = sandbox().load(name, bytes, None, limits(), Granted::default()).await?;
    let settings = settings.as_object().cloned().unwrap_or_default();
    plugin.open("a_stage", operator, &settings, &utf8()).await
}

#[tokio::test]
async fn a_shipped_chunker_gives_slices_of_the_text_it_was_given() {
    let plugin = built("plugins", "text");
    let settings = serde_json::json!({ "size": 2, "unit": "words" });
    let operator = open("text", &plugin, "chunk", settings).await.expect("opens");
    let mut instance = operator.instance().await.expect("starts");
    let input = texts(&["one two three four five", "", "six"]);
    let (rows, parents) =
        instance.process(&input).await.expect("works").joined().expect("fits").expect("there are chunks");
    let chunks: Vec<_> = rows.column_by_name("chunk").expect("a column").as_string_view().iter().flatten().collect();
    assert_eq!(chunks, ["one two", "three four", "five", "six"]);
    assert_eq!(parents, [0, 0, 0, 2]);
    // The long chunk lies in the very buffer of the input.
    let given = input.column(0).as_string_view();
    assert_eq!(
        rows.column(0).as_string_view().data_buffers().first().map(|b| b.as_ptr()),
        given.data_buffers().first().map(|b| b.as_ptr())
    );
}

/// Runs an operator of `faulty` on a batch in which one row sets it off.
async fn fault(operator: &str) -> WasmError {
    let opened = open("faulty", &guest("faulty"), operator, serde_json::json!({})).await.expect("opens");
    let mut instance = opened.instance().await.expect("starts");
    let fine = instance.process(&texts(&["a", "b"])).await.expect("nothing set it off");
    let fine = fine.joined().expect("fits").expect("two rows").0;
    assert_eq!(fine.column(0).as_string_view().iter().flatten().collect::<Vec<_>>(), ["a", "b"]);
    instance.process(&texts(&["a", operator, "c"])).await.expect_err("one row set it off").error
}

#[tokio::test]
async fn what_breaks_names_the_stage_the_operator_the_rows_and_the_guests_own_words() {
    let cases: &[(&str, Fault, &[&str])] = &[
        ("panic", Fault::Plugin, &["trapped on a batch of 3 rows", "a row said so, one of 3", "src/lib.rs:"]),
        ("spin", Fault::Limit, &["trapped on a batch of 3 rows", "used up its time", "200 ms", "limits.time"]),
        ("grow", Fault::Limit, &["asked for more memory", "64.0 MiB", "limits.memory"]),
        ("recurse", Fault::Plugin, &["trapped on a batch of 3 rows", "stack"]),
        ("lie", Fault::Plugin, &["broke the contract", "row 1 has neither a result nor an error"]),
        ("give_up", Fault::Plugin, &["gave up on a batch of 3 rows", "no more of this"]),
    ];
    for (operator, whose, parts) in cases {
        let error = fault(operator).await;
        let text = error.to_string();
        assert_eq!(error.fault, *whose, "{operator}: {text}");
        for part in ["stage `a_stage`", &format!("`faulty/{operator}@0.1.0`"), "sha256:"].iter().chain(*parts) {
            assert!(text.contains(part), "{operator}: no `{part}` in: {text}");
        }
    }
}

#[tokio::test]
async fn rows_that_were_done_before_a_trap_stay_done() {
    let opened = open("faulty", &guest("faulty"), "stumble", serde_json::json!({})).await.expect("opens");
    let mut instance = opened.instance().await.expect("starts");
    let stopped = instance.process(&texts(&["a", "b", "c", "stumble", "d"])).await.expect_err("one row set it off");
    assert!(stopped.error.to_string().contains("row 3 of 5"), "{}", stopped.error);
    // That of `c` isn't done: the row might have had an error still.
    assert_eq!(stopped.done, 2);
    let rows = stopped.processed.joined().expect("fits").expect("two rows").0;
    assert_eq!(rows.column(0).as_string_view().iter().flatten().collect::<Vec<_>>(), ["a", "b"]);
}

#[tokio::test]
async fn no_more_instances_live_at_a_time_than_may() {
    let limits = GuestLimits { instances: 1, ..limits() };
    let plugin = sandbox().load("faulty", &guest("faulty"), None, limits, Granted::default()).await.expect("loads");
    let operator = plugin.open("a_stage", "panic", &serde_json::Map::new(), &utf8()).await.expect("opens");
    let first = operator.instance().await.expect("starts");
    let mut second = Box::pin(operator.instance());
    assert!(futures::poll!(&mut second).is_pending());
    first.release();
    assert!(futures::poll!(&mut second).is_ready());
}

#[tokio::test]
async fn a_guest_ends_within_a_tick_when_the_user_says_so() {
    let cancel = Cancel::new();
    let sandbox = Sandbox::new(SandboxSettings { cache: Some(cache()), cancel: cancel.clone(), account: None })
        .expect("the sandbox starts");
    let plugin = sandbox
        .load("faulty", &guest("faulty"), None, GuestLimits::default(), Granted::default())
        .await
        .expect("loads");
    let operator = plugin.open("a_stage", "spin", &serde_json::Map::new(), &utf8()).await.expect("opens");
    let mut instance = operator.instance().await.expect("starts");
    std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(50));
        cancel.raise();
    });
    let error = instance.process(&texts(&["spin"])).await.expect_err("it was ended").error;
    assert!(error.to_string().contains("was interrupted"), "{error}");
}

#[tokio::test]
async fn what_is_determined_is_so_to_the_last_bit_and_seeds_come_with_their_rows() {
    let bytes = guest("profiles");
    for (operator, profile) in [("pure", Profile::Pure), ("open", Profile::Open)] {
        let opened = open("profiles", &bytes, operator, serde_json::json!({})).await.expect("opens");
        assert_eq!(opened.description().profile, profile);
        let mut instance = opened.instance().await.expect("starts");
        let rows =
            instance.process(&texts(&["a", "bc"])).await.expect("works").joined().expect("fits").expect("rows").0;
        let shown = rows.column(0).as_primitive::<UInt64Type>();
        // A product with a NaN is one; which one is open, but where answers are determined.
        assert!(shown.values().iter().all(|bits| f64::from_bits(*bits).is_nan()), "{shown:?}");
        if profile == Profile::Pure {
            assert_eq!(shown.values().as_ref(), [0x7ff8_0000_0000_0000; 2]);
        }
    }
    let opened = open("profiles", &bytes, "seeded", serde_json::json!({})).await.expect("opens");
    assert_eq!(opened.input().fields().iter().map(|f| f.name().as_str()).collect::<Vec<_>>(), ["text", SEED]);
    let seeds: ArrayRef = Arc::new(UInt64Array::from(vec![7, u64::MAX]));
    let text = texts(&["a", "b"]).column(0).clone();
    let input = RecordBatch::try_from_iter([("text", text), (SEED, seeds.clone())]).expect("two columns");
    let mut instance = opened.instance().await.expect("starts");
    let rows = instance.process(&input).await.expect("works").joined().expect("fits").expect("rows").0;
    assert_eq!(rows.column(0), &seeds);
}

#[tokio::test]
async fn what_is_no_component_is_refused_in_plain_words() {
    let core = [0u8, b'a', b's', b'm', 1, 0, 0, 0];
    let component = guest("faulty");
    let cases: &[(&[u8], &str)] = &[
        (b"", "is an empty file"),
        (b"#!/bin/sh", "is not a WebAssembly component"),
        (&core, "core WebAssembly module"),
        (&component[..component.len() / 2], "is not a valid component"),
        (&[0, b'a', b's', b'm', 0x0d, 0, 1, 0], "doesn't export `dflow:operator/operators@0.1.1`"),
    ];
    for (bytes, expected) in cases {
        let error = sandbox().load("mine", bytes, None, limits(), Granted::default()).await.expect_err(expected);
        assert_eq!(error.fault, Fault::Plugin, "{error}");
        assert!(error.to_string().contains("plugin `mine`") && error.to_string().contains(expected), "{error}");
    }
}

#[tokio::test]
async fn settings_that_break_the_schema_are_the_pipelines_fault() {
    let plugin = built("plugins", "text");
    let error = open("text", &plugin, "chunk", serde_json::json!({ "size": 0 })).await.expect_err("zero is refused");
    assert_eq!(error.fault, Fault::Pipeline);
    assert!(error.to_string().contains("size"), "{error}");
    let error = open("text", &plugin, "nonesuch", serde_json::json!({})).await.expect_err("no such operator");
    assert!(error.to_string().contains("nonesuch"), "{error}");
}

#[tokio::test]
async fn compiled_code_is_found_again_and_a_broken_file_is_compiled_anew() {
    let folder = cache().join("again");
    let make = || {
        Sandbox::new(SandboxSettings { cache: Some(folder.clone()), cancel: Cancel::new(), account: None })
            .expect("the sandbox starts")
    };
    let bytes = guest("faulty");
    make().load("faulty", &bytes, None, limits(), Granted::default()).await.expect("loads");
    let files =
        || std::fs::read_dir(&folder).expect("it is there").map(|e| e.expect("an entry").path()).collect::<Vec<_>>();
    let [compiled] = files().try_into().expect("one file");
    make().load("faulty", &bytes, None, limits(), Granted::default()).await.expect("loads from the cache");
    std::fs::write(&compiled, b"not code").expect("can be written");
    make().load("faulty", &bytes, None, limits(), Granted::default()).await.expect("compiles anew");
    assert!(std::fs::metadata(&compiled).expect("it is there").len() > 1000);
}
