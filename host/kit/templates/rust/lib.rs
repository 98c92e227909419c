//! Operators of the plugin `NAME`.

use std::sync::Arc;

use dflow_plugin::arrow::{DataType, Field, Int64Builder, RecordBatch, Schema};
use dflow_plugin::{Description, Emitter, Failure, Opened, Operator, Port, Shape};

/// Settings of `words`.
#[derive(Default, serde::Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// A text with fewer words is an error of its row.
    least: u32,
}

/// Counts the words of a text.
pub struct Words {
    settings: Settings,
}

impl Operator for Words {
    type Settings = Settings;

    fn describe() -> Description {
        Description::new("words", Shape::Map)
            .version("0.1.0")
            .summary("how many words a text has")
            .port(Port::utf8("text", "the text"))
            .rejects_rows()
    }

    fn open(settings: Settings, _input: &Schema) -> Result<(Self, Opened), Failure> {
        Ok((Self { settings }, Opened::new(Shape::Map).column(Field::new("words", DataType::Int64, true))))
    }

    fn process(&mut self, input: &RecordBatch, emit: &mut Emitter<'_>) -> Result<(), Failure> {
        let least = self.settings.least;
        let mut counts = Int64Builder::new();
        for (row, text) in dflow_plugin::text(input, 0)?.iter().enumerate() {
            match text.map(|text| text.split_whitespace().count()) {
                Some(words) if words < least as usize => {
                    emit.error(row, "too-few", format!("{words} words, at least {least} are needed"));
                }
                words => counts.append_option(words.map(|words| words as i64)),
            }
        }
        emit.map(vec![Arc::new(counts.finish())])?;
        Ok(())
    }
}

dflow_plugin::export!(
    plugin = "NAME",
    version = env!("CARGO_PKG_VERSION"),
    summary = "counts words",
    operators = [Words]
);

#[cfg(test)]
dflow_plugin::testing::cases!(crate::PLUGIN);
