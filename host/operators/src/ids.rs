//! Ids of rows, as columns.
//!
//! An id is 32 hexadecimal digits of XXH3-128. A source's row is identified by its split and its position in it; a child by
//! its parent's id, the stage and its index among its siblings. Ids never depend on how batches or tasks were cut.

use datafusion::arrow::{
    array::{StringViewArray, UInt64Array, builder::make_view},
    buffer::Buffer,
    datatypes::DataType,
};
use xxhash_rust::xxh3::{Xxh3, xxh3_64, xxh3_64_with_seed};

/// The type of id columns.
pub const ID_FIELD_TYPE: DataType = DataType::Utf8View;

/// Digits of an id.
const DIGITS: usize = 32;

/// Builds a column of ids: one buffer, views into it.
#[derive(Default)]
pub struct Ids {
    digits: Vec<u8>,
}

impl Ids {
    /// Room for `rows` ids.
    pub fn with_capacity(rows: usize) -> Self {
        Self { digits: Vec::with_capacity(rows * DIGITS) }
    }

    /// Adds an id of 32 ASCII digits.
    pub fn push(&mut self, id: &[u8; DIGITS]) {
        self.digits.extend_from_slice(id);
    }

    /// The column.
    pub fn finish(self) -> StringViewArray {
        let views: Vec<u128> = self
            .digits
            .as_chunks::<DIGITS>()
            .0
            .iter()
            .enumerate()
            .map(|(i, id)| make_view(id, 0, (i * DIGITS) as u32))
            .collect();
        StringViewArray::new(views.into(), vec![Buffer::from_vec(self.digits)], None)
    }
}

/// The seeds of rows for a stage: XXH3-64 of each row's id, seeded with that of the stage's name. So they travel with their rows.
pub(crate) fn seeds(stage: &str, ids: &StringViewArray) -> UInt64Array {
    let seed = xxh3_64(stage.as_bytes());
    ids.iter().map(|id| Some(xxh3_64_with_seed(id.unwrap_or_default().as_bytes(), seed))).collect()
}

/// The id of a child row.
pub fn child_id(parent: &str, stage: &str, index: u64) -> [u8; DIGITS] {
    let mut hasher = Xxh3::new();
    hasher.update(parent.as_bytes());
    hasher.update(&[0]);
    hasher.update(stage.as_bytes());
    hasher.update(&[0]);
    hasher.update(&index.to_le_bytes());
    let mut digits = [0; DIGITS];
    for (i, byte) in hasher.digest128().to_be_bytes().iter().enumerate() {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        digits[2 * i] = HEX[usize::from(byte >> 4)];
        digits[2 * i + 1] = HEX[usize::from(byte & 15)];
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_children_never_change() {
        // A golden: what was written under these ids must be found again by later versions.
        let id = child_id("00000000000000000000000000000000", "chunks", 7);
        assert_eq!(std::str::from_utf8(&id), Ok("d8256ae6aa1156915aec54859c95eca9"));
        let mut ids = Ids::with_capacity(2);
        ids.push(&id);
        ids.push(&child_id("a", "b", 0));
        let column = ids.finish();
        assert_eq!(column.value(0).as_bytes(), id);
        assert_ne!(column.value(0), column.value(1));
    }
}
