//! How many rows a second the sandboxes of other engines do: a JSON object on stdout, by contender.
//!
//! `peers UDF.WASM FOLDER [ROUNDS]`, where UDF.WASM is what `udf/` is compiled to, and FOLDER holds the transform `token2`: what `words/` is compiled
//! to. Numbers and texts are those of `cargo bench -p dflow-wasm -- numeric token2`. The arithmetic is that of fv-compute-wasm's own test component.

use std::{
    error::Error,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Instant,
};

use arrow::{
    array::{ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, StringArray},
    datatypes::{DataType, Field, Float64Type, Schema},
};
use arrow_udf_runtime::wasm::Runtime;
use fv_compute::{Backends, Compute, DirRoot, Registry};
use fv_compute_wasm::WasmBackend;
use serde_json::{Map, Value, json};

/// The allocator that our engine has.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let [Some(udf), Some(folder)] = [arguments.next(), arguments.next()] else {
        return Err("usage: peers UDF.WASM FOLDER [ROUNDS]".into());
    };
    let rounds = arguments.next().map_or(Ok(25), |rounds| rounds.parse())?;
    let mut found = Map::new();
    numbers(rounds, &mut found)?;
    texts(rounds, &std::fs::read(udf)?, &PathBuf::from(folder), &mut found)?;
    std::io::Write::write_all(&mut std::io::stdout(), format!("{}\n", Value::Object(found)).as_bytes())?;
    Ok(())
}

fn numbers(rounds: usize, found: &mut Map<String, Value>) -> Result<(), Box<dyn Error>> {
    let backends = Backends::new().register(WasmBackend::new()?);
    let registry = Registry::builder().root(DirRoot::new("fixtures", fixtures()?)).build()?;
    let total: Box<dyn Compute> = registry.load("spikeTotal", &backends)?;
    for rows in [1024, 8192, 65_536, 500_000] {
        let input = input(rows)?;
        check(&input, &total.run(std::slice::from_ref(&input))?)?;
        let best = least(rounds, rows, || drop(total.run(std::slice::from_ref(&input))));
        found.insert(format!("fv-compute-wasm, {rows} rows"), json!(rows as f64 / best / 1e6));
    }
    Ok(())
}

fn texts(rounds: usize, udf: &[u8], folder: &Path, found: &mut Map<String, Value>) -> Result<(), Box<dyn Error>> {
    const ROWS: usize = 1_000_000;
    let runtime = Runtime::new(udf)?;
    let token2 = runtime.find_function("token2", vec![DataType::Utf8], DataType::Utf8)?;
    let texts = batches(ROWS);
    for input in &texts {
        right(input, &runtime.call(&token2, input)?)?;
    }
    let best = least(rounds, ROWS, || texts.iter().for_each(|input| drop(runtime.call(&token2, input))));
    found.insert("arrow-udf-runtime".to_owned(), json!(ROWS as f64 / best / 1e6));
    let backends = Backends::new().register(WasmBackend::new()?);
    let registry = Registry::builder().root(DirRoot::new("words", folder)).build()?;
    let token2: Box<dyn Compute> = registry.load("token2", &backends)?;
    for input in &texts {
        right(input, &token2.run(std::slice::from_ref(input))?)?;
    }
    let best = least(rounds, ROWS, || {
        texts.iter().for_each(|input| drop(token2.run(std::slice::from_ref(input))));
    });
    found.insert("fv-compute-wasm".to_owned(), json!(ROWS as f64 / best / 1e6));
    Ok(())
}

/// That the words are the second ones.
fn right(input: &RecordBatch, output: &RecordBatch) -> Result<(), Box<dyn Error>> {
    let (texts, words) = (input.column(0).as_string::<i32>(), output.column(0).as_string::<i32>());
    let right = texts.iter().map(|text| text?.split(' ').nth(1)).eq(words.iter());
    if right { Ok(()) } else { Err("other words than ours".into()) }
}

/// The seconds that it takes, at best; done as often as it takes for a clock to be exact.
fn least(rounds: usize, rows: usize, mut run: impl FnMut()) -> f64 {
    let times = (200_000 / rows).max(1);
    let rounds = (0..rounds).map(|_| {
        let began = Instant::now();
        (0..times).for_each(|_| run());
        began.elapsed().as_secs_f64() / times as f64
    });
    rounds.fold(f64::INFINITY, f64::min)
}

/// Texts of three to nine words in batches of 8,192, made as host/wasm/benches/boundary/token2.rs makes them.
fn batches(rows: usize) -> Vec<RecordBatch> {
    let mut state = 7u64;
    let mut below = |end: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % end
    };
    let mut text = || {
        let words = 3 + below(7) as usize;
        let mut bytes: Vec<u8> = (0..41).map(|_| b'a' + below(26) as u8).collect();
        for word in 1..words {
            bytes[(word * 41 / words).clamp(1, 39)] = b' ';
        }
        String::from_utf8(bytes).expect("letters")
    };
    let texts: Vec<String> = (0..rows).map(|_| text()).collect();
    let batch = |texts: &[String]| {
        let column: ArrayRef = Arc::new(StringArray::from_iter_values(texts));
        RecordBatch::try_from_iter([("text", column)]).expect("one column")
    };
    texts.chunks(8192).map(batch).collect()
}

/// The peer's own test components, in its source.
fn fixtures() -> Result<PathBuf, Box<dyn Error>> {
    let manifest = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let command = ["metadata", "--format-version=1", "--locked", "--manifest-path"];
    let metadata: Value = serde_json::from_slice(&Command::new(cargo).args(command).arg(manifest).output()?.stdout)?;
    let packages = metadata["packages"].as_array().ok_or("cargo lists no packages")?;
    let package = packages.iter().find(|package| package["name"] == "fv-compute-wasm").ok_or("the peer is missing")?;
    let manifest = PathBuf::from(package["manifest_path"].as_str().ok_or("a package without a manifest")?);
    Ok(manifest.with_file_name("tests").join("fixtures"))
}

fn input(rows: usize) -> Result<RecordBatch, Box<dyn Error>> {
    let field = |name, data_type| Field::new(name, data_type, true);
    let schema = Schema::new(vec![field("id", DataType::Int64), field("amount", DataType::Float64)]);
    let ids = Int64Array::from_iter_values(0..rows as i64);
    let amounts = Float64Array::from_iter_values((0..rows).map(|row| row as f64 * 1.5));
    Ok(RecordBatch::try_new(Arc::new(schema), vec![Arc::new(ids), Arc::new(amounts)])?)
}

/// That it computed what we compute.
fn check(input: &RecordBatch, output: &RecordBatch) -> Result<(), Box<dyn Error>> {
    let totals = output.column_by_name("total").ok_or("there is no column `total`")?.as_primitive::<Float64Type>();
    let right = totals.values().iter().enumerate().all(|(row, total)| *total == row as f64 * 3.0 + row as f64);
    if output.num_rows() == input.num_rows() && right { Ok(()) } else { Err("other totals than ours".into()) }
}
