//! Rows that are JSON objects, which follow each other or have a line each.

use std::{cell::Cell, sync::Arc};

use datafusion::arrow::{
    array::{ArrayRef, AsArray, RecordBatch, RecordBatchOptions},
    compute::cast,
    datatypes::{DataType, Field, FieldRef, Fields, Float64Type, Schema, SchemaRef},
    error::ArrowError,
    json::{ReaderBuilder, reader::Decoder},
};
use dflow_io::off_calendar;
use dflow_operators::EXACT;
use dflow_pipeline::Fault;
use serde::de::IgnoredAny;

use crate::{
    exact::{can_cut, counted, is_cut},
    rows::{BadRow, RowFormat, decoded, said, short},
};

/// What is said when the first one is met.
const LARGE: &str = "there are large integers";

/// How objects are taken.
///
/// Arrow cuts what stands behind the point where an integer is asked for (arrow-json 59.3). So integers are taken as numbers that may have
/// a point, and looked at; where one is large they are taken as integers, too, and as texts. Decimals, dates and moments are taken as text, and made
/// values here. What else it would cut (times, what is below other types, integers of maps) is taken as text, too, and looked at.
#[derive(Debug)]
pub(crate) struct Objects {
    /// The columns that are.
    schema: SchemaRef,
    /// The same with numbers that may have a point, and texts of which values are made.
    pointed: SchemaRef,
    /// Whether a number or a truth where text is asked for is its text.
    coerce: bool,
    /// Whether a member that isn't asked for is a mistake.
    strict: bool,
    /// Whether each has a line of its own, so that one that is no JSON doesn't hide the others.
    lines: bool,
    /// Whether large integers were seen.
    large: Cell<bool>,
    /// Where the bytes end that were last looked at for a row's end: how many brackets are open, and whether a text is, and an escape in it.
    within: Cell<(usize, bool, bool)>,
}

impl Objects {
    /// Those with columns of a schema.
    pub(crate) fn new(schema: SchemaRef) -> Self {
        let pointed = Arc::new(Schema::new(pointed_fields(schema.fields())));
        let (large, within) = (Cell::default(), Cell::default());
        Self { schema, pointed, coerce: false, strict: false, lines: false, large, within }
    }

    /// A number or a truth where text is asked for is its text.
    pub(crate) fn coerced(self, coerce: bool) -> Self {
        let taken = Self { coerce, ..self };
        let text = |(field, pointed): (&FieldRef, &FieldRef)| match taken.is_text(field) {
            true => Arc::new(Field::clone(field).with_data_type(DataType::Utf8View)),
            false => pointed.clone(),
        };
        let fields: Vec<_> = taken.schema.fields().iter().zip(taken.pointed.fields()).map(text).collect();
        Self { pointed: Arc::new(Schema::new(fields)), ..taken }
    }

    /// Whether a column is taken as text alone. Its numbers are texts only where they are coerced.
    fn is_text(&self, column: &Field) -> bool {
        let of = column.data_type();
        self.coerce && (of.is_decimal() || matches!(of, DataType::Date32 | DataType::Timestamp(..)))
    }

    /// A member that isn't asked for is a mistake.
    pub(crate) fn strict(self) -> Self {
        Self { strict: true, ..self }
    }

    /// Each has a line of its own.
    pub(crate) fn in_lines(self, lines: bool) -> Self {
        Self { lines, ..self }
    }

    fn reader(&self, schema: &SchemaRef, rows: usize) -> Result<Decoder, ArrowError> {
        ReaderBuilder::new(schema.clone())
            .with_batch_size(rows)
            .with_coerce_primitive(self.coerce)
            .with_strict_mode(self.strict)
            .build_decoder()
    }

