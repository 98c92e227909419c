//! Random arrays of every type, taken apart and put together; and lies, which are refused by the name of a check.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef};
use arrow_buffer::Buffer;
use arrow_schema::{DataType, Field, Fields, Schema, TimeUnit, UnionFields, UnionMode};
use dflow_boundary::{Lent, Parts, Trust, WireField, WireNode, fields_of, schema_of, unviewed};

mod mutate;
mod random;

use random::Random;

fn receive(field: &Field, rows: usize, nodes: &[WireNode], buffers: &[Vec<u8>]) -> Result<ArrayRef, String> {
    let buffers: Vec<Buffer> = buffers.iter().map(|bytes| Buffer::from(bytes.as_slice())).collect();
    let mut parts = Parts::new(nodes, buffers.into_iter(), Trust::Nothing);
    let column = parts.column(field, rows)?;
    parts.rest()?;
    Ok(column)
}

fn taken_apart(mut lent: Lent, array: &ArrayRef) -> (Vec<WireNode>, Vec<Vec<u8>>) {
    lent.push(array).expect("small arrays can cross");
    (lent.nodes, lent.buffers.iter().map(|buffer| buffer.as_slice().to_vec()).collect())
}

/// A field and an array of it.
fn random_column(seed: u64) -> (Random, Field, ArrayRef) {
    let mut random = Random(seed);
    let field = random::field(&mut random, "x", 4);
    let length = random.below(40);
    let array = random::array(&mut random, field.data_type(), length, field.is_nullable());
    (random, Field::clone(&field), array)
}

#[test]
fn random_arrays_survive() {
    for seed in 0..5_000 {
        let (mut random, field, array) = random_column(seed);
        let schema = Schema::new(vec![field.clone()]);
        let back = fields_of(&schema).and_then(|fields| schema_of(&fields));
        assert_eq!(back.unwrap_or_else(|e| panic!("seed {seed}: {e}")), schema, "seed {seed}");

        let cut = random.below(array.len() + 1);
        for part in [array.clone(), array.slice(0, cut), array.slice(cut, array.len() - cut)] {
            let (nodes, buffers) = taken_apart(Lent::new(), &part);
            let back = receive(&field, part.len(), &nodes, &buffers);
            let back = back.unwrap_or_else(|e| panic!("seed {seed}: {} {e}", field.data_type()));
            assert_eq!(&back, &part, "seed {seed}: {}", field.data_type());

            let plain = field.clone().with_data_type(unviewed(field.data_type()));
            let (nodes, buffers) = taken_apart(Lent::without_views(), &part);
            receive(&plain, part.len(), &nodes, &buffers)
                .unwrap_or_else(|e| panic!("seed {seed}: {} {e}", plain.data_type()));
        }
    }
}

#[test]
fn lies_at_random_are_refused_or_harmless() {
    let (mut refused, mut harmless) = (0, 0);
    for seed in 0..40_000 {
        let (mut random, field, array) = random_column(seed);
        let (mut nodes, mut buffers) = taken_apart(Lent::new(), &array);
        for _ in 0..=random.below(2) {
            mutate::mutate(&mut |end| random.below(end), &mut nodes, &mut buffers);
        }
        match receive(&field, array.len(), &nodes, &buffers) {
            Ok(array) => {
                harmless += 1;
                array.to_data().validate_full().unwrap_or_else(|e| panic!("seed {seed}: {} {e}", field.data_type()));
                // It can be worked with: cut, and taken apart again.
                let part = array.slice(array.len() / 2, array.len() - array.len() / 2);
                let (nodes, buffers) = taken_apart(Lent::new(), &part);
                let back = receive(&field, part.len(), &nodes, &buffers);
                back.unwrap_or_else(|e| panic!("seed {seed}: {} {e}", field.data_type()));
            }
            Err(message) => {
                refused += 1;
                assert!(message.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit()), "{message}");
            }
        }
    }
    assert!(refused > 10_000 && harmless > 5_000, "{refused} refused, {harmless} harmless");
}

