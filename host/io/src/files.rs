//! One row a file.

use std::{
    collections::VecDeque,
    io::{self, Read},
    ops::Range,
    sync::Arc,
};

use arrow::{
    array::{ArrayRef, RecordBatchOptions, StringViewArray, TimestampMillisecondArray, UInt64Array},
    buffer::Buffer,
    datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit},
    record_batch::RecordBatch,
};
use dflow_pipeline::{BatchLimits, Bytes, Codec, Fault};
use futures::stream::{self, BoxStream, StreamExt};

use crate::{
    IoError, Run, SourceBatch, SourceFailure, SourceReader, Split, Stores, content,
    handle::{file_type, handles},
    prefetch::{chained, ordered},
    texts::{MAX_BUFFER, Span, binary_views, gather, known_text_views, not_utf8, text_views, uris},
    web::Request,
};

const URI: usize = 0;
const SIZE: usize = 1;
const MODIFIED: usize = 2;
const ETAG: usize = 3;
const TEXT: usize = 4;
const BINARY: usize = 5;
const FILE: usize = 6;

/// What some editors put before UTF-8.
pub const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Reads one row a file: `uri` (utf8), `size` (uint64, bytes), `modified` (timestamp in milliseconds, UTC), `etag` (utf8),
/// `content` (utf8, without a byte order mark) and `content#bytes` (binary, all that is there).
///
/// `content#file` stands for the file: by it parts are read later ([`Stores::read_part`]).
///
/// A file is opened only when `content` or `content#bytes` is asked for, once for both. The contents of a batch lie in one buffer.
/// A file that can't be read, is larger than `max_row`, or is not UTF-8 when `content` is asked for, is a failure.
///
/// Compressed files are decompressed: `content` and `max_row` are about what comes out, `size` is what is stored.
#[derive(Clone, Debug)]
pub struct FileReader {
    stores: Stores,
    schema: SchemaRef,
    codec: Option<Codec>,
    /// Whether `content` is the bytes.
    blob: bool,
}

impl FileReader {
    /// A reader of texts in some stores.
    pub fn new(stores: &Stores) -> Self {
        let content =
            [("content", DataType::Utf8View), ("content#bytes", DataType::BinaryView), ("content#file", file_type())];
        Self { stores: stores.clone(), schema: schema(&content), codec: None, blob: false }
    }

    /// A reader of files of any kind: `content` is binary, all that is stored, and there is no `content#bytes`.
    pub fn blob(stores: &Stores) -> Self {
        let content = [("content", DataType::BinaryView), ("content#file", file_type())];
        Self { stores: stores.clone(), schema: schema(&content), codec: Some(Codec::None), blob: true }
    }

    /// With a codec for all files, if one is said. Else each text's name says it, and a blob has none.
    #[must_use]
    pub fn codec(mut self, codec: Option<Codec>) -> Self {
        self.codec = codec.or(self.codec);
        self
    }
}

/// What there is to say about a file, then its content.
fn schema(content: &[(&str, DataType)]) -> SchemaRef {
    let utc = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
    let about =
        [("uri", DataType::Utf8View), ("size", DataType::UInt64), ("modified", utc), ("etag", DataType::Utf8View)];
    let fields = about.iter().chain(content).map(|(name, data_type)| Field::new(*name, data_type.clone(), false));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

impl SourceReader for FileReader {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn uri_column(&self) -> Option<usize> {
        Some(URI)
    }

    fn known(&self, splits: &Arc<[Split]>) -> Option<RecordBatch> {
        let projection: Arc<[usize]> = Arc::from([URI, SIZE, MODIFIED, ETAG]);
        let schema = Arc::new(self.schema.project(&projection).ok()?);
        let (stores, codecs) = (self.stores.clone(), vec![Codec::None; splits.len()]);
        let splits = Arc::clone(splits);
        let all = 0..u32::try_from(splits.len()).ok()?;
        Some(Reading { stores, splits, codecs, projection, schema, max_row: 0 }.describe(all).rows)
    }

    fn open(
        &self,
        splits: Arc<[Split]>,
        projection: Arc<[usize]>,
        limits: BatchLimits,
    ) -> BoxStream<'static, Result<SourceBatch, IoError>> {
        let schema = Arc::new(self.schema.project(&projection).expect("a projection is of the reader's columns"));
        let content = |&column: &usize| if self.blob && column >= TEXT { column + 1 } else { column };
        let projection: Arc<[usize]> = projection.iter().map(content).collect();
        let max_row = limits.max_row.0.min(MAX_BUFFER - 1);
        let reads = projection.contains(&TEXT) || projection.contains(&BINARY);
        let codecs = splits.iter().map(|split| self.codec.unwrap_or_else(|| Codec::of_name(&split.path))).collect();
        let reading = Reading { stores: self.stores.clone(), splits, codecs, projection, schema, max_row };
        if !reads {
            let groups = groups(Arc::clone(&reading.splits), limits, false);
            return stream::iter(groups.map(move |(_, group)| Ok(reading.describe(group)))).boxed();
        }
        let here = |split: &Split| self.stores.local_path(split).is_some();
        if reading.codecs.iter().any(|codec| *codec != Codec::None) || !reading.splits.iter().all(here) {
            let sequence = Sequence::new(reading, limits);
            return chained(self.stores.io().clone(), sequence, Sequence::step).boxed();
        }
        let reading = Arc::new(reading);
        let jobs = groups(Arc::clone(&reading.splits), limits, true).map(move |(bytes, group)| {
            let reading = Arc::clone(&reading);
            (bytes, move || reading.read(group, bytes))
        });
        ordered(self.stores.io().clone(), jobs).boxed()
    }
}

