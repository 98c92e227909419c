//! The plugin `html`: text and structure of HTML pages.
//!
//! | operator | question | way |
//! | --- | --- | --- |
//! | [`text`](mod@text) | what does the page say? | one pass of a tokenizer ([`visible`]) |
//! | [`extract`](mod@extract) | what is the page about? | one tree, and the choice of its main content ([`page`], [`main_content`]) |
//! | [`select`](mod@select) | what do these elements say? | one tree, and CSS selectors on it ([`css`]) |
//! | [`to_markdown`](mod@to_markdown) | what does the page look like as Markdown? | one tree, made plain and then written ([`markdown`]) |
//!
//! The first three lay text out through [`flow`]. Start reading there.

pub mod css;
pub mod element;
pub mod extract;
pub mod flow;
pub mod main_content;
pub mod markdown;
mod markup;
pub mod page;
pub mod select;
pub mod text;
pub mod to_markdown;
mod tokens;
mod tree;
pub mod visible;

dflow_plugin::export!(
    plugin = "html",
    version = env!("CARGO_PKG_VERSION"),
    summary = "text and structure of HTML pages",
    operators = [text::Text, extract::Extract, select::Select, to_markdown::ToMarkdown]
);
