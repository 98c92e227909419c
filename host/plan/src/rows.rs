//! Rows of a text, decoded into batches. A row that doesn't fit is met alone: the others go on.
//!
//! The bytes of the batch in work are kept beside the decoder, which forgets them. When it fails they are cut into rows, and decoded
//! again by halves. A row whose text is larger than a row may be fails, too, and isn't held, nor is what is blank between rows.

use std::{
    io::{self, BufRead, Read},
    mem,
    ops::Range,
};

use datafusion::arrow::{
    array::{Array, RecordBatch, RecordBatchOptions},
    compute::concat_batches,
    error::ArrowError,
};
use dflow_pipeline::{Bytes, Fault};

/// Rows of the first batch: nobody knows yet how large they are.
const FIRST_ROWS: usize = 16;
/// Bytes of text that a batch is made of, about.
const BATCH_BYTES: usize = 4 << 20;
/// Bytes that are read at least to find the end of a row.
const PIECE: usize = 4096;
/// Bytes of a line's end, which don't count as the row's.
const LINE_END: usize = 2;
/// The longest value that a message shows.
const SHOWN: usize = 60;

/// Why a row can't be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BadRow {
    pub(crate) message: String,
    /// `Limit`: it is too large. Then the message says how large, and is to follow the row's place.
    pub(crate) fault: Fault,
    /// Whether nothing after it can be read.
    pub(crate) last: bool,
}

impl BadRow {
    fn too_large(length: usize, most: usize) -> Self {
        let message = format!("has {}, the limit is {} (`batch.max_row`)", Bytes(length as u64), Bytes(most as u64));
        Self { message, fault: Fault::Limit, last: false }
    }
}

impl From<String> for BadRow {
    fn from(message: String) -> Self {
        Self { message, fault: Fault::Data, last: true }
    }
}

/// How rows are written in a text.
pub(crate) trait RowFormat {
    /// Makes batches of them.
    type Decoder;

    /// One whose batches have at most so many rows.
    fn decoder(&self, rows: usize) -> Result<Self::Decoder, ArrowError>;

    /// Takes bytes, as many as it says; none at the text's end.
    fn decode(&self, decoder: &mut Self::Decoder, bytes: &[u8]) -> Result<usize, ArrowError>;

    /// Rows that it has taken.
    fn taken(&self, decoder: &Self::Decoder) -> usize;

    /// The batch of what it has taken.
    fn flush(&self, decoder: &mut Self::Decoder) -> Result<Option<RecordBatch>, ArrowError>;

    /// Where the first row of some bytes ends, if its end is among them. Unless it `begins` there, they follow those that were last given.
    fn end(&self, bytes: &[u8], begins: bool) -> Option<usize>;

    /// How many bytes that say nothing stand before a row's text.
    fn blank(&self, bytes: &[u8]) -> usize;

    /// How long a row's text is: all that is written of it, but for the end of its line.
    fn length(&self, row: &[u8]) -> usize {
        let row = &row[self.blank(row)..];
        row.len() - line_end(row)
    }

    /// Whether a row among the first ones may say what columns there are.
    fn fits(&self, _row: &[u8]) -> bool {
        true
    }

    /// Whether what failed will not fail again, since a new decoder knows more.
    fn has_learned(&self, _error: &ArrowError) -> bool {
        false
    }

    /// What is wrong with a row.
    fn bad(&self, row: &[u8], error: &ArrowError) -> BadRow;
}

/// The batches of a text.
pub(crate) struct Rows<F: RowFormat, R> {
    source: Ahead<R>,
    format: F,
    most_rows: usize,
    /// Bytes that a row may have.
    max_row: usize,
    decoder: F::Decoder,
    /// Rows of a batch of this decoder.
    rows: usize,
    /// What was decoded since the last batch.
    taken: Vec<u8>,
    /// Where its rows end, while they are decoded again, ...
    ends: Vec<usize>,
    /// ... and which of them are to be, the last ones first.
    again: Vec<Range<usize>>,
    /// How long the row is that comes next, which was too long to be held.
    skipped: Option<usize>,
    /// What reading ended with.
    broken: Option<String>,
    ended: bool,
}

