//! Markdown out of a tree.
//!
//! The writing is `dom_query`'s, which takes the tree that is there and was the fastest of those tried (`htmd`, `mdka` and
//! `html-to-markdown-rs` bring a second parser; all keep the headings, links, code and tables of the Rust Book). It knows some
//! elements and not what they are for, so the tree is made plain before: what is never shown goes, blocks that Markdown has no
//! word for become `<div>`, tables get rows of one length, and what would nest beyond any use is flattened. That also bounds
//! its recursion.

use dom_query::{Document, Element, NodeData, NodeId, NodeRef};

use crate::element::Layout;
use crate::main_content;
use crate::page::{attribute, is_permalink, raw_attribute};
use crate::tree::{self, Visitor, walk};

/// How deep lists, quotes, tables, links and emphasis may nest in each other; the writer is recursive for those.
const DEEPEST: usize = 32;

/// What becomes of links.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Links {
    /// They stay, their addresses as written. A heading's link to itself doesn't.
    #[default]
    Keep,
    /// Only their text stays.
    Text,
}

/// What becomes of images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Images {
    /// They stay, their addresses as written.
    #[default]
    Keep,
    /// They are left out, and their alternative text too.
    Drop,
}

/// How to write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    /// Whether only the main content is written.
    pub main_content: bool,
    /// What becomes of links.
    pub links: Links,
    /// What becomes of images.
    pub images: Images,
}

/// A page as Markdown (CommonMark with GitHub's tables); empty for one without text.
pub fn write(html: &str, style: Style) -> String {
    if style.main_content {
        let (document, root) = main_content::find(tree::parse(html));
        let markdown = below(&document, root, style);
        if !markdown.is_empty() {
            return markdown;
        }
        // A page of nothing but navigation.
    }
    let document = tree::parse(html);
    let root = document.root().id;
    below(&document, root, Style { main_content: false, ..style })
}

/// The Markdown of what is below `root`.
fn below(document: &Document, root: NodeId, style: Style) -> String {
    let root = NodeRef::new(root, &document.tree);
    let mut plan = Plan::new(style);
    walk(root, &mut plan);
    for (id, edit) in std::mem::take(&mut plan.edits) {
        edit.apply(NodeRef::new(id, &document.tree));
    }
    for table in &plan.tables {
        table.straighten(document, table.id == root.id);
    }
    root.md(Some(&["head"])).to_string()
}

/// What is to be changed in a tree before it is written.
struct Plan {
    style: Style,
    edits: Vec<(NodeId, Edit)>,
    tables: Vec<Table>,
    /// What is open, from the root on.
    open: Vec<Open>,
    /// The tables that are open, by their place in `tables`.
    open_tables: Vec<usize>,
    nesting: usize,
    headings: usize,
    links: usize,
    preformatted: usize,
    items: usize,
    code: usize,
}

/// What an open element counts as.
#[derive(Clone, Copy, Debug, Default)]
struct Open {
    nests: bool,
    heading: bool,
    link: bool,
    preformatted: bool,
    table: bool,
    item: bool,
    code: bool,
    inline: bool,
}