    /// The values of what was taken.
    fn values(&self, decoder: &mut Decoders) -> Result<Option<RecordBatch>, ArrowError> {
        let Some(batch) = decoder.pointed.flush()? else { return Ok(None) };
        if let Some(texts) = decoder.texts.as_mut().map(Decoder::flush).transpose()?.flatten() {
            for (field, column) in texts.schema().fields().iter().zip(texts.columns()) {
                check_field(column, self.schema.field_with_name(field.name())?, &self.large)?;
            }
        }
        if self.schema == self.pointed {
            return Ok(Some(batch));
        }
        let fields = self.schema.fields();
        let mut columns = batch.columns().to_vec();
        for (field, column) in fields.iter().zip(&mut columns) {
            match self.is_text(field) {
                true => *column = counted(column, field)?,
                false => check_field(column, field, &self.large)?,
            }
        }
        let whole = decoder.whole.as_mut().map(Decoder::flush).transpose()?.flatten();
        if whole.is_none() && self.large.get() {
            return Err(ArrowError::JsonError(LARGE.to_owned()));
        }
        for (place, (field, column)) in fields.iter().zip(&mut columns).enumerate() {
            if column.data_type() != field.data_type() {
                *column = match &whole {
                    Some(whole) => whole.column(place).clone(),
                    None => cast(column, field.data_type())?,
                };
            }
        }
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        Ok(Some(RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?))
    }
}

/// JSON objects in the columns of a schema.
///
/// # Errors
/// One of them doesn't fit.
pub fn decode_objects(objects: &[serde_json::Value], schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let text: String = objects.iter().map(|object| format!("{object}\n")).collect();
    let batch = decoded(&Objects::new(schema.clone()), text.as_bytes(), objects.len().max(1))?;
    Ok(batch.unwrap_or_else(|| RecordBatch::new_empty(schema.clone())))
}

/// Takes integers as numbers that may have a point, as integers and texts where there are large ones, and as texts what would be cut.
pub(crate) struct Decoders {
    pointed: Decoder,
    whole: Option<Decoder>,
    texts: Option<Decoder>,
}

fn pointed_fields(fields: &Fields) -> Vec<FieldRef> {
    let pointed = |field: &FieldRef| Arc::new(Field::clone(field).with_data_type(pointed(field.data_type())));
    fields.iter().map(pointed).collect()
}

/// A type whose integers may have a point.
fn pointed(of: &DataType) -> DataType {
    let item = |item: &FieldRef| Arc::new(Field::clone(item).with_data_type(pointed(item.data_type())));
    match of {
        integer if integer.is_integer() => DataType::Float64,
        DataType::Struct(fields) => DataType::Struct(pointed_fields(fields).into()),
        DataType::List(of) => DataType::List(item(of)),
        DataType::LargeList(of) => DataType::LargeList(item(of)),
        other => other.clone(),
    }
}

/// Fields of which there are texts to be looked at. `inner`: below what [`pointed`] leaves as it is, or where there are large integers, with
/// integers, too.
fn text_fields(fields: &Fields, inner: bool) -> Vec<FieldRef> {
    fields.iter().filter_map(|field| text_field(field, inner)).collect()
}

fn text_field(field: &FieldRef, inner: bool) -> Option<FieldRef> {
    let text = match field.data_type() {
        leaf if can_cut(leaf) || inner && leaf.is_integer() => DataType::Utf8View,
        DataType::Struct(fields) => {
            let fields = text_fields(fields, inner);
            (!fields.is_empty()).then(|| DataType::Struct(fields.into()))?
        }
        DataType::List(of) | DataType::LargeList(of) => DataType::LargeList(text_field(of, inner)?),
        DataType::ListView(of) | DataType::LargeListView(of) | DataType::FixedSizeList(of, _) => {
            DataType::LargeList(text_field(of, true)?)
        }
        DataType::Map(entries, sorted) => {
            let (key, value) = entry(entries)?;
            let entry = DataType::Struct(vec![key.clone(), text_field(value, true)?].into());
            DataType::Map(Arc::new(Field::clone(entries).with_data_type(entry)), *sorted)
        }
        DataType::RunEndEncoded(_, values) => text_field(values, true)?.data_type().clone(),
        _ => return None,
    };
    Some(Arc::new(Field::clone(field).with_data_type(text)))
}