fn bytes<const N: usize, T>(values: impl IntoIterator<Item = T>, to: impl Fn(T) -> [u8; N]) -> Vec<u8> {
    values.into_iter().flat_map(to).collect()
}

fn i32s(values: &[i32]) -> Vec<u8> {
    bytes(values, |v| v.to_le_bytes())
}

#[test]
fn lies_are_refused_by_name() {
    let node = |length, null_count, buffers| WireNode { length, null_count, buffers };
    let field = |name: &str, data_type| Arc::new(Field::new(name, data_type, true));
    let needed = |name: &str, data_type| Arc::new(Field::new(name, data_type, false));
    let (utf8, no) = (DataType::Utf8, Vec::<u8>::new);
    let ab = || b"ab".to_vec();
    let list = DataType::List(field("item", DataType::Int8));
    let member = DataType::Struct(Fields::from(vec![field("m", DataType::Int8)]));
    let fixed = DataType::FixedSizeList(field("item", DataType::Int8), 2);
    let entries = DataType::Struct(Fields::from(vec![needed("key", DataType::Int8), field("value", DataType::Int8)]));
    let map = DataType::Map(needed("entries", entries), false);
    let dictionary = DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Int8));
    let runs = DataType::RunEndEncoded(needed("run_ends", DataType::Int32), field("values", DataType::Int8));
    let union = |mode| {
        let members: UnionFields =
            [(3, needed("a", DataType::Int8)), (5, field("b", DataType::Int8))].into_iter().collect();
        DataType::Union(members, mode)
    };
    let (sparse, dense) = (union(UnionMode::Sparse), union(UnionMode::Dense));
    let view = |length: u32, prefix: &[u8; 4], buffer: u32, offset: u32| {
        [length.to_le_bytes(), *prefix, buffer.to_le_bytes(), offset.to_le_bytes()].concat()
    };
    let text = || b"thirteen byte".to_vec();
    type Case = (DataType, Vec<WireNode>, Vec<Vec<u8>>, &'static str);
    let cases: Vec<Case> = vec![
        (utf8.clone(), vec![node(2, 0, 3)], vec![no(), i32s(&[0, 2, 1]), ab()], "non-monotonic offset"),
        (utf8.clone(), vec![node(2, 0, 3)], vec![no(), i32s(&[0, 1, 9]), ab()], "larger than values length 2"),
        (utf8.clone(), vec![node(2, 0, 3)], vec![no(), i32s(&[0, 1, 2]), vec![0xff, 0xfe]], "Invalid UTF8"),
        (utf8.clone(), vec![node(2, 0, 3)], vec![no(), vec![0; 4], ab()], "Need at least"),
        // Padding that is no whole offset must not make arrow panic.
        (utf8.clone(), vec![node(2, 0, 3)], vec![no(), vec![0; 11], ab()], "isn't large enough"),
        (utf8.clone(), vec![node(3, 0, 3)], vec![no(), i32s(&[0, 1, 2]), ab()], "isn't large enough"),
        (
            utf8.clone(),
            vec![node(2, 1, 3)],
            vec![no(), i32s(&[0, 1, 2]), ab()],
            "says that 1 of 2 values are null, there are 0",
        ),
        (utf8.clone(), vec![node(2, 2, 3)], vec![vec![0b10], i32s(&[0, 1, 2]), ab()], "there are 1"),
        (
            utf8.clone(),
            vec![node(9, 0, 3)],
            vec![vec![0xff], i32s(&[0; 10]), no()],
            "a validity buffer of 1 bytes for 9 values",
        ),
        (utf8.clone(), vec![node(2, 0, 3)], vec![no(), i32s(&[0, 1, 2])], "lacks a buffer"),
        (utf8.clone(), vec![node(2, 0, 2)], vec![no(), i32s(&[0, 1, 2])], "has 2 buffers, the type utf8 has 3"),
        (utf8, vec![], vec![], "lacks a node"),
        (
            DataType::LargeUtf8,
            vec![node(1, 0, 3)],
            vec![no(), bytes([0i64, i64::MAX], |v| v.to_le_bytes()), ab()],
            "larger than values length",
        ),
        (
            DataType::LargeUtf8,
            vec![node(1, 0, 3)],
            vec![no(), bytes([0i64, -1], |v| v.to_le_bytes()), ab()],
            "Error converting offset",
        ),
        (DataType::Int64, vec![node(2, 0, 2)], vec![no(), vec![0; 15]], "Need at least 16 bytes"),
        (DataType::Int64, vec![node(1, 0, 2)], vec![no(), vec![0; 8]], "has 1 values for 2 rows"),
        (
            DataType::Int64,
            vec![node(2, 0, 2)],
            vec![no(), vec![0; 16], no()],
            "0 nodes and 1 buffers more than the schema has",
        ),
        (DataType::Int64, vec![node(u32::MAX, 0, 2)], vec![no(), vec![0; 16]], "Need at least"),
        (DataType::Null, vec![node(2, 0, 0)], vec![], "says that 0 of 2 values are null, there are 2"),
        (DataType::Boolean, vec![node(9, 0, 2)], vec![no(), vec![0]], "Need at least 2 bytes for bitmap"),
        (DataType::FixedSizeBinary(i32::MAX), vec![node(u32::MAX, 0, 2)], vec![no(), ab()], "Need at least"),
        (DataType::Decimal32(3, 1), vec![node(2, 0, 2)], vec![no(), i32s(&[999, 1000])], "is not within its precision"),
        (DataType::Time32(TimeUnit::Second), vec![node(2, 0, 2)], vec![no(), i32s(&[0, 86_400])], "has the time 86400"),
        (DataType::Time32(TimeUnit::Second), vec![node(2, 0, 2)], vec![no(), i32s(&[0, -1])], "has the time -1"),
        (DataType::Utf8View, vec![node(1, 0, 2)], vec![no(), view(13, b"thir", 0, 0)], "Invalid buffer index"),
        (DataType::Utf8View, vec![node(1, 0, 3)], vec![no(), view(13, b"thir", 0, 1), text()], "Invalid buffer slice"),
        (
            DataType::Utf8View,
            vec![node(1, 0, 3)],
            vec![no(), view(13, b"else", 0, 0), text()],
            "Mismatch between embedded prefix",
        ),
        (DataType::Utf8View, vec![node(1, 0, 2)], vec![no(), view(2, b"\xff\xfe\0\0", 0, 0)], "non-UTF-8"),
        (DataType::BinaryView, vec![node(1, 0, 2)], vec![no(), view(1, b"abcd", 0, 0)], "non-zero padding"),
        (
            list.clone(),
            vec![node(1, 0, 2), node(1, 0, 2)],
            vec![no(), i32s(&[0, 2]), no(), vec![0]],
            "larger than values length 1",
        ),
        (
            list,
            vec![node(1, 0, 2), node(1, 0, 2)],
            vec![no(), i32s(&[0, 1]), no()],
            "has a child `item`, which lacks a buffer",
        ),
        (
            member,
            vec![node(2, 0, 1), node(1, 0, 2)],
            vec![no(), no(), vec![0]],
            "has a child `m` of 1 values, 2 are needed",
        ),
        (
            fixed,
            vec![node(2, 0, 1), node(3, 0, 2)],
            vec![no(), no(), vec![0; 3]],
            "has a child `item` of 3 values, 4 are needed",
        ),
        (
            map,
            vec![node(1, 0, 2), node(1, 0, 1), node(1, 1, 2), node(1, 0, 2)],
            vec![no(), i32s(&[0, 1]), no(), vec![0], vec![0], no(), vec![0]],
            "non-nullable child of type Int8 contains nulls",
        ),
        (
            dictionary.clone(),
            vec![node(2, 0, 2), node(1, 0, 2)],
            vec![no(), vec![0, 1], no(), vec![7]],
            "Value at position 1 out of bounds: 1",
        ),
        (
            dictionary.clone(),
            vec![node(2, 0, 2), node(1, 0, 2)],
            vec![no(), vec![0, 0xff], no(), vec![7]],
            "out of bounds: -1",
        ),
        (dictionary, vec![node(2, 0, 2)], vec![no(), vec![0, 0]], "has a child 0, which lacks a node"),
        (
            runs.clone(),
            vec![node(2, 0, 0), node(2, 0, 2), node(2, 0, 2)],
            vec![no(), i32s(&[2, 1]), no(), ab()],
            "strictly increasing",
        ),
        (
            runs.clone(),
            vec![node(2, 0, 0), node(1, 0, 2), node(1, 0, 2)],
            vec![no(), i32s(&[0]), no(), vec![7]],
            "strictly positive",
        ),
        (
            runs.clone(),
            vec![node(2, 0, 0), node(1, 0, 2), node(1, 0, 2)],
            vec![no(), i32s(&[1]), no(), vec![7]],
            "less or equal to last value",
        ),
        (
            runs.clone(),
            vec![node(2, 0, 0), node(1, 0, 2), node(1, 0, 2)],
            vec![no(), i32s(&[3]), no(), vec![7]],
            "its last run ends at 3",
        ),
        (
            runs.clone(),
            vec![node(2, 0, 0), node(1, 0, 2), node(2, 0, 2)],
            vec![no(), i32s(&[2]), no(), ab()],
            "same as values array length",
        ),
        (
            runs,
            vec![node(2, 1, 0), node(1, 0, 2), node(1, 0, 2)],
            vec![no(), i32s(&[2]), no(), vec![7]],
            "says that 1 of 2 values are null",
        ),
        (
            sparse.clone(),
            vec![node(2, 0, 1), node(2, 0, 2), node(2, 0, 2)],
            vec![vec![3, 4], no(), ab(), no(), ab()],
            "must match one of the field type ids, got 4",
        ),
        (
            sparse.clone(),
            vec![node(2, 0, 1), node(2, 0, 2), node(2, 0, 2)],
            vec![vec![3, 0x80], no(), ab(), no(), ab()],
            "cannot be negative",
        ),
        (
            sparse.clone(),
            vec![node(2, 0, 1), node(2, 0, 2), node(1, 0, 2)],
            vec![vec![3, 3], no(), ab(), no(), ab()],
            "has a child `b` of 1 values, 2 are needed",
        ),
        (
            sparse,
            vec![node(2, 0, 1), node(2, 1, 2), node(2, 0, 2)],
            vec![vec![3, 3], vec![1], ab(), no(), ab()],
            "has a child `a`, which is not nullable and has 1 nulls",
        ),
        (
            dense.clone(),
            vec![node(1, 0, 2), node(2, 0, 2), node(0, 0, 2)],
            vec![vec![3], i32s(&[2]), no(), ab(), no(), no()],
            "within the length of the child array",
        ),
        (
            dense.clone(),
            vec![node(1, 0, 2), node(2, 0, 2), node(0, 0, 2)],
            vec![vec![3], i32s(&[-1]), no(), ab(), no(), no()],
            "must be non-negative",
        ),
        (
            dense,
            vec![node(1, 0, 1), node(2, 0, 2), node(0, 0, 2)],
            vec![vec![3], i32s(&[0]), no(), ab(), no()],
            "has 1 buffers, the type dense_union has 2",
        ),
    ];
    for (data_type, nodes, buffers, expected) in cases {
        let rows = nodes.first().map_or(2, |node| if data_type == DataType::Int64 { 2 } else { node.length });
        let result = receive(&Field::new("x", data_type.clone(), true), rows as usize, &nodes, &buffers);
        let message =
            result.map(|array| format!("{array:?}")).expect_err(&format!("{data_type} {nodes:?}: {expected}"));
        assert!(message.contains(expected), "{data_type}: {message} / {expected}");
    }
    let nulls = receive(&Field::new("x", DataType::Int8, false), 1, &[node(1, 1, 2)], &[vec![0], vec![0]]);
    assert_eq!(nulls.expect_err("it says so"), "is not nullable and has 1 nulls");
    let dictionary = DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Int8));
    let nodes = [node(1, 0, 2), node(1, 1, 2)];
    let nulls = receive(&Field::new("x", dictionary, false), 1, &nodes, &[no(), vec![0], vec![0], vec![0]]);
    assert_eq!(nulls.expect_err("its one value is null"), "is not nullable and has 1 nulls");
}

