//! Rows as one JSON document: an array of objects, one a line.

use std::io::Write;

use arrow::{error::ArrowError, json::writer::JsonFormat};

/// What stands before the first row.
pub(crate) const OPEN: &[u8] = b"[";
/// What stands after the last row.
pub(crate) const CLOSE: &[u8] = b"\n]\n";

/// The format of a document. Between [`OPEN`] and [`CLOSE`] stands `\n` and a row, then `,\n` and a row for each further one.
#[derive(Debug, Default)]
pub(crate) struct Document;

impl JsonFormat for Document {
    fn start_stream<W: Write>(&self, writer: &mut W) -> Result<(), ArrowError> {
        Ok(writer.write_all(OPEN)?)
    }

    fn start_row<W: Write>(&self, writer: &mut W, is_first_row: bool) -> Result<(), ArrowError> {
        Ok(writer.write_all(if is_first_row { b"\n" } else { b",\n" })?)
    }

    fn end_stream<W: Write>(&self, writer: &mut W) -> Result<(), ArrowError> {
        Ok(writer.write_all(CLOSE)?)
    }
}
