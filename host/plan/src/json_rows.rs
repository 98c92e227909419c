//! Rows that are JSON objects, which follow each other or have a line each.

use datafusion::arrow::{
    array::RecordBatch,
    datatypes::SchemaRef,
    error::ArrowError,
    json::{ReaderBuilder, reader::Decoder},
};
use serde::de::IgnoredAny;

use crate::rows::{BadRow, RowFormat, short};

/// How objects are taken.
#[derive(Clone, Debug)]
pub(crate) struct Objects {
    /// The columns that are.
    pub(crate) schema: SchemaRef,
    /// Whether a number or a truth where text is asked for is its text.
    pub(crate) coerce: bool,
    /// Whether a member that isn't asked for is a mistake.
    pub(crate) strict: bool,
    /// Whether each has a line of its own, so that one that is no JSON doesn't hide the others.
    pub(crate) lines: bool,
}

impl RowFormat for Objects {
    type Decoder = Decoder;

    fn decoder(&self, rows: usize) -> Result<Decoder, ArrowError> {
        ReaderBuilder::new(self.schema.clone())
            .with_batch_size(rows)
            .with_coerce_primitive(self.coerce)
            .with_strict_mode(self.strict)
            .build_decoder()
    }

    fn decode(decoder: &mut Decoder, bytes: &[u8]) -> Result<usize, ArrowError> {
        decoder.decode(bytes)
    }

    fn taken(decoder: &Decoder) -> usize {
        decoder.len()
    }

    fn flush(decoder: &mut Decoder) -> Result<Option<RecordBatch>, ArrowError> {
        decoder.flush()
    }

    fn end(&self, bytes: &[u8]) -> Option<usize> {
        if self.lines {
            return memchr::memchr(b'\n', bytes).map(|end| end + 1);
        }
        let (mut depth, mut text, mut escaped) = (0usize, false, false);
        for (at, byte) in bytes.iter().enumerate() {
            match byte {
                _ if escaped => escaped = false,
                b'\\' if text => escaped = true,
                b'"' => text = !text,
                _ if text => {}
                b'{' | b'[' => depth += 1,
                b'}' | b']' if depth <= 1 => return Some(at + 1),
                b'}' | b']' => depth -= 1,
                _ => {}
            }
        }
        None
    }

    fn bad(&self, row: &[u8], error: &ArrowError) -> BadRow {
        // Where what isn't JSON ends, nobody knows.
        BadRow { message: said(error), last: !self.lines && serde_json::from_slice::<IgnoredAny>(row).is_err() }
    }
}

/// What the decoder says, in our words.
fn said(error: &ArrowError) -> String {
    let text = error.to_string();
    let text = text.trim_start_matches("Json error: ").trim_start_matches("Io error: ");
    if text.starts_with("Truncated record") {
        return "it ends within a row".to_owned();
    }
    if let Some((name, _)) = text.strip_prefix("column '").and_then(|t| t.split_once("' missing from schema")) {
        return format!("`{name}` isn't among the columns");
    }
    let mut path = Vec::new();
    let mut rest = text;
    while let Some((field, more)) = rest.strip_prefix("whilst decoding field '").and_then(|r| r.split_once("': ")) {
        path.push(field);
        rest = more;
    }
    let rest = match rest.strip_prefix("expected ").and_then(|r| r.split_once(" got ")) {
        Some((expected, got)) => format!("expected {expected}, found {}", short(got)),
        None => rest.to_owned(),
    };
    if path.is_empty() { rest } else { format!("column `{}`: {rest}", path.join(".")) }
}

#[cfg(test)]
mod tests {
    use std::{io::BufReader, sync::Arc};

    use datafusion::arrow::{
        array::AsArray,
        datatypes::{DataType, Field, Int64Type, Schema},
    };

    use super::*;
    use crate::rows::Rows;

    fn read(text: &str, lines: bool, most_rows: usize, piece: usize) -> (Vec<i64>, Vec<(usize, String, bool)>) {
        let schema = Arc::new(Schema::new(vec![Field::new("a", DataType::Int64, true)]));
        let source = BufReader::with_capacity(piece, text.as_bytes());
        let (mut values, mut bad) = (Vec::new(), Vec::new());
        for batch in
            Rows::new(source, Objects { schema, coerce: false, strict: false, lines }, most_rows).expect("a decoder")
        {
            match batch {
                Ok(batch) => values.extend(batch.column(0).as_primitive::<Int64Type>().values()),
                Err(row) => bad.push((values.len() + bad.len(), row.message, row.last)),
            }
        }
        (values, bad)
    }

    #[test]
    fn a_row_that_doesn_t_fit_is_met_alone() {
        let mut text: String = (0..1000).map(|i| format!("{{\"a\": {i}}}\n")).collect();
        text = text.replace("{\"a\": 7}\n", "{\"a\": \"x\"}\n").replace("{\"a\": 700}", "{\"a\": {\"b\": [1]}}");
        let whole: Vec<i64> = (0..1000).filter(|i| *i != 7 && *i != 700).collect();
        for (rows, piece) in [(8192, 1 << 16), (1, 7), (100, 100), (3, 1 << 16)] {
            let (values, bad) = read(&text, false, rows, piece);
            assert!(values == whole, "{rows} {piece} {bad:?}");
            assert_eq!(bad.iter().map(|b| (b.0, b.2)).collect::<Vec<_>>(), [(7, false), (700, false)]);
            assert!(bad[0].1.starts_with("column `a`: "), "{bad:?}");
            // What isn't JSON ends it; the rows before are good.
            let (values, bad) = read(&format!("{text}{{\"a\": 1000}} nonsense {{\"a\": 1}}"), false, rows, piece);
            assert_eq!((values.len(), bad.len(), bad[2].0), (999, 3, 1001), "{bad:?}");
            let (values, bad) = read(&format!("{text}{{\"a\": 1000"), false, rows, piece);
            assert_eq!((values.len(), bad[2].0, bad[2].2), (998, 1000, true), "{bad:?}");
            // A line that isn't JSON is one row.
            let broken = text.replace("{\"a\": 8}\n", "{\"a\": 8\n\n").replace("{\"a\": 999}", "\"x");
            let (values, bad) = read(&broken, true, rows, piece);
            assert_eq!(values.len(), 996, "{rows} {piece}");
            let bad: Vec<_> = bad.iter().map(|b| (b.0, b.2)).collect();
            assert_eq!(bad, [(7, false), (8, false), (700, false), (999, false)]);
        }
    }
}
