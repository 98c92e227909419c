//! The operator `extract`: what a page is about.

use std::sync::Arc;

use dflow_plugin::arrow::{
    Array, ArrayRef, DataType, Field, FieldRef, Fields, ListArray, OffsetBuffer, RecordBatch, Schema, StringBuilder,
    StructArray, UInt8Builder,
};
use dflow_plugin::{Description, Emitter, Failure, Opened, Operator, Port, Shape};

use crate::flow::Flow;
use crate::page::{self, Heading, Link};
use crate::text::strings;

/// Settings of `html/extract`: there are none yet.
#[derive(Clone, Debug, Default, serde::Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {}

/// Reads title, main content, language, canonical address, headings and links. A page without text is a row error of kind `empty`.
pub struct Extract;

impl Operator for Extract {
    type Settings = Settings;

    fn describe() -> Description {
        Description::new("extract", Shape::Map)
            .version("0.1.0")
            .summary("title, main content, language, canonical address, headings and links of an HTML page")
            .port(Port::utf8("html", "the page's markup"))
            .rejects_rows()
    }

    fn open(_settings: Settings, _input: &Schema) -> Result<(Self, Opened), Failure> {
        let opened = Opened::new(Shape::Map)
            .column(Field::new("title", DataType::Utf8, true))
            .column(Field::new("text", DataType::Utf8, false))
            .column(Field::new("language", DataType::Utf8, true))
            .column(Field::new("canonical", DataType::Utf8, true))
            .column(Field::new("headings", DataType::List(item(heading_fields())), false))
            .column(Field::new("links", DataType::List(item(link_fields())), false));
        Ok((Self, opened))
    }

    fn process(&mut self, input: &RecordBatch, emit: &mut Emitter<'_>) -> Result<(), Failure> {
        let pages = dflow_plugin::text(input, 0)?;
        let mut flow = Flow::with_capacity(pages.value_data().len() / 4);
        let mut ends = Vec::with_capacity(pages.len());
        let (mut titles, mut languages, mut canonicals) =
            (StringBuilder::new(), StringBuilder::new(), StringBuilder::new());
        let (mut headings, mut links) = (Headings::default(), Links::default());
        for (row, html) in pages.iter().enumerate() {
            let Some(html) = html else {
                emit.error(row, "empty", "`html` is null");
                continue;
            };
            if html.is_empty() {
                emit.error(row, "empty", "`html` has zero bytes");
                continue;
            }
            let page = page::read(html, &mut flow);
            if flow.is_empty() {
                flow.discard();
                emit.error(row, "empty", format!("`html` has no text in its {} bytes", html.len()));
                continue;
            }
            ends.push(flow.finish());
            titles.append_option(page.title);
            languages.append_option(page.language);
            canonicals.append_option(page.canonical);
            headings.append(page.headings);
            links.append(page.links);
        }
        emit.map(vec![
            Arc::new(titles.finish()),
            Arc::new(strings(flow, &ends, None)?),
            Arc::new(languages.finish()),
            Arc::new(canonicals.finish()),
            headings.finish()?,
            links.finish()?,
        ])?;
        Ok(())
    }
}

fn item(fields: Fields) -> FieldRef {
    Arc::new(Field::new("item", DataType::Struct(fields), false))
}

fn heading_fields() -> Fields {
    Fields::from(vec![
        Field::new("level", DataType::UInt8, false),
        Field::new("text", DataType::Utf8, false),
        Field::new("id", DataType::Utf8, true),
    ])
}

fn link_fields() -> Fields {
    Fields::from(vec![Field::new("href", DataType::Utf8, false), Field::new("text", DataType::Utf8, false)])
}

/// The column `headings` under construction.
#[derive(Default)]
struct Headings {
    lengths: Vec<usize>,
    levels: UInt8Builder,
    texts: StringBuilder,
    ids: StringBuilder,
}

impl Headings {
    fn append(&mut self, headings: Vec<Heading>) {
        self.lengths.push(headings.len());
        for heading in headings {
            self.levels.append_value(heading.level);
            self.texts.append_value(heading.text);
            self.ids.append_option(heading.id);
        }
    }

    fn finish(mut self) -> Result<ArrayRef, Failure> {
        let columns: Vec<ArrayRef> =
            vec![Arc::new(self.levels.finish()), Arc::new(self.texts.finish()), Arc::new(self.ids.finish())];
        list(heading_fields(), columns, self.lengths)
    }
}

/// The column `links` under construction.
#[derive(Default)]
struct Links {
    lengths: Vec<usize>,
    hrefs: StringBuilder,
    texts: StringBuilder,
}

impl Links {
    fn append(&mut self, links: Vec<Link>) {
        self.lengths.push(links.len());
        for link in links {
            self.hrefs.append_value(link.href);
            self.texts.append_value(link.text);
        }
    }

    fn finish(mut self) -> Result<ArrayRef, Failure> {
        let columns: Vec<ArrayRef> = vec![Arc::new(self.hrefs.finish()), Arc::new(self.texts.finish())];
        list(link_fields(), columns, self.lengths)
    }
}

/// Lists of structs out of the structs' columns and each list's length.
fn list(fields: Fields, columns: Vec<ArrayRef>, lengths: Vec<usize>) -> Result<ArrayRef, Failure> {
    let structs = StructArray::try_new(fields.clone(), columns, None)?;
    Ok(Arc::new(ListArray::try_new(item(fields), OffsetBuffer::from_lengths(lengths), Arc::new(structs), None)?))
}
