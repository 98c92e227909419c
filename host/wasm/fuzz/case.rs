//! A case of the checker of what guests emit, read from bytes: a schema, and some emissions. `tests/corpus.rs` includes this file,
//! so that what the fuzzer found is tried with every `cargo test`.
//!
//! Parts that are arbitrary in all hardly ever pass the first check. So schemas and arrays are valid ones by a seed, too, of
//! which some things are then changed.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, RecordBatch, StringViewArray},
    compute::concat,
    datatypes::{DataType, Field, Schema},
    util::display::{ArrayFormatter, FormatOptions},
};
use dflow_boundary::{Lent, WireField, WireNode, children, fields_of, schema_of};
use dflow_pipeline::Bytes;
use dflow_wasm::{
    RowError, RowShape,
    fuzzed::{Checker, Emitted},
};

#[path = "../../../sdk/rust/boundary/tests/mutate/mod.rs"]
mod mutate;
#[path = "../../../sdk/rust/boundary/tests/random/mod.rs"]
mod random;

/// The case's bytes, read from the front; zeros when they are over.
struct Source<'a>(&'a [u8]);

impl<'a> Source<'a> {
    fn byte(&mut self) -> u8 {
        let (byte, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *byte
    }

    fn below(&mut self, end: usize) -> usize {
        (usize::from(self.byte()) | usize::from(self.byte()) << 8) % end.max(1)
    }

    /// Mostly small, sometimes any.
    fn number(&mut self) -> u32 {
        match self.byte() {
            small @ ..=199 => u32::from(small % 16),
            200..=219 => u32::MAX - u32::from(self.byte()),
            _ => u32::from_le_bytes([self.byte(), self.byte(), self.byte(), self.byte()]),
        }
    }

    fn bytes(&mut self, most: usize) -> &'a [u8] {
        let length = self.below(most).min(self.0.len());
        let (bytes, rest) = self.0.split_at(length);
        self.0 = rest;
        bytes
    }

    fn once_in(&mut self, of: u8) -> bool {
        self.byte() % of == of - 1
    }
}

/// Formats of the contract, and how many children they have.
const FORMATS: &[(&str, u32)] = &[
    ("n", 0),
    ("b", 0),
    ("c", 0),
    ("S", 0),
    ("i", 0),
    ("l", 0),
    ("e", 0),
    ("g", 0),
    ("d:5,2", 0),
    ("d:3,1,32", 0),
    ("d:40,0,256", 0),
    ("tdD", 0),
    ("tts", 0),
    ("ttn", 0),
    ("tsu:UTC", 0),
    ("tiM", 0),
    ("tin", 0),
    ("u", 0),
    ("z", 0),
    ("U", 0),
    ("Z", 0),
    ("vu", 0),
    ("vz", 0),
    ("w:0", 0),
    ("w:3", 0),
    ("+l", 1),
    ("+L", 1),
    ("+vl", 1),
    ("+vL", 1),
    ("+w:0", 1),
    ("+w:2", 1),
    ("+s", 2),
    ("+s", 0),
    ("+m", 1),
    ("+r", 2),
    ("+us:0,1", 2),
    ("+ud:3,0", 2),
    ("c", 1),
    ("i", 1),
    ("L", 1),
];

fn push_field(source: &mut Source<'_>, name: &str, depth: usize, fields: &mut Vec<WireField>) {
    let (format, children) = FORMATS[source.below(FORMATS.len())];
    let mut field = WireField {
        name: name.to_owned(),
        format: format.to_owned(),
        // Valid arrays aren't to be had of whatever says below that it has no nulls.
        nullable: depth > 0 || !source.once_in(4),
        ordered: source.once_in(8),
        children,
        metadata: Vec::new(),
    };
    match source.byte() {
        248.. => field.children = source.number(),
        240.. => field.format = String::from_utf8_lossy(source.bytes(12)).into_owned(),
        _ => {}
    }
    fields.push(field);
    if depth < 6 {
        (0..children).for_each(|i| push_field(source, &format!("{name}{i}"), depth + 1, fields));
    }
}

