//! URLs out of CSV files.

use std::sync::Arc;

use dflow_plugin::arrow::{ArrayRef, DataType, Field, Int64Builder, RecordBatch, Schema, StringBuilder};
use dflow_plugin::{Description, Emitter, Failure, Opened, Operator, Port, Rows, Shape, text};

/// Which column, and which rows.
#[derive(Clone, Debug, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The column that holds URLs, with white space between them.
    #[serde(default = "urls")]
    column: String,
    /// Rows whose URLs contain this word are kept.
    contains: String,
}

fn urls() -> String {
    "urls".to_owned()
}

/// One row for each URL of the rows of a CSV file whose URLs contain a word.
pub struct Urls(Settings);

impl Operator for Urls {
    type Settings = Settings;

    fn describe() -> Description {
        Description::new("urls", Shape::Expand)
            .summary("the URLs of those rows of a CSV file whose URLs contain a word")
            .port(Port::utf8("content", "a CSV file with a header"))
            .rejects_rows()
    }

    fn open(settings: Settings, _input: &Schema) -> Result<(Self, Opened), Failure> {
        let opened = Opened::new(Shape::Expand).column(Field::new("url", DataType::Utf8, false));
        Ok((Self(settings), opened.column(Field::new("row", DataType::Int64, false))))
    }

    fn process(&mut self, input: &RecordBatch, emit: &mut Emitter<'_>) -> Result<(), Failure> {
        let (mut urls, mut rows, mut parents) = (StringBuilder::new(), Int64Builder::new(), Vec::new());
        for (file, content) in text(input, 0)?.iter().enumerate() {
            let Some(content) = content else { continue };
            match self.urls(content) {
                Ok(found) => {
                    for (row, url) in found {
                        urls.append_value(url);
                        rows.append_value(row);
                        parents.push(file as u32);
                    }
                }
                Err((kind, why)) => emit.error(file, kind, why),
            }
        }
        let columns: Vec<ArrayRef> = vec![Arc::new(urls.finish()), Arc::new(rows.finish())];
        emit.rows(Rows::new(columns).parents(parents))?;
        Ok(())
    }
}

impl Urls {
    fn urls(&self, content: &str) -> Result<Vec<(i64, String)>, (&'static str, String)> {
        let Settings { column, contains } = &self.0;
        let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(content.as_bytes());
        let broken = |e: csv::Error| ("bad-csv", e.to_string());
        let header = reader.headers().map_err(broken)?.clone();
        let Some(place) = header.iter().position(|name| name == column) else {
            let there: Vec<_> = header.iter().map(|name| format!("`{name}`")).collect();
            return Err(("no-column", format!("there is no column `{column}`; there is {}", there.join(", "))));
        };
        let mut found = Vec::new();
        for (row, record) in (1..).zip(reader.records()) {
            let record = record.map_err(broken)?;
            let cell = record.get(place).unwrap_or_default();
            if cell.contains(contains.as_str()) {
                found.extend(cell.split_ascii_whitespace().map(|url| (row, url.to_owned())));
            }
        }
        Ok(found)
    }
}
