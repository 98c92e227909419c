//! Rows of csv, whose columns are found by the names in its header.

use std::{cell::RefCell, io::BufRead, sync::Arc};

use csv_core::{ReadRecordResult, ReaderBuilder};
use datafusion::arrow::{
    array::RecordBatch,
    csv::{self, reader::Decoder},
    datatypes::{DataType, Field, Schema, SchemaRef},
    error::ArrowError,
};
use dflow_pipeline::CsvOptions;

use crate::{
    rows::{BadRow, RowFormat, first_row, said, short},
    type_text,
};

/// How rows of csv are taken.
pub(crate) struct Records {
    /// What a row has, in the order that it has it.
    schema: SchemaRef,
    /// Which of that is read.
    projection: Vec<usize>,
    /// Finds where rows end.
    record: RefCell<csv_core::Reader>,
    delimiter: u8,
}

impl Records {
    /// Those columns of a text that a projection of `schema` names, by their places.
    pub(crate) fn by_place(options: &CsvOptions, schema: &SchemaRef, projection: &[usize]) -> Self {
        let record = RefCell::new(ReaderBuilder::new().delimiter(options.delimiter as u8).build());
        Self { schema: schema.clone(), projection: projection.to_vec(), record, delimiter: options.delimiter as u8 }
    }

    /// Those columns of a text that a projection of `schema` names, found by its header, and the text behind that.
    ///
    /// # Errors
    /// The text can't be read, or the header doesn't name a column.
    pub(crate) fn by_name<R: BufRead>(
        source: R,
        options: &CsvOptions,
        schema: &SchemaRef,
        projection: &[usize],
    ) -> Result<(Self, impl BufRead + use<R>), String> {
        let by_place = Self::by_place(options, schema, projection);
        let (header, rows) = first_row(source, &by_place).map_err(|e| e.to_string())?;
        let (header, _) = format(options).infer_schema(&header[..], Some(0)).map_err(|e| e.to_string())?;
        if header.fields().is_empty() {
            // Nothing is in it, and no row misses a column.
            return Ok((by_place, rows));
        }
        let place = |column: &usize| {
            let name = schema.field(*column).name();
            header.index_of(name).map_err(|_| {
                let names: Vec<_> = header.fields().iter().map(|field| format!("`{}`", short(field.name()))).collect();
                format!("it has no column `{name}` (its header names {})", names.join(", "))
            })
        };
        let projection = projection.iter().map(place).collect::<Result<_, _>>()?;
        let field = |field: &Arc<Field>| match schema.field_with_name(field.name()) {
            Ok(ours) => ours.clone(),
            Err(_) => Field::new(field.name(), DataType::Utf8, true),
        };
        let schema = Arc::new(Schema::new(header.fields().iter().map(field).collect::<Vec<_>>()));
        Ok((Self { schema, projection, ..by_place }, rows))
    }

    /// Where the first row ends, if its end is there, and how many values there are until then.
    fn record(&self, bytes: &[u8]) -> (Option<usize>, usize) {
        // It is made once, which takes longer than a row; its clones (csv-core 0.1.13) lack what it has learned of the delimiter.
        let mut reader = self.record.borrow_mut();
        reader.reset();
        let (mut values, mut ends) = ([0; 1024], [0; 64]);
        let (mut at, mut count) = (0, 0);
        while at < bytes.len() {
            let (result, read, _, found) = reader.read_record(&bytes[at..], &mut values, &mut ends);
            at += read;
            count += found;
            match result {
                ReadRecordResult::Record => return (Some(at), count),
                ReadRecordResult::InputEmpty | ReadRecordResult::End => break,
                ReadRecordResult::OutputFull | ReadRecordResult::OutputEndsFull => {}
            }
        }
        (None, count)
    }
}

/// What Arrow is told of how csv is written.
pub(crate) fn format(options: &CsvOptions) -> csv::reader::Format {
    csv::reader::Format::default().with_header(options.header).with_delimiter(options.delimiter as u8)
}

impl RowFormat for Records {
    type Decoder = (Decoder, usize);

    fn decoder(&self, rows: usize) -> Result<(Decoder, usize), ArrowError> {
        let reader = csv::ReaderBuilder::new(self.schema.clone())
            .with_delimiter(self.delimiter)
            .with_projection(self.projection.clone())
            .with_batch_size(rows);
        Ok((reader.build_decoder(), rows))
    }

