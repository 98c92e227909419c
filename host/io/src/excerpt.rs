//! Some rows of files, as another file of the same format: what is left of a table when a part of its input has changed.

use std::{
    io::{self, BufRead, BufReader, Write},
    ops::Range,
    path::{Path, PathBuf},
};

use arrow::{error::ArrowError, ipc::reader::FileReader};
use dflow_pipeline::{Codec, Fault, Format};
use parquet::arrow::arrow_reader::{ParquetRecordBatchReaderBuilder, RowSelection};

use crate::{
    Encoder, IoError,
    assemble::{open, unwritten},
    content_of,
    encoder::document::{CLOSE, OPEN},
    packing::Packing,
};

/// Rows that are decoded at a time.
const ROWS: usize = 8192;
/// What waits of a Parquet row group in memory at most, in bytes.
const WAITING: usize = 16 << 20;

/// Some rows of a file that an [`Encoder`] made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excerpt {
    /// The file.
    pub path: PathBuf,
    /// How it is compressed.
    pub codec: Codec,
    /// The rows that are meant, ascending.
    pub rows: Vec<Range<u64>>,
}

/// Writes rows of files of one format and the same columns into one file, in their order; gives the output back. Rows of CSV and
/// JSON stay as they are, byte by byte; Parquet and Arrow are decoded. Of no rows comes a file that shows the columns.
///
/// # Errors
/// A file can't be read or the output can't be written (fault `Outside`); there is no file, it has fewer rows, or isn't of this format
/// (`Internal`).
pub fn copy_rows<W: Write + Send>(format: Format, codec: Codec, excerpts: &[Excerpt], into: W) -> Result<W, IoError> {
    let Some(first) = excerpts.first() else { return Err(IoError::internal("no rows can be copied of no file")) };
    match format {
        Format::Parquet => copy_parquet(codec, first, excerpts, into),
        Format::Arrow => copy_arrow(codec, first, excerpts, into),
        Format::Csv | Format::Json | Format::Jsonl => {
            let mut into = Packing::new(codec, into).map_err(unwritten)?;
            copy_lines(format, excerpts, &mut into)?;
            let mut into = into.finish().map_err(unwritten)?;
            into.flush().map_err(unwritten)?;
            Ok(into)
        }
        Format::Text | Format::Html | Format::Blob => {
            Err(IoError::internal(format!("`{}` has no rows to copy", format.as_str())))
        }
    }
}

fn broken(path: &Path, error: impl std::error::Error + Send + Sync + 'static) -> IoError {
    IoError::new(Fault::Outside, format!("can't read `{}`: {error}", path.display())).because(error)
}

fn too_few(path: &Path) -> IoError {
    IoError::internal(format!("`{}` has fewer rows than were written to it", path.display()))
        .hint("`dflow-host run --fresh` does everything again")
}

fn copy_parquet<W: Write + Send>(codec: Codec, first: &Excerpt, excerpts: &[Excerpt], into: W) -> Result<W, IoError> {
    let reader = |excerpt: &Excerpt| {
        ParquetRecordBatchReaderBuilder::try_new(open(&excerpt.path)?).map_err(|error| broken(&excerpt.path, error))
    };
    let mut encoder = Encoder::packed(Format::Parquet, codec, reader(first)?.schema().clone(), into)?;
    for excerpt in excerpts.iter().filter(|excerpt| !excerpt.rows.is_empty()) {
        let reader = reader(excerpt)?;
        let all = u64::try_from(reader.metadata().file_metadata().num_rows()).unwrap_or_default();
        if excerpt.rows.iter().any(|rows| rows.end > all) {
            return Err(too_few(&excerpt.path));
        }
        let ranges = excerpt.rows.iter().map(|rows| rows.start as usize..rows.end as usize);
        let selection = RowSelection::from_consecutive_ranges(ranges, all as usize);
        let batches = reader.with_batch_size(ROWS).with_row_selection(selection).build();
        for batch in batches.map_err(|error| broken(&excerpt.path, error))? {
            encoder.write(&batch.map_err(|error| broken(&excerpt.path, error))?)?;
            if encoder.buffered_bytes() > WAITING {
                encoder.relieve()?;
            }
        }
    }
    encoder.finish()
}