/// A change of one node.
enum Edit {
    Remove,
    Rename(&'static str),
    /// An inline element, set apart by a blank.
    Apart,
    /// Text in the place of the element.
    Text(&'static str),
    /// Text whose `&` would be taken for the beginning of an entity.
    Ampersands,
    /// The language of a code block.
    Language(String),
    /// To stand before another node, as a paragraph.
    ParagraphBefore(NodeId),
}

impl Edit {
    fn apply(self, node: NodeRef<'_>) {
        match self {
            Self::Remove => node.remove_from_parent(),
            Self::Rename(name) => node.rename(name),
            Self::Apart => {
                node.rename("span");
                if node.prev_sibling().is_some() {
                    node.insert_before(&node.tree.new_text(" "));
                }
            }
            Self::Ampersands => {
                let text = node.text().replace('&', "&amp;");
                node.insert_before(&node.tree.new_text(text));
                node.remove_from_parent();
            }
            Self::Text(text) => {
                node.insert_before(&node.tree.new_text(text));
                node.remove_from_parent();
            }
            Self::Language(language) => node.set_attr("data-lang", &language),
            Self::ParagraphBefore(other) => {
                node.rename("p");
                node.remove_from_parent();
                NodeRef::new(other, node.tree).insert_before(&node);
            }
        }
    }
}

impl Plan {
    fn new(style: Style) -> Self {
        Self {
            style,
            edits: Vec::new(),
            tables: Vec::new(),
            open: Vec::new(),
            open_tables: Vec::new(),
            nesting: 0,
            headings: 0,
            links: 0,
            preformatted: 0,
            items: 0,
            code: 0,
        }
    }

    /// Begins an element. `None` when it is nothing to go into.
    fn element(&mut self, element: &Element, node: &NodeRef<'_>) -> Option<Open> {
        let name = &*element.name.local;
        let layout = Layout::of(name.as_bytes());
        let is_dropped = layout == Layout::Hidden
            || is_permalink(element, node)
            || (self.style.main_content && main_content::is_beside(element))
            || (self.style.images == Images::Drop && name == "img");
        if is_dropped {
            self.edits.push((node.id, Edit::Remove));
            return None;
        }
        let mut open = Open::default();
        if self.preformatted > 0 {
            // Only text counts.
            if layout == Layout::Break {
                self.edits.push((node.id, Edit::Text("\n")));
            }
            return Some(open);
        }
        // In a heading or a link, and (the writer would lose the item) in an inline element of a list's item.
        let within_line =
            self.headings > 0 || self.links > 0 || (self.items > 0 && self.open.last().is_some_and(|open| open.inline));
        let edit = match (name, layout) {
            ("br", _) if self.headings > 0 => Some(Edit::Text(" ")),
            ("a", _) if !self.keeps_link(element) => Some(Edit::Rename("span")),
            // A line has no room for blocks; images in links are the writer's.
            (_, Layout::Block | Layout::Paragraph) if within_line => Some(Edit::Apart),
            (_, Layout::List | Layout::Cell) if self.headings > 0 || self.links > 0 => Some(Edit::Apart),
            (_, Layout::Preformatted) if self.headings > 0 => Some(Edit::Rename("code")),
            ("table" | "ul" | "ol" | "pre" | "blockquote", _) if self.nesting >= DEEPEST => Some(Edit::Rename("div")),
            ("a" | "b" | "strong" | "i" | "em" | "code", _) if self.nesting >= DEEPEST => Some(Edit::Rename("span")),
            ("caption", _) => self.open_tables.last().map(|at| Edit::ParagraphBefore(self.tables[*at].id)),
            ("menu" | "dir", _) => Some(Edit::Rename("ul")),
            ("listing" | "plaintext" | "xmp", _) => Some(Edit::Rename("pre")),
            ("pre", _) => language(element, node).map(Edit::Language),
            (_, Layout::Block | Layout::Paragraph) if !is_known(name) => Some(Edit::Rename("div")),
            _ => None,
        };
        let is_kept = !matches!(edit, Some(Edit::Rename("div" | "span") | Edit::Apart));
        open.heading = is_kept && matches!(name.as_bytes(), [b'h', b'1'..=b'6']);
        open.link = is_kept && name == "a";
        open.preformatted = is_kept && layout == Layout::Preformatted;
        open.table = is_kept && name == "table";
        open.item = name == "li";
        open.code = is_kept && (open.preformatted || name == "code");
        open.inline = layout == Layout::Inline || matches!(edit, Some(Edit::Rename("span") | Edit::Apart));
        open.nests = is_kept
            && (open.link
                || open.preformatted
                || open.table
                || layout == Layout::List
                || matches!(name, "blockquote" | "b" | "strong" | "i" | "em" | "code"));
        self.cell(name, element, node.id);
        if let Some(edit) = edit {
            let is_gone = matches!(edit, Edit::Text(_));
            self.edits.push((node.id, edit));
            if is_gone {
                return None;
            }
        }
        if open.table {
            if let Some(outer) = self.open_tables.last() {
                self.tables[*outer].holds_table = true;
            }
            self.open_tables.push(self.tables.len());
            self.tables.push(Table { id: node.id, rows: Vec::new(), holds_table: false });
        }
        Some(open)
    }

    /// Takes a row or a cell into its table.
    fn cell(&mut self, name: &str, element: &Element, id: NodeId) {
        let Some(at) = self.open_tables.last() else { return };
        let rows = &mut self.tables[*at].rows;
        match name {
            "tr" => rows.push(Row { id, cells: Vec::new(), is_head: true }),
            "td" | "th" => {
                let Some(row) = rows.last_mut() else { return };
                let span = raw_attribute(element, "colspan").and_then(|span| span.trim().parse().ok()).unwrap_or(1);
                row.cells.push((id, usize::clamp(span, 1, 1000)));
                row.is_head &= name == "th";
            }
            _ => {}
        }
    }

    fn keeps_link(&self, element: &Element) -> bool {
        self.style.links == Links::Keep
            && self.links == 0
            && attribute(element, "href").is_some_and(|href| !(self.headings > 0 && href.starts_with('#')))
    }

    fn count(&mut self, open: Open, change: impl Fn(&mut usize)) {
        for (counts, count) in [
            (open.nests, &mut self.nesting),
            (open.heading, &mut self.headings),
            (open.link, &mut self.links),
            (open.preformatted, &mut self.preformatted),
            (open.item, &mut self.items),
            (open.code, &mut self.code),
        ] {
            if counts {
                change(count);
            }
        }
    }
}

impl<'a> Visitor<'a> for Plan {
    fn enter(&mut self, node: &NodeRef<'a>) -> bool {
        let open = node.query_or(None, |inner| match &inner.data {
            NodeData::Element(element) => self.element(element, node),
            NodeData::Text { contents } => {
                if self.code == 0 && holds_entity(contents) {
                    self.edits.push((node.id, Edit::Ampersands));
                }
                None
            }
            NodeData::Document | NodeData::Fragment => Some(Open::default()),
            _ => None,
        });
        if let Some(open) = open {
            self.count(open, |count| *count += 1);
            self.open.push(open);
        }
        open.is_some()
    }

    fn leave(&mut self) {
        let open = self.open.pop().expect("what is left was entered");
        self.count(open, |count| *count -= 1);
        if open.table {
            self.open_tables.pop();
        }
    }
}

/// Whether the writer, or HTML's parser, has a use for this block.
fn is_known(name: &str) -> bool {
    matches!(
        name,
        "html"
            | "body"
            | "article"
            | "section"
            | "div"
            | "p"
            | "blockquote"
            | "hr"
            | "li"
            | "table"
            | "thead"
            | "tbody"
            | "tfoot"
            | "tr"
    ) || matches!(name.as_bytes(), [b'h', b'1'..=b'6'])
}

/// Whether Markdown would decode some of a text: `&lt;` in it stands for itself.
fn holds_entity(text: &str) -> bool {
    memchr::memchr_iter(b'&', text.as_bytes()).any(|at| {
        let name = text[at + 1..].trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '#');
        name.len() < text.len() - at - 1 && name.starts_with(';')
    })
}

/// The language of a code block, as highlighters are told it: a class such as `language-rust` or `lang-rust` of the block or of the
/// `<code>` in it.
fn language(element: &Element, node: &NodeRef<'_>) -> Option<String> {
    let of = |element: &Element| {
        let classes = raw_attribute(element, "class")?;
        let mut names = classes.split([' ', '\n', '\t', ',']).filter_map(|class| {
            ["language-", "lang-", "highlight-source-", "brush:"].iter().find_map(|prefix| class.strip_prefix(prefix))
        });
        names.find(|name| !name.is_empty()).map(str::to_owned)
    };
    of(element).or_else(|| of(&*node.first_element_child()?.element_ref()?))
}

/// A table of the page.
struct Table {
    id: NodeId,
    rows: Vec<Row>,
    holds_table: bool,
}

struct Row {
    id: NodeId,
    /// The cells, and how many columns each spans.
    cells: Vec<(NodeId, usize)>,
    /// Whether all cells are headings.
    is_head: bool,
}

impl Table {
    /// Makes rows of one length, or no table where that can't be: around other tables, or when most of it would be filling.
    fn straighten(&self, document: &Document, is_root: bool) {
        let node = |id: NodeId| NodeRef::new(id, &document.tree);
        let width = |row: &Row| row.cells.iter().map(|(_, span)| span).sum::<usize>();
        let widest = self.rows.iter().map(width).max().unwrap_or(0);
        let cells: usize = self.rows.iter().map(|row| row.cells.len()).sum();
        let rows = self.rows.iter().filter(|row| !row.cells.is_empty());
        let filling = widest * rows.clone().count() - cells;
        if self.holds_table || is_root || filling > 64 + 4 * cells {
            node(self.id).rename("div");
            for row in &self.rows {
                node(row.id).rename("div");
                row.cells.iter().for_each(|(id, _)| node(*id).rename("div"));
            }
            return;
        }
        for row in rows {
            let empty = if row.is_head { "th" } else { "td" };
            let add = |id: &NodeId| node(*id).insert_after(&document.tree.new_element(empty));
            for (id, span) in &row.cells {
                (1..*span).for_each(|_| add(id));
            }
            if let Some((last, _)) = row.cells.last() {
                (width(row)..widest).for_each(|_| add(last));
            }
        }
    }
}
