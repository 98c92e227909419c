//! Files of tables that a sink wrote, read back to be merged with: all of their rows, or an error.

use std::{fs::File, io::BufReader, path::Path, sync::Arc};

use datafusion::arrow::{
    array::RecordBatch,
    csv,
    datatypes::{DataType, SchemaRef},
};
use dflow_io::{Codec, IoError, content_of};
use dflow_operators::differs;
use dflow_pipeline::{Fault, Format};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::{
    arrow_file::arrow_batches, inline::fit, json_document::JsonDocument, json_rows::Objects, rows::Rows,
    types::type_text,
};

/// Rows of a batch.
const ROWS: usize = 8192;

/// The rows of a file, as errors tell of it.
pub type StoredRows = Box<dyn Iterator<Item = Result<RecordBatch, IoError>>>;

/// The rows of a file that holds the columns of a schema and no others.
///
/// # Errors
/// It can't be read (fault `Outside`), or isn't of this format or these columns (`Data`). So may each batch be.
pub fn stored_rows(path: &Path, format: Format, codec: Codec, schema: &SchemaRef) -> Result<StoredRows, IoError> {
    let name = path.display().to_string();
    let wrong = move |why: String| {
        let why = why.lines().next().unwrap_or_default().to_owned();
        IoError::new(Fault::Data, format!("`{name}` can't be merged with as {}: {why}", format.as_str()))
            .hint("`mode = \"replace\"` writes everything anew")
    };
    let only = |found: &SchemaRef| {
        for field in found.fields() {
            let Ok(written) = schema.field_with_name(field.name()) else {
                return Err(format!("its column `{}` isn't written any more", field.name()));
            };
            // Files that stay as they are would have other types than those beside them. How nested types are told differs, and what
            // has been null until now may become anything.
            let (was, is) = (field.data_type(), written.data_type());
            let told = |data_type: &DataType| !data_type.is_nested() && !data_type.is_null();
            if told(was) && told(is) && differs(found, written).is_some() {
                let (was, is) = (type_text(was), type_text(is));
                return Err(format!("its column `{}` is {was}, and is written as {is} now", field.name()));
            }
        }
        Ok(())
    };
    let batches: Box<dyn Iterator<Item = Result<RecordBatch, String>>> = match format {
        Format::Parquet => {
            let file = File::open(path).map_err(|e| IoError::os("read", path, e))?;
            let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|e| wrong(e.to_string()))?;
            only(builder.schema()).map_err(&wrong)?;
            let reader = builder.with_batch_size(ROWS).build().map_err(|e| wrong(e.to_string()))?;
            Box::new(reader.map(|batch| batch.map_err(|e| e.to_string())))
        }
        Format::Csv => {
            let format = csv::reader::Format::default().with_header(true).with_header_validation(true);
            let reader = csv::ReaderBuilder::new(Arc::clone(schema)).with_format(format).with_batch_size(ROWS);
            let reader = reader.build(content_of(path, codec)?).map_err(|e| wrong(e.to_string()))?;
            Box::new(reader.map(|batch| batch.map_err(|e| e.to_string())))
        }
        Format::Arrow => {
            let found = crate::arrow_file::arrow_schema(content_of(path, codec)?).map_err(&wrong)?;
            only(&found).map_err(&wrong)?;
            let rows = arrow_batches(content_of(path, codec)?, schema, false, ROWS);
            Box::new(rows.map_err(&wrong)?)
        }
        Format::Json | Format::Jsonl => {
            let content = content_of(path, codec)?;
            let content: Box<dyn std::io::Read> =
                if format == Format::Json { Box::new(JsonDocument::new(content)) } else { Box::new(content) };
            let objects = Objects::new(Arc::clone(schema)).strict().in_lines(format == Format::Jsonl);
            let rows = Rows::new(BufReader::with_capacity(1 << 20, content), objects, ROWS, usize::MAX);
            Box::new(rows.map_err(|e| wrong(e.to_string()))?.map(|row| row.map_err(|bad| bad.message)))
        }
        Format::Text | Format::Html | Format::Blob => return Err(wrong("it holds no rows".to_owned())),
    };
    let schema = Arc::clone(schema);
    Ok(Box::new(batches.map(move |batch| batch.and_then(|batch| fit(&batch, &schema)).map_err(&wrong))))
}
