//! Pages that try to exhaust the guest: deep, huge, broken. Run on a stack of the size that guests have.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dflow_plugin::arrow::{ArrayRef, RecordBatch, StringArray};
use dflow_plugin::testing;
use html::markdown::{self, Style};
use html::select::Select;

/// The stack of a guest.
const STACK: usize = 1 << 20;
/// Far more than any of it takes, and far less than something quadratic would.
const LONGEST: Duration = Duration::from_secs(60);

fn on_a_small_stack(work: impl FnOnce() + Send + 'static) {
    let begin = Instant::now();
    std::thread::Builder::new().stack_size(STACK).spawn(work).expect("a thread").join().expect("no overflow");
    assert!(begin.elapsed() < LONGEST, "{:?}", begin.elapsed());
}

fn select(html: &str, settings: &str) -> usize {
    let column: ArrayRef = Arc::new(StringArray::from(vec![html]));
    let input = RecordBatch::try_from_iter([("html", column)]).expect("one column");
    testing::run::<Select>(settings, &input).expect("good settings").output.num_rows()
}

fn pages() -> Vec<(&'static str, String)> {
    let nested =
        |tag: &str, depth: usize| format!("{}x{}", format!("<{tag}>").repeat(depth), format!("</{tag}>").repeat(depth));
    let mut pages: Vec<(&str, String)> =
        ["ul><li", "ol><li", "blockquote", "b", "code", "pre", "table><tr><td", "span", "a href=x"]
            .into_iter()
            .map(|tag| (tag, nested(tag, 2_000)))
            .collect();
    pages.push(("deep", nested("div", 10_000)));
    pages.push(("10 MB of text", "word &amp; word ".repeat(700_000)));
    pages.push(("10 MB of a word", "x".repeat(10_000_000)));
    pages.push(("brackets", "<".repeat(1_000_000)));
    pages.push(("links", "<a href='x(y'>z</a>".repeat(200_000)));
    pages.push(("emphasis", "<b>x</b>".repeat(200_000)));
    pages.push(("rows", format!("<table>{}</table>", "<tr><td>a<td>b</tr>".repeat(100_000))));
    pages.push(("wide rows", format!("<table><tr><td colspan=1000>{}</table>", "<tr><td>a".repeat(100_000))));
    pages.push(("items", format!("<ul>{}</ul>", "<li>a<p>b".repeat(100_000))));
    pages.push(("siblings", "<p>x".repeat(100_000)));
    pages.push(("comments", "<!-- -- >".repeat(100_000)));
    pages
}

#[test]
fn markdown_of_anything() {
    for (name, html) in pages() {
        on_a_small_stack(move || {
            let begin = Instant::now();
            for main_content in [false, true] {
                markdown::write(&html, Style { main_content, ..Style::default() });
            }
            println!("{name}: {:?}", begin.elapsed());
        });
    }
}

#[test]
fn selection_of_anything() {
    for (name, html) in pages() {
        on_a_small_stack(move || {
            let begin = Instant::now();
            select(
                &html,
                r#"{"columns": {"a": "p:nth-child(7)", "b": {"css": "div > a[href]", "all": true}, "c": {"css": "li:not(p)", "html": true}}}"#,
            );
            select(&html, r#"{"rows": "tr, p, a", "columns": {"a": {}, "b": "td"}}"#);
            println!("{name}: {:?}", begin.elapsed());
        });
    }
}
