//! Columns of every type through a guest and back, and lies about them.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow::{
    array::{Array, ArrayRef, AsArray, BinaryViewArray, RecordBatch, RecordBatchOptions, StringViewArray},
    datatypes::{DataType, Field, Schema},
    util::display::{ArrayFormatter, FormatOptions},
};
use dflow_boundary::unviewed;
use dflow_pipeline::{Bytes, Fault, GuestLimits};
use dflow_wasm::{Cancel, Granted, Operator, Plugin, Sandbox, SandboxSettings, Stopped};

#[path = "../../../sdk/rust/boundary/tests/random/mod.rs"]
mod random;

use random::Random;

fn cache() -> PathBuf {
    std::env::temp_dir().join(format!("dflow-wasm-types-{}", std::process::id()))
}

async fn plugin() -> Arc<Plugin> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/guests/.built/types.wasm");
    let bytes = std::fs::read(&path)
        .unwrap_or_else(|e| panic!("{}: {e}; run `sdk/rust/build tests/guests` first", path.display()));
    let sandbox = Sandbox::new(SandboxSettings { cache: Some(cache()), cancel: Cancel::new(), account: None })
        .expect("it starts");
    let limits = GuestLimits { emitted: Bytes(16 << 20), ..GuestLimits::default() };
    sandbox.load("types", &bytes, None, limits, Granted::default()).await.expect("loads")
}

async fn open(plugin: &Arc<Plugin>, operator: &str, settings: serde_json::Value, schema: &Schema) -> Arc<Operator> {
    let settings = settings.as_object().cloned().unwrap_or_default();
    plugin.open("a_stage", operator, &settings, schema).await.unwrap_or_else(|e| panic!("{schema:?}: {e}"))
}

fn random_schema(random: &mut Random) -> Schema {
    let columns = 1 + random.below(4);
    let fields: Vec<_> = (0..columns).map(|i| random::field(random, &format!("c{i}"), 4)).collect();
    Schema::new(fields)
}

fn random_batch(random: &mut Random, schema: &Schema) -> RecordBatch {
    let rows = random.below(40);
    let columns = schema.fields().iter().map(|f| random::array(random, f.data_type(), rows, f.is_nullable())).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::new(schema.clone()), columns, &options).expect("columns fit")
}

/// Each value as text: of equal types, and of text and bytes whether they are views or not, equal values are equal texts.
fn values(array: &ArrayRef) -> Vec<String> {
    let options = FormatOptions::default().with_null("null").with_display_error(true);
    let formatter = ArrayFormatter::try_new(array, &options).expect("every type can be shown");
    (0..array.len()).map(|i| formatter.value(i).to_string()).collect()
}

#[tokio::test]
async fn random_batches_come_back_as_they_were() {
    let plugin = plugin().await;
    let mut batches = 0;
    for seed in 0..500 {
        let random = &mut Random(seed);
        let schema = random_schema(random);
        let rows = [0, 0, 1, 7][random.below(4)];
        let operator = open(&plugin, "identity", serde_json::json!({ "rows": rows }), &schema).await;
        for (given, back) in schema.fields().iter().zip(operator.output().fields()) {
            let expected = match unviewed(given.data_type()) {
                DataType::Utf8 | DataType::LargeUtf8 => DataType::Utf8View,
                DataType::Binary | DataType::LargeBinary => DataType::BinaryView,
                other => other,
            };
            assert_eq!(**back, Field::clone(given).with_data_type(expected), "seed {seed}");
        }
        let mut instance = operator.instance().await.expect("starts");
        for _ in 0..5 {
            let batch = random_batch(random, &schema);
            let done =
                instance.process(&batch).await.unwrap_or_else(|e| panic!("seed {seed}: {}, of {schema:?}", e.error));
            assert_eq!(done.pieces.iter().map(|p| p.parents.len()).sum::<usize>(), batch.num_rows(), "seed {seed}");
            for (i, column) in batch.columns().iter().enumerate() {
                let back: Vec<_> = done.pieces.iter().flat_map(|piece| values(piece.columns.column(i))).collect();
                assert_eq!(back, values(column), "seed {seed}: {}", column.data_type());
            }
            batches += 1;
        }
    }
    assert!(batches >= 2_000);
}

#[tokio::test]
async fn lies_of_a_guest_at_random_are_refused_or_harmless() {
    let plugin = plugin().await;
    let (mut refused, mut harmless) = (0, 0);
    for seed in 0..1_000 {
        let random = &mut Random(seed);
        let schema = random_schema(random);
        let operator = open(&plugin, "liar", serde_json::json!({ "seed": seed }), &schema).await;
        let mut instance = operator.instance().await.expect("starts");
        let batch = random_batch(random, &schema);
        match instance.process(&batch).await {
            Ok(done) => {
                harmless += 1;
                for column in done.pieces.iter().flat_map(|piece| piece.columns.columns()) {
                    column.to_data().validate_full().unwrap_or_else(|e| panic!("seed {seed}: {e}"));
                    values(column);
                }
            }
            Err(Stopped { error, .. }) => {
                refused += 1;
                let text = error.to_string();
                let named = match error.fault {
                    Fault::Plugin => text.contains("broke the contract: "),
                    // Billions of values that take no bytes.
                    Fault::Limit => text.contains("emitted too much"),
                    _ => false,
                };
                assert!(named && text.contains("`types/liar@0.1.0`"), "seed {seed}: {text}");
            }
        }
    }
    assert!(refused > 200 && harmless > 100, "{refused} refused, {harmless} harmless");
}

#[tokio::test]
async fn a_column_of_another_encoding_than_was_planned_goes_in_all_the_same() {
    let plugin = plugin().await;
    let schema =
        Schema::new(vec![Field::new("text", DataType::Utf8View, true), Field::new("bytes", DataType::Binary, true)]);
    let operator = open(&plugin, "identity", serde_json::json!({}), &schema).await;
    let mut instance = operator.instance().await.expect("starts");
    let text: ArrayRef = Arc::new(StringViewArray::from(vec![Some("a"), None]));
    let bytes: ArrayRef = Arc::new(BinaryViewArray::from(vec![None, Some(&b"b"[..])]));
    let columns = [("text", arrow::compute::cast(&text, &DataType::LargeUtf8).expect("casts")), ("bytes", bytes)];
    let batch = RecordBatch::try_from_iter(columns).expect("two columns");
    let done = instance.process(&batch).await.expect("works").joined().expect("fits").expect("rows").0;
    assert_eq!(done.column(0).as_string_view().iter().collect::<Vec<_>>(), [Some("a"), None]);
    assert_eq!(done.column(1).as_binary_view().iter().collect::<Vec<_>>(), [None, Some(&b"b"[..])]);
}
