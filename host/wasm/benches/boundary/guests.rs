//! Guests, opened.

use std::{path::Path, sync::Arc};

use arrow::{array::RecordBatch, datatypes::Schema};
use dflow_pipeline::GuestLimits;
use dflow_wasm::{Granted, Operator, OperatorInstance, Sandbox, SandboxSettings};
use tokio::runtime::{Builder, Runtime};

use crate::turns::Contender;

/// A component of `sdk/rust/build tests/guests`.
pub(crate) fn guest(name: &str) -> Vec<u8> {
    built("tests/guests", name)
}

/// One that ships, of `sdk/rust/build plugins`.
pub(crate) fn shipped(name: &str) -> Vec<u8> {
    built("plugins", name)
}

fn built(workspace: &str, name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(workspace).join(format!(".built/{name}.wasm"));
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}; run `sdk/rust/build {workspace}` first", path.display()))
}

pub(crate) fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

pub(crate) fn settings() -> SandboxSettings {
    SandboxSettings { cache: Some(std::env::temp_dir().join("dflow-wasm-bench")), ..SandboxSettings::default() }
}

/// An operator of a component, open for columns as those of `input`.
pub(crate) fn open(
    sandbox: &Sandbox,
    plugin: &str,
    bytes: &[u8],
    operator: &str,
    settings: &serde_json::Value,
    schema: &Schema,
) -> Arc<Operator> {
    let settings = settings.as_object().cloned().unwrap_or_default();
    runtime().block_on(async {
        let plugin = sandbox.load(plugin, bytes, None, GuestLimits::default(), Granted::default()).await;
        let plugin = plugin.unwrap_or_else(|e| panic!("{e}"));
        plugin.open("bench", operator, &settings, schema).await.unwrap_or_else(|e| panic!("{e}"))
    })
}

/// An operator of the guest `bench`.
pub(crate) fn of_bench(operator: &str, input: &RecordBatch) -> Arc<Operator> {
    let sandbox = Sandbox::new(settings()).expect("the sandbox starts");
    open(&sandbox, "bench", &guest("bench"), operator, &serde_json::json!({}), &input.schema())
}

pub(crate) fn instance(operator: &Arc<Operator>) -> OperatorInstance {
    runtime().block_on(operator.instance()).unwrap_or_else(|e| panic!("{e}"))
}

/// An instance as a contender, given the same batches again and again.
pub(crate) fn contender<'a>(name: &str, operator: &Arc<Operator>, inputs: &'a [RecordBatch]) -> Contender<'a> {
    let (runtime, mut instance) = (runtime(), instance(operator));
    Contender::new(name, move |times| {
        runtime.block_on(async {
            for _ in 0..times {
                for input in inputs {
                    let done = instance.process(input).await;
                    std::hint::black_box(done.unwrap_or_else(|e| panic!("{e:?}")));
                }
            }
        });
    })
}