impl<F: RowFormat, R: BufRead> Rows<F, R> {
    /// Rows in a format, each of at most `max_row` bytes, at most `most_rows` in a batch.
    pub(crate) fn new(source: R, format: F, most_rows: usize, max_row: usize) -> Result<Self, ArrowError> {
        let rows = FIRST_ROWS.min(most_rows).max(1);
        Ok(Self {
            source: Ahead { bytes: io::Cursor::default(), rest: source },
            decoder: format.decoder(rows)?,
            format,
            most_rows: most_rows.max(1),
            max_row,
            rows,
            taken: Vec::new(),
            ends: Vec::new(),
            again: Vec::new(),
            skipped: None,
            broken: None,
            ended: false,
        })
    }

    /// Decodes a batch; `None` at the end.
    fn batch(&mut self) -> Result<Option<RecordBatch>, ArrowError> {
        let too_large = || Err(ArrowError::ParseError("a row is too large".to_owned()));
        // What is behind this is of one row.
        let (mut begun, mut rows) = (0, 0);
        loop {
            let bytes = match self.source.fill_buf() {
                Ok(bytes) => bytes,
                Err(error) => {
                    self.broken = Some(said(&error.to_string()).to_owned());
                    return Err(error.into());
                }
            };
            let given = bytes.len();
            let read = self.format.decode(&mut self.decoder, bytes);
            let count = *read.as_ref().unwrap_or(&given);
            self.taken.extend_from_slice(&bytes[..count]);
            self.source.consume(count);
            let read = read?;
            let before = mem::replace(&mut rows, self.format.taken(&self.decoder));
            if read < given || given == 0 || rows >= self.rows {
                break;
            }
            if rows > before {
                begun = self.taken.len();
            } else if self.taken.len() - begun > self.max_row.saturating_add(LINE_END) {
                // Or what is blank before it is: then nothing of that is taken again.
                return too_large();
            }
        }
        if self.has_large() {
            return too_large();
        }
        let batch = self.format.flush(&mut self.decoder)?;
        if let Some(batch) = &batch {
            let row = self.taken.len().div_ceil(batch.num_rows()).max(1);
            self.taken.clear();
            let rows = (BATCH_BYTES / row).clamp(1, self.most_rows);
            if rows > 2 * self.rows || rows < self.rows {
                self.decoder = self.format.decoder(rows)?;
                self.rows = rows;
            }
        }
        batch.map(fitting).transpose()
    }

    /// Whether a row of those that were taken is larger than a row may be.
    fn has_large(&self) -> bool {
        let mut rest = &self.taken[..];
        while rest.len() > self.max_row {
            let (row, behind) = rest.split_at(self.format.end(rest, true).unwrap_or(rest.len()));
            if self.format.length(row) > self.max_row {
                return true;
            }
            rest = behind;
        }
        false
    }

    /// Cuts what was taken into rows. The beginning of one behind them is read again, so that no more is held than there was.
    fn cut(&mut self) {
        self.ends.clear();
        let mut at = 0;
        while at < self.taken.len() {
            if let Some(end) = self.format.end(&self.taken[at..], true) {
                let blank = self.format.blank(&self.taken[at..at + end]);
                at += end;
                // A blank line belongs to the row behind it.
                if blank < end {
                    self.ends.push(at);
                }
            } else if at > 0 {
                self.source.put_back(self.taken.split_off(at));
            } else if self.broken.is_some() {
                // A part of a row isn't one.
                break;
            } else if is_too_large(&self.format, &self.taken, self.max_row) {
                match skip(mem::take(&mut self.taken), &mut self.source, &self.format) {
                    Ok(length) => self.skipped = Some(length),
                    Err(error) => self.broken = Some(said(&error.to_string()).to_owned()),
                }
            } else {
                let blank = self.format.blank(&self.taken);
                self.taken.drain(..blank);
                match more(&mut self.source, &mut self.taken) {
                    Ok(true) => {}
                    Ok(false) => {
                        at = self.taken.len();
                        self.ends.push(at);
                    }
                    Err(error) => self.broken = Some(said(&error.to_string()).to_owned()),
                }
            }
        }
        self.again.push(0..self.ends.len());
    }

