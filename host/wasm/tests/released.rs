//! Components of every released version of the contract (`wit/released`) in this host.

#[path = "hostile/made.rs"]
mod made;

use std::{fs, path::PathBuf, sync::Arc};

use arrow::{
    array::{ArrayRef, RecordBatch, StringArray},
    datatypes::{DataType, Field, Schema},
};
use dflow_pipeline::GuestLimits;
use dflow_wasm::{Granted, Plugin, Sandbox, SandboxSettings, WasmError};
use wit_component::{ComponentEncoder, StringEncoding};
use wit_parser::{ManglingAndAbi, Resolve};

use self::made::Made;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../wit/released")
}

fn versions() -> Vec<String> {
    let entries = fs::read_dir(folder()).expect("there are released versions");
    let mut all: Vec<_> = entries.map(|e| e.expect("it is listed").file_name().into_string().expect("text")).collect();
    all.sort();
    all
}

async fn load(bytes: &[u8]) -> Result<Arc<Plugin>, WasmError> {
    let sandbox = Sandbox::new(SandboxSettings::default()).expect("the sandbox starts");
    let granted = Granted { nominally: true, ..Granted::default() };
    sandbox.load("made", bytes, None, GuestLimits::default(), granted).await
}

#[tokio::test]
async fn a_component_of_each_version_takes_rows() {
    for version in versions() {
        let made = Made {
            description: made::description("drop", "1.0.0", "filter").replace("0.1.0", &version),
            version,
            ..Made::default()
        };
        let plugin = load(&made.component()).await.unwrap_or_else(|e| panic!("{}: {e}", made.version));
        assert_eq!(plugin.description().interface, made.version);
        let schema = Schema::new(vec![Field::new("text", DataType::Utf8, true)]);
        let operator = plugin.open("a_stage", "drop", &serde_json::Map::new(), &schema).await.expect("it opens");
        let column: ArrayRef = Arc::new(StringArray::from(vec!["a", "b"]));
        let rows = RecordBatch::try_from_iter([("text", column)]).expect("one column");
        let mut instance = operator.instance().await.expect("it starts");
        let processed = instance.process(&rows).await.expect("it takes rows");
        assert!(processed.pieces.is_empty(), "it drops them all");
    }
}

/// What the interfaces of each world are made of is what this host offers and calls: an instance is made, and what comes first is called.
#[tokio::test]
async fn every_world_of_each_version_is_linked() {
    for version in versions() {
        let mut resolve = Resolve::default();
        let (package, _) = resolve.push_dir(folder().join(&version)).unwrap_or_else(|e| panic!("{version}: {e:#}"));
        let worlds: Vec<_> = resolve.packages[package].worlds.iter().map(|(name, id)| (name.clone(), *id)).collect();
        assert!(!worlds.is_empty());
        for (name, world) in worlds {
            let mut module = wit_component::dummy_module(&resolve, world, ManglingAndAbi::Standard32);
            wit_component::embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)
                .unwrap_or_else(|e| panic!("{version}, {name}: {e:#}"));
            let component = ComponentEncoder::default().module(&module).and_then(|mut encoder| encoder.encode());
            let component = component.unwrap_or_else(|e| panic!("{version}, {name}: {e:#}"));
            // Its functions trap, the first of them when the host asks what is in it.
            let error = load(&component).await.expect_err("its functions do nothing but trap").to_string();
            assert!(error.contains("failed to describe itself"), "{version}, {name}: {error}");
        }
    }
}
