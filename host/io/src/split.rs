//! A part of a source, with an identity and a version of its content.

use std::{fs::Metadata, time::UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::{
    RowId, RowIds,
    location::{self, Location},
};

/// A part of a source: a file. Its identity is its volume's name and its path there, so that a job survives when its data
/// moves; the version of its content is `etag`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Split {
    /// The volume's name; empty for what is relative to the pipeline's folder, `file` for absolute paths.
    pub volume: String,
    /// Its path in the volume, parts separated by `/`, nothing encoded.
    pub path: String,
    /// Its size when it was listed, in bytes.
    pub size: u64,
    /// When it was last modified, in milliseconds since 1970 (UTC).
    pub modified: i64,
    /// The bytes of it that are meant, from the first and to before the second, when they aren't all of it: what begins there. Rows
    /// keep the ids that they have in the whole file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<(u64, u64)>,
    /// The version of its content: another content has another `etag`. Of a file: size and nanoseconds of its modification,
    /// which a faithful copy keeps.
    pub etag: String,
}

impl Split {
    /// A file's, as it is now.
    pub(crate) fn of_file(location: Location, metadata: &Metadata) -> Self {
        // Signed, since a file may be older than 1970.
        let nanos = metadata.modified().map_or(0, |time| match time.duration_since(UNIX_EPOCH) {
            Ok(after) => i128::try_from(after.as_nanos()).unwrap_or(i128::MAX),
            Err(before) => -i128::try_from(before.duration().as_nanos()).unwrap_or(i128::MAX),
        });
        let size = metadata.len();
        Self {
            volume: location.volume,
            path: location.path,
            size,
            modified: i64::try_from(nanos.div_euclid(1_000_000)).unwrap_or(i64::MAX),
            range: None,
            etag: format!("{size:x}-{nanos:x}"),
        }
    }

    /// Where it is.
    pub(crate) fn location(&self) -> Location {
        Location { volume: self.volume.clone(), path: self.path.clone() }
    }

    /// What stays the same when its content changes or its volume moves.
    pub fn identity(&self) -> String {
        self.uri()
    }

    /// How many bytes of it are meant.
    pub fn bytes(&self) -> u64 {
        self.range.map_or(self.size, |(start, end)| end.min(self.size).saturating_sub(start))
    }

    /// How a user writes it: `docs://book/a.html`, `data/a.txt`, `file:///abs/a.txt`.
    pub fn uri(&self) -> String {
        location::uri(&self.volume, &self.path)
    }

    /// Appends its [`uri`](Self::uri).
    pub(crate) fn push_uri(&self, out: &mut Vec<u8>) {
        for piece in location::uri_pieces(&self.volume, &self.path) {
            out.extend_from_slice(piece.as_bytes());
        }
    }

    /// The id of its row at a position (of the first row: 0). For many rows of one split, [`row_ids`](Self::row_ids) is quicker.
    pub fn row_id(&self, position: u64) -> RowId {
        self.row_ids().at(position)
    }

    /// The ids of its rows.
    pub fn row_ids(&self) -> RowIds {
        RowIds::new(location::uri_pieces(&self.volume, &self.path))
    }
}