fn copy_arrow<W: Write + Send>(codec: Codec, first: &Excerpt, excerpts: &[Excerpt], into: W) -> Result<W, IoError> {
    let reader = |excerpt: &Excerpt| {
        let reader = FileReader::try_new_buffered(open(&excerpt.path)?, None);
        reader.map_err(|error: ArrowError| broken(&excerpt.path, error))
    };
    let mut encoder = Encoder::packed(Format::Arrow, codec, reader(first)?.schema(), into)?;
    for excerpt in excerpts.iter().filter(|excerpt| !excerpt.rows.is_empty()) {
        let mut ranges = excerpt.rows.iter().peekable();
        let mut start = 0;
        for batch in reader(excerpt)? {
            let batch = batch.map_err(|error| broken(&excerpt.path, error))?;
            let end = start + batch.num_rows() as u64;
            while let Some(rows) = ranges.peek() {
                let (from, to) = (rows.start.max(start), rows.end.min(end));
                if from < to {
                    encoder.write(&batch.slice((from - start) as usize, (to - from) as usize))?;
                }
                if rows.end > end {
                    break;
                }
                ranges.next();
            }
            start = end;
        }
        if ranges.peek().is_some() {
            return Err(too_few(&excerpt.path));
        }
    }
    encoder.finish()
}

/// Rows that are lines, but for line ends within quotes.
fn copy_lines(format: Format, excerpts: &[Excerpt], into: &mut impl Write) -> Result<(), IoError> {
    let (mut header, mut written) = (false, 0u64);
    if format == Format::Json {
        into.write_all(OPEN).map_err(unwritten)?;
    }
    let mut line = Vec::new();
    for excerpt in excerpts {
        let mut content = BufReader::with_capacity(256 << 10, content_of(&excerpt.path, excerpt.codec)?);
        let mut next = |line: &mut Vec<u8>| {
            read_record(&mut content, format, line).map_err(|error| IoError::os("read", &excerpt.path, error))
        };
        if format != Format::Jsonl {
            // A header, or the bracket before the first row.
            next(&mut line)?;
        }
        if format == Format::Csv && !header {
            into.write_all(&line).map_err(unwritten)?;
            header = true;
        }
        let mut at = 0;
        for rows in &excerpt.rows {
            while at < rows.end {
                next(&mut line)?;
                if line.is_empty() || (format == Format::Json && line.as_slice() == &CLOSE[1..]) {
                    return Err(too_few(&excerpt.path));
                }
                at += 1;
                if at <= rows.start {
                    continue;
                }
                if format == Format::Json {
                    let row = line.strip_suffix(b"\n").unwrap_or(&line);
                    let row = row.strip_suffix(b",").unwrap_or(row);
                    into.write_all(if written > 0 { b",\n" } else { b"\n" }).map_err(unwritten)?;
                    into.write_all(row).map_err(unwritten)?;
                } else {
                    into.write_all(&line).map_err(unwritten)?;
                }
                written += 1;
            }
        }
    }
    if format == Format::Json {
        into.write_all(CLOSE).map_err(unwritten)?;
    }
    Ok(())
}

/// The next line with its end, or the next record of CSV; nothing at the end.
fn read_record(content: &mut impl BufRead, format: Format, record: &mut Vec<u8>) -> io::Result<()> {
    record.clear();
    let mut quotes = 0;
    loop {
        let start = record.len();
        if content.read_until(b'\n', record)? == 0 {
            return Ok(());
        }
        quotes += memchr::memchr_iter(b'"', &record[start..]).count();
        if format != Format::Csv || quotes.is_multiple_of(2) {
            return Ok(());
        }
    }
}

#[cfg(test)]
#[expect(clippy::single_range_in_vec_init, reason = "a file's rows are ranges, of which there may be one")]
mod tests {
    use std::{fs, sync::Arc};

