//! One row a line.

use std::{io::Read, mem, sync::Arc};

use arrow::{
    array::{ArrayRef, RecordBatchOptions, UInt64Array},
    buffer::Buffer,
    datatypes::{DataType, Field, Schema, SchemaRef},
    record_batch::RecordBatch,
};
use dflow_pipeline::{BatchLimits, Bytes, Codec, Fault};
use futures::stream::{BoxStream, StreamExt};
use memchr::memchr;

use crate::{
    IoError, Run, SourceBatch, SourceFailure, SourceReader, Split, Stores,
    content::{self, Content},
    files::BYTE_ORDER_MARK,
    prefetch::chained,
    source::{each_row, push_row},
    texts::{MAX_BUFFER, Span, gather, kept_runs, known_text_views, not_utf8, text_views, uris},
};

const URI: usize = 0;
const NUMBER: usize = 1;
const LINE: usize = 2;

/// How much of a file is read at once.
const PIECE: usize = 128 << 10;
/// Lines that one job on the blocking pool reads, in bytes, when batches are smaller.
const STEP_BYTES: usize = 256 << 10;

/// Reads one row a line: `uri` (utf8), `line_number` (uint64, from 1) and `line` (utf8, without its end).
///
/// Lines end with `\n` or `\r\n`; what is after the last of them is a line, too, unless it is empty. A byte order mark at the
/// file's start is dropped. A file is read in pieces and never held; the lines of a batch lie in one buffer. When `line` is
/// asked for, a line that is not UTF-8 or is larger than `max_row` is a failure, and the others go on under their own numbers.
/// Compressed files are decompressed on the way, on one thread. Where one is broken its good lines end: the rest of it is one
/// failure.
#[derive(Clone, Debug)]
pub struct LineReader {
    stores: Stores,
    schema: SchemaRef,
    codec: Option<Codec>,
}

impl LineReader {
    /// A reader of lines of files in some stores.
    pub fn new(stores: &Stores) -> Self {
        let field = |name: &str, data_type| Field::new(name, data_type, false);
        let schema = Schema::new(vec![
            field("uri", DataType::Utf8View),
            field("line_number", DataType::UInt64),
            field("line", DataType::Utf8View),
        ]);
        Self { stores: stores.clone(), schema: Arc::new(schema), codec: None }
    }

    /// With a codec for all files, instead of the one that each file's name says.
    #[must_use]
    pub fn codec(mut self, codec: Option<Codec>) -> Self {
        self.codec = codec;
        self
    }
}

impl SourceReader for LineReader {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn uri_column(&self) -> Option<usize> {
        Some(URI)
    }

    fn known(&self, splits: &Arc<[Split]>) -> Option<RecordBatch> {
        let rows: Vec<Run> =
            (0..u32::try_from(splits.len()).ok()?).map(|split| Run { split, position: 0, rows: 1 }).collect();
        let schema = Arc::new(self.schema.project(&[URI]).ok()?);
        RecordBatch::try_new(schema, vec![uris(splits, &rows)]).ok()
    }

    fn open(
        &self,
        splits: Arc<[Split]>,
        projection: Arc<[usize]>,
        limits: BatchLimits,
    ) -> BoxStream<'static, Result<SourceBatch, IoError>> {
        let schema = self.schema.project(&projection).expect("a projection is of the reader's columns");
        let reading = Reading {
            stores: self.stores.clone(),
            splits,
            codec: self.codec,
            max_rows: limits.rows.max(1),
            max_bytes: limits.bytes.0.min(MAX_BUFFER / 2) as usize,
            max_row: limits.max_row.0.min(MAX_BUFFER / 2 - 1) as usize,
            text: projection.contains(&LINE),
            projection,
            schema: Arc::new(schema),
            next_split: 0,
            file: None,
            piece: vec![0; PIECE],
            rest: 0..0,
            batch: Lines::default(),
            done: Vec::new(),
            done_bytes: 0,
        };
        chained(self.stores.io().clone(), reading, Reading::step).boxed()
    }
}

/// The lines of a batch that is being filled; after them in `bytes`, what was read of the line in work.
#[derive(Debug, Default)]
struct Lines {
    bytes: Vec<u8>,
    spans: Vec<Span>,
    runs: Vec<Run>,
    rows: u32,
    failed: Vec<SourceFailure>,
}

