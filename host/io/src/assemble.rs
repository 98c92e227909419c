//! One file made of parts, without decoding them.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow::{error::ArrowError, ipc::reader::FileReader};
use dflow_pipeline::{Codec, Fault, Format};
use parquet::{
    column::writer::ColumnCloseResult,
    errors::ParquetError,
    file::{
        metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader},
        properties::WriterProperties,
        writer::SerializedFileWriter,
    },
};

use crate::{
    Encoder, IoError,
    encoder::document::{CLOSE, OPEN},
    packing::Packing,
};

/// Writes parts that an [`Encoder`](crate::Encoder) made, of one format and one schema and not compressed by a codec, one after
/// another into one file, which is; gives the output back. Nothing is decoded but Arrow: bytes of JSONL, JSON (one array) and CSV
/// (one header), whole row groups of Parquet.
///
/// # Errors
/// A part can't be read or the output can't be written (fault `Outside`); there is no part, or they differ in their columns
/// (`Internal`).
pub fn assemble<W: Write + Send>(format: Format, codec: Codec, parts: &[PathBuf], into: W) -> Result<W, IoError> {
    let mut into = Packing::new(codec, into).map_err(unwritten)?;
    if parts.is_empty() {
        return Err(IoError::internal("a file can't be assembled of no parts"));
    }
    match format {
        Format::Jsonl | Format::Text | Format::Html | Format::Blob => {
            for part in parts {
                append(part, &mut open(part)?, &mut into)?;
            }
        }
        Format::Csv => append_csv(parts, &mut into)?,
        Format::Json => append_documents(parts, &mut into)?,
        Format::Parquet => append_row_groups(parts, &mut into)?,
        Format::Arrow => append_batches(parts, &mut into)?,
    }
    let mut into = into.finish().map_err(unwritten)?;
    into.flush().map_err(unwritten)?;
    Ok(into)
}

/// Opens a file to read it.
pub(crate) fn open(part: &Path) -> Result<File, IoError> {
    File::open(part).map_err(|error| IoError::os("read", part, error))
}

/// The output's error: with its path if it said so, as a staged file does.
pub(crate) fn unwritten(error: io::Error) -> IoError {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<IoError>()) {
        Some(named) => named.clone(),
        None => IoError::new(Fault::Outside, format!("can't write the output: {error}")).because(error),
    }
}

/// Copies what is left of a part.
fn append(part: &Path, file: &mut impl Read, into: &mut impl Write) -> Result<(), IoError> {
    let mut buffer = vec![0; 256 << 10];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(read) => into.write_all(&buffer[..read]).map_err(unwritten)?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(IoError::os("read", part, error)),
        }
    }
}

fn append_csv(parts: &[PathBuf], into: &mut impl Write) -> Result<(), IoError> {
    let mut header = None;
    for part in parts {
        let mut file = open(part)?;
        let own = csv_header(&mut file).map_err(|error| IoError::os("read", part, error))?;
        match &header {
            None => {
                into.write_all(&own).map_err(unwritten)?;
                header = Some(own);
            }
            Some(first) if *first == own => {}
            Some(_) => return Err(differing(part)),
        }
        append(part, &mut file, into)?;
    }
    Ok(())
}

/// The first line of a CSV file, its end included; a quoted name may have line ends in it. The file is left after it.
fn csv_header(file: &mut File) -> io::Result<Vec<u8>> {
    let mut header = Vec::new();
    let mut quoted = false;
    let mut buffer = [0; 4096];
    loop {
        let read = file.read(&mut buffer)?;
        for (i, byte) in buffer[..read].iter().enumerate() {
            quoted ^= *byte == b'"';
            if *byte == b'\n' && !quoted {
                header.extend_from_slice(&buffer[..=i]);
                file.seek(SeekFrom::Start(header.len() as u64))?;
                return Ok(header);
            }
        }
        if read == 0 {
            return Ok(header);
        }
        header.extend_from_slice(&buffer[..read]);
    }
}

/// The rows of documents as one: without the brackets of each, and with a comma between one's last row and the next one's first.
fn append_documents(parts: &[PathBuf], into: &mut impl Write) -> Result<(), IoError> {
    into.write_all(OPEN).map_err(unwritten)?;
    let mut comma = false;
    for part in parts {
        let mut file = open(part)?;
        let whole = file.metadata().map_err(|error| IoError::os("read", part, error))?.len();
        let rows = whole.saturating_sub((OPEN.len() + CLOSE.len()) as u64);
        if rows > 0 {
            if comma {
                into.write_all(b",").map_err(unwritten)?;
            }
            comma = true;
            file.seek(SeekFrom::Start(OPEN.len() as u64)).map_err(|error| IoError::os("read", part, error))?;
            append(part, &mut file.take(rows), into)?;
        }
    }
    into.write_all(CLOSE).map_err(unwritten)
}

