//! A page's tree: `html5gum` reads the markup, `html5ever`'s tree builder makes the tree.
//!
//! `html5ever` has a tokenizer of its own, which takes its characters one by one out of a queue: in the sandbox that was half of
//! the time of a tree. Both follow the HTML standard, and the trees are the same. What stands in the markup as it is meant
//! isn't copied: the tree's texts and attributes are parts of one buffer.

use std::borrow::Cow;
use std::convert::Infallible;

use dom_query::{Document, NodeId};
use html5ever::tendril::StrTendril;
use html5ever::tokenizer::states::RawKind;
use html5ever::tokenizer::{Doctype, Tag, TagKind, Token, TokenSink, TokenSinkResult};
use html5ever::tree_builder::{TreeBuilder, TreeBuilderOpts, TreeSink};
use html5ever::{Attribute, LocalName, QualName, ns};
use html5gum::{Emitter, Error, State, Tokenizer};

use crate::markup::Markup;

/// The tree of a page as a browser without scripts sees it. Any input is some tree.
pub(crate) fn tree(html: &str) -> Document {
    let html = html.strip_prefix('\u{feff}').unwrap_or(html);
    let options = TreeBuilderOpts { scripting_enabled: false, ..TreeBuilderOpts::default() };
    let builder = TreeBuilder::new(Document::default(), options);
    let tokens = Tokens {
        builder: &builder,
        markup: Source { html, buffer: StrTendril::from_slice(html) },
        text: Run::default(),
        foreign: false,
        tag: None,
        name: Vec::new(),
        attribute: None,
        last_start: LocalName::default(),
        comment: Vec::new(),
        doctype: [None, None, None],
        force_quirks: false,
    };
    let Ok(()) = Tokenizer::new_with_emitter(Markup(html.as_bytes()), tokens).finish();
    builder.sink.finish()
}

/// What the tokenizer has read of the token that comes next.
struct Tokens<'a> {
    builder: &'a TreeBuilder<NodeId, Document>,
    markup: Source<'a>,
    /// Characters that no token has ended yet.
    text: Run,
    /// Whether they may be of a CDATA section, where U+0000 stands among others.
    foreign: bool,
    tag: Option<Tag>,
    /// The name of the tag, or of its attribute, that is being read.
    name: Vec<u8>,
    /// The value of the attribute that is being read, if one is.
    attribute: Option<Run>,
    /// The last start tag, which ends raw text.
    last_start: LocalName,
    comment: Vec<u8>,
    /// Name, public and system identifier of the doctype that is being read.
    doctype: [Option<Vec<u8>>; 3],
    force_quirks: bool,
}

/// The markup, and the same once more as what tendrils are parts of.
struct Source<'a> {
    html: &'a str,
    buffer: StrTendril,
}

impl Source<'_> {
    /// Where in the markup these bytes stand; `None` if they are others.
    fn position(&self, bytes: &[u8]) -> Option<u32> {
        let at = bytes.as_ptr().addr().checked_sub(self.html.as_ptr().addr())?;
        (at + bytes.len() <= self.html.len()).then(|| u32::try_from(at).ok()).flatten()
    }
}

/// Bytes that are read piece by piece.
#[derive(Default)]
enum Run {
    #[default]
    Empty,
    /// A piece of the markup.
    Part { start: u32, length: u32 },
    /// What doesn't stand there like this, such as character references.
    Own(Vec<u8>),
}

impl Run {
    fn push(&mut self, bytes: &[u8], source: &Source<'_>) {
        let own = match self {
            Self::Own(own) => own,
            Self::Empty => {
                *self = match source.position(bytes) {
                    Some(start) => Self::Part { start, length: bytes.len() as u32 },
                    None => Self::Own(bytes.to_vec()),
                };
                return;
            }
            Self::Part { start, length } => {
                if source.position(bytes) == Some(*start + *length) {
                    *length += bytes.len() as u32;
                    return;
                }
                let part = &source.html.as_bytes()[*start as usize..(*start + *length) as usize];
                *self = Self::Own(part.to_vec());
                let Self::Own(own) = self else { return };
                own
            }
        };
        own.extend_from_slice(bytes);
    }

    /// What was read, as text; nothing is left.
    fn take(&mut self, source: &Source<'_>) -> Option<StrTendril> {
        match std::mem::take(self) {
            Self::Empty => None,
            Self::Part { start, length } => Some(
                source
                    .buffer
                    .try_subtendril(start, length)
                    .unwrap_or_else(|_| text_of(&source.html.as_bytes()[start as usize..(start + length) as usize])),
            ),
            Self::Own(own) => Some(text_of(&own)),
        }
    }
}

/// These bytes as text: quick where they are text, and they are unless the tokenizer cut a character in two.
fn utf8(bytes: &[u8]) -> Cow<'_, str> {
    std::str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed)
}

