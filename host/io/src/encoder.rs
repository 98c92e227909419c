//! Batches into the bytes of a format.

mod arrow_file;
pub(crate) mod document;
mod unfit;

use std::{
    io::{self, Write},
    sync::{Arc, Mutex, PoisonError},
};

use arrow::{
    csv,
    datatypes::SchemaRef,
    error::ArrowError,
    json::{WriterBuilder, writer::LineDelimited},
    record_batch::RecordBatch,
};
use dflow_pipeline::{Fault, Format};
use parquet::{
    arrow::ArrowWriter,
    basic::{Compression, ZstdLevel},
    file::properties::WriterProperties,
};

use self::{
    arrow_file::ArrowFile,
    document::Document,
    unfit::{refuse_unfit, refuse_unshown},
};
use crate::{Codec, IoError, packing::Packing};

/// Rows of a Parquet row group at most.
const ROW_GROUP_ROWS: usize = 1 << 20;
/// Bytes of a Parquet row group, about, encoded.
const ROW_GROUP_BYTES: usize = 64 << 20;

/// Encodes batches into a format.
///
/// - Parquet: zstd at level 1, row groups of about 64 MiB or 1,048,576 rows, written as they fill; the Arrow schema is kept.
/// - CSV: a header always, RFC 4180 quoting, nulls as nothing, timestamps as RFC 3339, binary as hexadecimal digits.
/// - JSONL: an object a line with every column, nulls included; timestamps as RFC 3339, binary as hexadecimal digits.
/// - JSON: the same objects as one array.
/// - Arrow: an IPC file, its buffers compressed as zstd at level 1; no views and no dictionaries.
///
/// All but Parquet and Arrow may be compressed by a codec.
/// No rows make a whole file, too.
#[derive(Debug)]
pub struct Encoder<W: Write + Send> {
    format: Format,
    schema: SchemaRef,
    writer: Writer<W>,
    noted: Noted,
    rows: u64,
}

#[derive(Debug)]
enum Writer<W: Write + Send> {
    Parquet(Box<ArrowWriter<Packed<W>>>),
    Csv(Box<csv::Writer<Packed<W>>>),
    Jsonl(Box<arrow::json::Writer<Packed<W>, LineDelimited>>),
    Json(Box<arrow::json::Writer<Packed<W>, Document>>),
    Arrow(Box<ArrowFile<Packed<W>>>),
}

type Packed<W> = Packing<Noting<W>>;

/// The error of the output below, since the writers of some formats only pass on its words.
type Noted = Arc<Mutex<Option<IoError>>>;

/// An output whose errors are noted.
#[derive(Debug)]
struct Noting<W> {
    out: W,
    noted: Noted,
}

impl<W> Noting<W> {
    fn note<T>(&self, result: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &result
            && error.kind() != io::ErrorKind::Interrupted
        {
            let named = error.get_ref().and_then(|inner| inner.downcast_ref::<IoError>()).cloned();
            let error = named.unwrap_or_else(|| {
                let plain = io::Error::new(error.kind(), error.to_string());
                IoError::new(Fault::Outside, format!("can't write the output: {error}")).because(plain)
            });
            *self.noted.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        }
        result
    }
}

impl<W: Write> Write for Noting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let result = self.out.write(bytes);
        self.note(result)
    }

    fn flush(&mut self) -> io::Result<()> {
        let result = self.out.flush();
        self.note(result)
    }
}

impl<W: Write + Send> Encoder<W> {
    /// An encoder of batches of this schema, whose output isn't compressed by a codec.
    ///
    /// # Errors
    /// As [`packed`](Self::packed).
    pub fn new(format: Format, schema: SchemaRef, out: W) -> Result<Self, IoError> {
        Self::packed(format, Codec::None, schema, out)
    }

