//! Prints how many megabytes of markup a second the operators' functions take in, natively, on one core.
//!
//! `cargo run --release --example throughput -- FOLDER [MEGABYTES]`: all `.html` files below FOLDER (at most so many megabytes
//! of them), best of five rounds. Without a FOLDER the Rust Book of the toolchain's own documentation.

#![expect(clippy::print_stdout, reason = "a program for people")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use dflow_plugin::arrow::{ArrayRef, RecordBatch, StringArray};
use dflow_plugin::testing;
use html::flow::Flow;
use html::markdown::{self, Style};
use html::select::Select;
use html::{page, visible};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().map_or_else(book, PathBuf::from);
    let limit =
        arguments.next().map_or(usize::MAX, |megabytes| megabytes.parse::<usize>().expect("a number") * 1_000_000);
    let mut pages = Vec::new();
    collect(&folder, limit, &mut pages);
    let bytes: usize = pages.iter().map(String::len).sum();
    println!("{} pages, {:.1} MB", pages.len(), bytes as f64 / 1e6);
    measure("text", bytes, &pages, |html, flow| visible::write(html, false, flow));
    measure("extract", bytes, &pages, |html, flow| drop(page::read(html, flow)));
    for (name, main_content) in [("to_markdown", false), ("to_markdown, main content", true)] {
        measure(name, bytes, &pages, |html, flow| {
            flow.text(markdown::write(html, Style { main_content, ..Style::default() }).as_bytes());
        });
    }
    let input: ArrayRef = Arc::new(StringArray::from_iter_values(&pages));
    let input = RecordBatch::try_from_iter([("html", input)]).expect("one column");
    for (name, settings) in [
        (
            "select, 3 columns",
            r#"{"columns": {"title": "h1", "links": {"css": "main a", "attr": "href", "all": true}, "code": "main > pre:nth-child(2)"}}"#,
        ),
        ("select, a row a link", r#"{"rows": "main a", "columns": {"href": {"attr": "href"}, "text": {}}}"#),
    ] {
        measure(name, bytes, &[""], |_, _| drop(testing::run::<Select>(settings, &input).expect("good settings")));
    }
}

fn book() -> PathBuf {
    let sysroot = std::process::Command::new("rustc").args(["--print", "sysroot"]).output().expect("rustc runs").stdout;
    Path::new(String::from_utf8_lossy(&sysroot).trim()).join("share/doc/rust/html/book")
}

fn collect(folder: &Path, limit: usize, pages: &mut Vec<String>) {
    let mut entries: Vec<_> =
        std::fs::read_dir(folder).expect("a folder").flatten().map(|entry| entry.path()).collect();
    entries.sort();
    for path in entries {
        if pages.iter().map(String::len).sum::<usize>() >= limit {
            return;
        }
        if path.is_dir() {
            collect(&path, limit, pages);
        } else if path.extension().is_some_and(|extension| extension == "html") {
            pages.extend(std::fs::read_to_string(&path));
        }
    }
}

fn measure(name: &str, bytes: usize, pages: &[impl AsRef<str>], work: impl Fn(&str, &mut Flow)) {
    let mut best = f64::INFINITY;
    let mut written = 0;
    for _ in 0..5 {
        let begin = Instant::now();
        let mut flow = Flow::with_capacity(bytes / 3);
        for page in pages {
            work(page.as_ref(), &mut flow);
            flow.finish();
        }
        best = best.min(begin.elapsed().as_secs_f64());
        written = flow.len();
    }
    println!("{name:26} {:6.1} MB/s, {:.1} MB of text", bytes as f64 / best / 1e6, written as f64 / 1e6);
}