/// The key and the value of a map's entries.
fn entry(entries: &Field) -> Option<(&FieldRef, &FieldRef)> {
    match entries.data_type() {
        DataType::Struct(members) => Some((members.first()?, members.get(1)?)),
        _ => None,
    }
}

/// Whether all numbers and texts of an array are wholly those of a type, and whether there are large numbers among them.
fn check(array: &ArrayRef, to: &DataType, large: &Cell<bool>) -> Result<(), ArrowError> {
    match (array.data_type(), to) {
        (_, DataType::RunEndEncoded(_, values)) => check(array, values.data_type(), large),
        (DataType::Utf8View, to) if !to.is_string() => {
            match array.as_string_view().iter().flatten().find(|text| is_cut(text, to)) {
                Some(text) => Err(ArrowError::JsonError(format!("expected {} got {text}", crate::type_text(to)))),
                None => Ok(()),
            }
        }
        (DataType::Float64, to) if to.is_integer() => {
            let (least, most) = match to {
                DataType::Int8 => (f64::from(i8::MIN), f64::from(i8::MAX)),
                DataType::Int16 => (f64::from(i16::MIN), f64::from(i16::MAX)),
                DataType::Int32 => (f64::from(i32::MIN), f64::from(i32::MAX)),
                DataType::UInt8 => (0.0, f64::from(u8::MAX)),
                DataType::UInt16 => (0.0, f64::from(u16::MAX)),
                DataType::UInt32 => (0.0, f64::from(u32::MAX)),
                DataType::UInt64 => (0.0, f64::MAX),
                _ => (f64::MIN, f64::MAX),
            };
            for value in array.as_primitive::<Float64Type>().iter().flatten() {
                if value.fract() != 0.0 || value < least || value > most {
                    return Err(ArrowError::JsonError(format!("expected {} got {value}", crate::type_text(to))));
                }
                if value.abs() >= EXACT {
                    large.set(true);
                }
            }
            Ok(())
        }
        // Of texts there may be fewer members.
        (DataType::Struct(_), DataType::Struct(fields)) => fields.iter().try_for_each(|field| {
            array.as_struct().column_by_name(field.name()).map_or(Ok(()), |column| check_field(column, field, large))
        }),
        (DataType::List(_), DataType::List(item)) => check(array.as_list::<i32>().values(), item.data_type(), large),
        (
            DataType::LargeList(_),
            DataType::List(item)
            | DataType::LargeList(item)
            | DataType::ListView(item)
            | DataType::LargeListView(item)
            | DataType::FixedSizeList(item, _),
        ) => check(array.as_list::<i64>().values(), item.data_type(), large),
        (DataType::Map(..), DataType::Map(entries, _)) => {
            entry(entries).map_or(Ok(()), |(_, value)| check(array.as_map().values(), value.data_type(), large))
        }
        _ => Ok(()),
    }
}

fn check_field(array: &ArrayRef, field: &Field, large: &Cell<bool>) -> Result<(), ArrowError> {
    check(array, field.data_type(), large).map_err(|error| {
        let what = error.to_string();
        ArrowError::JsonError(format!("whilst decoding field '{}': {}", field.name(), said(&what)))
    })
}

/// Whether all dates and times are some that a text shows.
fn check_calendar(batch: &RecordBatch) -> Result<(), ArrowError> {
    batch.schema_ref().fields().iter().zip(batch.columns()).try_for_each(|(field, column)| match off_calendar(column) {
        Some(value) => {
            let (name, expected) = (field.name(), crate::type_text(field.data_type()));
            Err(ArrowError::JsonError(format!("whilst decoding field '{name}': expected {expected} got {value}")))
        }
        None => Ok(()),
    })
}

impl RowFormat for Objects {
    type Decoder = Decoders;