fn text_of(bytes: &[u8]) -> StrTendril {
    StrTendril::from_slice(&utf8(bytes))
}

fn name_of(bytes: &[u8]) -> LocalName {
    LocalName::from(utf8(bytes))
}

impl Tokens<'_> {
    /// Gives a token to the tree builder; how the tokenizer goes on, if not as usual.
    fn give(&self, token: Token) -> Option<State> {
        match self.builder.process_token(token, 1) {
            TokenSinkResult::RawData(RawKind::Rcdata) => Some(State::RcData),
            TokenSinkResult::RawData(RawKind::Rawtext) => Some(State::RawText),
            TokenSinkResult::RawData(RawKind::ScriptData | RawKind::ScriptDataEscaped(_)) => Some(State::ScriptData),
            TokenSinkResult::Plaintext => Some(State::PlainText),
            TokenSinkResult::Continue | TokenSinkResult::Script(_) | TokenSinkResult::EncodingIndicator(_) => None,
        }
    }

    /// Gives the characters that have been read.
    fn end_text(&mut self) {
        let Some(text) = self.text.take(&self.markup) else { return };
        if std::mem::take(&mut self.foreign) && text.contains('\0') {
            for (i, part) in text.split('\0').enumerate() {
                if i > 0 {
                    self.give(Token::NullCharacterToken);
                }
                if !part.is_empty() {
                    self.give(Token::CharacterTokens(StrTendril::from_slice(part)));
                }
            }
        } else {
            self.give(Token::CharacterTokens(text));
        }
    }

    fn init_tag(&mut self, kind: TagKind) {
        self.name.clear();
        self.tag = Some(Tag {
            kind,
            name: LocalName::default(),
            self_closing: false,
            attrs: Vec::new(),
            had_duplicate_attributes: false,
        });
    }

    /// What was read since the tag began, or since its last attribute, belongs to the tag.
    fn end_part(&mut self) {
        let Some(tag) = &mut self.tag else { return };
        let name = name_of(&self.name);
        self.name.clear();
        match &mut self.attribute {
            None => tag.name = name,
            Some(value) => {
                let value = value.take(&self.markup).unwrap_or_default();
                // The first of several alike counts.
                if tag.attrs.iter().any(|attribute| attribute.name.local == name) {
                    tag.had_duplicate_attributes = true;
                } else if tag.kind == TagKind::StartTag {
                    tag.attrs.push(Attribute { name: QualName::new(None, ns!(), name), value });
                }
            }
        }
    }
}