/// Cuts splits into groups for a batch each, with the bytes to read for it.
fn groups(splits: Arc<[Split]>, limits: BatchLimits, reads: bool) -> impl Iterator<Item = (u64, Range<u32>)> + Send {
    let max_rows = limits.rows.max(1) as usize;
    // A buffer's offsets must reach the end of a batch whose last file grew since it was listed.
    let max_bytes = limits.bytes.0.min(MAX_BUFFER / 2);
    let mut next = 0;
    std::iter::from_fn(move || {
        let start = next;
        let mut bytes = 0;
        while next < splits.len() && next - start < max_rows {
            let size = if reads && splits[next].size <= limits.max_row.0 { splits[next].size } else { 0 };
            if next > start && bytes + size > max_bytes {
                break;
            }
            bytes += size;
            next += 1;
        }
        (next > start).then_some((bytes, start as u32..next as u32))
    })
}

/// What is being read of which files.
struct Reading {
    stores: Stores,
    splits: Arc<[Split]>,
    /// The codec of each of them.
    codecs: Vec<Codec>,
    projection: Arc<[usize]>,
    schema: SchemaRef,
    max_row: u64,
}

/// The files of a batch that could be read: their splits and where their bytes lie.
#[derive(Default)]
struct Contents {
    rows: Vec<u32>,
    spans: Vec<Span>,
    failed: Vec<SourceFailure>,
}

/// Why a file could not be read.
enum Unread {
    Broken(io::Error),
    /// Its size, where that is known without reading it to its end.
    TooLarge(Option<u64>),
    /// Nobody says how large it is, and parts of it are to be read.
    Unsized,
}

impl Reading {
    /// The batch of some files without their content.
    fn describe(&self, group: Range<u32>) -> SourceBatch {
        let (unsized_files, rows): (Vec<_>, Vec<_>) = group.partition(|&split| self.is_unsized(split));
        let failed = unsized_files.into_iter().map(|split| self.failure(split, Unread::Unsized));
        self.batch(rows, None, None, failed.collect())
    }

    /// The batch of some files with their content, of about so many bytes in all.
    fn read(&self, group: Range<u32>, bytes: u64) -> SourceBatch {
        let mut contents = Contents::default();
        // One byte more than there should be, so that the last read finds the end without growing the buffer.
        let mut buffer = vec![0; bytes as usize + 1];
        let mut len = 0;
        for split in group {
            match self.read_file(split, None, &mut buffer, len) {
                Ok(end) => len = contents.push(split, len, end),
                Err(why) => contents.failed.push(self.failure(split, why)),
            }
        }
        buffer.truncate(len);
        self.finish(contents, buffer)
    }

    /// The batch of contents that lie one after another in a buffer.
    fn finish(&self, mut contents: Contents, buffer: Vec<u8>) -> SourceBatch {
        let text = self.projection.contains(&TEXT);
        let binary = self.projection.contains(&BINARY);
        let mut buffer = Buffer::from_vec(buffer);
        let mut texts = text.then(|| text_views(&buffer, contents.texts(&buffer))).flatten();
        if text && texts.is_none() {
            self.fail_what_is_not_utf8(&mut contents, &buffer);
        }
        // Nothing may lie between the contents: neither a file that failed, nor a byte order mark that nobody asked for.
        if text && (texts.is_none() || (!binary && contents.texts(&buffer).ne(contents.spans.iter().copied()))) {
            let mut spans = if binary { contents.spans.clone() } else { contents.texts(&buffer).collect() };
            buffer = Buffer::from_vec(gather(&buffer, &mut spans));
            contents.spans.clone_from(&spans);
            texts = Some(match binary {
                true => known_text_views(&buffer, contents.texts(&buffer)),
                false => known_text_views(&buffer, spans.into_iter()),
            });
        }
        let binaries = binary.then(|| Arc::new(binary_views(&buffer, contents.spans.iter().copied())) as ArrayRef);
        self.batch(contents.rows, texts, binaries, contents.failed)
    }

