//! Keeping rows between stages and runs.

use std::{fs, path::Path};

use arrow::{
    array::AsArray,
    datatypes::{DataType, Field, Schema},
};
use dflow_pipeline::GuestLimits;
use dflow_wasm::{Cancel, Granted, OperatorInstance, Plugin, Sandbox, SandboxSettings};

use crate::arena::{Arena, texts};

async fn plugin() -> std::sync::Arc<Plugin> {
    let cache = Some(Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled"));
    let sandbox = Sandbox::new(SandboxSettings { cache, cancel: Cancel::new(), account: None }).expect("it starts");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/guests/.built/hostile.wasm");
    let bytes = fs::read(path).expect("`sdk/rust/build tests/guests` was run");
    sandbox.load("hostile", &bytes, None, GuestLimits::default(), Granted::default()).await.expect("loads")
}

async fn instance(plugin: &std::sync::Arc<Plugin>, stage: &str) -> OperatorInstance {
    let input = Schema::new(vec![Field::new("text", DataType::Utf8View, true)]);
    let operator = plugin.open(stage, "keep", &serde_json::Map::new(), &input).await.expect("opens");
    operator.instance().await.expect("starts")
}

/// What an instance has seen before.
async fn seen(instance: &mut OperatorInstance, row: &str) -> String {
    let done = instance.process(&texts(&[Some(row)])).await.expect("works").joined().expect("fits").expect("a row").0;
    done.column(0).as_string_view().value(0).to_owned()
}

#[tokio::test]
async fn what_a_guest_keeps_is_found_by_no_other() {
    let plugin = plugin().await;
    let mut first = instance(&plugin, "one").await;
    assert_eq!(seen(&mut first, "secret").await, "");
    // A guest can keep what it sees: it is not to, since an operator is a function of a row. Nobody else finds it.
    assert_eq!(seen(&mut first, "more").await, "secret");
    let operator = first.operator().clone();
    let mut beside = operator.instance().await.expect("starts");
    assert_eq!(seen(&mut beside, "another instance of the stage").await, "");
    let mut stage = instance(&plugin, "two").await;
    assert_eq!(seen(&mut stage, "another stage").await, "");
    first.release();
    let mut again = operator.instance().await.expect("the one that was released");
    assert_eq!(seen(&mut again, "the next task of the stage").await, "secret more");
    let mut run = instance(&self::plugin().await, "one").await;
    assert_eq!(seen(&mut run, "another run").await, "");
}

#[tokio::test]
async fn a_guest_that_keeps_rows_leaves_nothing_behind() {
    let mut arena = Arena::new();
    arena.attack("keep", "").await.expect("it works");
    arena.shown("keep");
}
