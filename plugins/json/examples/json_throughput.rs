//! Prints how many megabytes of JSON a second `json/extract` takes in, natively, on one core.
//!
//! `cargo run --release --example json_throughput`: rows of about 1 KB and of about 100 KB, best of five rounds.

#![expect(clippy::print_stdout, reason = "a program for people")]

use std::sync::Arc;
use std::time::Instant;

use dflow_plugin::arrow::{ArrayRef, RecordBatch, StringArray};
use dflow_plugin::testing;
use json::Extract;

const COLUMNS: &str = r#"{"columns": {
    "name": "$.user.name",
    "id": {"path": "$.user.id", "type": "int64"},
    "at": {"path": "$.at", "type": "timestamp"},
    "tags": {"path": "$.tags[*]", "type": "list<utf8>"},
    "prices": {"path": "$..price", "type": "list<float64>"},
    "cheap": {"path": "$.items[?@.price < 10].name", "type": "list<utf8>"},
    "user": {"path": "$.user", "type": "json"}
}}"#;

fn main() {
    for (items, rows) in [(8, 20_000), (1_000, 200)] {
        let rows: Vec<_> = (0..rows).map(|row| document(row, items)).collect();
        let bytes: usize = rows.iter().map(String::len).sum();
        let column: ArrayRef = Arc::new(StringArray::from(rows));
        let count = column.len();
        let input = RecordBatch::try_from_iter([("json", column)]).expect("one column");
        for (name, settings) in [("7 columns", COLUMNS), ("1 column", r#"{"columns": {"name": "$.user.name"}}"#)] {
            let mut best = f64::INFINITY;
            for _ in 0..5 {
                let begin = Instant::now();
                let ran = testing::run::<Extract>(settings, &input).expect("good settings");
                best = best.min(begin.elapsed().as_secs_f64());
                assert_eq!(ran.parents.len(), count);
            }
            println!("{:7} bytes a row, {name:9} {:6.1} MB/s", bytes / count, bytes as f64 / best / 1e6);
        }
    }
}

fn document(row: usize, items: usize) -> String {
    let items: Vec<_> = (0..items)
        .map(|item| {
            let price = (row * 7 + item * 13) % 300;
            format!(r#"{{"name": "item number {item}", "price": {price}.25, "in_stock": true, "note": "a few words of text"}}"#)
        })
        .collect();
    format!(
        r#"{{"user": {{"id": {row}, "name": "user {row}", "mail": "user{row}@example.org"}}, "at": "2024-02-29T12:00:00Z",
           "tags": ["alpha", "beta", "gamma"], "items": [{}]}}"#,
        items.join(", ")
    )
}
