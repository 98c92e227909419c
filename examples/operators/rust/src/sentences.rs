//! Sentences of texts.

use std::sync::Arc;

use dflow_plugin::arrow::{ArrayRef, DataType, Field, Int64Builder, RecordBatch, Schema};
use dflow_plugin::{Description, Emitter, Failure, Opened, Operator, Port, Rows, Shape, text};

/// No settings.
#[derive(Debug, Default, serde::Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {}

/// One row for each sentence: it ends at `.`, `!` or `?` before white space, or with the text.
pub struct Sentences;

impl Operator for Sentences {
    type Settings = Settings;

    fn describe() -> Description {
        Description::new("sentences", Shape::Expand)
            .summary("the sentences of texts, and where they are")
            .port(Port::utf8("text", "a text"))
    }

    fn open(_settings: Settings, _input: &Schema) -> Result<(Self, Opened), Failure> {
        // Where a sentence is says all that the host needs: nothing of the text is copied out.
        let opened = Opened::new(Shape::Expand).slice(Field::new("sentence", DataType::Utf8, false), 0);
        let places = ["start", "end"].map(|name| Field::new(name, DataType::Int64, false));
        Ok((Self, places.into_iter().fold(opened, Opened::column)))
    }

    fn process(&mut self, input: &RecordBatch, emit: &mut Emitter<'_>) -> Result<(), Failure> {
        let (mut starts, mut ends, mut parents) = (Vec::new(), Vec::new(), Vec::new());
        for (row, content) in text(input, 0)?.iter().enumerate() {
            for (start, end) in sentences(content.unwrap_or_default().as_bytes()) {
                starts.push(start as u32);
                ends.push(end as u32);
                parents.push(row as u32);
            }
        }
        let place = |places: &[u32]| {
            let mut made = Int64Builder::with_capacity(places.len());
            places.iter().for_each(|place| made.append_value(i64::from(*place)));
            Arc::new(made.finish()) as ArrayRef
        };
        let columns = vec![place(&starts), place(&ends)];
        emit.rows(Rows::new(columns).slice(0, starts, ends).parents(parents))?;
        Ok(())
    }
}

/// Where sentences begin and end, in bytes.
fn sentences(text: &[u8]) -> Vec<(usize, usize)> {
    let (mut found, mut begin) = (Vec::new(), None);
    let mut last = 0;
    for (place, byte) in text.iter().enumerate() {
        if is_space(*byte) {
            continue;
        }
        let start = *begin.get_or_insert(place);
        last = place + 1;
        if matches!(byte, b'.' | b'!' | b'?') && text.get(last).copied().is_some_and(is_space) {
            found.push((start, last));
            begin = None;
        }
    }
    found.extend(begin.map(|start| (start, last)));
    found
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}
