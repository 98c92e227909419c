//! Batches cut by rows and bytes.

use std::ops::Range;

use datafusion::arrow::{
    array::{Array, ArrayRef, AsArray},
    datatypes::DataType,
};
use dflow_pipeline::BatchLimits;

/// The size of each row in bytes: text and binary values exactly, other types by their share of the array.
pub fn row_sizes(columns: &[ArrayRef], rows: usize) -> Vec<u64> {
    let mut sizes = vec![0u64; rows];
    for column in columns {
        match column.data_type() {
            DataType::Utf8View => add(&mut sizes, column.as_string_view().lengths().map(u64::from)),
            DataType::BinaryView => add(&mut sizes, column.as_binary_view().lengths().map(u64::from)),
            DataType::Utf8 => add(&mut sizes, column.as_string::<i32>().offsets().lengths().map(|l| l as u64)),
            DataType::Binary => add(&mut sizes, column.as_binary::<i32>().offsets().lengths().map(|l| l as u64)),
            _ if rows > 0 => {
                // A slice reports the memory of the whole; its share is what counts.
                let share = column.to_data().get_slice_memory_size().unwrap_or_default() / rows;
                sizes.iter_mut().for_each(|s| *s += share as u64);
            }
            _ => {}
        }
    }
    sizes
}

fn add(sizes: &mut [u64], lengths: impl Iterator<Item = u64>) {
    sizes.iter_mut().zip(lengths).for_each(|(size, length)| *size += length);
}

/// Ranges of rows that keep to the limits; a row above the limit of bytes is alone.
pub fn cut(sizes: &[u64], limits: &BatchLimits) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let (mut start, mut bytes) = (0, 0u64);
    for (i, size) in sizes.iter().enumerate() {
        if i > start && (i - start >= limits.rows as usize || bytes + size > limits.bytes.0) {
            ranges.push(start..i);
            (start, bytes) = (i, 0);
        }
        bytes += size;
    }
    if start < sizes.len() {
        ranges.push(start..sizes.len());
    }
    ranges
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{Int64Array, StringViewArray};
    use dflow_pipeline::Bytes;

    use super::*;

    #[test]
    fn batches_are_cut_by_rows_and_bytes() {
        let limits = |rows, bytes| BatchLimits { rows, bytes: Bytes(bytes), ..BatchLimits::default() };
        assert_eq!(cut(&[1, 1, 1, 1, 1], &limits(2, 100)), [0..2, 2..4, 4..5]);
        assert_eq!(cut(&[4, 4, 100, 4, 4, 4], &limits(100, 10)), [0..2, 2..3, 3..5, 5..6]);
        assert_eq!(cut(&[], &limits(1, 1)), Vec::<Range<usize>>::new());
    }

    #[test]
    fn rows_are_weighed_by_their_text() {
        let text: ArrayRef = Arc::new(StringViewArray::from(vec![Some("0123456789abcdef"), None, Some("ab")]));
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
        assert_eq!(row_sizes(&[text, numbers], 3), [24, 8, 10]);
    }
}
