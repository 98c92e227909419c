//! Prints how many megabytes of text a second the operators' functions take in, natively, on one core.
//!
//! `cargo run --release --example text_throughput -- FILE`: FILE is cut into documents of about 20 KB, best of three rounds.

#![expect(clippy::print_stdout, reason = "a program for people")]

use std::sync::Arc;
use std::time::Instant;

use dflow_plugin::arrow::{ArrayRef, RecordBatch, StringArray};
use dflow_plugin::testing;
use text::detect_language::DetectLanguage;
use text::measure::Unit;
use text::normalize::Settings;
use text::split::{By, Cut};
use text::tokens::Encoding;
use text_splitter::TextSplitter;

fn main() {
    let file = std::env::args().nth(1).expect("the first argument is a file of text");
    let text = std::fs::read_to_string(file).expect("a file of UTF-8 text");
    let mut documents = Vec::new();
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (document, after) = rest.split_at(rest.floor_char_boundary(20_000));
        documents.push(document);
        rest = after;
    }
    let cut = |size, unit, by| Cut { size, overlap: 0, unit, encoding: Encoding::default(), by, trim: true };
    Encoding::default().tokens();
    for (name, cut) in [
        ("1000 characters", cut(1000, Unit::Characters, By::Text)),
        ("1000 characters, overlap 100", Cut { overlap: 100, ..cut(1000, Unit::Characters, By::Text) }),
        ("1000 characters, markdown", cut(1000, Unit::Characters, By::Markdown)),
        ("200 words", cut(200, Unit::Words, By::Text)),
        ("10 sentences", cut(10, Unit::Sentences, By::Text)),
        ("256 tokens", cut(256, Unit::Tokens, By::Text)),
    ] {
        measure(name, &documents, |document| {
            let mut chunks = 0;
            cut.chunks(document, |_, _| chunks += 1);
            chunks
        });
    }
    let mut out = String::new();
    measure("normalize", &documents, |document| {
        out.clear();
        Settings::default().write(document, &mut out);
        1
    });
    for (name, size) in [("detect_language, 20 KB a row", 20_000), ("detect_language, 100 bytes a row", 100)] {
        let rows = documents.iter().map(|document| &document[..document.floor_char_boundary(size)]);
        let rows: Vec<_> = rows.take(20_000_000 / size).collect();
        let column: ArrayRef = Arc::new(StringArray::from(rows.clone()));
        let input = RecordBatch::try_from_iter([("text", column)]).expect("one column");
        let all = rows.concat();
        measure(name, &[&all], |_| testing::run::<DetectLanguage>("{}", &input).expect("good settings").parents.len());
    }
    measure("1000 characters, text-splitter", &documents, |document| TextSplitter::new(1000).chunks(document).count());
    let whole = cut(1000, Unit::Characters, By::Text);
    measure("1000 characters, one document", &[&text], |document| {
        let mut chunks = 0;
        whole.chunks(document, |_, _| chunks += 1);
        chunks
    });
}

fn measure(name: &str, documents: &[&str], mut work: impl FnMut(&str) -> usize) {
    let bytes: usize = documents.iter().map(|document| document.len()).sum();
    let (mut best, mut results) = (f64::INFINITY, 0);
    for _ in 0..3 {
        let begin = Instant::now();
        results = documents.iter().map(|document| work(document)).sum();
        best = best.min(begin.elapsed().as_secs_f64());
    }
    println!("{name:32} {:7.1} MB/s, {results} results", bytes as f64 / best / 1e6);
}