    /// What some rows of those that were cut are.
    fn bytes(&self, rows: &Range<usize>) -> &[u8] {
        let begin = rows.start.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.taken[begin..self.ends[rows.end - 1]]
    }
}

/// So many rows of a text, decoded together.
pub(crate) fn decoded<F: RowFormat>(format: &F, bytes: &[u8], rows: usize) -> Result<Option<RecordBatch>, ArrowError> {
    match once(format, bytes, rows) {
        Err(error) if format.has_learned(&error) => once(format, bytes, rows),
        decoded => decoded,
    }
}

fn once<F: RowFormat>(format: &F, bytes: &[u8], rows: usize) -> Result<Option<RecordBatch>, ArrowError> {
    let (mut at, mut batches) = (0, Vec::new());
    let mut decoder = format.decoder(rows)?;
    loop {
        let read = format.decode(&mut decoder, &bytes[at..])?;
        at += read;
        if read == 0 || format.taken(&decoder) >= rows {
            batches.extend(format.flush(&mut decoder)?);
            if at == bytes.len() {
                break;
            }
        }
    }
    let batch = match batches.as_slice() {
        [] | [_] => batches.pop(),
        [first, ..] => Some(concat_batches(&first.schema(), &batches)?),
    };
    batch.map(fitting).transpose()
}

/// Adds to what there is of a row: to a line's end while it is short, then as much as there is of it already, so that looking for its
/// end again and again takes no more than twice the time. Gives whether there was more.
fn more(source: &mut impl BufRead, row: &mut Vec<u8>) -> io::Result<bool> {
    let (before, short) = (row.len(), row.len() < PIECE);
    let most = before + before.max(PIECE);
    while row.len() < most {
        let bytes = source.fill_buf()?;
        let bytes = &bytes[..bytes.len().min(most - row.len())];
        let line = memchr::memchr(b'\n', bytes).filter(|_| short).map(|end| end + 1);
        let length = line.unwrap_or(bytes.len());
        row.extend_from_slice(&bytes[..length]);
        source.consume(length);
        if line.is_some() || length == 0 {
            break;
        }
    }
    Ok(row.len() > before)
}

/// Whether what there is of a row is more than a row may have.
fn is_too_large<F: RowFormat>(format: &F, row: &[u8], most: usize) -> bool {
    row.len() - format.blank(row) > most.saturating_add(LINE_END)
}

/// How many bytes the end of a row's line has.
fn line_end(row: &[u8]) -> usize {
    match row {
        [.., b'\r', b'\n'] => 2,
        [.., b'\r' | b'\n'] => 1,
        _ => 0,
    }
}

/// Goes to the end of a row, what is held of which the format has seen, and gives how long it is.
fn skip<F: RowFormat>(held: Vec<u8>, source: &mut impl BufRead, format: &F) -> io::Result<usize> {
    let (mut read, mut length) = (held.len() - format.blank(&held), format.length(&held));
    drop(held);
    loop {
        let bytes = source.fill_buf()?;
        let end = format.end(bytes, false);
        let bytes = &bytes[..end.unwrap_or(bytes.len())];
        let count = bytes.len();
        if count > 0 {
            length = read + count - line_end(bytes);
        }
        read += count;
        source.consume(count);
        if end.is_some() || count == 0 {
            return Ok(length);
        }
    }
}

/// A text of which something was put back.
struct Ahead<R> {
    bytes: io::Cursor<Vec<u8>>,
    rest: R,
}

impl<R> Ahead<R> {
    fn left(&self) -> &[u8] {
        &self.bytes.get_ref()[self.bytes.position() as usize..]
    }

    fn put_back(&mut self, mut bytes: Vec<u8>) {
        bytes.extend_from_slice(self.left());
        self.bytes = io::Cursor::new(bytes);
    }
}

