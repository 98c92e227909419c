//! Rows as an Arrow IPC file.

use std::{fmt, io::Write, sync::Arc};

use arrow::{
    array::RecordBatch,
    compute::{cast, concat_batches},
    datatypes::{DataType, Field, FieldRef, Schema, SchemaRef},
    error::ArrowError,
    ipc::{
        CompressionType,
        writer::{FileWriter, IpcWriteOptions},
    },
};

/// Rows of a batch in a file: whoever reads one batch of it alone reads about so many.
const ROWS: usize = 8192;
/// Bytes at which a batch is written before it has that many rows.
const BYTES: usize = 1 << 20;

/// Writes an IPC file whose buffers are compressed as zstd. Batches are put together, so that the file doesn't depend on how
/// they came. Text and bytes are plain arrays and dictionaries are what they stand for: what every reader knows, and
/// without what views hold beside their values.
pub(super) struct ArrowFile<W: Write> {
    writer: FileWriter<W>,
    schema: SchemaRef,
    pending: Vec<RecordBatch>,
    rows: usize,
    bytes: usize,
}

impl<W: Write> fmt::Debug for ArrowFile<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArrowFile").field("schema", &self.schema).finish_non_exhaustive()
    }
}

impl<W: Write> ArrowFile<W> {
    pub(super) fn new(schema: &Schema, out: W) -> Result<Self, ArrowError> {
        let fields: Vec<FieldRef> = schema.fields().iter().map(plain_field).collect();
        let schema = Arc::new(Schema::new(fields));
        let options = IpcWriteOptions::default()
            .try_with_compression(Some(CompressionType::ZSTD))?
            .try_with_compression_level(Some(1))?;
        let writer = FileWriter::try_new_with_options(out, &schema, options)?;
        Ok(Self { writer, schema, pending: Vec::new(), rows: 0, bytes: 0 })
    }

    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<(), ArrowError> {
        for start in (0..batch.num_rows()).step_by(ROWS) {
            let batch = batch.slice(start, ROWS.min(batch.num_rows() - start));
            let columns = batch.columns().iter().zip(self.schema.fields());
            let columns = columns.map(|(column, field)| cast(column, field.data_type())).collect::<Result<_, _>>()?;
            let batch = RecordBatch::try_new(Arc::clone(&self.schema), columns)?;
            if self.rows + batch.num_rows() > ROWS {
                self.flush()?;
            }
            self.rows += batch.num_rows();
            for column in batch.columns() {
                self.bytes += column.to_data().get_slice_memory_size()?;
            }
            self.pending.push(batch);
            if self.bytes >= BYTES {
                self.flush()?;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), ArrowError> {
        if !self.pending.is_empty() {
            self.writer.write(&concat_batches(&self.schema, &self.pending)?)?;
            self.pending.clear();
            (self.rows, self.bytes) = (0, 0);
        }
        Ok(())
    }

    /// Ends the file and gives the output back.
    pub(super) fn finish(mut self) -> Result<W, ArrowError> {
        self.flush()?;
        self.writer.finish()?;
        self.writer.into_inner()
    }

    /// Bytes of what waits to be written.
    pub(super) fn pending_bytes(&self) -> usize {
        self.bytes
    }
}

fn plain_field(field: &FieldRef) -> FieldRef {
    Arc::new(Field::clone(field).with_data_type(plain(field.data_type())))
}

fn plain(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        DataType::Dictionary(_, value) => plain(value),
        DataType::List(item) => DataType::List(plain_field(item)),
        DataType::LargeList(item) => DataType::LargeList(plain_field(item)),
        DataType::FixedSizeList(item, size) => DataType::FixedSizeList(plain_field(item), *size),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(plain_field).collect()),
        DataType::Map(entries, sorted) => DataType::Map(plain_field(entries), *sorted),
        // What can't be cast member by member stays.
        other => other.clone(),
    }
}
