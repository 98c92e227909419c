//! The operator `select`: columns by CSS selectors.

use std::fmt;
use std::sync::Arc;

use dflow_plugin::arrow::{
    ArrayRef, DataType, Field, FieldRef, ListArray, NullBufferBuilder, OffsetBuffer, RecordBatch, Schema, StringBuilder,
};
use dflow_plugin::{Description, Emitter, Failure, Opened, Operator, Port, Rows, Shape};
use dom_query::{Document, NodeRef};
use indexmap::IndexMap;
use serde::Deserialize;

use crate::css::Selector;
use crate::element::Layout;
use crate::flow::Flow;
use crate::{page, tree};

/// Bytes of values after which the rows of a page go out: they may be many more than the page's own where matches nest.
const MOST: usize = 4 << 20;

/// Settings of `html/select`.
#[derive(Clone, Debug, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The columns: for each a CSS selector, or a table that says more.
    pub columns: IndexMap<String, Source>,
    /// A CSS selector: each element that matches becomes a row, and columns are looked for within it. Without, a page is a row.
    #[serde(default)]
    pub rows: Option<Selector>,
}

/// Where a column comes from: a selector alone gives the text of the first element that matches.
#[derive(Clone, Debug, schemars::JsonSchema)]
#[schemars(untagged)]
pub enum Source {
    /// A CSS selector.
    Text(Selector),
    /// What to take of which elements.
    Table(Column),
}

/// What to take of which elements.
#[derive(Clone, Debug, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Column {
    /// A CSS selector. Left out, it is the row's own element, or the page.
    #[serde(default)]
    pub css: Option<Selector>,
    /// The attribute to take, as written, instead of the text. Elements without it are passed over.
    #[serde(default)]
    pub attr: Option<String>,
    /// Whether all elements that match are taken, as a list, and not only the first.
    #[serde(default)]
    pub all: bool,
    /// Whether the markup within the element is taken instead of the text.
    #[serde(default)]
    pub html: bool,
}