    /// An encoder of batches of this schema, whose output is compressed by a codec.
    ///
    /// # Errors
    /// The format can't be written, or can't hold one of the columns (fault `Pipeline`).
    pub fn packed(format: Format, codec: Codec, schema: SchemaRef, out: W) -> Result<Self, IoError> {
        refuse_unfit(format, &schema)?;
        let noted = Noted::default();
        let out = Noting { out, noted: Arc::clone(&noted) };
        let out = Packing::new(codec, out).map_err(|error| failure(format, &noted, Fault::Outside, error.into()))?;
        let writer = match format {
            Format::Parquet => {
                let level = ZstdLevel::try_new(1).expect("zstd has a level 1");
                let properties = WriterProperties::builder()
                    .set_compression(Compression::ZSTD(level))
                    .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
                    .set_max_row_group_bytes(Some(ROW_GROUP_BYTES))
                    .build();
                let writer = ArrowWriter::try_new(out, Arc::clone(&schema), Some(properties))
                    .map_err(|error| failure(format, &noted, Fault::Pipeline, error.into()))?;
                Writer::Parquet(Box::new(writer))
            }
            Format::Csv => Writer::Csv(Box::new(csv::WriterBuilder::new().with_header(true).build(out))),
            Format::Jsonl => Writer::Jsonl(Box::new(WriterBuilder::new().with_explicit_nulls(true).build(out))),
            Format::Json => Writer::Json(Box::new(WriterBuilder::new().with_explicit_nulls(true).build(out))),
            Format::Arrow => {
                let file = ArrowFile::new(&schema, out);
                Writer::Arrow(Box::new(file.map_err(|error| failure(format, &noted, Fault::Pipeline, error))?))
            }
            Format::Text | Format::Html | Format::Blob => {
                return Err(IoError::new(Fault::Pipeline, format!("`{}` can't be written", format.as_str()))
                    .hint("write `parquet`, `csv`, `json`, `jsonl` or `arrow`"));
            }
        };
        Ok(Self { format, schema, writer, noted, rows: 0 })
    }

    /// Encodes a batch.
    ///
    /// # Errors
    /// The output fails (as it says; fault `Outside` otherwise), or the format can't hold a value (`Data`). What is written
    /// then is of no use.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<(), IoError> {
        refuse_unshown(self.format, batch)?;
        let result = match &mut self.writer {
            Writer::Parquet(writer) => writer.write(batch).map_err(ArrowError::from),
            Writer::Csv(writer) => writer.write(batch),
            Writer::Jsonl(writer) => writer.write(batch),
            Writer::Json(writer) => writer.write(batch),
            Writer::Arrow(file) => file.write(batch),
        };
        result.map_err(|error| failure(self.format, &self.noted, Fault::Data, error))?;
        self.rows += batch.num_rows() as u64;
        Ok(())
    }

    /// Ends the format and gives the output back.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn finish(mut self) -> Result<W, IoError> {
        if self.rows == 0 && matches!(self.writer, Writer::Csv(_)) {
            // The header is written with the first batch.
            self.write(&RecordBatch::new_empty(Arc::clone(&self.schema)))?;
        }
        let failed = |error| failure(self.format, &self.noted, Fault::Data, error);
        let out = match self.writer {
            Writer::Parquet(writer) => writer.into_inner().map_err(|error| failed(error.into()))?,
            Writer::Csv(writer) => writer.into_inner(),
            Writer::Jsonl(mut writer) => {
                writer.finish().map_err(failed)?;
                writer.into_inner()
            }
            Writer::Json(mut writer) => {
                writer.finish().map_err(failed)?;
                writer.into_inner()
            }
            Writer::Arrow(file) => file.finish().map_err(failed)?,
        };
        let mut out = out.finish().map_err(|error| failed(error.into()))?;
        out.flush().map_err(|error| failed(error.into()))?;
        Ok(out.out)
    }

    /// The schema of what is encoded.
    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// How many rows were encoded.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// How many bytes of memory the encoder holds: for Parquet the row group that is being filled, for Arrow the batch.
    pub fn buffered_bytes(&self) -> usize {
        match &self.writer {
            Writer::Parquet(writer) => writer.memory_size(),
            Writer::Arrow(file) => file.pending_bytes(),
            Writer::Csv(_) | Writer::Jsonl(_) | Writer::Json(_) => 0,
        }
    }

    /// Writes out the row group that is being filled, so that its memory is free.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn relieve(&mut self) -> Result<(), IoError> {
        if let Writer::Parquet(writer) = &mut self.writer {
            writer.flush().map_err(|error| failure(self.format, &self.noted, Fault::Data, error.into()))?;
        }
        Ok(())
    }
}

/// What failed: the output if it said so, else the format.
fn failure(format: Format, noted: &Noted, fault: Fault, error: ArrowError) -> IoError {
    let noted = noted.lock().unwrap_or_else(PoisonError::into_inner).take();
    noted.unwrap_or_else(|| IoError::new(fault, format!("can't write {}: {error}", format.as_str())).because(error))
}

#[cfg(test)]
mod tests;