fn fields(source: &mut Source<'_>) -> Vec<WireField> {
    let columns = source.below(4);
    let mut fields = Vec::new();
    if source.byte() & 1 == 0 {
        (0..columns).for_each(|i| push_field(source, &format!("c{i}"), 0, &mut fields));
        return fields;
    }
    let random = &mut random::Random(source.below(usize::MAX) as u64);
    let schema = Schema::new((0..columns).map(|i| random::field(random, &format!("c{i}"), 3)).collect::<Vec<_>>());
    fields_of(&schema).expect("a schema of arrow's can cross")
}

/// How many values an array of a type has for each of its own, about, those below it counted.
fn values(data_type: &DataType) -> u64 {
    let below = children(data_type).iter().map(|child| values(child.data_type())).fold(1, u64::saturating_add);
    match data_type {
        DataType::FixedSizeList(_, width) | DataType::FixedSizeBinary(width) => below.saturating_mul(*width as u64),
        DataType::List(_) | DataType::LargeList(_) | DataType::ListView(_) | DataType::LargeListView(_) => {
            below.saturating_mul(3)
        }
        _ => below,
    }
}

/// Whether an array can be made of a field: values that are null by what is below them can't be of a field that has none.
fn can_be_made(field: &Field) -> bool {
    let null_below = matches!(
        field.data_type(),
        DataType::Null | DataType::Union(..) | DataType::RunEndEncoded(..) | DataType::Dictionary(..)
    );
    (field.is_nullable() || !null_below) && children(field.data_type()).iter().all(|child| can_be_made(child))
}

/// More values than that take long to make, and find no more.
const MOST_VALUES: u64 = 50_000;

/// Nodes and buffers of `rows` values of each column that isn't a slice.
fn parts(source: &mut Source<'_>, schema: &Schema, slices: &[u32], rows: u32) -> (Vec<WireNode>, Vec<Vec<u8>>) {
    let many = schema.fields().iter().map(|field| values(field.data_type())).fold(0, u64::saturating_add);
    // Arrays are slices of ones that are up to 24 longer.
    let too_many = many.saturating_mul(u64::from(rows.min(64)) + 24) > MOST_VALUES;
    if source.once_in(4) || too_many || !schema.fields().iter().all(|field| can_be_made(field)) {
        let nodes = (0..source.below(8)).map(|_| WireNode {
            length: source.number(),
            null_count: source.number(),
            buffers: source.number(),
        });
        let nodes = nodes.collect();
        return (nodes, (0..source.below(12)).map(|_| source.bytes(64).to_vec()).collect());
    }
    let random = &mut random::Random(source.below(usize::MAX) as u64);
    let mut lent = Lent::new();
    for (i, field) in schema.fields().iter().enumerate() {
        if !slices.contains(&(i as u32)) {
            let array = random::array(random, field.data_type(), rows.min(64) as usize, field.is_nullable());
            lent.push(&array).expect("arrays of arrow's can cross");
        }
    }
    let mut buffers: Vec<_> = lent.buffers.iter().map(|buffer| buffer.as_slice().to_vec()).collect();
    for _ in 0..source.below(4) {
        mutate::mutate(&mut |end| source.below(end), &mut lent.nodes, &mut buffers);
    }
    // And one byte of one buffer.
    if let Some(buffer) = buffers.iter_mut().filter(|buffer| !buffer.is_empty()).nth(source.below(8)) {
        let at = source.below(buffer.len());
        buffer[at] ^= source.byte();
    }
    (lent.nodes, buffers)
}