#[test]
fn fields_that_are_no_schema_are_refused() {
    let field = |format: &str, children| WireField {
        name: "x".into(),
        format: format.into(),
        nullable: true,
        ordered: false,
        children,
        metadata: vec![],
    };
    let needed = |format: &str, children| WireField { nullable: false, ..field(format, children) };
    let cases = [
        (vec![field("+l", 0)], "has 0 children"),
        (vec![field("+l", 1)], "says it has 1 children, 0 fields follow"),
        (vec![field("u", 1), field("u", 0)], "has 1 children"),
        (vec![field("i", 2), field("u", 0), field("u", 0)], "has 2 children"),
        (vec![field("??", 0)], "no type that is known"),
        (vec![field("+vx", 0)], "no type that is known"),
        (vec![field("+w", 1), field("u", 0)], "a size that is no number"),
        (vec![field("+w:-1", 1), field("u", 0)], "a size that is no number"),
        (vec![field("+s", u32::MAX)], "says it has 4294967295 children"),
        (vec![field("", 0)], "no type that is known"),
        (vec![field("u\0", 0)], "no type that is known"),
        (vec![field("w:-1", 0)], "has a negative size"),
        (vec![field("d:0,0", 0)], "is no decimal"),
        (vec![field("d:39,0", 0)], "is no decimal"),
        (vec![field("d:5,6,32", 0)], "is no decimal"),
        (vec![field("d:300,6", 0)], "no type that is known"),
        (vec![field("+us:", 0)], "type ids that aren't numbers"),
        (vec![field("+us:-1", 1), field("u", 0)], "is no union"),
        (vec![field("+us:1,1", 2), field("u", 0), field("u", 0)], "is no union"),
        (vec![field("+ud:0,1", 1), field("u", 0)], "is no union"),
        (vec![field("+ud:200", 1), field("u", 0)], "type ids that aren't numbers"),
        (vec![field("+m", 1), field("+s", 2), needed("u", 0), field("u", 0)], "entries are nullable"),
        (vec![field("+m", 1), needed("+s", 2), field("u", 0), field("u", 0)], "is a map whose child isn't"),
        (vec![field("+m", 1), needed("+s", 1), needed("u", 0)], "is a map whose child isn't"),
        (vec![field("+m", 1), needed("u", 0)], "is a map whose child isn't"),
        (vec![field("+r", 2), field("i", 0), field("u", 0)], "run ends that aren't"),
        (vec![field("+r", 2), needed("c", 0), field("u", 0)], "run ends that aren't"),
        (vec![field("+r", 1), needed("i", 0)], "has 1 children"),
    ];
    for (fields, expected) in cases {
        let message = schema_of(&fields).expect_err(&format!("{fields:?}"));
        assert!(message.contains(expected), "{message} / {expected}");
    }
    let mut deep = vec![field("+l", 1); 1000];
    deep.push(field("u", 0));
    assert!(schema_of(&deep).expect_err("nested 1,000 deep").contains("deeper than 64"));
    assert!(schema_of(&vec![field("u", 0); 5000]).expect_err("5,000 columns").contains("more than 4096"));
    let nested = |_, item| DataType::List(Arc::new(Field::new("item", item, true)));
    let deep = Schema::new(vec![Field::new("deep", (0..70).fold(DataType::Utf8, |t, i| nested(i, t)), true)]);
    assert!(fields_of(&deep).expect_err("nested 70 deep").contains("column `deep`: types are nested deeper"));
}
