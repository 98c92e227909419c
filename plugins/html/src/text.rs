//! The operator `text`: the visible text of a page.

use std::sync::Arc;

use dflow_plugin::arrow::{Array, Buffer, DataType, Field, OffsetBuffer, RecordBatch, Schema, StringArray};
use dflow_plugin::{Description, Emitter, Failure, Opened, Operator, Port, Shape};

use crate::flow::Flow;
use crate::visible;

/// Settings of `html/text`.
#[derive(Clone, Debug, Default, serde::Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Whether the text begins with the document's title, as a paragraph of its own.
    pub title: bool,
}

/// Makes plain text of HTML. Never fails: any text is some document.
pub struct Text {
    settings: Settings,
}

impl Operator for Text {
    type Settings = Settings;

    fn describe() -> Description {
        Description::new("text", Shape::Map)
            .version("0.1.0")
            .summary("the visible text of an HTML page, in one pass")
            .port(Port::utf8("html", "the page's markup"))
    }

    fn open(settings: Settings, _input: &Schema) -> Result<(Self, Opened), Failure> {
        let opened = Opened::new(Shape::Map).column(Field::new("text", DataType::Utf8, true));
        Ok((Self { settings }, opened))
    }

    fn process(&mut self, input: &RecordBatch, emit: &mut Emitter<'_>) -> Result<(), Failure> {
        let pages = dflow_plugin::text(input, 0)?;
        // Text is a third of the markup in the middle; a wrong guess costs a copy.
        let mut flow = Flow::with_capacity(pages.value_data().len() / 3);
        let mut ends = Vec::with_capacity(pages.len());
        for page in pages {
            if let Some(html) = page {
                visible::write(html, self.settings.title, &mut flow);
            }
            ends.push(flow.finish());
        }
        let texts = strings(flow, &ends, pages.nulls().cloned())?;
        emit.map(vec![Arc::new(texts)])?;
        Ok(())
    }
}

/// The finished documents of a flow as a column, given where each ends.
///
/// # Errors
///
/// When the texts together pass 2 GiB, the limit of Arrow's offsets.
pub(crate) fn strings(
    flow: Flow,
    ends: &[usize],
    nulls: Option<dflow_plugin::arrow::NullBuffer>,
) -> Result<StringArray, Failure> {
    if flow.len() > i32::MAX as usize {
        return Err(Failure::Data(format!(
            "{} bytes of text in one batch, at most {} fit\nhint: make the batches smaller",
            flow.len(),
            i32::MAX
        )));
    }
    let offsets = std::iter::once(0).chain(ends.iter().map(|end| *end as i32)).collect::<Vec<_>>();
    Ok(StringArray::try_new(OffsetBuffer::new(offsets.into()), Buffer::from_vec(flow.into_bytes()), nulls)?)
}
