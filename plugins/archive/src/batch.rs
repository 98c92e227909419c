//! Entries as columns.

use std::sync::Arc;

use dflow_plugin::arrow::{
    ArrayRef, BinaryBuilder, DataType, Field, StringBuilder, TimeUnit, TimestampMillisecondBuilder, UInt64Builder,
};
use dflow_plugin::{Emitter, Failure, Opened, Rows, Shape};

/// What is emitted at once, about, in bytes.
const BYTES: usize = 1 << 20;
/// How many entries are emitted at once.
const ROWS: usize = 2048;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Folder,
    Link,
    Other,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Folder => "folder",
            Self::Link => "link",
            Self::Other => "other",
        }
    }
}

/// An entry, without its content.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) path: String,
    pub(crate) size: u64,
    /// In milliseconds since 1970.
    pub(crate) modified: Option<i64>,
    pub(crate) kind: Kind,
}

/// The content of an entry.
pub(crate) enum Content {
    Bytes(Vec<u8>),
    /// It isn't asked for, or there is none.
    None,
    /// Why it isn't there.
    LeftOut(String),
}

/// The columns that come out. None has a name of the columns of files, beside which they stand.
pub(crate) fn opened() -> Opened {
    let utc = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
    Opened::new(Shape::Expand)
        .column(Field::new("path", DataType::Utf8, false))
        .column(Field::new("length", DataType::UInt64, false))
        .column(Field::new("mtime", utc, true))
        .column(Field::new("kind", DataType::Utf8, false))
        .column(Field::new("bytes", DataType::Binary, true))
        .column(Field::new("left_out", DataType::Utf8, true))
}

/// Gathers the entries of one row's archive, and emits them as they become many.
pub(crate) struct Batch<'a, 'e> {
    emit: &'a mut Emitter<'e>,
    row: u32,
    rows: usize,
    bytes: usize,
    path: StringBuilder,
    size: UInt64Builder,
    modified: TimestampMillisecondBuilder,
    kind: StringBuilder,
    content: BinaryBuilder,
    left_out: StringBuilder,
}

impl<'a, 'e> Batch<'a, 'e> {
    pub(crate) fn new(emit: &'a mut Emitter<'e>, row: usize) -> Self {
        Self {
            emit,
            row: row as u32,
            rows: 0,
            bytes: 0,
            path: StringBuilder::new(),
            size: UInt64Builder::new(),
            modified: TimestampMillisecondBuilder::new().with_timezone("UTC"),
            kind: StringBuilder::new(),
            content: BinaryBuilder::new(),
            left_out: StringBuilder::new(),
        }
    }

    /// Adds an entry. False: no more are wanted.
    pub(crate) fn push(&mut self, entry: &Entry, content: Content) -> Result<bool, Failure> {
        self.path.append_value(&entry.path);
        self.size.append_value(entry.size);
        self.modified.append_option(entry.modified);
        self.kind.append_value(entry.kind.as_str());
        let (bytes, why) = match content {
            Content::Bytes(bytes) => (Some(bytes), None),
            Content::None => (None, None),
            Content::LeftOut(why) => (None, Some(why)),
        };
        self.rows += 1;
        self.bytes += entry.path.len() + bytes.as_ref().map_or(0, Vec::len);
        self.content.append_option(bytes);
        self.left_out.append_option(why);
        if self.rows >= ROWS || self.bytes >= BYTES { self.flush() } else { Ok(true) }
    }

    /// Emits what there is.
    pub(crate) fn flush(&mut self) -> Result<bool, Failure> {
        if self.rows == 0 {
            return Ok(self.emit.wanted());
        }
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.path.finish()),
            Arc::new(self.size.finish()),
            Arc::new(self.modified.finish()),
            Arc::new(self.kind.finish()),
            Arc::new(self.content.finish()),
            Arc::new(self.left_out.finish()),
        ];
        let parents = vec![self.row; self.rows];
        (self.rows, self.bytes) = (0, 0);
        self.emit.rows(Rows::new(columns).parents(parents))
    }
}
