//! One row a file.

use std::{
    fs::File,
    io::{self, Read},
    ops::Range,
    path::Path,
    sync::Arc,
};

use arrow::{
    array::{ArrayRef, RecordBatchOptions, StringViewArray, TimestampMillisecondArray, UInt64Array},
    buffer::Buffer,
    datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit},
    record_batch::RecordBatch,
};
use dflow_pipeline::{BatchLimits, Bytes, Fault};
use futures::stream::{self, BoxStream, StreamExt};

use crate::{
    IoError, Run, SourceBatch, SourceFailure, SourceReader, Split, Stores,
    prefetch::ordered,
    texts::{MAX_BUFFER, Span, binary_views, gather, known_text_views, not_utf8, text_views, uris},
};

const URI: usize = 0;
const SIZE: usize = 1;
const MODIFIED: usize = 2;
const ETAG: usize = 3;
const TEXT: usize = 4;
const BINARY: usize = 5;

/// What some editors put before UTF-8.
pub(crate) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Reads one row a file: `uri` (utf8), `size` (uint64, bytes), `modified` (timestamp in milliseconds, UTC), `etag` (utf8),
/// `content` (utf8, without a byte order mark) and `content#bytes` (binary, all that is there).
///
/// A file is opened only when one of the last two is asked for, once for both. The contents of a batch lie in one buffer.
/// A file that can't be read, is larger than `max_row`, or is not UTF-8 when `content` is asked for, is a failure.
#[derive(Clone, Debug)]
pub struct FileReader {
    stores: Stores,
    schema: SchemaRef,
}

impl FileReader {
    /// A reader of files in some stores.
    pub fn new(stores: &Stores) -> Self {
        let utc = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
        let field = |name: &str, data_type| Field::new(name, data_type, false);
        let schema = Schema::new(vec![
            field("uri", DataType::Utf8View),
            field("size", DataType::UInt64),
            field("modified", utc),
            field("etag", DataType::Utf8View),
            field("content", DataType::Utf8View),
            field("content#bytes", DataType::BinaryView),
        ]);
        Self { stores: stores.clone(), schema: Arc::new(schema) }
    }
}

impl SourceReader for FileReader {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn uri_column(&self) -> Option<usize> {
        Some(URI)
    }

    fn open(
        &self,
        splits: Arc<[Split]>,
        projection: Arc<[usize]>,
        limits: BatchLimits,
    ) -> BoxStream<'static, Result<SourceBatch, IoError>> {
        let schema = self.schema.project(&projection).expect("a projection is of the reader's columns");
        let max_row = limits.max_row.0.min(MAX_BUFFER - 1);
        let reads = projection.contains(&TEXT) || projection.contains(&BINARY);
        let groups = groups(Arc::clone(&splits), limits, reads);
        let reading = Reading { stores: self.stores.clone(), splits, projection, schema: Arc::new(schema), max_row };
        let reading = Arc::new(reading);
        if reads {
            let jobs = groups.map(move |(bytes, group)| {
                let reading = Arc::clone(&reading);
                (bytes, move || reading.read(group, bytes))
            });
            ordered(self.stores.io().clone(), jobs).boxed()
        } else {
            stream::iter(groups.map(move |(_, group)| Ok(reading.describe(group)))).boxed()
        }
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
    Os(io::Error),
    TooLarge(u64),
}

impl Reading {
    /// The batch of some files without their content.
    fn describe(&self, group: Range<u32>) -> SourceBatch {
        self.batch(group.collect(), None, None, Vec::new())
    }

