//! Files as values of a column: what is known of each, by which parts of it are read later.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    sync::Arc,
};

use arrow::{
    array::{Array, ArrayRef, AsArray, StringViewArray, StructArray, UInt64Array},
    compute::cast,
    datatypes::{DataType, Field, Fields, UInt64Type},
};
use dflow_pipeline::Codec;

use crate::{Split, Stores, content, content::Content, web::CHANGED};

/// The type of a column of files: `volume`, `path`, `size` (bytes), `etag`, and `codec`, by which it is decompressed as it is read.
pub fn file_type() -> DataType {
    DataType::Struct(members())
}

fn members() -> Fields {
    let text = |name| Field::new(name, DataType::Utf8View, false);
    Fields::from(vec![
        text("volume"),
        text("path"),
        Field::new("size", DataType::UInt64, false),
        text("etag"),
        text("codec"),
    ])
}

/// A column of files, with the codec of each.
pub(crate) fn handles<'a>(files: impl Iterator<Item = (&'a Split, Codec)> + Clone) -> StructArray {
    let texts = |text: fn(&'a Split) -> &'a str| -> ArrayRef {
        Arc::new(StringViewArray::from_iter_values(files.clone().map(|(split, _)| text(split))))
    };
    let sizes = UInt64Array::from_iter_values(files.clone().map(|(split, _)| split.size));
    let codecs = StringViewArray::from_iter_values(files.clone().map(|(_, codec)| codec.as_str()));
    let columns = vec![
        texts(|split| &split.volume),
        texts(|split| &split.path),
        Arc::new(sizes) as ArrayRef,
        texts(|split| &split.etag),
        Arc::new(codecs),
    ];
    StructArray::new(members(), columns, None)
}

impl Stores {
    /// Reads a part of a file for which a row of a column of [`file_type`] stands; less where the file ends. Errors are phrases for people that
    /// name it.
    ///
    /// # Errors
    /// It can't be read, has changed since it was listed, or is decompressed as it is read.
    pub async fn read_part(&self, handles: &ArrayRef, row: usize, offset: u64, length: u32) -> Result<Vec<u8>, String> {
        let (split, codec) = file(handles, row).ok_or("the column holds no files")?;
        let uri = split.uri();
        if codec != Codec::None.as_str() {
            return Err(format!(
                "`{uri}` is decompressed as it is read ({codec}), so no part of it can be read alone; `format = \"blob\"` reads it as it is"
            ));
        }
        if !self.knows(&split.volume) {
            return Err(format!("`{uri}` is of a volume that this pipeline doesn't have"));
        }
        let end = offset.saturating_add(u64::from(length)).min(split.size);
        if offset >= end {
            return Ok(Vec::new());
        }
        let stores = self.clone();
        let read = move || stores.read_range(&split, offset, end);
        let read = self.io().spawn_blocking(read).await.map_err(|e| e.to_string())?;
        read.map_err(|error| content::describe(Codec::None, &uri, "", error).1)
    }

    /// On a thread that may block.
    fn read_range(&self, split: &Split, offset: u64, end: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity((end - offset) as usize);
        match self.local_path(split) {
            Some(path) => {
                let mut file = File::open(path)?;
                if Split::of_file(split.location(), &file.metadata()?).etag != split.etag {
                    return Err(io::Error::other(CHANGED));
                }
                file.seek(SeekFrom::Start(offset))?;
                file.take(end - offset).read_to_end(&mut bytes)?;
            }
            None => {
                let part = Split { range: Some((offset, end)), ..split.clone() };
                let content: Content = self.open(&part, Codec::None, None)?;
                content.take(end - offset).read_to_end(&mut bytes)?;
            }
        }
        Ok(bytes)
    }
}

/// The file of a row, and the name of its codec.
fn file(handles: &ArrayRef, row: usize) -> Option<(Split, String)> {
    let handles = handles.as_struct_opt()?;
    let text = |name: &str| {
        let texts = cast(&handles.column_by_name(name)?.slice(row, 1), &DataType::Utf8View).ok()?;
        Some(texts.as_string_view().value(0).to_owned())
    };
    let size = handles.column_by_name("size")?.as_primitive_opt::<UInt64Type>()?.value(row);
    let (volume, path, etag) = (text("volume")?, text("path")?, text("etag")?);
    Some((Split { volume, path, size, modified: 0, range: None, etag }, text("codec")?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Ground, block_on};

    #[test]
    fn parts_of_a_file_that_is_as_it_was_listed() {
        let ground = Ground::new();
        ground.write("in/a.bin", "0123456789");
        let stores = ground.stores(&[("docs", "in")]);
        let splits = block_on(stores.list("docs://*.bin")).unwrap();
        let column = |codec| Arc::new(handles(splits.iter().map(|split| (split, codec)))) as ArrayRef;
        let read = |codec, offset, length| block_on(stores.read_part(&column(codec), 0, offset, length));
        for (offset, length, expected) in [(0, 3, "012"), (8, 5, "89"), (10, 1, ""), (u64::MAX, u32::MAX, "")] {
            assert_eq!(read(Codec::None, offset, length).unwrap(), expected.as_bytes(), "{offset} {length}");
        }
        let error = read(Codec::Gzip, 0, 1).unwrap_err();
        assert!(error.contains("`docs://a.bin` is decompressed as it is read (gzip)"), "{error}");
        ground.write("in/a.bin", "01234567890");
        assert_eq!(read(Codec::None, 0, 1).unwrap_err(), format!("can't read `docs://a.bin`: {CHANGED}"));
        std::fs::remove_file(ground.path("in/a.bin")).unwrap();
        assert!(read(Codec::None, 0, 1).unwrap_err().starts_with("can't read `docs://a.bin`: No such file"));
    }
}
