//! What a page says about itself and what its main content holds, from one tree.

use dom_query::{Document, Element, NodeData, NodeRef};

use crate::element::Layout;
use crate::flow::{Flow, one_line};
use crate::tree::{self, Visitor, walk};
use crate::{main_content, visible};

/// A heading of the main content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heading {
    /// 1 for `<h1>` to 6 for `<h6>`.
    pub level: u8,
    /// Its text on one line.
    pub text: String,
    /// Its `id`, or that of an anchor in it: what `#` in a link to it is followed by.
    pub id: Option<String>,
}

/// A link of the main content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Where it leads, as written: not resolved against the page's address, which is not known here.
    pub href: String,
    /// Its text on one line; empty for a picture.
    pub text: String,
}

/// What was read from a page, its text excepted, which is in the flow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The document's title, or the first heading of the highest level where it has none.
    pub title: Option<String>,
    /// The language that the markup names, such as `en` or `pt-BR`.
    pub language: Option<String>,
    /// The canonical address, as written.
    pub canonical: Option<String>,
    /// Headings in the order of the text, empty ones left out.
    pub headings: Vec<Heading>,
    /// Links in the order of the text.
    pub links: Vec<Link>,
}

/// Reads a page: its main content's text goes into `flow`, whose current document is left unfinished and is empty only when
/// nothing of the page is visible.
pub fn read(html: &str, flow: &mut Flow) -> Page {
    let document = tree::parse(html);
    let mut page = about(&document);
    let content = main_content::write(document, flow);
    if flow.is_empty() {
        // A page of nothing but navigation.
        visible::write(html, false, flow);
    }
    page.headings = content.headings;
    page.links = content.links;
    if page.title.is_none() {
        page.title = page.headings.iter().min_by_key(|heading| heading.level).map(|heading| heading.text.clone());
    }
    page
}

/// What the page says about itself.
fn about(document: &Document) -> Page {
    let mut page = Page::default();
    // In the order of trust: `lang` of the root, then what `<meta>` says.
    let mut meta_language = None;
    for node in document.root().descendants_it() {
        node.query(|node| {
            let NodeData::Element(element) = &node.data else { return };
            if !is_html(element) {
                return;
            }
            match &*element.name.local {
                "html" => page.language = attribute(element, "lang").or_else(|| attribute(element, "xml:lang")),
                "title" if page.title.is_none() => page.title = filled(&text_of(document, node.id)),
                "link" if page.canonical.is_none() && has_word(element, "rel", "canonical") => {
                    page.canonical = attribute(element, "href");
                }
                "meta" if meta_language.is_none() => {
                    let named = ["http-equiv", "name", "property"].iter().any(|key| {
                        let names = ["content-language", "language", "og:locale"];
                        attribute(element, key)
                            .is_some_and(|name| names.iter().any(|known| name.eq_ignore_ascii_case(known)))
                    });
                    if named {
                        meta_language = attribute(element, "content").map(|language| language.replace('_', "-"));
                    }
                }
                _ => {}
            }
        });
    }
    page.language = page.language.or(meta_language);
    page
}

fn text_of(document: &Document, id: dom_query::NodeId) -> String {
    NodeRef::new(id, &document.tree).text().to_string()
}

/// Text on one line, if there is any.
fn filled(text: &str) -> Option<String> {
    Some(one_line(text)).filter(|line| !line.is_empty())
}

/// Whether an element is one of HTML, not of SVG or MathML.
pub(crate) fn is_html(element: &Element) -> bool {
    &*element.name.ns == "http://www.w3.org/1999/xhtml"
}

/// The value of an attribute, trimmed, if there is any.
pub(crate) fn attribute(element: &Element, name: &str) -> Option<String> {
    raw_attribute(element, name).map(str::trim).filter(|value| !value.is_empty()).map(str::to_owned)
}

/// The value of an attribute as written.
pub(crate) fn raw_attribute<'a>(element: &'a Element, name: &str) -> Option<&'a str> {
    element.attrs.iter().find(|attribute| &*attribute.name.local == name).map(|attribute| &*attribute.value)
}

/// Whether an attribute that is a list of words has this one.
pub(crate) fn has_word(element: &Element, name: &str, word: &str) -> bool {
    raw_attribute(element, name)
        .is_some_and(|words| words.split_ascii_whitespace().any(|given| given.eq_ignore_ascii_case(word)))
}

