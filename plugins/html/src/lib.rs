//! The plugin `html`: text and structure of HTML pages.
//!
//! | operator | question | way |
//! | --- | --- | --- |
//! | [`text`](mod@text) | what does the page say? | one pass of a tokenizer ([`visible`]) |
//! | [`extract`](mod@extract) | what is the page about? | one tree, and the choice of its main content ([`page`], [`main_content`]) |
//!
//! Both lay text out through [`flow`]. Start reading there.

pub mod element;
pub mod extract;
pub mod flow;
pub mod main_content;
pub mod page;
pub mod text;
pub mod visible;

dflow_plugin::export!(
    plugin = "html",
    version = env!("CARGO_PKG_VERSION"),
    summary = "text and structure of HTML pages",
    operators = [text::Text, extract::Extract]
);