fn append_batches(parts: &[PathBuf], into: &mut (impl Write + Send)) -> Result<(), IoError> {
    let broken = |part: &Path, error: ArrowError| {
        IoError::new(Fault::Outside, format!("can't read `{}`: {error}", part.display())).because(error)
    };
    let mut encoder: Option<Encoder<_>> = None;
    let mut into = Some(into);
    for part in parts {
        let reader = FileReader::try_new_buffered(open(part)?, None).map_err(|error| broken(part, error))?;
        if let Some(out) = into.take() {
            encoder = Some(Encoder::new(Format::Arrow, reader.schema(), out)?);
        }
        let encoder = encoder.as_mut().expect("made for the first part");
        if encoder.schema() != &reader.schema() {
            return Err(differing(part));
        }
        for batch in reader {
            encoder.write(&batch.map_err(|error| broken(part, error))?)?;
        }
    }
    encoder.map_or(Ok(()), |encoder| encoder.finish().map(drop))
}

fn differing(part: &Path) -> IoError {
    IoError::internal(format!("the part `{}` has other columns than the parts before it", part.display()))
}

fn append_row_groups(parts: &[PathBuf], into: &mut (impl Write + Send)) -> Result<(), IoError> {
    let (first_file, first) = open_parquet(&parts[0])?;
    let schema = first.file_metadata().schema_descr().root_schema_ptr();
    // The Arrow schema among them.
    let metadata = first.file_metadata().key_value_metadata().cloned();
    let properties = Arc::new(WriterProperties::builder().set_key_value_metadata(metadata).build());
    let mut writer = SerializedFileWriter::new(into, Arc::clone(&schema), properties).map_err(unwritten_parquet)?;
    append_part(&mut writer, &first_file, &first)?;
    for part in &parts[1..] {
        let (file, metadata) = open_parquet(part)?;
        if metadata.file_metadata().schema() != schema.as_ref() {
            return Err(differing(part));
        }
        append_part(&mut writer, &file, &metadata)?;
    }
    writer.close().map_err(unwritten_parquet)?;
    Ok(())
}

fn open_parquet(part: &Path) -> Result<(File, ParquetMetaData), IoError> {
    let file = open(part)?;
    let metadata = ParquetMetaDataReader::new()
        .with_page_index_policy(PageIndexPolicy::Optional)
        .parse_and_finish(&file)
        .map_err(|error| {
            IoError::new(Fault::Outside, format!("can't read `{}`: {error}", part.display())).because(error)
        })?;
    Ok((file, metadata))
}

fn append_part<W: Write + Send>(
    writer: &mut SerializedFileWriter<W>,
    file: &File,
    metadata: &ParquetMetaData,
) -> Result<(), IoError> {
    for (i, group) in metadata.row_groups().iter().enumerate() {
        let column_indexes = metadata.column_index().and_then(|all| all.get(i));
        let offset_indexes = metadata.offset_index().and_then(|all| all.get(i));
        let mut out = writer.next_row_group().map_err(unwritten_parquet)?;
        for (j, column) in group.columns().iter().enumerate() {
            let close = ColumnCloseResult {
                bytes_written: u64::try_from(column.compressed_size()).unwrap_or_default(),
                rows_written: u64::try_from(group.num_rows()).unwrap_or_default(),
                metadata: column.clone(),
                // The encoder writes none.
                bloom_filter: None,
                column_index: column_indexes.and_then(|row| row.get(j)).cloned(),
                offset_index: offset_indexes.and_then(|row| row.get(j)).cloned(),
            };
            out.append_column(file, close).map_err(unwritten_parquet)?;
        }
        out.close().map_err(unwritten_parquet)?;
    }
    Ok(())
}

