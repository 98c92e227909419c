//! How do bytes come in and go out?
//!
//! Start with [`Stores`]: it knows where a pipeline's volumes are, lists the files that a glob names as [`Split`]s with an
//! identity and a version of their content, and says which [`Place`] a sink writes to. [`FileReader`] and [`LineReader`] make
//! rows of splits, an [`Opener`] opens the files that rows name; [`Encoder`] makes bytes of rows, into a [`StagedFile`] that appears whole or not at all.
//!
//! Deliberately absent: reading of tabular formats (the engine's, by way of [`Stores::object`]), and when anything is written or
//! published.

mod assemble;
mod bucket;
mod calendar;
mod content;
mod encoder;
mod error;
mod excerpt;
mod files;
mod granted;
mod handle;
mod lines;
mod listing;
mod location;
mod names;
mod opener;
mod packing;
mod place;
mod prefetch;
mod row_id;
mod source;
mod split;
mod splits;
mod staged;
mod staged_folder;
mod stores;
mod texts;
mod web;

#[cfg(test)]
mod testing;

pub use assemble::assemble;
pub use bucket::{Manifest, ManifestFile, ObjectFolder, Variables, is_object};
pub use calendar::off_calendar;
pub use content::content_of;
pub use dflow_pipeline::Codec;
pub use encoder::Encoder;
pub use error::IoError;
pub use excerpt::{Excerpt, copy_rows};
pub use files::{BYTE_ORDER_MARK, FileReader};
pub use granted::GrantedHttp;
pub use handle::file_type;
pub use lines::LineReader;
pub use names::{name_part, partition_folder, partition_of};
pub use opener::{Opened, Opener, Opening, Unopened};
pub use place::Place;
pub use row_id::{RowId, RowIds};
pub use source::{Run, SourceBatch, SourceFailure, SourceReader, push_row};
pub use split::Split;
pub use splits::Splits;
pub use staged::{Prepared, StagedFile, push_splits};
pub use staged_folder::StagedFolder;
pub use stores::Stores;
pub use texts::not_utf8;
