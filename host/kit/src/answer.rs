//! What an operator makes of rows, row by row.

use arrow::{
    array::{Array, RecordBatch},
    datatypes::Schema,
};
use dflow_plugin::testing::rows::objects;
use dflow_wasm::{Processed, RowError, WasmError};
use serde_json::Value;

/// So much of an answer is shown.
const SHOWN: usize = 160;

/// What came of a batch.
#[derive(Debug)]
pub(crate) struct Answer {
    rows: usize,
    columns: RecordBatch,
    parents: Vec<u32>,
    errors: Vec<RowError>,
}

/// What came of one row.
#[derive(Clone, Debug)]
pub(crate) enum RowAnswer {
    /// So many rows of results.
    Rows(RecordBatch),
    /// Its error.
    Error { kind: String, message: String },
}

impl Answer {
    pub(crate) fn new(rows: usize, processed: Processed) -> Result<Self, WasmError> {
        let joined = processed.joined()?;
        let (columns, parents) = joined.unwrap_or_else(|| (RecordBatch::new_empty(Schema::empty().into()), Vec::new()));
        Ok(Self { rows, columns, parents, errors: processed.errors })
    }

    /// How many rows went in.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// What came of a row.
    pub(crate) fn of(&self, row: usize) -> RowAnswer {
        if let Some(error) = self.errors.iter().find(|error| error.row as usize == row) {
            return RowAnswer::Error { kind: error.kind.clone(), message: error.message.clone() };
        }
        let begin = self.parents.partition_point(|parent| (*parent as usize) < row);
        let end = self.parents.partition_point(|parent| (*parent as usize) <= row);
        RowAnswer::Rows(self.columns.slice(begin, end - begin))
    }

    /// The output, its rows' parents, and the errors.
    pub(crate) fn into_parts(self) -> (RecordBatch, Vec<u32>, Vec<RowError>) {
        (self.columns, self.parents, self.errors)
    }

    /// Whether some row has an error.
    pub(crate) fn has_errors(&self) -> bool {
        !self.errors.is_empty()
    }
}

impl PartialEq for RowAnswer {
    /// Equal to the last bit, whatever the encoding: no row has columns.
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Error { kind, message }, Self::Error { kind: k, message: m }) => kind == k && message == m,
            (Self::Rows(a), Self::Rows(b)) => {
                a.num_rows() == b.num_rows()
                    && (a.num_rows() == 0
                        || a.columns().iter().zip(b.columns()).all(|(a, b)| a.to_data() == b.to_data()))
            }
            _ => false,
        }
    }
}

impl std::fmt::Display for RowAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Error { kind, message } => write!(f, "{kind}: {}", cut(message)),
            Self::Rows(rows) if rows.num_rows() == 0 => f.write_str("no row"),
            Self::Rows(rows) => {
                let shown = objects(rows).map(|rows| rows.into_iter().map(|row| Value::Object(row).to_string()));
                f.write_str(&cut(&shown.map_or_else(|why| why, |rows| rows.collect::<Vec<_>>().join(", "))))
            }
        }
    }
}

/// The beginning of what is long.
pub(crate) fn cut(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}… ({} bytes)", &text[..end], text.len()),
        None => text.to_owned(),
    }
}