fn indices(source: &mut Source<'_>, rows: u32) -> Vec<u8> {
    let mut last = 0;
    let mut bytes = Vec::new();
    for _ in 0..rows.min(64) {
        last = if source.once_in(16) { source.number() } else { last.wrapping_add(u32::from(source.byte() % 3)) };
        bytes.extend(last.to_le_bytes());
    }
    if source.once_in(16) {
        bytes.truncate(source.below(bytes.len() + 1));
    }
    bytes
}

/// Runs a case. Panics when what was let through isn't what it should be.
pub(crate) fn run(bytes: &[u8]) {
    let source = &mut Source(bytes);
    let fields = fields(source);
    let Ok(schema) = schema_of(&fields) else { return };
    let again = fields_of(&schema).and_then(|fields| schema_of(&fields));
    assert_eq!(again.as_ref(), Ok(&schema), "a schema is the same after it has crossed again");

    let text: ArrayRef =
        Arc::new(StringViewArray::from(vec![Some("grüße aus der ferne"), None, Some("kurz"), Some("")]));
    let input = RecordBatch::try_from_iter_with_nullable([("text", text, true)]).expect("one column");
    let all = input.num_rows();
    let shape = [RowShape::Map, RowShape::Filter, RowShape::Expand][source.below(3)];
    let texts = schema.fields().iter().enumerate().filter(|(_, field)| field.data_type() == &DataType::Utf8);
    let slices: Vec<u32> = texts.map(|(i, _)| i as u32).filter(|_| source.byte() & 1 == 1).collect();
    let most = Bytes(1 << 20);
    let Ok(mut checker) = Checker::new(input, &fields, &slices, shape, most) else { return };

    for _ in 0..1 + source.below(3) {
        let rows = source.number();
        let (nodes, buffers) = parts(source, &schema, &slices, rows);
        let parents = (!source.once_in(3)).then(|| indices(source, rows));
        let mut ranges: Vec<_> =
            slices.iter().map(|column| (*column, indices(source, rows), indices(source, rows))).collect();
        if source.once_in(16) {
            ranges.push((source.number(), indices(source, rows), indices(source, rows)));
        }
        let errors = (0..source.below(3)).map(|_| RowError {
            row: source.number(),
            kind: "k".to_owned(),
            message: String::from_utf8_lossy(source.bytes(8)).into_owned(),
        });
        let emitted = Emitted {
            rows,
            errors: errors.collect(),
            nodes: &nodes,
            buffers: &buffers.iter().map(Vec::as_slice).collect::<Vec<_>>(),
            parents: parents.as_deref(),
            slices: &ranges.iter().map(|(column, starts, ends)| (*column, &starts[..], &ends[..])).collect::<Vec<_>>(),
        };
        if checker.emit(emitted).is_err() {
            return;
        }
    }
    let Ok(processed) = checker.finish() else { return };

    let mut results = vec![0; all];
    let mut last = 0;
    for piece in &processed.pieces {
        assert_eq!(piece.columns.num_rows(), piece.parents.len(), "each row has a parent");
        for parent in &piece.parents {
            assert!(*parent >= last, "parents ascend");
            last = *parent;
            results[*parent as usize] += 1;
        }
        for column in piece.columns.columns() {
            column.to_data().validate_full().expect("what is let through is valid");
            let options = FormatOptions::default().with_display_error(true);
            let formatter = ArrayFormatter::try_new(column, &options).expect("every type can be shown");
            (0..column.len()).for_each(|i| drop(formatter.value(i).to_string()));
            // What batches are put together by; keys of a dictionary may be too small for both.
            drop(concat(&[column as &dyn Array, column]));
        }
    }
    for error in &processed.errors {
        assert_eq!(results[error.row as usize], 0, "a row that errs has no result");
    }
    let single = results.iter().all(|results| *results <= 1);
    assert!(single || shape == RowShape::Expand, "one result a row");
    let total = results.iter().sum::<usize>() + processed.errors.len();
    assert!(shape != RowShape::Map || total == all, "a map has a result or an error for each row");
}