impl<'de> Deserialize<'de> for Source {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Source;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a CSS selector, or a table of `css`, `attr`, `all` and `html`")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Source, E> {
                text.parse().map(Source::Text).map_err(E::custom)
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<Source, A::Error> {
                Column::deserialize(serde::de::value::MapAccessDeserializer::new(map)).map(Source::Table)
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

impl Column {
    fn field(&self, name: &str) -> Field {
        Field::new(name, if self.all { DataType::List(item()) } else { DataType::Utf8 }, true)
    }

    /// What is taken of an element.
    fn value(&self, node: &NodeRef<'_>) -> Option<String> {
        match &self.attr {
            Some(name) => {
                node.query_or(None, |inner| page::raw_attribute(inner.as_element()?, name).map(str::to_owned))
            }
            None if self.html => Some(node.inner_html().to_string()),
            None => Some(text(node)),
        }
    }
}

/// The text of an element as `html/text` has it. What is never shown has text as well when it is asked for by name.
fn text(node: &NodeRef<'_>) -> String {
    let is_hidden = node.query_or(false, |inner| {
        inner.as_element().is_some_and(|element| Layout::of(element.name.local.as_bytes()) == Layout::Hidden)
    });
    if is_hidden {
        return node.text().trim().to_owned();
    }
    let mut flow = Flow::with_capacity(0);
    page::write_text(*node, &mut flow);
    flow.finish();
    String::from_utf8(flow.into_bytes()).expect("text stays text")
}

fn item() -> FieldRef {
    Arc::new(Field::new("item", DataType::Utf8, false))
}

/// Selects elements of a page. Never fails: what doesn't match is null, or an empty list. A null page gives nulls, or no rows.
pub struct Select {
    columns: Vec<Column>,
    rows: Option<Selector>,
}

impl Operator for Select {
    type Settings = Settings;

    fn describe() -> Description {
        Description::new("select", Shape::Expand)
            .version("0.1.0")
            .summary("columns of an HTML page by CSS selectors; a row for each page, or for each element that matches `rows`")
            .port(Port::utf8("html", "the page's markup"))
    }

    fn open(settings: Settings, _input: &Schema) -> Result<(Self, Opened), Failure> {
        if settings.columns.is_empty() {
            return Err(Failure::settings(
                "setting `columns` is empty\nhint: name a column and its selector, such as `columns = { title = \"h1\" }`",
            ));
        }
        let mut opened = Opened::new(if settings.rows.is_some() { Shape::Expand } else { Shape::Map });
        let mut columns = Vec::with_capacity(settings.columns.len());
        for (name, source) in settings.columns {
            let column = match source {
                Source::Text(css) => Column { css: Some(css), attr: None, all: false, html: false },
                Source::Table(column) => column,
            };
            if column.attr.is_some() && column.html {
                return Err(Failure::settings(format!(
                    "setting `columns.{name}` has both `attr` and `html`\nhint: an attribute has no markup; leave one out"
                )));
            }
            opened = opened.column(column.field(&name));
            columns.push(column);
        }
        Ok((Self { columns, rows: settings.rows }, opened))
    }

    fn process(&mut self, input: &RecordBatch, emit: &mut Emitter<'_>) -> Result<(), Failure> {
        let pages = dflow_plugin::text(input, 0)?;
        let mut found = Found::new(&self.columns);
        let mut parents = Vec::new();
        for (row, html) in pages.iter().enumerate() {
            let document = html.map(tree::parse);
            let Some(rows) = &self.rows else {
                found.push(document.as_ref().map(Document::root));
                continue;
            };
            let Some(document) = document else { continue };
            for element in rows.all(&document.root()) {
                found.push(Some(element));
                parents.push(row as u32);
                if found.bytes > MOST {
                    let columns = std::mem::replace(&mut found, Found::new(&self.columns)).finish()?;
                    if !emit.rows(Rows::new(columns).parents(std::mem::take(&mut parents)))? {
                        return Ok(());
                    }
                }
            }
        }
        let columns = Rows::new(found.finish()?);
        emit.rows(if self.rows.is_some() { columns.parents(parents) } else { columns })?;
        Ok(())
    }
}

/// The columns under construction.
struct Found<'a> {
    columns: Vec<(&'a Column, Values)>,
    /// How many bytes of text there are.
    bytes: usize,
}

/// One column under construction.
#[derive(Default)]
struct Values {
    texts: StringBuilder,
    /// For lists: how long each is, and whether there is one.
    lengths: Vec<usize>,
    valid: Option<NullBufferBuilder>,
}

impl<'a> Found<'a> {
    fn new(columns: &'a [Column]) -> Self {
        Self { columns: columns.iter().map(|column| (column, Values::default())).collect(), bytes: 0 }
    }

    /// Appends the row of an element; of a null page's nulls.
    fn push(&mut self, root: Option<NodeRef<'_>>) {
        for (column, values) in &mut self.columns {
            let start = values.texts.values_slice().len();
            match root {
                Some(root) if column.all => {
                    let nodes = column.css.as_ref().map_or_else(|| vec![root], |css| css.all(&root));
                    let mut length = 0;
                    for text in nodes.iter().filter_map(|node| column.value(node)) {
                        values.texts.append_value(text);
                        length += 1;
                    }
                    values.push_list(Some(length));
                }
                Some(root) => values.texts.append_option(match &column.css {
                    Some(css) => css.first(&root, |node| column.value(node)),
                    None => column.value(&root),
                }),
                None if column.all => values.push_list(None),
                None => values.texts.append_null(),
            }
            self.bytes += values.texts.values_slice().len() - start;
        }
    }

    fn finish(self) -> Result<Vec<ArrayRef>, Failure> {
        let finish = |(column, values): (&Column, Values)| values.finish(column.all);
        self.columns.into_iter().map(finish).collect()
    }
}

impl Values {
    fn push_list(&mut self, length: Option<usize>) {
        self.lengths.push(length.unwrap_or(0));
        self.valid.get_or_insert_with(|| NullBufferBuilder::new(0)).append(length.is_some());
    }

    fn finish(mut self, is_list: bool) -> Result<ArrayRef, Failure> {
        let texts = self.texts.finish();
        if !is_list {
            return Ok(Arc::new(texts));
        }
        let nulls = self.valid.and_then(|mut valid| valid.finish());
        Ok(Arc::new(ListArray::try_new(item(), OffsetBuffer::from_lengths(self.lengths), Arc::new(texts), nulls)?))
    }
}