    fn decoder(&self, rows: usize) -> Result<Decoders, ArrowError> {
        let whole = self.large.get().then(|| self.reader(&self.schema, rows)).transpose()?;
        let others = self.schema.fields().iter().filter(|field| !self.is_text(field));
        let texts: Vec<_> = others.filter_map(|field| text_field(field, self.large.get())).collect();
        let texts = Arc::new(Schema::new(texts));
        let reader = || ReaderBuilder::new(texts.clone()).with_batch_size(rows).with_coerce_primitive(true);
        let texts = (!texts.fields().is_empty()).then(|| reader().build_decoder()).transpose()?;
        Ok(Decoders { pointed: self.reader(&self.pointed, rows)?, whole, texts })
    }

    fn decode(&self, decoder: &mut Decoders, bytes: &[u8]) -> Result<usize, ArrowError> {
        let read = decoder.pointed.decode(bytes)?;
        for too in [&mut decoder.whole, &mut decoder.texts].into_iter().flatten() {
            too.decode(&bytes[..read])?;
        }
        Ok(read)
    }

    fn taken(&self, decoder: &Decoders) -> usize {
        // One that has only begun is among them.
        decoder.pointed.len() - usize::from(decoder.pointed.has_partial_record())
    }

    fn flush(&self, decoder: &mut Decoders) -> Result<Option<RecordBatch>, ArrowError> {
        let batch = self.values(decoder)?;
        batch.iter().try_for_each(check_calendar)?;
        Ok(batch)
    }

    fn end(&self, bytes: &[u8], begins: bool) -> Option<usize> {
        if self.lines {
            return memchr::memchr(b'\n', bytes).map(|end| end + 1);
        }
        let (mut depth, mut text, mut escaped) = if begins { (0, false, false) } else { self.within.get() };
        for (at, byte) in bytes.iter().enumerate() {
            match byte {
                _ if escaped => escaped = false,
                b'\\' if text => escaped = true,
                b'"' => text = !text,
                _ if text => {}
                b'{' | b'[' => depth += 1,
                b'}' | b']' if depth <= 1 => return Some(at + 1),
                b'}' | b']' => depth -= 1,
                _ => {}
            }
        }
        self.within.set((depth, text, escaped));
        None
    }

    fn blank(&self, bytes: &[u8]) -> usize {
        bytes.len() - bytes.trim_ascii_start().len()
    }

    fn has_learned(&self, error: &ArrowError) -> bool {
        matches!(error, ArrowError::JsonError(what) if what == LARGE)
    }

    fn bad(&self, row: &[u8], error: &ArrowError) -> BadRow {
        // What the decoder says of the types that were asked for is to the point, unless it's a value that we have made.
        let made = matches!(error, ArrowError::ParseError(_));
        let whole =
            self.reader(&self.schema, 1).and_then(|mut decoder| decoder.decode(row).and_then(|_| decoder.flush()));
        let message = in_our_words(whole.as_ref().err().filter(|_| !made).unwrap_or(error), &self.schema);
        // Where what isn't JSON ends, nobody knows.
        BadRow { message, fault: Fault::Data, last: !self.lines && serde_json::from_slice::<IgnoredAny>(row).is_err() }
    }
}

/// The type of what a column's rows or their members hold, or that of the items where they are lists.
fn type_at<'a>(fields: &'a Fields, path: &[&str]) -> Option<&'a DataType> {
    let (name, below) = path.split_first()?;
    let mut of = fields.find(name)?.1.data_type();
    loop {
        of = match of {
            DataType::List(item)
            | DataType::LargeList(item)
            | DataType::ListView(item)
            | DataType::LargeListView(item)
            | DataType::FixedSizeList(item, _) => item.data_type(),
            DataType::Map(entries, _) => entry(entries)?.1.data_type(),
            DataType::RunEndEncoded(_, values) => values.data_type(),
            DataType::Struct(members) if !below.is_empty() => return type_at(members, below),
            other => return Some(other),
        }
    }
}

