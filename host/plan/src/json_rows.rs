//! JSON objects that follow each other, decoded into batches. A row that doesn't fit is met alone: the others go on.
//!
//! The bytes of the batch in work are kept beside the decoder, which forgets them. When it fails they are decoded again, row by row.

use std::io::BufRead;

use datafusion::arrow::{
    array::{Array, RecordBatch, RecordBatchOptions},
    datatypes::SchemaRef,
    error::ArrowError,
    json::{ReaderBuilder, reader::Decoder},
};

use crate::tabular::BadRow;

/// Rows of the first batch: nobody knows yet how large they are.
const FIRST_ROWS: usize = 16;
/// Bytes of JSON that a batch is made of, about.
const BATCH_BYTES: usize = 4 << 20;

/// How objects are taken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Objects {
    /// Whether a number or a truth where text is asked for is its text.
    pub(crate) coerce: bool,
    /// Whether a member that isn't asked for is a mistake.
    pub(crate) strict: bool,
}

/// The batches of JSON objects.
pub(crate) struct JsonRows<R> {
    source: R,
    schema: SchemaRef,
    objects: Objects,
    most_rows: usize,
    decoder: Decoder,
    /// Rows of a batch of this decoder.
    rows: usize,
    /// What was decoded since the last batch.
    taken: Vec<u8>,
    /// While it is decoded again: how far that is.
    again: Option<usize>,
    /// What reading ended with.
    broken: Option<String>,
    ended: bool,
}

impl<R: BufRead> JsonRows<R> {
    /// Rows in the columns of a schema, at most `most_rows` in a batch.
    pub(crate) fn new(source: R, schema: SchemaRef, objects: Objects, most_rows: usize) -> Result<Self, ArrowError> {
        let rows = FIRST_ROWS.min(most_rows).max(1);
        let decoder = decoder(&schema, objects, rows)?;
        Ok(Self {
            source,
            schema,
            objects,
            most_rows: most_rows.max(1),
            decoder,
            rows,
            taken: Vec::new(),
            again: None,
            broken: None,
            ended: false,
        })
    }

    /// Decodes a batch; `None` when rows must be met alone, or at the end.
    fn batch(&mut self) -> Result<Option<RecordBatch>, ArrowError> {
        loop {
            let bytes = match self.source.fill_buf() {
                Ok([]) => break,
                Ok(bytes) => bytes,
                Err(error) => {
                    self.broken = Some(error.to_string());
                    return Err(error.into());
                }
            };
            let given = bytes.len();
            let read = self.decoder.decode(bytes);
            self.taken.extend_from_slice(&bytes[..*read.as_ref().unwrap_or(&given)]);
            let read = match read {
                Ok(read) => read,
                Err(error) => {
                    self.source.consume(given);
                    return Err(error);
                }
            };
            self.source.consume(read);
            if read < given || self.decoder.len() >= self.rows {
                break;
            }
        }
        let batch = self.decoder.flush()?;
        if let Some(batch) = &batch {
            let row = self.taken.len().div_ceil(batch.num_rows()).max(1);
            self.taken.clear();
            let rows = (BATCH_BYTES / row).clamp(1, self.most_rows);
            if rows > 2 * self.rows || rows < self.rows {
                self.begin(rows)?;
            }
        }
        batch.map(fitting).transpose()
    }

    fn begin(&mut self, rows: usize) -> Result<(), ArrowError> {
        self.decoder = decoder(&self.schema, self.objects, rows)?;
        self.rows = rows;
        Ok(())
    }

    /// The next row of what was taken, or why it isn't one; `None` after the last.
    fn row(&mut self, mut at: usize) -> Result<Option<RecordBatch>, BadRow> {
        let last = |error: &ArrowError| BadRow { message: said(error), last: true };
        loop {
            at += self.decoder.decode(&self.taken[at..]).map_err(|e| last(&e))?;
            self.again = Some(at);
            if at < self.taken.len() || !self.decoder.has_partial_record() {
                break;
            }
            // Its end hasn't been read yet.
            let bytes = match &self.broken {
                Some(why) => return Err(BadRow { message: why.clone(), last: true }),
                None => self.source.fill_buf(),
            };
            let bytes = bytes.map_err(|error| BadRow { message: error.to_string(), last: true })?;
            if bytes.is_empty() {
                break;
            }
            let length = bytes.len();
            self.taken.extend_from_slice(bytes);
            self.source.consume(length);
        }
        match self.decoder.flush() {
            Ok(row) => row.map(fitting).transpose().map_err(|error| last(&error)),
            Err(error) if self.decoder.has_partial_record() => Err(last(&error)),
            Err(error) => match self.begin(1) {
                Ok(()) => Err(BadRow { message: said(&error), last: false }),
                Err(error) => Err(last(&error)),
            },
        }
    }
}

