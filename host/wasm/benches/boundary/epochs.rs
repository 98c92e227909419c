//! What it costs that a guest can be interrupted: the same code with and without the question whether its time is up.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BinaryArray, Float32Array, RecordBatch, StringArray};
use dflow_wasm::Sandbox;

use crate::{
    guests::{contender, guest, open, settings, shipped},
    turns::{Options, race},
};

/// Kernels of the SDK; the last is what a plain loop costs.
const KERNELS: [&str; 8] = ["mask", "mask of 3", "count", "ascii", "utf8", "hash", "dot", "plain count"];

pub(crate) fn run(options: &Options) {
    let with = Sandbox::new(settings()).expect("the sandbox starts");
    let without = Sandbox::uninterruptible(settings()).expect("the sandbox starts");
    println!("    {:<34} {:>11} {:>11} {:>7}", "", "with", "without", "ratio");
    let say = |name: &str, found: &[(String, crate::turns::Times)], bytes: usize| {
        let (with, without) = (found[0].1.least, found[1].1.least);
        let speed = |seconds: f64| match bytes as f64 / seconds / 1e6 {
            slow if slow < 1000.0 => format!("{slow:.1} MB/s"),
            fast => format!("{:.2} GB/s", fast / 1e3),
        };
        println!("    {name:<34} {:>11} {:>11} {:>7.3}", speed(with), speed(without), with / without);
    };
    let (times, size) = (50, 256 << 10);
    let text = "The words of a text that goes on and on, and on.\n".repeat(size / 48);
    let bytes: ArrayRef = Arc::new(BinaryArray::from_iter_values([&text.as_bytes()[..size]]));
    let numbers: ArrayRef = Arc::new(Float32Array::from_iter_values((0..size / 4).map(|i| i as f32 * 0.01)));
    for kernel in KERNELS {
        let column = if kernel == "dot" { &numbers } else { &bytes };
        let input = [RecordBatch::try_from_iter([("bytes", column.clone())]).unwrap()];
        let settings = serde_json::json!({ "kernel": kernel, "times": times });
        let of = |sandbox| open(sandbox, "bench", &guest("bench"), "kernels", &settings, &input[0].schema());
        let found = race(options, vec![contender("", &of(&with), &input), contender("", &of(&without), &input)]);
        say(kernel, &found, size * times);
    }
    for operator in ["token2", "total"] {
        let input = [if operator == "token2" { lines() } else { pairs() }];
        let of =
            |sandbox| open(sandbox, "bench", &guest("bench"), operator, &serde_json::json!({}), &input[0].schema());
        let found = race(options, vec![contender("", &of(&with), &input), contender("", &of(&without), &input)]);
        say(operator, &found, input[0].get_array_memory_size());
    }
    for (plugin, operator, settings, input) in shipped_operators() {
        let component = shipped(plugin);
        let bytes: usize = input.iter().map(|batch| batch.column(0).to_data().get_slice_memory_size().unwrap()).sum();
        let of = |sandbox| open(sandbox, plugin, &component, operator, &settings, &input[0].schema());
        let found = race(options, vec![contender("", &of(&with), &input), contender("", &of(&without), &input)]);
        say(&format!("{plugin}/{operator}"), &found, bytes);
    }
}

fn lines() -> RecordBatch {
    let text: ArrayRef =
        Arc::new(StringArray::from_iter_values((0..8192).map(|i| format!("the second word of {i:>20}"))));
    RecordBatch::try_from_iter([("text", text)]).unwrap()
}

fn pairs() -> RecordBatch {
    let ids: ArrayRef = Arc::new(arrow::array::Int64Array::from_iter_values(0..8192));
    let amounts: ArrayRef = Arc::new(arrow::array::Float64Array::from_iter_values((0..8192).map(f64::from)));
    RecordBatch::try_from_iter([("id", ids), ("amount", amounts)]).unwrap()
}

/// Each shipped operator with settings and something to do.
pub(crate) fn shipped_operators() -> Vec<(&'static str, &'static str, serde_json::Value, Vec<RecordBatch>)> {
    use serde_json::json;
    let pages = pages();
    let one = |name: &str, texts: &[String]| {
        let column: ArrayRef = Arc::new(StringArray::from_iter_values(texts));
        vec![RecordBatch::try_from_iter([(name, column)]).unwrap()]
    };
    let texts: Vec<String> = pages.iter().map(|page| without_tags(page)).collect();
    let documents: Vec<String> = texts
        .iter()
        .enumerate()
        .map(|(i, text)| json!({ "id": i, "title": "a page", "text": text, "tags": ["a", "b"] }).to_string())
        .collect();
    vec![
        ("html", "extract", json!({}), one("html", &pages)),
        ("html", "to_markdown", json!({}), one("html", &pages)),
        ("html", "select", json!({ "columns": { "title": "h1" } }), one("html", &pages)),
        ("text", "chunk", json!({ "size": 1000, "overlap": 100 }), one("text", &texts)),
        ("text", "detect_language", json!({}), one("text", &texts)),
        ("text", "normalize", json!({}), one("text", &texts)),
        (
            "json",
            "extract",
            json!({ "columns": { "title": "$.title", "id": { "path": "$.id", "type": "int64" } } }),
            one("json", &documents),
        ),
        ("json", "validate", json!({ "schema": { "required": ["title"] } }), one("json", &documents)),
    ]
}

/// Pages of the Book that comes with Rust, about a megabyte.
fn pages() -> Vec<String> {
    let sysroot = std::process::Command::new("rustc").args(["--print", "sysroot"]).output().expect("rustc is there");
    let sysroot = String::from_utf8(sysroot.stdout).expect("a path");
    let folder = std::path::Path::new(sysroot.trim()).join("share/doc/rust/html/book");
    let mut paths: Vec<_> = std::fs::read_dir(&folder)
        .unwrap_or_else(|e| panic!("{}: {e}; rustup's default profile brings it", folder.display()))
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|e| e == "html") && !path.ends_with("print.html"))
        .collect();
    paths.sort();
    let mut pages = Vec::new();
    for path in paths {
        pages.push(std::fs::read_to_string(path).expect("a page"));
        if pages.iter().map(String::len).sum::<usize>() > 1 << 20 {
            break;
        }
    }
    pages
}

/// Text enough for operators on texts.
fn without_tags(page: &str) -> String {
    let mut inside = false;
    page.chars()
        .filter(|c| {
            match c {
                '<' => inside = true,
                '>' => inside = false,
                _ => return !inside,
            }
            false
        })
        .collect()
}