/// What the decoder says, in our words.
fn in_our_words(error: &ArrowError, schema: &Schema) -> String {
    let text = error.to_string();
    let text = said(&text);
    if text.starts_with("Truncated record") {
        return "it ends within a row".to_owned();
    }
    if let Some((name, _)) = text.strip_prefix("column '").and_then(|t| t.split_once("' missing from schema")) {
        return format!("`{name}` isn't among the columns");
    }
    let mut path = Vec::new();
    let mut rest = text;
    while let Some((field, more)) = rest.strip_prefix("whilst decoding field '").and_then(|r| r.split_once("': ")) {
        path.push(field);
        rest = more;
    }
    // It says what kind of type was asked for, or calls it by a name of its own.
    let ours = || type_at(schema.fields(), &path).map(crate::type_text);
    let unlike = rest.strip_prefix("expected ").and_then(|rest| rest.split_once(" got "));
    let unread = rest.strip_prefix("failed to parse ").and_then(|rest| rest.split_once(" as "));
    let rest = match (unlike, unread) {
        (Some((expected, got)), _) => {
            let expected = Some(expected.to_owned()).filter(|kind| !["primitive", "decimal"].contains(&kind.as_str()));
            let expected = expected.or_else(ours).unwrap_or_else(|| "a value of its type".to_owned());
            format!("expected {expected}, found {}", short(got))
        }
        (None, Some((got, expected))) => {
            format!("expected {}, found {}", ours().unwrap_or_else(|| expected.to_owned()), short(got))
        }
        (None, None) => rest.to_owned(),
    };
    if path.is_empty() { rest } else { format!("column `{}`: {rest}", path.join(".")) }
}

#[cfg(test)]
mod tests {
    use std::{io::BufReader, sync::Arc};

    use datafusion::arrow::{
        array::AsArray,
        datatypes::{DataType, Field, Int64Type, Schema},
    };

    use super::*;
    use crate::rows::Rows;

    fn read(text: &str, lines: bool, most_rows: usize, piece: usize) -> (Vec<i64>, Vec<(usize, String, bool)>) {
        read_up_to(1 << 20, text, lines, most_rows, piece)
    }

    fn read_up_to(
        max_row: usize,
        text: &str,
        lines: bool,
        most_rows: usize,
        piece: usize,
    ) -> (Vec<i64>, Vec<(usize, String, bool)>) {
        let schema = Arc::new(Schema::new(vec![Field::new("a", DataType::Int64, true)]));
        let source = BufReader::with_capacity(piece, text.as_bytes());
        let (mut values, mut bad) = (Vec::new(), Vec::new());
        for batch in Rows::new(source, Objects::new(schema).in_lines(lines), most_rows, max_row).expect("a decoder") {
            match batch {
                Ok(batch) => values.extend(batch.column(0).as_primitive::<Int64Type>().values()),
                Err(row) => bad.push((values.len() + bad.len(), row.message, row.last)),
            }
        }
        (values, bad)
    }

    #[test]
    fn a_row_without_an_end_is_not_held() {
        let long = "]} ".repeat(20_000);
        let exact = format!("{{\"b\": \"{}\", \"a\": 3}}", "x".repeat(100 - 17));
        assert_eq!(exact.len(), 100);
        let text = format!(
            "{{\"a\": 1}}\n{{\"b\": \"{long}\", \"a\": 2}}\n{exact}\n {}\n{{\"a\": 5}}\n{{\"a\": \"{long}",
            exact.replace('x', "xx")
        );
        for lines in [false, true] {
            for (rows, piece) in [(8192, 1 << 16), (1, 7), (100, 100)] {
                let (values, bad) = read_up_to(100, &text, lines, rows, piece);
                assert_eq!(values, [1, 3, 5], "{lines} {rows} {piece} {bad:?}");
                let bad: Vec<_> = bad.iter().map(|(at, what, _)| (*at, what.as_str())).collect();
                let large = "has 58.6 KiB, the limit is 100 B (`batch.max_row`)";
                assert_eq!(bad, [(1, large), (3, "has 183 B, the limit is 100 B (`batch.max_row`)"), (5, large)]);
            }
        }
    }

