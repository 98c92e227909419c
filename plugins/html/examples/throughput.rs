//! Prints how many megabytes of markup a second the operators' functions take in, natively, on one core.
//!
//! `cargo run --release --example throughput -- FOLDER [MEGABYTES]`: all `.html` files below FOLDER (at most so many megabytes
//! of them), best of five rounds. Without a FOLDER the Rust Book of the toolchain's own documentation.

#![expect(clippy::print_stdout, reason = "a program for people")]

use std::path::{Path, PathBuf};
use std::time::Instant;

use html::flow::Flow;
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

fn measure(name: &str, bytes: usize, pages: &[String], work: impl Fn(&str, &mut Flow)) {
    let mut best = f64::INFINITY;
    let mut written = 0;
    for _ in 0..5 {
        let begin = Instant::now();
        let mut flow = Flow::with_capacity(bytes / 3);
        for page in pages {
            work(page, &mut flow);
            flow.finish();
        }
        best = best.min(begin.elapsed().as_secs_f64());
        written = flow.len();
    }
    println!("{name:8} {:6.1} MB/s, {:.1} MB of text", bytes as f64 / best / 1e6, written as f64 / 1e6);
}