/// What a part of a page holds, its text excepted.
#[derive(Debug, Default)]
pub(crate) struct Content {
    pub(crate) headings: Vec<Heading>,
    pub(crate) links: Vec<Link>,
}

/// Writes the text below `root` without what stands beside its content, and collects its headings and links.
pub(crate) fn write(root: NodeRef<'_>, flow: &mut Flow) -> Content {
    let mut reading = Reading { flow, everything: false, open: Vec::new(), content: Content::default() };
    walk(root, &mut reading);
    reading.content
}

/// Writes all visible text below `root`.
pub(crate) fn write_text(root: NodeRef<'_>, flow: &mut Flow) {
    walk(root, &mut Reading { flow, everything: true, open: Vec::new(), content: Content::default() });
}

/// A walk that writes text.
struct Reading<'flow> {
    flow: &'flow mut Flow,
    /// Whether what stands beside the content is written too.
    everything: bool,
    open: Vec<Open>,
    content: Content,
}

/// An element that was entered and not left yet.
struct Open {
    layout: Layout,
    mark: Mark,
    /// How much was written when it was entered.
    start: usize,
}

/// What becomes of the text of an element.
enum Mark {
    Nothing,
    Heading(u8, Option<String>),
    Link(String),
}

impl<'a> Visitor<'a> for Reading<'_> {
    fn enter(&mut self, node: &NodeRef<'a>) -> bool {
        node.query_or(false, |inner| {
            let element = match &inner.data {
                NodeData::Text { contents } => {
                    self.flow.text(contents.as_bytes());
                    return false;
                }
                NodeData::Document | NodeData::Fragment => {
                    self.open.push(Open { layout: Layout::Inline, mark: Mark::Nothing, start: self.flow.len() });
                    return true;
                }
                NodeData::Element(element) => element,
                _ => return false,
            };
            let name = element.name.local.as_bytes();
            let layout = Layout::of(name);
            let is_beside = || main_content::is_beside(element) || is_permalink(element, node);
            if layout == Layout::Hidden || (!self.everything && is_beside()) {
                return false;
            }
            layout.open(self.flow);
            let mark = match name {
                _ if self.everything => Mark::Nothing,
                [b'h', level @ b'1'..=b'6'] => Mark::Heading(level - b'0', attribute(element, "id")),
                b"a" => link(element, &mut self.open),
                _ => Mark::Nothing,
            };
            self.open.push(Open { layout, mark, start: self.flow.len() });
            true
        })
    }

    fn leave(&mut self) {
        let element = self.open.pop().expect("what is left was entered");
        let text = || one_line(&String::from_utf8_lossy(self.flow.since(element.start)));
        match element.mark {
            Mark::Nothing => {}
            Mark::Heading(level, id) => {
                let text = text();
                if !text.is_empty() {
                    self.content.headings.push(Heading { level, text, id });
                }
            }
            Mark::Link(href) => self.content.links.push(Link { href, text: text() }),
        }
        element.layout.close(self.flow);
    }
}

/// What an `<a>` means inside of the elements that are open.
fn link(element: &Element, open: &mut [Open]) -> Mark {
    let href = attribute(element, "href");
    if let Some(Open { mark: Mark::Heading(_, id), .. }) = open.last_mut() {
        if id.is_none() {
            *id = attribute(element, "id").or_else(|| attribute(element, "name"));
        }
        // A heading that links to itself.
        if href.as_ref().is_some_and(|href| href.starts_with('#')) {
            return Mark::Nothing;
        }
    }
    href.map_or(Mark::Nothing, Mark::Link)
}

/// Whether a link is the little sign beside a heading that leads to itself.
pub(crate) fn is_permalink(element: &Element, node: &NodeRef<'_>) -> bool {
    &*element.name.local == "a"
        && raw_attribute(element, "href").is_some_and(|href| href.starts_with('#'))
        && node.first_child().is_some_and(|child| {
            child.query_or(false, |child| match &child.data {
                NodeData::Text { contents } => matches!(contents.trim(), "§" | "¶" | "#" | "🔗"),
                _ => false,
            })
        })
}