impl<R: BufRead> Read for Ahead<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.left().is_empty() { self.rest.read(into) } else { self.bytes.read(into) }
    }
}

impl<R: BufRead> BufRead for Ahead<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.left().is_empty() { self.rest.fill_buf() } else { self.bytes.fill_buf() }
    }

    fn consume(&mut self, count: usize) {
        if self.left().is_empty() { self.rest.consume(count) } else { self.bytes.consume(count) }
    }
}

/// The first row of a text, and the text behind it. The row isn't whole if the text ends within.
///
/// # Errors
/// The text can't be read, or the row is larger than a row may be.
pub(crate) fn first_row<R: BufRead, F: RowFormat>(
    mut source: R,
    format: &F,
    max_row: usize,
) -> io::Result<(Vec<u8>, impl BufRead + use<R, F>)> {
    let mut row = Vec::new();
    let end = loop {
        if let Some(end) = format.end(&row, true) {
            break end;
        }
        let blank = format.blank(&row);
        row.drain(..blank);
        if is_too_large(format, &row, max_row) {
            let what = format!("its first row doesn't end within {} (`batch.max_row`)", Bytes(max_row as u64));
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, what));
        }
        if !more(&mut source, &mut row)? {
            break row.len();
        }
    };
    let behind = row.split_off(end);
    Ok((row, io::Cursor::new(behind).chain(source)))
}

/// The first rows of a text, for who looks at them: of what is too large for a row, or doesn't fit, there is an empty line, so that one row
/// is held.
pub(crate) struct Sample<'a, F, R> {
    source: Ahead<R>,
    format: &'a F,
    max_row: usize,
    row: io::Cursor<Vec<u8>>,
    /// The first row that is left out.
    pub(crate) large: Option<BadRow>,
    failed: Option<io::Error>,
}

impl<'a, F: RowFormat, R: BufRead> Sample<'a, F, R> {
    pub(crate) fn new(source: R, format: &'a F, max_row: usize) -> Self {
        let source = Ahead { bytes: io::Cursor::default(), rest: source };
        Self { source, format, max_row, row: io::Cursor::default(), large: None, failed: None }
    }

    /// The row, or an empty line in its place.
    fn kept(&self, row: Vec<u8>) -> Vec<u8> {
        let fits = self.format.fits(&row) && self.format.length(&row) <= self.max_row;
        if fits { row } else { b"\n".to_vec() }
    }

    /// The next row; nothing at the end.
    fn next_row(&mut self) -> io::Result<Vec<u8>> {
        let mut row = Vec::new();
        loop {
            if let Some(end) = self.format.end(&row, true) {
                if end < row.len() {
                    self.source.put_back(row.split_off(end));
                }
                return Ok(self.kept(row));
            }
            let blank = self.format.blank(&row);
            row.drain(..blank);
            if is_too_large(self.format, &row, self.max_row) {
                let length = skip(mem::take(&mut row), &mut self.source, self.format)?;
                self.large.get_or_insert_with(|| BadRow::too_large(length, self.max_row));
                return Ok(b"\n".to_vec());
            }
            match more(&mut self.source, &mut row) {
                Ok(true) => {}
                Ok(false) => return Ok(self.kept(row)),
                // What is wrong with what there is of it comes first.
                Err(error) if !row.is_empty() => {
                    self.failed = Some(error);
                    return Ok(row);
                }
                Err(error) => return Err(error),
            }
        }
    }
}

impl<F: RowFormat, R: BufRead> Read for Sample<'_, F, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.row.read(into)?;
        if read > 0 {
            return Ok(read);
        }
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        self.row = io::Cursor::new(self.next_row()?);
        self.row.read(into)
    }
}

/// The batch without the memory that nothing is in: with arrow-json 59.3 a column of views has room for a view for each byte of its
/// text.
fn fitting(batch: RecordBatch) -> Result<RecordBatch, ArrowError> {
    let (schema, mut columns, rows) = batch.into_parts();
    columns.iter_mut().for_each(|column| column.shrink_to_fit());
    RecordBatch::try_new_with_options(schema, columns, &RecordBatchOptions::new().with_row_count(Some(rows)))
}