/// The batch without the memory that nothing is in: with arrow-json 59.3 a column of views has room for a view for each byte of its
/// text.
fn fitting(batch: RecordBatch) -> Result<RecordBatch, ArrowError> {
    let (schema, mut columns, rows) = batch.into_parts();
    columns.iter_mut().for_each(|column| column.shrink_to_fit());
    RecordBatch::try_new_with_options(schema, columns, &RecordBatchOptions::new().with_row_count(Some(rows)))
}

impl<R: BufRead> Iterator for JsonRows<R> {
    type Item = Result<RecordBatch, BadRow>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if self.ended {
                return None;
            }
            let Some(at) = self.again else {
                match self.batch() {
                    Ok(batch) => return batch.map(Ok),
                    Err(_) => self.again = Some(0),
                }
                if let Err(error) = self.begin(1) {
                    self.ended = true;
                    return Some(Err(BadRow { message: said(&error), last: true }));
                }
                continue;
            };
            match self.row(at) {
                Ok(Some(row)) => return Some(Ok(row)),
                Ok(None) => {
                    self.taken.clear();
                    self.again = None;
                    if let Some(message) = self.broken.take() {
                        self.ended = true;
                        return Some(Err(BadRow { message, last: true }));
                    }
                    if self.begin(FIRST_ROWS.min(self.most_rows)).is_err() {
                        return None;
                    }
                }
                Err(bad) => {
                    self.ended = bad.last;
                    return Some(Err(bad));
                }
            }
        }
    }
}

fn decoder(schema: &SchemaRef, objects: Objects, rows: usize) -> Result<Decoder, ArrowError> {
    ReaderBuilder::new(schema.clone())
        .with_batch_size(rows)
        .with_coerce_primitive(objects.coerce)
        .with_strict_mode(objects.strict)
        .build_decoder()
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

/// A value as it is shown in a message.
fn short(value: &str) -> String {
    const MOST: usize = 60;
    match value.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &value[..end]),
        None => value.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::{io::BufReader, sync::Arc};

    use datafusion::arrow::{
        array::AsArray,
        datatypes::{DataType, Field, Int64Type, Schema},
    };

    use super::*;

    fn read(text: &str, most_rows: usize, piece: usize) -> (Vec<i64>, Vec<(usize, String, bool)>) {
        let schema = Arc::new(Schema::new(vec![Field::new("a", DataType::Int64, true)]));
        let source = BufReader::with_capacity(piece, text.as_bytes());
        let (mut values, mut bad) = (Vec::new(), Vec::new());
        for batch in
            JsonRows::new(source, schema, Objects { coerce: false, strict: false }, most_rows).expect("a decoder")
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
            let (values, bad) = read(&text, rows, piece);
            assert!(values == whole, "{rows} {piece} {bad:?}");
            assert_eq!(bad.iter().map(|b| (b.0, b.2)).collect::<Vec<_>>(), [(7, false), (700, false)]);
            assert!(bad[0].1.starts_with("column `a`: "), "{bad:?}");
            // What isn't JSON ends it; the rows before are good.
            let (values, bad) = read(&format!("{text}{{\"a\": 1000}} nonsense {{\"a\": 1}}"), rows, piece);
            assert_eq!((values.len(), bad.len(), bad[2].0), (999, 3, 1001), "{bad:?}");
            let (values, bad) = read(&format!("{text}{{\"a\": 1000"), rows, piece);
            assert_eq!((values.len(), bad[2].0, bad[2].2), (998, 1000, true), "{bad:?}");
        }
    }
}