    fn decode(&self, (decoder, _): &mut (Decoder, usize), bytes: &[u8]) -> Result<usize, ArrowError> {
        decoder.decode(bytes)
    }

    fn taken(&self, (decoder, rows): &(Decoder, usize)) -> usize {
        rows - decoder.capacity()
    }

    fn flush(&self, (decoder, _): &mut (Decoder, usize)) -> Result<Option<RecordBatch>, ArrowError> {
        decoder.flush()
    }

    fn end(&self, bytes: &[u8]) -> Option<usize> {
        self.record(bytes).0
    }

    fn bad(&self, row: &[u8], error: &ArrowError) -> BadRow {
        let text = error.to_string();
        let column = |index: &str| Some(self.schema.fields().get(index.parse::<usize>().ok()?)?.clone());
        let parsed = || {
            let (value, rest) = text.split_once("Error while parsing value '")?.1.split_once("' as type '")?;
            let field = column(rest.split_once("for column ")?.1.split(' ').next()?)?;
            Some(format!("column `{}`: `{}` is no {}", field.name(), short(value), type_text(field.data_type())))
        };
        let columns = self.schema.fields().len();
        let message = if text.contains("incorrect number of fields") {
            // The last value of a text without a line's end isn't counted before it.
            let (end, count) = self.record(row);
            let values = count + usize::from(end.is_none());
            format!("it has {values} {}, and there are {columns} columns", if values == 1 { "value" } else { "values" })
        } else {
            parsed().unwrap_or_else(|| said(&text).to_owned())
        };
        BadRow { message, last: false }
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::{array::AsArray, datatypes::Int64Type};

    use super::*;
    use crate::rows::Rows;

    fn read(text: &str, columns: &[&str], most_rows: usize, piece: usize) -> Result<(Vec<i64>, Vec<BadRow>), String> {
        let fields: Vec<_> = columns.iter().map(|name| Field::new(*name, DataType::Int64, true)).collect();
        let source = std::io::BufReader::with_capacity(piece, text.as_bytes());
        let schema = Arc::new(Schema::new(fields));
        let (records, source) = Records::by_name(source, &CsvOptions::default(), &schema, &[0])?;
        let (mut values, mut bad) = (Vec::new(), Vec::new());
        for batch in Rows::new(source, records, most_rows).expect("a decoder") {
            match batch {
                Ok(batch) => {
                    values.extend(batch.column(0).as_primitive::<Int64Type>().iter().map(Option::unwrap_or_default))
                }
                Err(row) => bad.push(row),
            }
        }
        Ok((values, bad))
    }

    #[test]
    fn columns_are_found_by_their_names_and_bad_rows_are_met_alone() {
        let mut text = String::from("\u{feff}b,\"a\",c\r\n");
        text.extend((0..1000).map(|i| format!("\"x\ny\",{i},z\r\n")));
        text = text.replace(",7,z", ",seven,z").replace(",700,z", ",700,z,\"1\n2\"").replace(",999,z\r\n", ",999");
        let good: Vec<i64> = (0..999).filter(|i| *i != 7 && *i != 700).collect();
        for (rows, piece) in [(8192, 1 << 16), (1, 7), (100, 100), (3, 1 << 16)] {
            let (values, bad) = read(&text, &["a"], rows, piece).expect("it has that column");
            assert!(values == good, "{rows} {piece} {bad:?}");
            let bad: Vec<_> = bad.iter().map(|bad| (bad.message.as_str(), bad.last)).collect();
            assert_eq!(
                bad,
                [
                    ("column `a`: `seven` is no int64", false),
                    ("it has 4 values, and there are 3 columns", false),
                    ("it has 2 values, and there are 3 columns", false),
                ]
            );
        }
        let missing = read("b,c\n1,2\n", &["a"], 10, 10);
        assert_eq!(missing, Err("it has no column `a` (its header names `b`, `c`)".to_owned()));
        assert_eq!(read("", &["a"], 10, 10), Ok((vec![], vec![])));
        assert_eq!(read("a\n\n", &["a"], 10, 10), Ok((vec![], vec![])));
        assert_eq!(read("a", &["a"], 10, 10), Ok((vec![], vec![])));
        assert_eq!(read("b,a\rx,1\ry,2\r", &["a"], 10, 10), Ok((vec![1, 2], vec![])));
        let (values, bad) =
            read(&format!("a\n1\nx\n\"{}", "2\n".repeat(200_000)), &["a"], 100, 1000).expect("a header");
        assert_eq!((values, bad.len()), (vec![1], 2));
    }
}
