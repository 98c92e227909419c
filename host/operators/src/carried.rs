//! Columns that are carried along to what comes of their rows.

use std::ops::Range;

use datafusion::{
    arrow::{
        array::{Array, ArrayRef, UInt32Array},
        compute::take,
    },
    common::Result,
};

/// Which rows of a batch something came of, each as often as it did.
pub(crate) enum Carried {
    /// Rows that follow each other: nothing is copied.
    Slice(Range<usize>),
    Places(UInt32Array),
}

impl Carried {
    /// Of the rows at these places.
    pub(crate) fn of(places: &[u32]) -> Self {
        let first = places.first().map_or(0, |place| *place as usize);
        match places.iter().enumerate().all(|(i, place)| *place as usize == first + i) {
            true => Self::Slice(first..first + places.len()),
            false => Self::Places(UInt32Array::from(places.to_vec())),
        }
    }

    /// Their values of a column.
    pub(crate) fn column(&self, column: &ArrayRef) -> Result<ArrayRef> {
        Ok(match self {
            Self::Slice(rows) => column.slice(rows.start, rows.len()),
            Self::Places(places) => take(column, places, None)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::Int64Array;

    use super::*;

    #[test]
    fn rows_come_as_often_as_something_came_of_them() {
        let column: ArrayRef = Arc::new(Int64Array::from_iter_values(0..5));
        let cases: [&[u32]; 5] = [&[], &[0, 1, 2, 3, 4], &[2, 3], &[0, 2], &[1, 1, 4]];
        for places in cases {
            let carried = Carried::of(places).column(&column).expect("the places are there");
            let expected: ArrayRef = Arc::new(Int64Array::from_iter_values(places.iter().map(|i| i64::from(*i))));
            assert_eq!(&carried, &expected, "{places:?}");
        }
    }
}
