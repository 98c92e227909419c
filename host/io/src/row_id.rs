//! Ids of source rows. They never change: dead letters, answers and sinks refer to rows by them.

use std::{fmt, str};

use xxhash_rust::xxh3::{Xxh3, xxh3_128};

/// A row's id: 32 lowercase hexadecimal digits of a 128-bit hash.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RowId([u8; 32]);

/// The ids of the rows of one split.
#[derive(Clone, Copy, Debug)]
pub struct RowIds {
    /// Hash of the split's identity; then 8 bytes for the position.
    key: [u8; 24],
}

impl RowIds {
    /// Ids of a split whose identity is these pieces together. It is hashed once; each id then costs one short hash: xxh3-128
    /// of the identity's xxh3-128 and the position, both little-endian.
    pub(crate) fn new(identity: [&str; 3]) -> Self {
        let mut hasher = Xxh3::new();
        for piece in identity {
            hasher.update(piece.as_bytes());
        }
        let mut key = [0; 24];
        key[..16].copy_from_slice(&hasher.digest128().to_le_bytes());
        Self { key }
    }

    /// The id of the row at a position (of the first row: 0).
    pub fn at(&self, position: u64) -> RowId {
        let mut key = self.key;
        key[16..].copy_from_slice(&position.to_le_bytes());
        let mut digits = [0; 32];
        for (pair, byte) in digits.chunks_exact_mut(2).zip(xxh3_128(&key).to_be_bytes()) {
            pair[0] = b"0123456789abcdef"[usize::from(byte >> 4)];
            pair[1] = b"0123456789abcdef"[usize::from(byte & 15)];
        }
        RowId(digits)
    }
}

impl RowId {
    /// The digits.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).expect("hexadecimal digits are ASCII")
    }

    /// The digits as ASCII bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for RowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for RowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use crate::Split;

    fn split(volume: &str, path: &str) -> Split {
        Split { volume: volume.into(), path: path.into(), size: 1, modified: 2, range: None, etag: "3".into() }
    }

    /// These digits are in users' outputs: a change here is a break of every id there is.
    #[test]
    fn ids_never_change() {
        for (volume, path, position, id) in [
            ("docs", "book/a.html", 0, "a3b17cbd8334728b669a56b347217c2e"),
            ("docs", "book/a.html", 1, "10af7d1d175f88d6cf420a17c297db59"),
            ("", "data/ü.jsonl", u64::MAX, "79970c4028af2ac03d9731ee60f62c55"),
            ("file", "", 0, "584d7960b8cd58bc086df77d10c9d564"),
        ] {
            assert_eq!(split(volume, path).row_id(position).as_str(), id);
            assert_eq!(id, split(volume, path).row_ids().at(position).to_string());
        }
    }

    #[test]
    fn ids_depend_on_identity_and_position_only() {
        let one = split("docs", "a");
        let newer = Split { size: 9, modified: 9, etag: "9".into(), ..one.clone() };
        assert_eq!(one.row_id(5), newer.row_id(5));
        assert_ne!(one.row_id(5), one.row_id(6));
        assert_ne!(split("do", "csa").row_id(5), one.row_id(5));
    }
}