impl Emitter for Tokens<'_> {
    type Token = Infallible;

    fn set_last_start_tag(&mut self, last_start_tag: Option<&[u8]>) {
        self.last_start = name_of(last_start_tag.unwrap_or_default());
    }

    fn emit_string(&mut self, text: &[u8]) {
        if text == b"\0" {
            self.end_text();
            self.give(Token::NullCharacterToken);
        } else {
            self.text.push(text, &self.markup);
        }
    }

    fn init_start_tag(&mut self) {
        self.init_tag(TagKind::StartTag);
    }

    fn init_end_tag(&mut self) {
        self.init_tag(TagKind::EndTag);
    }

    fn push_tag_name(&mut self, name: &[u8]) {
        self.name.extend_from_slice(name);
    }

    fn init_attribute(&mut self) {
        self.end_part();
        self.attribute = Some(Run::Empty);
    }

    fn push_attribute_name(&mut self, name: &[u8]) {
        self.name.extend_from_slice(name);
    }

    fn push_attribute_value(&mut self, value: &[u8]) {
        if let Some(run) = &mut self.attribute {
            run.push(value, &self.markup);
        }
    }

    fn set_self_closing(&mut self) {
        if let Some(tag) = &mut self.tag {
            tag.self_closing = true;
        }
    }

    fn emit_current_tag(&mut self) -> Option<State> {
        self.end_part();
        self.attribute = None;
        let tag = self.tag.take()?;
        self.end_text();
        if tag.kind == TagKind::StartTag {
            self.last_start = tag.name.clone();
        }
        self.give(Token::TagToken(tag))
    }

    fn current_is_appropriate_end_tag_token(&mut self) -> bool {
        let end = self.tag.as_ref().is_some_and(|tag| tag.kind == TagKind::EndTag);
        end && !self.last_start.is_empty() && self.last_start.as_bytes() == self.name
    }

    fn adjusted_current_node_present_but_not_in_html_namespace(&mut self) -> bool {
        // The tree is to be as far as the tokenizer is.
        self.end_text();
        self.foreign = self.builder.adjusted_current_node_present_but_not_in_html_namespace();
        self.foreign
    }

    fn init_comment(&mut self) {
        self.comment.clear();
    }

    fn push_comment(&mut self, text: &[u8]) {
        self.comment.extend_from_slice(text);
    }

    fn emit_current_comment(&mut self) {
        self.end_text();
        self.give(Token::CommentToken(text_of(&self.comment)));
    }

    fn init_doctype(&mut self) {
        self.doctype = [None, None, None];
        self.force_quirks = false;
    }

    fn push_doctype_name(&mut self, name: &[u8]) {
        self.doctype[0].get_or_insert_default().extend_from_slice(name);
    }

    fn set_doctype_public_identifier(&mut self, value: &[u8]) {
        self.doctype[1] = Some(value.to_vec());
    }

    fn push_doctype_public_identifier(&mut self, value: &[u8]) {
        self.doctype[1].get_or_insert_default().extend_from_slice(value);
    }

    fn set_doctype_system_identifier(&mut self, value: &[u8]) {
        self.doctype[2] = Some(value.to_vec());
    }

    fn push_doctype_system_identifier(&mut self, value: &[u8]) {
        self.doctype[2].get_or_insert_default().extend_from_slice(value);
    }

    fn set_force_quirks(&mut self) {
        self.force_quirks = true;
    }

    fn emit_current_doctype(&mut self) {
        self.end_text();
        let [name, public_id, system_id] = std::mem::take(&mut self.doctype).map(|part| part.as_deref().map(text_of));
        self.give(Token::DoctypeToken(Doctype { name, public_id, system_id, force_quirks: self.force_quirks }));
    }

    fn emit_eof(&mut self) {
        self.end_text();
        self.give(Token::EOFToken);
        self.builder.end();
    }

    fn should_emit_errors(&mut self) -> bool {
        false
    }

    fn pop_token(&mut self) -> Option<Infallible> {
        None
    }

    fn emit_error(&mut self, _error: Error) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tree as html5ever makes it by itself.
    fn by_itself(html: &str) -> String {
        Document::from(html).html().to_string()
    }

    #[test]
    fn trees_are_those_of_html5ever() {
        for html in [
            "",
            "\u{feff}<p>x",
            "a&amp;b &notin; &notit; &#x41;&#0; &é &",
            "<!DOCTYPE html PUBLIC \"-//W3C//DTD HTML 4.01//EN\" 'x'><!doctype é><table><p>a",
            "<!doctype html SYSTEM 'about:legacy-compat'><!--a--b--!><!-- - --><?x?></ x>",
            "<P ID=a id=b CLASS='x &lt; y' data-é=\"a\nb\r\nc\" hidden/>a\r\nb\rc<br/>d</P x=y>",
            "<title>a<b>&amp;</title><textarea>\n\n</p></TEXTAREA><script>a</b '<!--<script></script>--></script>b",
            "<svg><title>a<b>c</b></title><![CDATA[x<y\0z]]]]>\0</svg><math><mi>a<p>b</math><![CDATA[no]]>",
            "<table>a<tr>b<td>c<table>d</table>\0e</td>f</table>g",
            "<b><i>a</b>b</i><a href=x>c<a href=y>d<div></a>e<template><td>x</template>",
            "<style>p > a {}</style ><xmp></p></xmp><iframe><b></iframe><noscript><p>x</noscript><plaintext></p>",
            "a\0b<p>\0<select><option>a<p>b<option>c</select><frameset>",
            "<a b='x\0y' c=\0 \0=d>e</a\0><a\0b>f<\u{e9}g<1></\u{e9}></>",
            "<div a=1 b=&gt;é&eacute c>text that is longer than eight bytes &amp; goes on é</div><pre>\n\nx</pre>",
        ] {
            for end in 0..=html.len() {
                let Some(html) = html.get(..end) else { continue };
                assert_eq!(*tree(html).html(), *by_itself(html), "{html}");
            }
        }
    }

    #[test]
    fn trees_of_random_markup_are_those_of_html5ever() {
        const PIECES: &str = concat!(
            "<|>|</|/>|&|&amp|&lt;|&#|&#x0;|;|=|'|\"| |\n|\r|\r\n|\0|x|é|\u{1f600}|--|-->|<!--|<!|",
            "<!doctype html>|<![CDATA[|]]>|<?|p|<p>|</p>|<b>|</b>|<i>|</i>|<a href=x>|<a b='c' B=d>|</a>|",
            "<table>|<tr>|<td>|</table>|<svg>|</svg>|<math>|<mi>|<title>|</title>|<script>|</script|<style>|",
            "</style>|<textarea>|<template>|</template>|<select>|<option>|<pre>|<li>|<form>|<body c>|",
            "<frameset>|a word of a text ",
        );
        let pieces: Vec<&str> = PIECES.split('|').collect();
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..20_000 {
            let mut html = String::new();
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            for _ in 0..1 + (state >> 59) {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                html.push_str(pieces[(state >> 33) as usize % pieces.len()]);
            }
            assert_eq!(*tree(&html).html(), *by_itself(&html), "{html:?}");
        }
    }
}