/// As [`unwritten`]. Reading a part fails here only if it is damaged while we read it.
fn unwritten_parquet(error: ParquetError) -> IoError {
    match error {
        ParquetError::External(inner) => match inner.downcast::<io::Error>() {
            Ok(error) => unwritten(*error),
            Err(error) => IoError::new(Fault::Outside, format!("can't write the output: {error}")),
        },
        error => IoError::new(Fault::Outside, format!("can't write the output: {error}")).because(error),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use arrow::{
        array::{ArrayRef, Int64Array, StringViewArray},
        compute::concat_batches,
        record_batch::RecordBatch,
    };
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    use super::*;
    use crate::{StagedFile, testing::Ground};

    const NAME: &str = "a \"quoted\"\nname";

    fn batch(from: i64, to: i64) -> RecordBatch {
        let texts: ArrayRef =
            Arc::new(StringViewArray::from_iter_values((from..to).map(|i| format!("text, \"{i}\"\n"))));
        RecordBatch::try_from_iter([("n", Arc::new(Int64Array::from_iter_values(from..to)) as ArrayRef), (NAME, texts)])
            .unwrap()
    }

    fn write(ground: &Ground, format: Format, name: &str, batch: &RecordBatch) -> PathBuf {
        let file = StagedFile::create(ground.root(), name).unwrap();
        let mut encoder = Encoder::new(format, batch.schema(), file).unwrap();
        if batch.num_rows() > 0 {
            encoder.write(batch).unwrap();
        }
        encoder.finish().unwrap().finish().unwrap().temporary
    }

    #[test]
    fn parts_make_the_file_that_would_have_been_written_at_once() {
        for format in [Format::Jsonl, Format::Json, Format::Csv, Format::Parquet] {
            let ground = Ground::new();
            let rows = [batch(0, 0), batch(0, 3), batch(3, 3), batch(3, 10_000)];
            let parts: Vec<_> =
                rows.iter().enumerate().map(|(i, rows)| write(&ground, format, &format!("part{i}"), rows)).collect();
            let whole = concat_batches(&rows[0].schema(), &rows).unwrap();
            let at_once = write(&ground, format, "at-once", &whole);
            let into = StagedFile::create(ground.root(), "assembled").unwrap();
            let assembled = assemble(format, Codec::None, &parts, into).unwrap().finish().unwrap();
            assert_eq!(assembled.bytes, fs::metadata(&assembled.temporary).unwrap().len());
            if format == Format::Parquet {
                let reader =
                    ParquetRecordBatchReaderBuilder::try_new(File::open(&assembled.temporary).unwrap()).unwrap();
                assert_eq!(reader.metadata().num_row_groups(), 2);
                assert_eq!(reader.schema(), &whole.schema());
                let batches: Vec<_> = reader.build().unwrap().map(Result::unwrap).collect();
                assert_eq!(concat_batches(&whole.schema(), &batches).unwrap(), whole);
                // And the pages' places are right, too: read by them.
                let (_, metadata) = open_parquet(&assembled.temporary).unwrap();
                assert!(metadata.offset_index().is_some() && metadata.column_index().is_some());
            } else {
                assert_eq!(fs::read(&assembled.temporary).unwrap(), fs::read(at_once).unwrap(), "{format:?}");
            }
            // Of empty parts comes an empty file.
            let into = StagedFile::create(ground.root(), "empty").unwrap();
            let empty = assemble(format, Codec::None, &parts[..1], into).unwrap().finish().unwrap();
            if format != Format::Parquet {
                assert_eq!(fs::read(empty.temporary).unwrap(), fs::read(&parts[0]).unwrap());
            } else {
                let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(empty.temporary).unwrap()).unwrap();
                assert_eq!((reader.schema(), reader.metadata().file_metadata().num_rows()), (&whole.schema(), 0));
            }
        }
    }

    #[test]
    fn parts_that_don_t_fit_are_refused() {
        let ground = Ground::new();
        let into = || StagedFile::create(ground.root(), "assembled").unwrap();
        for format in [Format::Csv, Format::Parquet, Format::Arrow] {
            let one = write(&ground, format, "one", &batch(0, 3));
            let other = write(&ground, format, "other", &batch(0, 3).project(&[0]).unwrap());
            let error = assemble(format, Codec::None, &[one, other], into()).unwrap_err();
            assert_eq!(error.fault, Fault::Internal);
            assert!(error.message.contains(".other.tmp` has other columns"), "{error}");
        }
        assert_eq!(assemble(Format::Jsonl, Codec::None, &[], into()).unwrap_err().fault, Fault::Internal);
        for format in [Format::Jsonl, Format::Json, Format::Csv, Format::Parquet] {
            let error = assemble(format, Codec::None, &[ground.path("gone")], into()).unwrap_err();
            assert_eq!(
                error.message,
                format!("can't read `{}`: No such file or directory (os error 2)", ground.path("gone").display())
            );
        }
        ground.write("torn", "PAR1 and no end");
        let error = assemble(Format::Parquet, Codec::None, &[ground.path("torn")], into()).unwrap_err();
        assert!(error.message.starts_with(&format!("can't read `{}`: ", ground.path("torn").display())), "{error}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_named() {
        for format in [Format::Jsonl, Format::Json, Format::Csv, Format::Parquet] {
            let ground = Ground::new();
            let part = write(&ground, format, "part", &batch(0, 200_000));
            std::os::unix::fs::symlink("/dev/full", ground.path(".x.tmp")).unwrap();
            let error =
                assemble(format, Codec::None, &[part], StagedFile::create(ground.root(), "x").unwrap()).unwrap_err();
            let expected =
                format!("can't write `{}`: No space left on device (os error 28)", ground.path("x").display());
            assert_eq!((error.fault, error.message), (Fault::Outside, expected), "{format:?}");
        }
    }
}