    /// The batch of some files with their content, of about so many bytes in all.
    fn read(&self, group: Range<u32>, bytes: u64) -> SourceBatch {
        let text = self.projection.contains(&TEXT);
        let binary = self.projection.contains(&BINARY);
        let mut contents = Contents::default();
        // One byte more than there should be, so that the last read finds the end without growing the buffer.
        let mut buffer = vec![0; bytes as usize + 1];
        let mut len = 0;
        for split in group {
            match self.read_file(&self.splits[split as usize], &mut buffer, len) {
                Ok(end) => {
                    contents.rows.push(split);
                    contents.spans.push((len as u32, end as u32));
                    len = end;
                }
                Err(why) => contents.failed.push(self.failure(split, why)),
            }
        }
        buffer.truncate(len);
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

    /// Reads a file into a buffer from `start` on. Gives the end of what was read.
    fn read_file(&self, split: &Split, buffer: &mut Vec<u8>, start: usize) -> Result<usize, Unread> {
        if split.size > self.max_row {
            return Err(Unread::TooLarge(split.size));
        }
        let path = self.stores.local_path(split);
        let limit = self.max_row.min(MAX_BUFFER - start as u64) as usize;
        match read_into(&path, buffer, start, limit).map_err(Unread::Os)? {
            Some(end) => Ok(end),
            // It grew since it was listed.
            None => Err(Unread::TooLarge(path.metadata().map_or(self.max_row + 1, |metadata| metadata.len()))),
        }
    }

    fn failure(&self, split: u32, why: Unread) -> SourceFailure {
        let uri = self.splits[split as usize].uri();
        let (fault, message) = match why {
            Unread::Os(error) => (Fault::Outside, IoError::os_named("read", &uri, error).message),
            Unread::TooLarge(size) => (
                Fault::Limit,
                format!(
                    "`{uri}` is {} ({size} bytes), more than a row may have: `batch.max_row` is {}",
                    Bytes(size),
                    Bytes(self.max_row)
                ),
            ),
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
            let message = format!("`{uri}` is not UTF-8 ({why}); convert it, or read it as binary");
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
    /// Where the texts lie: without byte order marks.
    fn texts<'a>(&'a self, buffer: &'a [u8]) -> impl Iterator<Item = Span> + 'a {
        self.spans.iter().map(move |&(start, end)| {
            let marked = buffer[start as usize..end as usize].starts_with(BYTE_ORDER_MARK);
            (start + if marked { BYTE_ORDER_MARK.len() as u32 } else { 0 }, end)
        })
    }
}

/// Reads a file into a buffer from `start` on, growing it when needed. Gives the end of what was read; `None` when it is more
/// than `limit` bytes.
fn read_into(path: &Path, buffer: &mut Vec<u8>, start: usize, limit: usize) -> io::Result<Option<usize>> {
    let mut file = File::open(path)?;
    let mut end = start;
    loop {
        if end == buffer.len() {
            buffer.resize(buffer.len() + (end - start).max(64 << 10), 0);
        }
        let room = buffer.len().min(start + limit + 1);
        match file.read(&mut buffer[end..room]) {
            Ok(0) => return Ok(Some(end)),
            Ok(read) => end += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if end - start > limit {
            return Ok(None);
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::{
        array::AsArray,
        datatypes::{TimestampMillisecondType, UInt64Type},
    };

    use super::*;
    use crate::testing::{Ground, block_on, limits, read_all};

    /// The texts of a batch's column, which must lie one after another in one buffer.
    fn texts(batch: &SourceBatch, column: usize) -> Vec<String> {
        let column = batch.rows.column(column).as_string_view();
        assert_eq!(column.data_buffers().len(), 1);
        let whole: String = column.iter().flatten().collect();
        assert_eq!(column.data_buffers()[0].as_slice(), whole.as_bytes());
        column.iter().map(|text| text.unwrap().to_owned()).collect()
    }

    #[test]
    fn each_file_is_a_row() {
        let ground = Ground::new();
        ground.write("in/a.txt", "first file, of more than twelve bytes");
        ground.write("in/b.txt", "");
        ground.write("in/c.txt", b"\xef\xbb\xbf\xef\xbb\xbfmarked twice");
        ground.write("in/d.txt", "gr\u{fc}\u{df}e");
        let stores = ground.stores(&[("docs", "in")]);
        let splits = block_on(stores.list("docs://")).unwrap();
        let reader = FileReader::new(&stores);
        let all = read_all(&reader, &splits, &[0, 1, 2, 3, 4, 5], BatchLimits::default());
        let [batch] = all.as_slice() else { panic!("{} batches", all.len()) };
        assert!(batch.failed.is_empty());
        assert_eq!(batch.runs, [0, 1, 2, 3].map(|split| Run { split, position: 0, rows: 1 }));
        let column = |i: usize| batch.rows.column(i);
        assert_eq!(
            column(URI).as_string_view().iter().flatten().collect::<Vec<_>>(),
            ["docs://a.txt", "docs://b.txt", "docs://c.txt", "docs://d.txt"]
        );
        assert_eq!(column(SIZE).as_primitive::<UInt64Type>().values(), &[37, 0, 18, 7]);
        assert_eq!(column(MODIFIED).as_primitive::<TimestampMillisecondType>().value(1), splits[1].modified);
        assert_eq!(column(ETAG).as_string_view().value(2), splits[2].etag);
        let text = ["first file, of more than twelve bytes", "", "\u{feff}marked twice", "gr\u{fc}\u{df}e"];
        assert_eq!(column(TEXT).as_string_view().iter().flatten().collect::<Vec<_>>(), text);
        let binary = column(BINARY).as_binary_view();
        assert_eq!(binary.value(2), b"\xef\xbb\xbf\xef\xbb\xbfmarked twice");
        assert_eq!(binary.data_buffers()[0].as_ptr(), column(TEXT).as_string_view().data_buffers()[0].as_ptr());
        // Alone, the texts lie in one piece, the mark taken out.
        for rows in [1, 3, 9] {
            let all = read_all(&reader, &splits, &[TEXT], limits(rows, 1 << 20, 1 << 20));
            assert_eq!(all.len(), 4usize.div_ceil(rows as usize));
            assert_eq!(all.iter().flat_map(|batch| texts(batch, 0)).collect::<Vec<_>>(), text);
        }
    }

    #[test]
    fn batches_are_cut_by_rows_and_bytes() {
        let ground = Ground::new();
        for (i, size) in [4, 4, 4, 30, 4, 10, 1, 0, 0].into_iter().enumerate() {
            ground.write(&format!("in/{i}"), "x".repeat(size));
        }
        let stores = ground.stores(&[]);
        let splits = block_on(stores.list("in")).unwrap();
        let reader = FileReader::new(&stores);
        let rows = |projection: &[usize], rows, bytes, max_row| {
            let all = read_all(&reader, &splits, projection, limits(rows, bytes, max_row));
            all.iter().map(|batch| (batch.rows.num_rows(), batch.failed.len())).collect::<Vec<_>>()
        };
        assert_eq!(rows(&[TEXT], 8192, 10, 100), [(2, 0), (1, 0), (1, 0), (1, 0), (1, 0), (3, 0)]);
        assert_eq!(rows(&[BINARY], 2, 1000, 100), [(2, 0), (2, 0), (2, 0), (2, 0), (1, 0)]);
        assert_eq!(rows(&[TEXT], 8192, 1000, 9), [(7, 2)]);
        assert_eq!(rows(&[URI], 5, 10, 9), [(5, 0), (4, 0)]);
        assert_eq!(rows(&[], 8192, 10, 9), [(9, 0)]);
        let failed = read_all(&reader, &splits, &[TEXT], limits(8192, 1000, 9)).remove(0).failed;
        assert_eq!((failed[0].split, failed[0].fault, failed[1].split), (3, Fault::Limit, 5));
        assert_eq!(failed[0].message, "`in/3` is 30 B (30 bytes), more than a row may have: `batch.max_row` is 9 B");
        assert!(read_all(&reader, &[], &[TEXT], BatchLimits::default()).is_empty());
    }

    #[test]
    fn what_can_t_be_read_is_a_failure_and_the_rest_goes_on() {
        let ground = Ground::new();
        ground.write("in/a", "a longer text, with two more around it");
        ground.write("in/b", b"good until \xff here");
        ground.write("in/c", b"\xef\xbb\xbfends within \xc3");
        ground.write("in/d", "gone");
        ground.write("in/e", "grows");
        ground.write("in/f", "z");
        let stores = ground.stores(&[]);
        let splits = block_on(stores.list("in")).unwrap();
        std::fs::remove_file(ground.path("in/d")).unwrap();
        ground.write("in/e", "e".repeat(100_000));
        let reader = FileReader::new(&stores);
        for rows in [1, 2, 100] {
            let all = read_all(&reader, &splits, &[TEXT], limits(rows, 1000, 99_999));
            let got: Vec<_> = all.iter().flat_map(|batch| texts(batch, 0)).collect();
            assert_eq!(got, ["a longer text, with two more around it", "z"]);
            let failed: Vec<_> = all.iter().flat_map(|batch| &batch.failed).collect();
            let told: Vec<_> = failed.iter().map(|f| (f.split, f.position, f.fault, f.message.as_str())).collect();
            assert_eq!(
                told,
                [
                    (
                        1,
                        0,
                        Fault::Data,
                        "`in/b` is not UTF-8 (invalid byte 0xff at offset 11); convert it, or read it as binary"
                    ),
                    (
                        2,
                        0,
                        Fault::Data,
                        "`in/c` is not UTF-8 (it ends within a character, at offset 15); convert it, or read it as binary"
                    ),
                    (3, 0, Fault::Outside, "can't read `in/d`: No such file or directory (os error 2)"),
                    (
                        4,
                        0,
                        Fault::Limit,
                        "`in/e` is 97.7 KiB (100000 bytes), more than a row may have: `batch.max_row` is 97.7 KiB"
                    ),
                ]
            );
        }
        let all = read_all(&reader, &splits, &[BINARY, TEXT], limits(100, 1000, 1 << 20));
        assert_eq!(all[0].runs.iter().map(|run| run.split).collect::<Vec<_>>(), [0, 4, 5]);
        assert_eq!(all[0].rows.column(0).as_binary_view().value(1), "e".repeat(100_000).as_bytes());
        // Nobody asked for text: what isn't UTF-8 is fine.
        let all = read_all(&reader, &splits, &[BINARY], limits(100, 1000, 1 << 20));
        assert_eq!((all[0].rows.num_rows(), all[0].failed.len()), (5, 1));
        assert_eq!(all[0].rows.column(0).as_binary_view().value(1), b"good until \xff here");
    }
}
