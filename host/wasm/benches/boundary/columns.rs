//! Columns of many types, in and out.

use std::sync::Arc;

use arrow::{
    array::{
        Array, ArrayRef, BooleanArray, DictionaryArray, Float64Array, Int32Array, Int64Array, ListArray, RecordBatch,
        StringArray, StringViewArray, StructArray,
    },
    datatypes::{Field, Int32Type},
};

use crate::{
    guests::{contender, of_bench},
    turns::{self, Contender, Options, race},
};

const ROWS: usize = 8192;

pub(crate) fn run(options: &Options) {
    let number = |i: usize| (i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    let texts = || StringArray::from_iter_values((0..ROWS).map(|i| format!("text number {}", number(i))));
    let nullable: Int64Array = (0..ROWS).map(|i| (i % 7 != 0).then(|| number(i) as i64)).collect();
    let numbers: ArrayRef = Arc::new(nullable);
    let floats: ArrayRef = Arc::new(Float64Array::from_iter_values((0..ROWS).map(|i| number(i) as f64)));
    let flags: ArrayRef = Arc::new(BooleanArray::from_iter((0..ROWS).map(|i| Some(i % 3 == 0))));
    let plain: ArrayRef = Arc::new(texts());
    let mixed: Vec<ArrayRef> = (0..40).map(|i| [&numbers, &floats, &flags, &plain][i % 4].clone()).collect();
    let lists = ListArray::from_iter_primitive::<Int32Type, _, _>(
        (0..ROWS).map(|i| (i % 11 != 0).then(|| (0..(i % 5) as i32).map(Some))),
    );
    let fields = [("numbers", numbers.clone()), ("texts", plain.clone()), ("lists", Arc::new(lists) as ArrayRef)];
    let fields = fields.map(|(name, column)| (Arc::new(Field::new(name, column.data_type().clone(), true)), column));
    let nested: ArrayRef = Arc::new(StructArray::from(fields.to_vec()));
    let words: Vec<String> = (0..100).map(|i| format!("one of a hundred values: {i}")).collect();
    let dictionary: DictionaryArray<Int32Type> = DictionaryArray::new(
        Int32Array::from_iter_values((0..ROWS).map(|i| number(i) as i32 % 100)),
        Arc::new(StringArray::from_iter_values(words)),
    );
    let scattered: Vec<_> = (0..ROWS).map(|i| format!("text number {}", number(i * 7 % ROWS))).collect();
    let views: ArrayRef = Arc::new(StringViewArray::from_iter_values(scattered));
    let doubled = StringArray::from_iter_values((0..2 * ROWS).map(|i| format!("text number {}", number(i))));
    let sliced: ArrayRef = Arc::new(doubled.slice(ROWS / 2 + 1, ROWS));
    let doubled: Int64Array = (0..2 * ROWS).map(|i| (i % 7 != 0).then(|| number(i) as i64)).collect();
    let sliced_numbers: ArrayRef = Arc::new(doubled.slice(ROWS / 2 + 1, ROWS));
    let cases: [(&str, Vec<ArrayRef>); 5] = [
        ("40 mixed columns", mixed),
        ("nested", vec![nested]),
        ("dictionary", vec![Arc::new(dictionary)]),
        ("views, short and scattered", vec![views]),
        ("sliced", vec![sliced, sliced_numbers]),
    ];
    for (name, columns) in cases {
        let payload: usize = columns.iter().map(|column| bytes_of(column.as_ref())).sum();
        let from = vec![7u8; payload];
        let (mut there, mut back) = (vec![0u8; payload], vec![0u8; payload]);
        let memcpys = Contender::new("two memcpys", move |times| {
            for _ in 0..times {
                there.copy_from_slice(std::hint::black_box(&from));
                back.copy_from_slice(std::hint::black_box(&there));
                std::hint::black_box(&back);
            }
        });
        let named = columns.into_iter().enumerate().map(|(i, column)| (format!("column_{i}"), column, true));
        let input = [RecordBatch::try_from_iter_with_nullable(named).unwrap()];
        let identity = of_bench("identity", &input[0]);
        let found = race(options, vec![memcpys, contender("sandbox", &identity, &input)]);
        turns::show(&format!("{name}, {ROWS} rows, {} KiB", payload >> 10), &found, |_| None);
    }
}

/// What goes in of a column: its values without what lies before and after a slice.
fn bytes_of(column: &dyn Array) -> usize {
    column.to_data().get_slice_memory_size().expect("arrays of these types have a size")
}