    /// Whether a file is known to be larger than a row may be.
    fn is_too_large(&self, index: u32) -> bool {
        self.codecs[index as usize] == Codec::None && self.splits[index as usize].size > self.max_row
    }

    /// Whether parts of it are to be read, and its size isn't known: 0 is what is listed for what a server doesn't say the size of.
    fn is_unsized(&self, index: u32) -> bool {
        let split = &self.splits[index as usize];
        self.projection.contains(&FILE) && split.size == 0 && self.stores.local_path(split).is_none()
    }

    /// Reads a file into a buffer from `start` on. Gives the end of what was read.
    fn read_file(
        &self,
        index: u32,
        request: Option<Request>,
        buffer: &mut Vec<u8>,
        start: usize,
    ) -> Result<usize, Unread> {
        let (split, codec) = (&self.splits[index as usize], self.codecs[index as usize]);
        if self.is_too_large(index) {
            return Err(Unread::TooLarge(Some(split.size)));
        }
        if self.is_unsized(index) {
            return Err(Unread::Unsized);
        }
        let mut content = self.stores.open(split, codec, request).map_err(Unread::Broken)?;
        let limit = self.max_row.min(MAX_BUFFER - start as u64) as usize;
        match read_into(&mut content, buffer, start, limit).map_err(Unread::Broken)? {
            Some(end) => Ok(end),
            // It grew since it was listed.
            None if codec == Codec::None => {
                let metadata = self.stores.local_path(split).and_then(|path| path.metadata().ok());
                Err(Unread::TooLarge(metadata.map(|metadata| metadata.len())))
            }
            None => Err(Unread::TooLarge(None)),
        }
    }

    fn failure(&self, split: u32, why: Unread) -> SourceFailure {
        let uri = self.splits[split as usize].uri();
        let codec = self.codecs[split as usize];
        let limit = Bytes(self.max_row);
        let (fault, message) = match why {
            Unread::Broken(error) => content::describe(codec, &uri, "", error),
            Unread::TooLarge(size) => {
                let size =
                    size.map_or_else(|| format!("more than {limit}"), |size| format!("{} ({size} bytes)", Bytes(size)));
                let unpacked = if codec == Codec::None { "" } else { " when decompressed" };
                let message =
                    format!("`{uri}` is {size}{unpacked}, more than a row may have: `batch.max_row` is {limit}");
                (Fault::Limit, message)
            }
            Unread::Unsized => {
                let what = "is empty, or its server doesn't say how large it is: no part of it can be read alone";
                (Fault::Data, format!("`{uri}` {what}; copy it into a folder or a bucket"))
            }
        };
        SourceFailure { split, position: 0, fault, message }
    }

    fn fail_what_is_not_utf8(&self, contents: &mut Contents, buffer: &[u8]) {
        let mut kept = Contents::default();
        for (&split, &(start, end)) in contents.rows.iter().zip(&contents.spans) {
            let Some(why) = not_utf8(&buffer[start as usize..end as usize]) else {
                kept.rows.push(split);
                kept.spans.push((start, end));
                continue;
            };
            let uri = self.splits[split as usize].uri();
            let message = format!("`{uri}` is not UTF-8 ({why}); convert it, or read it as a blob");
            contents.failed.push(SourceFailure { split, position: 0, fault: Fault::Data, message });
        }
        contents.failed.sort_by_key(|failure| failure.split);
        (contents.rows, contents.spans) = (kept.rows, kept.spans);
    }

    fn batch(
        &self,
        rows: Vec<u32>,
        texts: Option<StringViewArray>,
        binaries: Option<ArrayRef>,
        failed: Vec<SourceFailure>,
    ) -> SourceBatch {
        let runs: Vec<Run> = rows.iter().map(|&split| Run { split, position: 0, rows: 1 }).collect();
        let splits = || rows.iter().map(|&split| &self.splits[split as usize]);
        let texts = texts.map(|texts| Arc::new(texts) as ArrayRef);
        let column = |&column: &usize| -> ArrayRef {
            match column {
                URI => uris(&self.splits, &runs),
                SIZE => Arc::new(UInt64Array::from_iter_values(splits().map(|split| split.size))),
                MODIFIED => {
                    let modified = TimestampMillisecondArray::from_iter_values(splits().map(|split| split.modified));
                    Arc::new(modified.with_timezone("UTC"))
                }
                ETAG => Arc::new(StringViewArray::from_iter_values(splits().map(|split| &split.etag))),
                FILE => {
                    Arc::new(handles(rows.iter().map(|&row| (&self.splits[row as usize], self.codecs[row as usize]))))
                }
                TEXT => Arc::clone(texts.as_ref().expect("content was read, since it is asked for")),
                _ => Arc::clone(binaries.as_ref().expect("content was read, since it is asked for")),
            }
        };
        let columns = self.projection.iter().map(column).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options);
        SourceBatch { rows: batch.expect("columns have the schema's types"), runs, failed }
    }
}