impl Lines {
    /// Where its finished lines end.
    fn end(&self) -> usize {
        self.spans.last().map_or(0, |span| span.1 as usize)
    }
}

/// A file whose lines are being read.
#[derive(Debug)]
struct Open {
    split: u32,
    codec: Codec,
    content: Content,
    /// The position of the line in work.
    position: u64,
    /// Bytes that were read of it, kept or not.
    read: u64,
}

/// Where a reader stands.
struct Reading {
    stores: Stores,
    splits: Arc<[Split]>,
    codec: Option<Codec>,
    projection: Arc<[usize]>,
    schema: SchemaRef,
    max_rows: u32,
    max_bytes: usize,
    max_row: usize,
    /// Whether anybody reads the lines themselves.
    text: bool,
    next_split: usize,
    file: Option<Open>,
    piece: Vec<u8>,
    /// What of `piece` hasn't been looked at.
    rest: std::ops::Range<usize>,
    batch: Lines,
    done: Vec<SourceBatch>,
    done_bytes: usize,
}

impl Reading {
    /// Reads on until there is a fair amount of batches, or nothing more; then it gives none.
    fn step(&mut self) -> Vec<SourceBatch> {
        self.done_bytes = 0;
        while self.done_bytes < STEP_BYTES {
            let Some(mut open) = self.file.take().or_else(|| self.open_next()) else {
                if self.next_split == self.splits.len() {
                    self.finish_batch();
                    break;
                }
                continue;
            };
            if self.read_on(&mut open) {
                self.file = Some(open);
            }
        }
        mem::take(&mut self.done)
    }

    /// Opens the next file. `None` when there is none, or when it can't be opened: that is a failure.
    fn open_next(&mut self) -> Option<Open> {
        let split = self.splits.get(self.next_split)?;
        let index = self.next_split as u32;
        self.next_split += 1;
        let codec = self.codec.unwrap_or_else(|| Codec::of_name(&split.path));
        match self.stores.open(split, codec, None).and_then(|mut content| {
            let mut filled = 0;
            // Enough to know whether it begins with a byte order mark.
            while filled < BYTE_ORDER_MARK.len() {
                match content.read(&mut self.piece[filled..])? {
                    0 => break,
                    read => filled += read,
                }
            }
            Ok((content, filled))
        }) {
            Ok((content, filled)) => {
                let marked = self.piece[..filled].starts_with(BYTE_ORDER_MARK);
                self.rest = if marked { BYTE_ORDER_MARK.len() } else { 0 }..filled;
                Some(Open { split: index, codec, content, position: 0, read: 0 })
            }
            Err(error) => {
                let (fault, message) = content::describe(codec, &split.uri(), "", error);
                self.fail(index, 0, fault, message);
                None
            }
        }
    }

    /// Takes the lines of the piece at hand, then reads the next one. False at the file's end.
    fn read_on(&mut self, open: &mut Open) -> bool {
        let piece = mem::take(&mut self.piece);
        let mut rest = &piece[mem::take(&mut self.rest)];
        while let Some(end) = memchr(b'\n', rest) {
            self.take_part(open, &rest[..end]);
            self.end_line(open, true);
            rest = &rest[end + 1..];
        }
        self.take_part(open, rest);
        self.piece = piece;
        match open.content.read(&mut self.piece) {
            Ok(0) => {
                if open.read > 0 {
                    self.end_line(open, false);
                }
                false
            }
            Ok(read) => {
                self.rest = 0..read;
                true
            }
            Err(error) => {
                self.batch.bytes.truncate(self.batch.end());
                let uri = self.splits[open.split as usize].uri();
                let place = format!(" from line {} on", open.position + 1);
                let (fault, message) = content::describe(open.codec, &uri, &place, error);
                self.fail(open.split, open.position, fault, message);
                false
            }
        }
    }

    /// Takes a part of the line in work. Of a line that is too large nothing is held.
    fn take_part(&mut self, open: &mut Open, part: &[u8]) {
        open.read += part.len() as u64;
        if !self.text {
            return;
        }
        // One byte above the limit may be the `\r` of its end.
        if open.read > self.max_row as u64 + 1 {
            self.batch.bytes.truncate(self.batch.end());
            self.batch.bytes.shrink_to(self.max_bytes);
        } else {
            self.batch.bytes.extend_from_slice(part);
        }
    }