    use arrow::{
        array::{ArrayRef, Int64Array, StringViewArray},
        record_batch::RecordBatch,
    };

    use super::*;
    use crate::{StagedFile, testing::Ground};

    fn rows(of: impl Iterator<Item = i64>) -> RecordBatch {
        let of: Vec<i64> = of.collect();
        let texts: ArrayRef =
            Arc::new(StringViewArray::from_iter_values(of.iter().map(|i| format!("a \"{i}\",\n]\n"))));
        RecordBatch::try_from_iter([("n", Arc::new(Int64Array::from(of)) as ArrayRef), ("a \"name\"\n", texts)])
            .unwrap()
    }

    fn write(ground: &Ground, format: Format, codec: Codec, name: &str, batches: &[RecordBatch]) -> PathBuf {
        let file = StagedFile::create(ground.root(), name).unwrap();
        let mut encoder = Encoder::packed(format, codec, batches[0].schema(), file).unwrap();
        batches.iter().for_each(|batch| encoder.write(batch).unwrap());
        encoder.finish().unwrap().finish().unwrap().temporary
    }

    #[test]
    fn some_rows_are_what_would_have_been_written_of_them() {
        for (format, codec) in [
            (Format::Jsonl, Codec::None),
            (Format::Json, Codec::Gzip),
            (Format::Csv, Codec::Zstd),
            (Format::Parquet, Codec::None),
            (Format::Arrow, Codec::None),
        ] {
            let ground = Ground::new();
            let one = write(&ground, format, codec, "one", &[rows(0..7000), rows(7000..20_000)]);
            let two = write(&ground, format, codec, "two", &[rows(20_000..20_003)]);
            let excerpt =
                |path: &PathBuf, rows: &[Range<u64>]| Excerpt { path: path.clone(), codec, rows: rows.to_vec() };
            let copy = |name: &str, excerpts: &[Excerpt]| {
                let into = StagedFile::create(ground.root(), name).unwrap();
                copy_rows(format, codec, excerpts, into).map(|file| file.finish().unwrap().temporary)
            };
            let some = [excerpt(&one, &[0..1, 6990..7010, 19_999..20_000]), excerpt(&two, &[]), excerpt(&two, &[1..3])];
            let copied = copy("copied", &some).unwrap();
            let expected = rows((0..1).chain(6990..7010).chain(19_999..20_000).chain(20_001..20_003));
            let expected = write(&ground, format, codec, "expected", &[expected]);
            let read = |path: &Path| match format {
                Format::Parquet => {
                    let reader = ParquetRecordBatchReaderBuilder::try_new(open(path).unwrap()).unwrap();
                    format!("{:?}", reader.build().unwrap().map(Result::unwrap).collect::<Vec<_>>())
                }
                Format::Arrow => {
                    let reader = FileReader::try_new_buffered(open(path).unwrap(), None).unwrap();
                    let batches: Vec<RecordBatch> = reader.map(Result::unwrap).collect();
                    let all = arrow::compute::concat_batches(&batches[0].schema(), &batches).unwrap();
                    format!("{all:?}")
                }
                _ => {
                    let mut text = String::new();
                    io::Read::read_to_string(&mut content_of(path, codec).unwrap(), &mut text).unwrap();
                    text
                }
            };
            assert_eq!(read(&copied), read(&expected), "{format:?}");
            let none = copy("none", &[excerpt(&one, &[])]).unwrap();
            if matches!(format, Format::Csv | Format::Json | Format::Jsonl) {
                let expected = write(&ground, format, codec, "no-rows", &[rows(0..0)]);
                assert_eq!(read(&none), read(&expected), "{format:?}");
            }
            let error = copy("more", &[excerpt(&two, &[2..4])]).unwrap_err();
            assert!(error.message.contains("has fewer rows"), "{format:?}: {error}");
            fs::write(&one, "").unwrap();
            assert!(copy("torn", &[excerpt(&one, &[0..1])]).is_err(), "{format:?}");
        }
    }
}