impl Contents {
    /// Adds a file that was read, and gives its end.
    fn push(&mut self, split: u32, start: usize, end: usize) -> usize {
        self.rows.push(split);
        self.spans.push((start as u32, end as u32));
        end
    }

    /// Where the texts lie: without byte order marks.
    fn texts<'a>(&'a self, buffer: &'a [u8]) -> impl Iterator<Item = Span> + 'a {
        self.spans.iter().map(move |&(start, end)| {
            let marked = buffer[start as usize..end as usize].starts_with(BYTE_ORDER_MARK);
            (start + if marked { BYTE_ORDER_MARK.len() as u32 } else { 0 }, end)
        })
    }
}

/// Files that a server is asked for before they are needed.
const REQUESTS: usize = 16;

/// Files read one after the other into batches, for those whose contents have sizes that nobody knows before: a batch ends
/// where what was read is enough.
struct Sequence {
    reading: Reading,
    max_rows: usize,
    max_bytes: usize,
    next: u32,
    /// Requests under way for the files from `next` on; `None` for those that need none.
    requests: VecDeque<Option<Request>>,
    /// A file that was read and found no room in the batch before.
    kept: Option<(u32, Vec<u8>)>,
}

impl Sequence {
    fn new(mut reading: Reading, limits: BatchLimits) -> Self {
        // A file is read behind those of its batch, in one buffer.
        reading.max_row = reading.max_row.min(MAX_BUFFER / 2);
        let max_bytes = limits.bytes.0.min(MAX_BUFFER / 2 - 1) as usize;
        Self {
            reading,
            max_rows: limits.rows.max(1) as usize,
            max_bytes,
            next: 0,
            requests: VecDeque::new(),
            kept: None,
        }
    }

    /// The next batch; none after the last.
    fn step(&mut self) -> Vec<SourceBatch> {
        let mut contents = Contents::default();
        let mut buffer = Vec::new();
        let mut len = 0;
        if let Some((split, content)) = self.kept.take() {
            len = contents.push(split, 0, content.len());
            buffer = content;
        }
        while len < self.max_bytes
            && contents.rows.len() + contents.failed.len() < self.max_rows
            && (self.next as usize) < self.reading.splits.len()
        {
            let (split, request) = self.take_next();
            match self.reading.read_file(split, request, &mut buffer, len) {
                Ok(end) if end > self.max_bytes && !contents.rows.is_empty() => {
                    buffer.truncate(end);
                    self.kept = Some((split, buffer.split_off(len)));
                    break;
                }
                Ok(end) => len = contents.push(split, len, end),
                Err(why) => contents.failed.push(self.reading.failure(split, why)),
            }
        }
        if contents.rows.is_empty() && contents.failed.is_empty() {
            return Vec::new();
        }
        buffer.truncate(len);
        // A file that was too large leaves much room behind.
        if buffer.capacity() > 2 * len + (64 << 10) {
            buffer.shrink_to_fit();
        }
        vec![self.reading.finish(contents, buffer)]
    }

    /// The next file, and the request for it. Those after it are asked for meanwhile.
    fn take_next(&mut self) -> (u32, Option<Request>) {
        while self.requests.len() < REQUESTS
            && let index = self.next + self.requests.len() as u32
            && let Some(split) = self.reading.splits.get(index as usize)
        {
            let wanted = !self.reading.is_too_large(index);
            self.requests.push_back(wanted.then(|| self.reading.stores.request(split)).flatten());
        }
        self.next += 1;
        (self.next - 1, self.requests.pop_front().flatten())
    }
}

/// Reads a content into a buffer from `start` on, growing it when needed. Gives the end of what was read; `None` when it is more
/// than `limit` bytes.
pub(crate) fn read_into(
    content: &mut impl Read,
    buffer: &mut Vec<u8>,
    start: usize,
    limit: usize,
) -> io::Result<Option<usize>> {
    let mut end = start;
    loop {
        if end == buffer.len() {
            buffer.resize((end + (end - start).max(64 << 10)).min(start + limit + 1), 0);
        }
        let room = buffer.len().min(start + limit + 1);
        match content.read(&mut buffer[end..room])? {
            0 => return Ok(Some(end)),
            read => end += read,
        }
        if end - start > limit {
            return Ok(None);
        }
    }
}

#[cfg(test)]
mod tests;
