//! The operator `to_markdown`: a page as Markdown.

use std::sync::Arc;

use dflow_plugin::arrow::{Array, DataType, Field, RecordBatch, Schema, StringBuilder};
use dflow_plugin::{Description, Emitter, Failure, Opened, Operator, Port, Shape};

use crate::markdown::{self, Images, Links, Style};

/// Settings of `html/to_markdown`.
#[derive(Clone, Debug, Default, serde::Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Whether only the page's main content is written, as `html/extract` finds it.
    pub main_content: bool,
    /// What becomes of links.
    pub links: Links,
    /// What becomes of images.
    pub images: Images,
}

/// Makes Markdown of HTML. Never fails: any text is some document. Null stays null.
pub struct ToMarkdown {
    style: Style,
}

impl Operator for ToMarkdown {
    type Settings = Settings;

    fn describe() -> Description {
        Description::new("to_markdown", Shape::Map)
            .version("0.1.0")
            .summary("an HTML page as Markdown: headings, lists, links, images, code, tables, quotes")
            .port(Port::utf8("html", "the page's markup"))
    }

    fn open(settings: Settings, _input: &Schema) -> Result<(Self, Opened), Failure> {
        let Settings { main_content, links, images } = settings;
        let opened = Opened::new(Shape::Map).column(Field::new("markdown", DataType::Utf8, true));
        Ok((Self { style: Style { main_content, links, images } }, opened))
    }

    fn process(&mut self, input: &RecordBatch, emit: &mut Emitter<'_>) -> Result<(), Failure> {
        let pages = dflow_plugin::text(input, 0)?;
        let mut texts = StringBuilder::with_capacity(pages.len(), pages.value_data().len() / 3);
        for page in pages {
            texts.append_option(page.map(|html| markdown::write(html, self.style)));
        }
        emit.map(vec![Arc::new(texts.finish())])?;
        Ok(())
    }
}