/// What Arrow says, without its words for the kind of error.
pub(crate) fn said(error: &str) -> &str {
    let kinds = ["Csv error: ", "Json error: ", "Io error: ", "Ipc error: ", "Parser error: "];
    kinds.into_iter().fold(error, |error, kind| error.trim_start_matches(kind))
}

/// A value as it is shown in a message.
pub(crate) fn short(value: &str) -> String {
    match value.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &value[..end]),
        None => value.to_owned(),
    }
}

impl<F: RowFormat, R: BufRead> Iterator for Rows<F, R> {
    type Item = Result<RecordBatch, BadRow>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if self.ended {
                return None;
            }
            if let Some(length) = self.skipped.take() {
                return Some(Err(BadRow::too_large(length, self.max_row)));
            }
            let Some(rows) = self.again.pop() else {
                if let Some(message) = self.broken.take() {
                    self.ended = true;
                    return Some(Err(message.into()));
                }
                match self.batch() {
                    Ok(batch) => {
                        self.ended = batch.is_none();
                        return batch.map(Ok);
                    }
                    Err(_) => self.cut(),
                }
                match self.format.decoder(self.rows) {
                    Ok(decoder) => self.decoder = decoder,
                    Err(error) => {
                        self.ended = true;
                        return Some(Err(error.to_string().into()));
                    }
                }
                continue;
            };
            if rows.is_empty() {
                self.taken.clear();
                continue;
            }
            let lengths = rows.clone().map(|row| self.format.length(self.bytes(&(row..row + 1))));
            let longest = lengths.max().unwrap_or(0);
            let large = longest > self.max_row;
            let decoded = if large { Ok(None) } else { decoded(&self.format, self.bytes(&rows), rows.len()) };
            if (large || decoded.is_err()) && rows.len() > 1 {
                let middle = rows.start.midpoint(rows.end);
                self.again.extend([middle..rows.end, rows.start..middle]);
                continue;
            }
            let bad = match &decoded {
                _ if large => Some(BadRow::too_large(longest, self.max_row)),
                Err(error) => Some(self.format.bad(self.bytes(&rows), error)),
                Ok(_) => None,
            };
            if self.again.is_empty() {
                self.taken.clear();
            }
            if let Some(bad) = bad {
                self.ended = bad.last;
                return Some(Err(bad));
            }
            if let Ok(Some(batch)) = decoded {
                return Some(Ok(batch));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{io::BufReader, sync::Arc};

    use datafusion::arrow::datatypes::{DataType, Field, Schema};

    use super::*;
    use crate::json_rows::Objects;

    #[test]
    fn nothing_is_held_of_what_is_too_long_or_blank() {
        let schema = Arc::new(Schema::new(vec![Field::new("a", DataType::Int64, true)]));
        let good = "{\"a\": 1}\n";
        for (before, byte, behind, bad) in
            [("", b' ', "", 0), ("", b'\n', "", 0), ("{\"b\": \"", b'x', "\"}\n", 1), ("{\"b\": ", b' ', "1}\n", 1)]
        {
            for lines in [false, true] {
                let (before, behind) = (format!("{good}{before}"), format!("{behind}{good}"));
                let text = before.as_bytes().chain(io::repeat(byte).take(1 << 22)).chain(behind.as_bytes());
                let source = BufReader::with_capacity(PIECE, text);
                let objects = Objects::new(schema.clone()).in_lines(lines);
                let mut rows = Rows::new(source, objects, 10, 100).expect("a decoder");
                let (mut read, mut failed) = (0, 0);
                while let Some(batch) = rows.next() {
                    match batch {
                        Ok(batch) => read += batch.num_rows(),
                        Err(_) => failed += 1,
                    }
                    assert!(rows.taken.capacity() <= 16 * PIECE, "{byte} {lines} {}", rows.taken.capacity());
                }
                assert_eq!((read, failed), (2, bad), "{byte} {lines}");
            }
        }
    }
}
