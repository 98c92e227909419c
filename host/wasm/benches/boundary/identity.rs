//! A column of text, in and out.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray, StringViewArray};

use crate::{
    guests::{contender, of_bench},
    turns::{self, Contender, Options, race},
};

pub(crate) fn run(options: &Options) {
    for length in [41, 1000] {
        for size in [64 << 10, 384 << 10, 1 << 20, 4 << 20] {
            one(options, length, size);
        }
    }
}

fn one(options: &Options, length: usize, size: usize) {
    let rows = size / (length + 4);
    let ascii = texts(rows, length, "the words of a text without end ");
    let umlauts = texts(rows, length, "die Wörter ließen sich zählen, 7 € ");
    let payload: Vec<&[u8]> = vec![ascii.value_data(), ascii.offsets().inner().inner().as_slice()];
    let (mut there, mut back) = (vec![0u8; size + 64], vec![0u8; size + 64]);
    let memcpys = Contender::new("two memcpys", |times| {
        for _ in 0..times {
            for to in [&mut there, &mut back] {
                let mut at = 0;
                for part in &payload {
                    to[at..at + part.len()].copy_from_slice(std::hint::black_box(part));
                    at += part.len();
                }
                std::hint::black_box(to);
            }
        }
    });
    let batch = |column: ArrayRef| [RecordBatch::try_from_iter([("text", column)]).unwrap()];
    let views = batch(Arc::new(StringViewArray::from(&ascii)));
    let (plain, umlauts) = (batch(Arc::new(ascii.clone())), batch(Arc::new(umlauts)));
    let (whole, identity) = (of_bench("whole", &plain[0]), of_bench("identity", &plain[0]));
    let found = race(
        options,
        vec![
            memcpys,
            contender("ranges of plain text", &whole, &plain),
            contender("ranges of views", &whole, &views),
            contender("emitted, ASCII", &identity, &plain),
            contender("emitted, ASCII, from views", &identity, &views),
            contender("emitted, not ASCII", &identity, &umlauts),
        ],
    );
    let title = format!("{rows} texts of {length} bytes, {} KiB", size >> 10);
    turns::show(&title, &found, |name| match name {
        ranges if ranges.starts_with("ranges") => Some(1.3),
        emitted if emitted.starts_with("emitted") => Some(2.2),
        _ => None,
    });
}

/// Texts of so many bytes, cut from one that goes on and on.
fn texts(rows: usize, length: usize, from: &str) -> StringArray {
    let long = from.repeat(length / from.len() + 3);
    let text = |row: usize| {
        let start = long.ceil_char_boundary(row % from.len());
        let part = &long[start..long.floor_char_boundary(start + length)];
        format!("{part}{}", "x".repeat(length - part.len()))
    };
    StringArray::from_iter_values((0..rows).map(text))
}
