//! Which part of a page is its main content.
//!
//! Pages that mark it are believed: `<main>`, `role="main"`, an only `<article>`, the customary ids. Readability's guess would be
//! slower and, on pages of documentation, worse: it takes lists of linked names for navigation. It is asked where nothing is
//! marked and the page is long enough to have anything beside its content, and no book.

use dom_query::{Document, Element, NodeData, NodeId, NodeRef};
use dom_smoothie::{Config, Readability};

use crate::flow::Flow;
use crate::page::{self, Content, has_word, is_html, raw_attribute};
use crate::tokens;

/// Below so many bytes of text the whole body is the content.
const SHORT: usize = 500;
/// Above so many too: Readability takes time by the square of the length of a text without elements.
const LONG: usize = 1 << 20;

/// Ids that pages give to their main content, the surest first.
const IDS: [&str; 4] = ["main-content", "maincontent", "content", "main"];

/// Writes the main content's text into `flow` and collects its headings and links. Nothing is written for a page without text.
pub(crate) fn write(document: Document, flow: &mut Flow) -> Content {
    for id in marked(&document) {
        let content = page::write(NodeRef::new(id, &document.tree), flow);
        if !flow.is_empty() {
            return content;
        }
    }
    let start = flow.len();
    let whole = page::write(document.root(), flow);
    if !(SHORT..=LONG).contains(&(flow.len() - start)) {
        return whole;
    }
    let Some(article) = readable(document) else { return whole };
    let mut guess = Flow::with_capacity(flow.len() - start);
    let mut content = page::write(article.root(), &mut guess);
    if guess.is_empty() {
        return whole;
    }
    // Readability makes every `<h1>` an `<h2>`.
    for heading in &mut content.headings {
        if let Some(written) = whole.headings.iter().find(|written| written.text == heading.text) {
            heading.clone_from(written);
        }
    }
    flow.replace(guess);
    content
}

/// The main content as a node of a tree: of the page's own, or of one that Readability made.
pub(crate) fn find(document: Document) -> (Document, NodeId) {
    let mut flow = Flow::with_capacity(0);
    for id in marked(&document) {
        page::write(NodeRef::new(id, &document.tree), &mut flow);
        if !flow.is_empty() {
            return (document, id);
        }
    }
    page::write(document.root(), &mut flow);
    let article = if (SHORT..=LONG).contains(&flow.len()) { readable(document.clone()) } else { None };
    let document = article.unwrap_or(document);
    let root = document.root().id;
    (document, root)
}

/// Elements that are marked as the main content, the surest first.
fn marked(document: &Document) -> Vec<NodeId> {
    let mut mains = Vec::new();
    let mut articles = Vec::new();
    let mut by_id = [None; IDS.len()];
    for node in document.root().descendants_it() {
        node.query(|inner| {
            let NodeData::Element(element) = &inner.data else { return };
            match &*element.name.local {
                "main" if is_html(element) => mains.push(node.id),
                "article" if is_html(element) => articles.push(node.id),
                _ if element.attrs.is_empty() => {}
                _ if has_word(element, "role", "main") => mains.push(node.id),
                _ => {
                    if let Some(at) =
                        raw_attribute(element, "id").and_then(|id| IDS.iter().position(|known| *known == id))
                    {
                        by_id[at].get_or_insert(node.id);
                    }
                }
            }
        });
    }
    // Several articles are a page of excerpts: none of them is its content.
    let article = articles.first().filter(|_| articles.len() == 1);
    mains.iter().chain(article).copied().chain(by_id.into_iter().flatten()).collect()
}

/// The content as Readability sees it.
fn readable(document: Document) -> Option<Document> {
    let config = Config { disable_json_ld: true, ..Config::default() };
    let mut readability = Readability::with_document(document, None, Some(config)).ok()?;
    Some(tokens::tree(&readability.parse().ok()?.content))
}

/// Whether an element stands beside the content wherever it is: navigation, controls, what isn't shown.
pub(crate) fn is_beside(element: &Element) -> bool {
    let by_name = match &*element.name.local {
        "nav" | "footer" | "button" | "select" => true,
        "aside" => !is_note(element),
        "dialog" => raw_attribute(element, "open").is_none(),
        _ => false,
    };
    by_name
        || element.attrs.iter().any(|attribute| match &*attribute.name.local {
            // What isn't shown, and what search engines are asked not to show, such as line numbers.
            "hidden" | "data-nosnippet" => true,
            "aria-hidden" => attribute.value.eq_ignore_ascii_case("true"),
            "role" => matches!(
                &*attribute.value,
                "navigation" | "complementary" | "contentinfo" | "search" | "menu" | "menubar" | "toolbar" | "dialog"
            ),
            _ => false,
        })
}

/// Whether an `<aside>` is a remark in the text and not a column beside it.
fn is_note(element: &Element) -> bool {
    const WORDS: [&str; 8] = ["note", "tip", "warning", "caution", "important", "info", "callout", "admonition"];
    has_word(element, "role", "note")
        || raw_attribute(element, "class").is_some_and(|class| {
            let class = class.to_ascii_lowercase();
            WORDS.iter().any(|word| class.contains(word))
        })
}
