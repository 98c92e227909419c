//! Visible text in one pass over the markup, without a tree.
//!
//! `html5gum` is a tokenizer after the HTML standard; its [`Emitter`] is implemented here so that text goes straight from
//! the input into the [`Flow`] and attributes, comments and doctypes are not even stored. Without a tree there are no implied
//! end tags and no adoption of misnested elements: layout needs neither. What the tree builder would tell the tokenizer (where
//! raw text begins) follows from the element's name.

use std::convert::Infallible;

use html5gum::{Emitter, Error, State, Tokenizer};

use crate::element::Layout;
use crate::flow::Flow;
use crate::markup::Markup;

/// Writes the visible text of `html` into `flow`, with the document's title as its first paragraph if `title` says so.
///
/// Any input gives some text; the current document of `flow` is left unfinished.
pub fn write(html: &str, title: bool, flow: &mut Flow) {
    let tags =
        Tags { flow, title, name: Vec::new(), last_start: Vec::new(), end: false, self_closing: false, hidden: None };
    let Ok(()) = Tokenizer::new_with_emitter(Markup(html.as_bytes()), tags).finish();
}

/// Follows the tags of one document.
struct Tags<'flow> {
    flow: &'flow mut Flow,
    /// Whether the title is wanted and has not come yet.
    title: bool,
    /// The name of the tag that is being read.
    name: Vec<u8>,
    /// The last start tag's name while it may be the one that raw text ends with.
    last_start: Vec<u8>,
    /// Whether the tag that is being read is an end tag.
    end: bool,
    self_closing: bool,
    hidden: Option<Hidden>,
}

/// The outermost element that is open and never shown.
struct Hidden {
    name: Vec<u8>,
    /// How many elements of this name are open, itself among them.
    depth: u32,
}

impl Tags<'_> {
    fn start(&mut self) -> Option<State> {
        match &mut self.hidden {
            Some(hidden) => {
                if hidden.name == self.name && !self.self_closing {
                    hidden.depth = hidden.depth.saturating_add(1);
                }
            }
            None => match Layout::of(&self.name) {
                Layout::Hidden if self.title && self.name == b"title" => self.flow.empty_line(),
                // Only foreign elements can close themselves; elsewhere the slash means nothing.
                Layout::Hidden if self.self_closing && self.name == b"svg" => {}
                Layout::Hidden => self.hidden = Some(Hidden { name: self.name.clone(), depth: 1 }),
                layout => layout.open(self.flow),
            },
        }
        std::mem::swap(&mut self.last_start, &mut self.name);
        raw_text(&self.last_start)
    }

    fn end(&mut self) {
        self.last_start.clear();
        match &mut self.hidden {
            Some(hidden) => {
                if hidden.name == self.name {
                    hidden.depth -= 1;
                    if hidden.depth == 0 {
                        self.hidden = None;
                    }
                }
            }
            None => match Layout::of(&self.name) {
                Layout::Hidden if self.title && self.name == b"title" => {
                    self.title = false;
                    self.flow.empty_line();
                }
                // `</br>` is a `<br>`, and `</p>` alone is an empty paragraph.
                Layout::Break => self.flow.line_break(),
                layout => layout.close(self.flow),
            },
        }
    }
}

/// How the tokenizer goes on after the start tag `name`, if not as usual.
fn raw_text(name: &[u8]) -> Option<State> {
    match name {
        b"title" | b"textarea" => Some(State::RcData),
        b"style" | b"xmp" | b"iframe" | b"noembed" | b"noframes" | b"noscript" => Some(State::RawText),
        b"script" => Some(State::ScriptData),
        b"plaintext" => Some(State::PlainText),
        _ => None,
    }
}

impl Emitter for Tags<'_> {
    type Token = Infallible;

    fn set_last_start_tag(&mut self, last_start_tag: Option<&[u8]>) {
        self.last_start.clear();
        self.last_start.extend_from_slice(last_start_tag.unwrap_or_default());
    }

    fn emit_string(&mut self, text: &[u8]) {
        if self.hidden.is_none() {
            self.flow.text(text);
        }
    }

    fn init_start_tag(&mut self) {
        self.name.clear();
        self.end = false;
        self.self_closing = false;
    }

    fn init_end_tag(&mut self) {
        self.name.clear();
        self.end = true;
    }

    fn push_tag_name(&mut self, name: &[u8]) {
        self.name.extend_from_slice(name);
    }

    fn set_self_closing(&mut self) {
        self.self_closing = true;
    }

    fn emit_current_tag(&mut self) -> Option<State> {
        if self.end {
            self.end();
            None
        } else {
            self.start()
        }
    }

    fn current_is_appropriate_end_tag_token(&mut self) -> bool {
        self.end && !self.last_start.is_empty() && self.last_start == self.name
    }

    fn should_emit_errors(&mut self) -> bool {
        false
    }

    fn pop_token(&mut self) -> Option<Infallible> {
        None
    }

    fn emit_eof(&mut self) {}
    fn emit_error(&mut self, _error: Error) {}
    fn init_comment(&mut self) {}
    fn emit_current_comment(&mut self) {}
    fn emit_current_doctype(&mut self) {}
    fn set_force_quirks(&mut self) {}
    fn push_comment(&mut self, _text: &[u8]) {}
    fn push_doctype_name(&mut self, _name: &[u8]) {}
    fn init_doctype(&mut self) {}
    fn init_attribute(&mut self) {}
    fn push_attribute_name(&mut self, _name: &[u8]) {}
    fn push_attribute_value(&mut self, _value: &[u8]) {}
    fn set_doctype_public_identifier(&mut self, _value: &[u8]) {}
    fn set_doctype_system_identifier(&mut self, _value: &[u8]) {}
    fn push_doctype_public_identifier(&mut self, _value: &[u8]) {}
    fn push_doctype_system_identifier(&mut self, _value: &[u8]) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn visible(html: &str) -> String {
        let mut flow = Flow::with_capacity(0);
        write(html, false, &mut flow);
        flow.finish();
        String::from_utf8(flow.into_bytes()).expect("text stays text")
    }

    #[test]
    fn what_is_hidden_ends_where_a_browser_says() {
        for (html, text) in [
            ("a<script>if (a</b) '</p>'</script>b", "ab"),
            ("a<script><!--<script></script>--></script>b", "ab"),
            ("a<style>p > a {}</style >b", "ab"),
            ("a<template><template>x</template>y</template>b", "ab"),
            ("a<svg/>b<svg><title>x</title><svg></svg></svg>c", "abc"),
            ("a<noscript><p>x</noscript>b", "ab"),
            ("a<noframes></p>x</noframes>b", "ab"),
            ("a<textarea></p>x</TEXTAREA>b", "ab"),
            ("a<script>never closed", "a"),
            ("</script>a</template>", "a"),
        ] {
            assert_eq!(visible(html), text, "{html}");
        }
    }

    #[test]
    fn any_bytes_give_some_text() {
        // Prefixes of awkward markup: each ends inside another state of the tokenizer.
        let html = "<!DOCTYPE html PUBLIC \"a\"><p a='b' c=\"d\" e=f/>&amp;&#x41;&notin; é😀\0<![CDATA[x]]><!-- a --!><?x?></p x><pre>\n a\r\n</pre>";
        for end in 0..=html.len() {
            if let Some(html) = html.get(..end) {
                visible(html);
            }
        }
        assert_eq!(visible(html), "&A∉ é😀\n\n a");
    }
}
