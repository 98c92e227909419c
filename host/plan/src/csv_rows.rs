//! Rows of csv, whose columns are found by the names in its header.

use std::{
    cell::{Cell, RefCell},
    io::{self, BufRead, BufReader, Read},
    sync::Arc,
};

use csv_core::{ReadRecordResult, ReaderBuilder};
use datafusion::arrow::{
    array::{AsArray, RecordBatch, RecordBatchOptions},
    csv::{self, reader::Decoder},
    datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit},
    error::ArrowError,
};
use dflow_pipeline::{CsvOptions, Fault};

use crate::{
    exact::{can_cut, typed, unlike, zone},
    rows::{BadRow, RowFormat, Sample, first_row, said, short},
};

/// How rows of csv are taken.
///
/// Arrow cuts texts that say more than a decimal or a time holds. So they are taken as texts, and made values here.
pub(crate) struct Records {
    /// What a row has, in the order that it has it.
    schema: SchemaRef,
    /// The same with texts where Arrow would cut them.
    texts: SchemaRef,
    /// Which of that is read.
    projection: Vec<usize>,
    /// Finds where rows end.
    record: RefCell<csv_core::Reader>,
    delimiter: u8,
    header: bool,
    /// How many values the first row has of those that are looked at.
    values: Cell<Option<usize>>,
}

impl Records {
    /// Those columns of a text that a projection of `schema` names, by their places.
    pub(crate) fn by_place(options: &CsvOptions, schema: &SchemaRef, projection: &[usize]) -> Self {
        let delimiter = options.delimiter as u8;
        let record = RefCell::new(ReaderBuilder::new().delimiter(delimiter).build());
        let (projection, header, values) = (projection.to_vec(), options.header, Cell::default());
        Self { schema: schema.clone(), texts: texts(schema), projection, record, delimiter, header, values }
    }

    /// Those columns of a text that a projection of `schema` names, found by its header, and the text behind that.
    ///
    /// # Errors
    /// The text can't be read, or the header doesn't end or doesn't name a column.
    pub(crate) fn by_name<R: BufRead>(
        source: R,
        options: &CsvOptions,
        schema: &SchemaRef,
        projection: &[usize],
        max_row: usize,
    ) -> Result<(Self, impl BufRead + use<R>), String> {
        let by_place = Self::by_place(options, schema, projection);
        let (header, rows) = first_row(source, &by_place, max_row).map_err(|e| e.to_string())?;
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
        Ok((Self { texts: texts(&schema), schema, projection, ..by_place }, rows))
    }