    /// Ends the line in work.
    fn end_line(&mut self, open: &mut Open, newline: bool) {
        let (read, position) = (mem::take(&mut open.read), open.position);
        open.position += 1;
        let mut start = self.batch.end();
        if self.text {
            if newline && self.batch.bytes[start..].last() == Some(&b'\r') {
                self.batch.bytes.pop();
            }
            let len = self.batch.bytes.len() - start;
            if read > self.max_row as u64 + 1 || len > self.max_row {
                self.batch.bytes.truncate(start);
                let message = format!(
                    "line {} of `{}` is {} ({read} bytes), more than a row may have: `batch.max_row` is {}",
                    position + 1,
                    self.splits[open.split as usize].uri(),
                    Bytes(read),
                    Bytes(self.max_row as u64)
                );
                return self.fail(open.split, position, Fault::Limit, message);
            }
            if self.batch.rows > 0 && start + len > self.max_bytes {
                let line = self.batch.bytes.split_off(start);
                self.finish_batch();
                self.batch.bytes = line;
                start = 0;
            }
            self.batch.spans.push((start as u32, (start + len) as u32));
        }
        self.batch.rows += 1;
        push_row(&mut self.batch.runs, open.split, position);
        if self.batch.rows == self.max_rows || self.batch.bytes.len() >= self.max_bytes {
            self.finish_batch();
        }
    }

    fn fail(&mut self, split: u32, position: u64, fault: Fault, message: String) {
        self.batch.failed.push(SourceFailure { split, position, fault, message });
        if self.batch.failed.len() >= self.max_rows as usize {
            let line = self.batch.bytes.split_off(self.batch.end());
            self.finish_batch();
            self.batch.bytes = line;
        }
    }

    /// Makes a batch of the lines that are finished.
    fn finish_batch(&mut self) {
        let mut lines = mem::take(&mut self.batch);
        if lines.rows == 0 && lines.failed.is_empty() {
            return;
        }
        if self.text {
            self.batch.bytes.reserve(lines.bytes.len());
        }
        // Failures count towards a step, too: a file of nothing else must not gather them all.
        self.done_bytes += lines.bytes.len() + 64 * (lines.rows as usize + lines.failed.len());
        let mut buffer = Buffer::from_vec(mem::take(&mut lines.bytes));
        let mut texts = self.text.then(|| text_views(&buffer, lines.spans.iter().copied())).flatten();
        if self.text && texts.is_none() {
            self.fail_what_is_not_utf8(&mut lines, &buffer);
            buffer = Buffer::from_vec(gather(&buffer, &mut lines.spans));
            texts = Some(known_text_views(&buffer, lines.spans.iter().copied()));
        }
        let texts = texts.map(|texts| Arc::new(texts) as ArrayRef);
        let column = |&column: &usize| -> ArrayRef {
            match column {
                URI => uris(&self.splits, &lines.runs),
                NUMBER => {
                    let numbers = each_row(&lines.runs).map(|(_, position)| position + 1);
                    Arc::new(UInt64Array::from_iter_values(numbers))
                }
                _ => Arc::clone(texts.as_ref().expect("lines were kept, since they are asked for")),
            }
        };
        let columns = self.projection.iter().map(column).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(lines.rows as usize));
        let rows = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
            .expect("columns have the schema's types");
        self.done.push(SourceBatch { rows, runs: lines.runs, failed: lines.failed });
    }

    fn fail_what_is_not_utf8(&self, lines: &mut Lines, buffer: &[u8]) {
        let mut kept = Vec::with_capacity(lines.spans.len());
        for ((split, position), &(start, end)) in each_row(&lines.runs).zip(&lines.spans) {
            let why = not_utf8(&buffer[start as usize..end as usize]);
            kept.push(why.is_none());
            if let Some(why) = why {
                let uri = self.splits[split as usize].uri();
                let message =
                    format!("line {} of `{uri}` is not UTF-8 ({why} of the line); convert the file", position + 1);
                lines.failed.push(SourceFailure { split, position, fault: Fault::Data, message });
            }
        }
        lines.failed.sort_by_key(|failure| (failure.split, failure.position));
        lines.runs = kept_runs(&lines.runs, &kept);
        let mut keep = kept.iter();
        lines.spans.retain(|_| *keep.next().expect("one for each line"));
        lines.rows = lines.spans.len() as u32;
    }
}

#[cfg(test)]
mod tests;
