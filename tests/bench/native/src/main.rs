//! Prints how long each operator takes for the pages of a folder when it is called natively, on one core: JSON on stdout.
//!
//! `native FOLDER ROUNDS STAGES`, where STAGES is JSON: `[{"use": "html/extract", "with": {…}, "in": {"html": "content"}, "out": {}}, …]`.
//! What comes of one stage goes to the next, unmeasured; times are the best of all rounds, in seconds.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use arrow_array::{ArrayRef, RecordBatch, StringArray, UInt32Array};
use dflow_plugin::{OperatorEntry, Plugin, testing};
use serde_json::{Value, json};

/// The host's allocator, so that allocation costs the same.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Bytes of pages in one batch, as the host cuts them.
const BATCH_BYTES: usize = 1 << 20;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, rounds, stages] = &arguments[..] else { return Err("usage: native FOLDER ROUNDS STAGES".into()) };
    let rounds: usize = rounds.parse()?;
    let mut pages = Vec::new();
    collect(Path::new(folder), &mut pages)?;
    let bytes: usize = pages.iter().map(|(_, page)| page.len()).sum();
    let mut batches = batches(&pages)?;
    let mut operators = Vec::new();
    for stage in serde_json::from_str::<Vec<Value>>(stages)? {
        let name = stage["use"].as_str().ok_or("`use` is missing")?;
        let settings = stage["with"].to_string();
        let entry = entry(name)?;
        let ports: Vec<(&str, &str)> = stage["in"]
            .as_object()
            .ok_or("`in` is missing")?
            .iter()
            .filter_map(|(port, column)| Some((port.as_str(), column.as_str()?)))
            .collect();
        let inputs = batches.iter().map(|batch| chosen(batch, &ports)).collect::<Result<Vec<_>, _>>()?;
        let (mut best, mut rows) = (f64::INFINITY, 0);
        for _ in 0..rounds {
            let mut open = entry.open(&settings, inputs[0].schema_ref())?;
            let began = Instant::now();
            rows = 0;
            for input in &inputs {
                rows += testing::emitted(&mut open, input)?;
            }
            best = best.min(began.elapsed().as_secs_f64());
        }
        operators.push(json!({"use": name, "rows": rows, "seconds": best}));
        batches = batches
            .iter()
            .zip(&inputs)
            .map(|(batch, input)| joined(batch, &testing::run_entry(entry, &settings, input)?, &stage["out"]))
            .collect::<Result<Vec<_>, _>>()?;
    }
    let report = json!({"pages": pages.len(), "bytes": bytes, "operators": operators});
    std::io::Write::write_all(&mut std::io::stdout(), format!("{report}\n").as_bytes())?;
    Ok(())
}

/// All pages below a folder, in the order of their names.
fn collect(folder: &Path, pages: &mut Vec<(PathBuf, String)>) -> Result<(), Box<dyn Error>> {
    let mut entries = std::fs::read_dir(folder)?.map(|e| Ok(e?.path())).collect::<Result<Vec<_>, std::io::Error>>()?;
    entries.sort();
    for path in entries {
        if path.is_dir() {
            collect(&path, pages)?;
        } else if path.extension().is_some_and(|e| e == "html") {
            let page = std::fs::read_to_string(&path)?;
            pages.push((path, page));
        }
    }
    Ok(())
}

fn batches(pages: &[(PathBuf, String)]) -> Result<Vec<RecordBatch>, Box<dyn Error>> {
    let (mut batches, mut start, mut bytes) = (Vec::new(), 0, 0);
    for (i, (_, page)) in pages.iter().enumerate() {
        bytes += page.len();
        if bytes >= BATCH_BYTES || i + 1 == pages.len() {
            let content: ArrayRef = Arc::new(StringArray::from_iter_values(pages[start..=i].iter().map(|(_, p)| p)));
            batches.push(RecordBatch::try_from_iter([("content", content)])?);
            (start, bytes) = (i + 1, 0);
        }
    }
    Ok(batches)
}

fn entry(name: &str) -> Result<&'static OperatorEntry, Box<dyn Error>> {
    let (plugin, operator) = name.split_once('/').ok_or("`use` is `plugin/operator`")?;
    let plugins: [&Plugin; 3] = [&html::PLUGIN, &json::PLUGIN, &text::PLUGIN];
    let plugin = plugins.into_iter().find(|p| p.name == plugin).ok_or("no such plugin")?;
    Ok(plugin.operator(operator)?)
}

/// The columns that go into the ports, under the ports' names.
fn chosen(batch: &RecordBatch, ports: &[(&str, &str)]) -> Result<RecordBatch, Box<dyn Error>> {
    let column = |(port, column): &(&str, &str)| -> Result<(String, ArrayRef, bool), Box<dyn Error>> {
        let found = batch.column_by_name(column).ok_or_else(|| format!("there is no column `{column}`"))?;
        Ok(((*port).to_owned(), found.clone(), true))
    };
    Ok(RecordBatch::try_from_iter_with_nullable(ports.iter().map(column).collect::<Result<Vec<_>, _>>()?)?)
}

/// A stage's rows: what its input had, and what came of it under the names that `out` gives; the new column of two alike.
fn joined(batch: &RecordBatch, ran: &testing::Ran, out: &Value) -> Result<RecordBatch, Box<dyn Error>> {
    let parents = UInt32Array::from(ran.parents.clone());
    let named = |name: &str| out[name].as_str().unwrap_or(name).to_owned();
    let new = |name: &str| ran.output.schema_ref().fields().iter().any(|field| named(field.name()) == name);
    let mut columns: Vec<(String, ArrayRef, bool)> = Vec::new();
    for (field, column) in batch.schema_ref().fields().iter().zip(batch.columns()) {
        if !new(field.name()) {
            let taken = arrow_select::take::take(column, &parents, None)?;
            columns.push((field.name().clone(), taken, true));
        }
    }
    for (field, column) in ran.output.schema_ref().fields().iter().zip(ran.output.columns()) {
        columns.push((named(field.name()), column.clone(), true));
    }
    Ok(RecordBatch::try_from_iter_with_nullable(columns)?)
}