    /// The first rows of a text, for who looks at them, none larger than a row may be, and all with as many values as the first one.
    ///
    /// # Errors
    /// It can't be read, or its header is too large.
    pub(crate) fn sample<'a, R: Read + 'a>(&'a self, source: R, max_row: usize) -> io::Result<Box<dyn Read + 'a>> {
        self.values.set(None);
        let source = BufReader::new(source);
        if !self.header {
            return Ok(Box::new(Sample::new(source, self, max_row)));
        }
        let (header, rest) = first_row(source, self, max_row)?;
        self.values.set(Some(self.count(&header)));
        Ok(Box::new(io::Cursor::new(header).chain(Sample::new(rest, self, max_row))))
    }

    /// How many values a row has.
    fn count(&self, row: &[u8]) -> usize {
        let (end, count) = self.record(row, true);
        // The last value of a text without a line's end isn't counted before it.
        count + usize::from(end.is_none())
    }

    /// Where the first row ends, if its end is there, and how many values there are until then. Unless it `begins` here, a part of it was
    /// looked at before.
    fn record(&self, bytes: &[u8], begins: bool) -> (Option<usize>, usize) {
        // It is made once, which takes longer than a row; its clones (csv-core 0.1.13) lack what it has learned of the delimiter.
        let mut reader = self.record.borrow_mut();
        if begins {
            reader.reset();
        }
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

/// The columns, those that Arrow would cut as texts.
fn texts(schema: &Schema) -> SchemaRef {
    let text = |field: &Arc<Field>| match can_cut(field.data_type()) {
        true => Arc::new(Field::clone(field).with_data_type(DataType::Utf8View)),
        false => field.clone(),
    };
    Arc::new(Schema::new(schema.fields().iter().map(text).collect::<Vec<_>>()))
}

/// What Arrow is told of how csv is written.
pub(crate) fn format(options: &CsvOptions) -> csv::reader::Format {
    csv::reader::Format::default().with_header(options.header).with_delimiter(options.delimiter as u8)
}

/// Whether Arrow has inferred moments, which it has not looked at to their ends.
pub(crate) fn has_moments(inferred: &Schema) -> bool {
    inferred.fields().iter().any(|field| matches!(field.data_type(), DataType::Timestamp(..)))
}

/// Columns that Arrow inferred from the first rows of a text, of whose moments it has looked at no zone: a column of those that all have one
/// is in UTC, and one of some with and some without is text. So is one of which something isn't a moment, since anything may stand behind the
/// clock. Later rows may have more digits than these, so seconds have six at least.
pub(crate) fn zoned(
    source: impl Read,
    options: &CsvOptions,
    inferred: Schema,
    rows: usize,
) -> Result<Schema, ArrowError> {
    let mut fields = inferred.fields().to_vec();
    let places = (0..fields.len()).filter(|place| matches!(fields[*place].data_type(), DataType::Timestamp(..)));
    let places: Vec<_> = places.collect();
    let reader = csv::ReaderBuilder::new(texts(&inferred)).with_format(format(options));
    let mut batches = reader.with_projection(places.clone()).with_batch_size(rows).build(source)?;
    let Some(batch) = batches.next().transpose()? else { return Ok(inferred) };
    for (place, column) in places.into_iter().zip(batch.columns()) {
        let DataType::Timestamp(unit, _) = fields[place].data_type() else { continue };
        let mut zones = column.as_string_view().iter().flatten().map(zone);
        let zoned = zones.next().is_some_and(|zone| !zone.is_empty());
        let data_type = match zones.all(|zone| zone.is_empty() != zoned) {
            true => DataType::Timestamp((*unit).max(TimeUnit::Microsecond), zoned.then(|| "UTC".into())),
            false => DataType::Utf8,
        };
        let field = Field::clone(&fields[place]).with_data_type(data_type);
        let is_text = *field.data_type() == DataType::Utf8 || typed(column, &field).is_err();
        fields[place] = Arc::new(if is_text { field.with_data_type(DataType::Utf8) } else { field });
    }
    Ok(Schema::new(fields))
}

impl RowFormat for Records {
    type Decoder = (Decoder, usize);

    fn decoder(&self, rows: usize) -> Result<(Decoder, usize), ArrowError> {
        let reader = csv::ReaderBuilder::new(self.texts.clone())
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
        let Some(batch) = decoder.flush()? else { return Ok(None) };
        if self.texts == self.schema {
            return Ok(Some(batch));
        }
        let schema = Arc::new(self.schema.project(&self.projection)?);
        let columns = schema.fields().iter().zip(batch.columns()).map(|(field, column)| {
            if column.data_type() == field.data_type() { Ok(column.clone()) } else { typed(column, field) }
        });
        let columns = columns.collect::<Result<_, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        Ok(Some(RecordBatch::try_new_with_options(schema, columns, &options)?))
    }

    fn end(&self, bytes: &[u8], begins: bool) -> Option<usize> {
        self.record(bytes, begins).0
    }

    fn blank(&self, bytes: &[u8]) -> usize {
        bytes.iter().take_while(|byte| b"\r\n".contains(byte)).count()
    }

    fn fits(&self, row: &[u8]) -> bool {
        if self.blank(row) == row.len() {
            return true;
        }
        let values = self.count(row);
        self.values.set(self.values.get().or(Some(values)));
        self.values.get() == Some(values)
    }

    fn bad(&self, row: &[u8], error: &ArrowError) -> BadRow {
        let text = error.to_string();
        let column = |index: &str| Some(self.schema.fields().get(index.parse::<usize>().ok()?)?.clone());
        let parsed = || {
            let (value, rest) = text.split_once("Error while parsing value '")?.1.split_once("' as type '")?;
            let field = column(rest.split_once("for column ")?.1.split(' ').next()?)?;
            Some(unlike(&field, value))
        };
        let columns = self.schema.fields().len();
        let message = if text.contains("incorrect number of fields") {
            let values = self.count(row);
            format!("it has {values} {}, and there are {columns} columns", if values == 1 { "value" } else { "values" })
        } else {
            parsed().unwrap_or_else(|| said(&text).to_owned())
        };
        BadRow { message, fault: Fault::Data, last: false }
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::Int64Type;

    use super::*;
    use crate::rows::Rows;

    fn read(text: &str, columns: &[&str], most_rows: usize, piece: usize) -> Result<(Vec<i64>, Vec<BadRow>), String> {
        read_up_to(1 << 20, text, columns, most_rows, piece)
    }

    fn read_up_to(
        max_row: usize,
        text: &str,
        columns: &[&str],
        most_rows: usize,
        piece: usize,
    ) -> Result<(Vec<i64>, Vec<BadRow>), String> {
        let fields: Vec<_> = columns.iter().map(|name| Field::new(*name, DataType::Int64, true)).collect();
        let source = std::io::BufReader::with_capacity(piece, text.as_bytes());
        let schema = Arc::new(Schema::new(fields));
        let (records, source) = Records::by_name(source, &CsvOptions::default(), &schema, &[0], max_row)?;
        let (mut values, mut bad) = (Vec::new(), Vec::new());
        for batch in Rows::new(source, records, most_rows, max_row).expect("a decoder") {
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

    #[test]
    fn a_row_without_an_end_is_not_held() {
        let long = "long ".repeat(10_000);
        for (rows, piece) in [(8192, 1 << 16), (1, 7), (100, 100)] {
            // Rows are as large whatever they are read in.
            let text = format!("a,b\n1,x\n2,\"{long}\n\"\n3,{}\n4,{}\n5,y\n6,\"{long}", "x".repeat(98), "x".repeat(99));
            let (values, bad) = read_up_to(100, &text, &["a"], rows, piece).expect("a header");
            let bad: Vec<_> = bad.iter().map(|bad| (bad.message.as_str(), bad.fault, bad.last)).collect();
            let large = "has 48.8 KiB, the limit is 100 B (`batch.max_row`)";
            let (large, little) = ((large, Fault::Limit, false), "has 101 B, the limit is 100 B (`batch.max_row`)");
            assert_eq!((values, bad), (vec![1, 3, 5], vec![large, (little, Fault::Limit, false), large]));
            let header = read_up_to(100, &format!("\"a,b\n{long}"), &["a"], rows, piece);
            assert_eq!(header, Err("its first row doesn't end within 100 B (`batch.max_row`)".to_owned()));
        }
        let records = Records::by_place(&CsvOptions::default(), &Arc::new(Schema::empty()), &[]);
        let mut sample = String::new();
        let text = format!("a,b\n1,\"{long}\"\n2,x");
        records.sample(text.as_bytes(), 100).and_then(|mut read| read.read_to_string(&mut sample)).expect("a header");
        assert_eq!(sample, "a,b\n\n2,x");
    }

    #[test]
    fn rows_that_say_nothing_of_the_columns_are_left_out_of_the_first_ones() {
        for (header, text, expected) in [
            (true, "a,b\n1,2\n3\n\n4,5,6\n7,8", "a,b\n1,2\n\n\n7,8"),
            (true, "a,b\n1\n2,\"x\ny\"\n3,4,5", "a,b\n\n2,\"x\ny\"\n\n"),
            (false, "\n1,2\n3\n4,5\n", "1,2\n\n4,5\n"),
        ] {
            let options = CsvOptions { header, ..CsvOptions::default() };
            let records = Records::by_place(&options, &Arc::new(Schema::empty()), &[]);
            let mut sample = String::new();
            records.sample(text.as_bytes(), 100).and_then(|mut read| read.read_to_string(&mut sample)).expect("a text");
            assert_eq!(sample, expected);
        }
        // Without a header a first row that is too large is only that row's failure.
        let records =
            Records::by_place(&CsvOptions { header: false, ..CsvOptions::default() }, &Arc::new(Schema::empty()), &[]);
        let (mut sample, text) = (String::new(), format!("1,{}\n2,x\n", "x".repeat(1000)));
        records.sample(text.as_bytes(), 100).and_then(|mut read| read.read_to_string(&mut sample)).expect("a text");
        assert_eq!(sample, "\n2,x\n");
    }
}
