//! The operator `chunk`: cuts a text into chunks of at most some length.

use std::sync::Arc;

use dflow_plugin::arrow::{DataType, Field, RecordBatch, Schema, UInt32Array, UInt64Array};
use dflow_plugin::{Description, Emitter, Failure, Opened, Operator, Port, Rows, Shape};

use crate::measure::Unit;
use crate::split::{By, Cut};
use crate::tokens::Encoding;

/// Settings of `text/chunk`.
#[derive(Clone, Debug, serde::Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The greatest length of a chunk, in `unit`. At least 1.
    #[schemars(range(min = 1))]
    pub size: u32,
    /// What lengths are counted in.
    pub unit: Unit,
    /// How much of its predecessor a chunk may repeat, in `unit`. Less than `size`. Only whole pieces are repeated: lines where
    /// the chunk was cut at lines, words where it was cut at words.
    pub overlap: u32,
    /// What structure is looked for: chunks end at the largest piece of it that fits.
    pub by: By,
    /// Whether chunks lose the white space at their ends.
    pub trim: bool,
    /// Whose tokens, for `unit = "tokens"` and only then. `o200k_base` unless given.
    pub encoding: Option<Encoding>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { size: 1000, unit: Unit::default(), overlap: 0, by: By::default(), trim: true, encoding: None }
    }
}

impl Settings {
    /// The settings in a form that can be used.
    ///
    /// # Errors
    ///
    /// [`Failure::Settings`] for values out of range or without effect.
    fn check(self) -> Result<Cut, Failure> {
        let Self { size, unit, overlap, by, trim, encoding } = self;
        if size == 0 {
            return Err(Failure::settings("setting `size` is 0, it must be at least 1"));
        }
        if overlap >= size {
            return Err(Failure::settings(format!(
                "setting `overlap` is {overlap}, it must be at least 0 and less than `size`, which is {size}"
            )));
        }
        if encoding.is_some() && unit != Unit::Tokens {
            return Err(Failure::settings(
                "setting `encoding` has no effect unless `unit` is `tokens`\nhint: add `unit = \"tokens\"` or leave `encoding` out",
            ));
        }
        let encoding = encoding.unwrap_or_default();
        Ok(Cut { size: size as usize, overlap: overlap as usize, unit, encoding, by, trim })
    }
}

/// Emits the chunks of each text as slices of it. A text that is null, empty or (when trimmed) white has none.
pub struct Chunk {
    cut: Cut,
}

impl Operator for Chunk {
    type Settings = Settings;

    fn describe() -> Description {
        Description::new("chunk", Shape::Expand)
            .version("0.1.0")
            .summary("cuts a text into chunks at paragraphs, lines, sentences or words, or at markdown's blocks")
            .port(Port::utf8("text", "the text to cut"))
    }

    fn open(settings: Settings, _input: &Schema) -> Result<(Self, Opened), Failure> {
        let cut = settings.check()?;
        let opened = Opened::new(Shape::Expand)
            .slice(Field::new("chunk", DataType::Utf8, false), 0)
            .column(Field::new("chunk_index", DataType::UInt32, false))
            .column(Field::new("start_offset", DataType::UInt64, false))
            .column(Field::new("end_offset", DataType::UInt64, false));
        Ok((Self { cut }, opened))
    }

    fn process(&mut self, input: &RecordBatch, emit: &mut Emitter<'_>) -> Result<(), Failure> {
        let texts = dflow_plugin::text(input, 0)?;
        let (mut parents, mut indices) = (Vec::new(), Vec::new());
        let (mut starts, mut ends) = (Vec::new(), Vec::new());
        for (row, text) in texts.iter().enumerate() {
            let mut index = 0;
            self.cut.chunks(text.unwrap_or_default(), |start, end| {
                parents.push(row as u32);
                indices.push(index);
                starts.push(start as u32);
                ends.push(end as u32);
                index += 1;
            });
        }
        let offsets = |offsets: &[u32]| Arc::new(UInt64Array::from_iter_values(offsets.iter().copied().map(u64::from)));
        let columns = vec![Arc::new(UInt32Array::from(indices)) as _, offsets(&starts) as _, offsets(&ends) as _];
        emit.rows(Rows::new(columns).parents(parents).slice(0, starts, ends))?;
        Ok(())
    }
}