    #[test]
    fn what_is_blank_between_rows_is_not_held() {
        let blank = " \n\t".repeat(10_000);
        let padded = format!("{{\"a\": 3}}{}", " ".repeat(100 - 8));
        let text = format!("{blank}{{\"a\": 1}}{blank}{{\"a\": \"x\"}}\n{blank}{padded}\r\n{{\"a\": 5}}\n{blank}");
        for (rows, piece) in [(8192, 1 << 16), (1, 7), (100, 100)] {
            for lines in [true, false] {
                let (values, bad) = read_up_to(100, &text, lines, rows, piece);
                assert_eq!((values, bad.len()), (vec![1, 3, 5], 1), "{lines} {rows} {piece}");
            }
        }
    }

    #[test]
    fn nothing_below_other_types_is_cut() {
        for (name, good, bad, what) in [
            ("map<utf8, int64>", r#"{"k": 1}"#, r#"{"k": 1.9}"#, "expected int64, found 1.9"),
            ("map<utf8, list<int8>>", r#"{"k": [1e1]}"#, r#"{"k": [1, 0.5]}"#, "expected int8, found 0.5"),
            ("fixed_size_list<int32, 2>", "[1, 2]", "[1, 2.5]", "expected int32, found 2.5"),
            ("list<decimal128(4, 1)>", "[1.50, null]", "[1.55]", "expected decimal128(4, 1), found 1.55"),
            ("struct<u: utf8, d: date>", r#"{"d": "2024-01-02"}"#, r#"{"d": 1.5}"#, "expected date, found 1.5"),
            ("duration(s)", "3", "3.5", "expected duration(s), found 3.5"),
        ] {
            let of = crate::parse_type(name).unwrap_or_else(|| panic!("{name}"));
            let schema = Arc::new(Schema::new(vec![Field::new("a", of, true)]));
            let text = format!("{{\"a\": {good}}}\n{{\"a\": {bad}}}\n{{\"a\": null}}\n");
            let rows = Rows::new(text.as_bytes(), Objects::new(schema).in_lines(true), 10, 100).expect("a decoder");
            let rows: Vec<_> = rows.map(|batch| batch.map(|batch| batch.num_rows())).collect();
            let [Ok(1), Err(row), Ok(1)] = &rows[..] else { panic!("{name}: {rows:?}") };
            assert!(row.message.starts_with("column `a") && row.message.ends_with(what), "{name}: {}", row.message);
        }
    }

    #[test]
    fn what_does_not_fit_is_told_with_its_column_and_type() {
        let column = |(name, of): (&str, &str)| Field::new(name, crate::parse_type(of).expect("a type"), true);
        let list = ("l", "list<struct<x: int16>>");
        let columns = [("a", "int8"), ("d", "decimal128(10, 2)"), ("t", "timestamp(s)"), list].map(column);
        let schema = Arc::new(Schema::new(columns.to_vec()));
        for (row, what) in [
            (r#"{"a": 300}"#, "column `a`: expected int8, found 300"),
            (r#"{"a": "x"}"#, "column `a`: expected int8, found \"x\""),
            (r#"{"a": {}}"#, "column `a`: expected int8, found {}"),
            (r#"{"d": "1,5"}"#, "column `d`: `1,5` is no decimal128(10, 2)"),
            (r#"{"d": [1]}"#, "column `d`: expected decimal128(10, 2), found [1]"),
            (r#"{"t": "soon"}"#, "column `t`: `soon` is no timestamp(s)"),
            (r#"{"t": {"x": 1}}"#, "column `t`: expected timestamp(s), found {\"x\": 1}"),
            (r#"{"l": [{"x": true}]}"#, "column `l.x`: expected int16, found true"),
            (r#"{"l": 1}"#, "column `l`: expected [, found 1"),
        ] {
            let objects = Objects::new(schema.clone()).coerced(true).in_lines(true);
            let rows: Vec<_> = Rows::new(row.as_bytes(), objects, 10, 100).expect("a decoder").collect();
            let [Err(bad)] = &rows[..] else { panic!("{row}: {rows:?}") };
            assert_eq!(bad.message, what);
        }
    }

    #[test]
    fn a_row_that_doesn_t_fit_is_met_alone() {
        let mut text: String = (0..1000).map(|i| format!("{{\"a\": {i}}}\n")).collect();
        text = text.replace("{\"a\": 7}\n", "{\"a\": \"x\"}\n").replace("{\"a\": 700}", "{\"a\": {\"b\": [1]}}");
        let whole: Vec<i64> = (0..1000).filter(|i| *i != 7 && *i != 700).collect();
        for (rows, piece) in [(8192, 1 << 16), (1, 7), (100, 100), (3, 1 << 16)] {
            let (values, bad) = read(&text, false, rows, piece);
            assert!(values == whole, "{rows} {piece} {bad:?}");
            assert_eq!(bad.iter().map(|b| (b.0, b.2)).collect::<Vec<_>>(), [(7, false), (700, false)]);
            assert!(bad[0].1.starts_with("column `a`: "), "{bad:?}");
            // What isn't JSON ends it; the rows before are good.
            let (values, bad) = read(&format!("{text}{{\"a\": 1000}} nonsense {{\"a\": 1}}"), false, rows, piece);
            assert_eq!((values.len(), bad.len(), bad[2].0), (999, 3, 1001), "{bad:?}");
            let (values, bad) = read(&format!("{text}{{\"a\": 1000"), false, rows, piece);
            assert_eq!((values.len(), bad[2].0, bad[2].2), (998, 1000, true), "{bad:?}");
            // What stands behind a point isn't cut, and what is large is taken as it stands.
            let pointed = text.replace("{\"a\": 8}", "{\"a\": 8.5}").replace("{\"a\": 9}", "{\"a\": 9007199254740993}");
            let (values, bad) = read(&pointed, false, rows, piece);
            assert_eq!((values.len(), values[7]), (997, 9_007_199_254_740_993), "{rows} {piece}");
            assert_eq!(bad[1].1, "column `a`: expected int64, found 8.5");
            // What 64 bits with a point don't hold isn't cut either.
            let large = text.replace("{\"a\": 8}", "{\"a\": 9007199254740993.0}");
            let large = large.replace("{\"a\": 9}", "{\"a\": 9007199254740992.5}");
            let (values, bad) = read(&large, false, rows, piece);
            assert_eq!((values.len(), bad.len()), (996, 4), "{rows} {piece}");
            assert_eq!(bad[2].1, "column `a`: expected int64, found 9007199254740992.5");
            // Of rows that are large no more is held than was taken, and none is decoded twice for being cut by a buffer.
            let (values, bad) = read(
                &format!(
                    "{}\n{{\"a\": \"x\"}}\n{{\"a\": 1}}",
                    "{\"b\": \"LONG\", \"a\": 1}\n".replace("LONG", &"long ".repeat(10_000)).repeat(20)
                ),
                false,
                rows,
                piece,
            );
            assert_eq!((values, bad.len()), (vec![1; 21], 1));
            // A line that isn't JSON is one row.
            let broken = text.replace("{\"a\": 8}\n", "{\"a\": 8\n\n").replace("{\"a\": 999}", "\"x");
            let (values, bad) = read(&broken, true, rows, piece);
            assert_eq!(values.len(), 996, "{rows} {piece}");
            let bad: Vec<_> = bad.iter().map(|b| (b.0, b.2)).collect();
            assert_eq!(bad, [(7, false), (8, false), (700, false), (999, false)]);
        }
    }
}
