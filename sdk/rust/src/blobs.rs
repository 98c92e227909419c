//! Files that are read in parts as they are needed: the contract's `blobs`.
//!
//! For operators with a port of [files](crate::Port::file). [`files`] gives a port's column, [`Files::open`] a row's file as a reader. Natively
//! the bytes are those of the column that `testing::run` was given for the port.

use std::io::{self, Read, Seek, SeekFrom};

use arrow_array::{Array, RecordBatch, UInt64Array, cast::AsArray};

use crate::Failure;

/// Bytes that are read at once.
const BLOCK: u64 = 1 << 20;
/// Blocks that are read at once where one follows the other.
const AHEAD: u64 = 4;
/// Blocks that are kept.
const KEPT: usize = 6;

/// A part of a file of the batch in work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The position of the port's column in the batch.
    pub port: u32,
    /// The row.
    pub row: u32,
    /// Where it begins, in bytes.
    pub offset: u64,
    /// How many bytes it has; past the end of the file there are none.
    pub length: u32,
}

/// Reads parts of files side by side, and gives the bytes of each, in their order. An error is one of its range alone, in words for people.
#[cfg(target_arch = "wasm32")]
pub fn read(ranges: &[Range]) -> Vec<Result<Vec<u8>, String>> {
    use crate::guest::bindings::dflow::operator::blobs;
    let ranges = ranges.iter().map(|range| blobs::Range {
        port: range.port,
        row: range.row,
        offset: range.offset,
        length: range.length,
    });
    blobs::read(&ranges.collect::<Vec<_>>())
}

/// Natively: parts of what the test gave, or else an error for each.
#[cfg(not(target_arch = "wasm32"))]
pub fn read(ranges: &[Range]) -> Vec<Result<Vec<u8>, String>> {
    #[cfg(feature = "testing")]
    return ranges.iter().map(crate::testing::part).collect();
    #[cfg(not(feature = "testing"))]
    ranges.iter().map(|_| Err("there is no host here that reads files".to_owned())).collect()
}

/// The files of a port.
#[derive(Clone, Copy, Debug)]
pub struct Files<'a> {
    port: u32,
    sizes: &'a UInt64Array,
}

/// Column `index` of a batch as files.
///
/// # Errors
///
/// When the batch has no such column or it isn't one of files. The host has checked both for a port that accepts only files.
pub fn files(batch: &RecordBatch, index: usize) -> Result<Files<'_>, Failure> {
    let sizes = batch.columns().get(index).and_then(|column| column.as_primitive_opt());
    let sizes = sizes.ok_or_else(|| Failure::Schema(format!("input column {index} is not one of files")))?;
    Ok(Files { port: index as u32, sizes })
}

impl Files<'_> {
    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.sizes.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.sizes.is_empty()
    }

    /// A row's file, if it has one.
    pub fn open(&self, row: usize) -> Option<File> {
        self.sizes.is_valid(row).then(|| File {
            port: self.port,
            row: row as u32,
            size: self.sizes.value(row),
            at: 0,
            blocks: Vec::new(),
        })
    }
}

/// A row's file. It is read in blocks of 1 MiB, several at once where they follow each other; the last few are kept.
#[derive(Debug)]
pub struct File {
    port: u32,
    row: u32,
    size: u64,
    at: u64,
    /// Blocks by number, those that were read last at the end.
    blocks: Vec<(u64, Vec<u8>)>,
}

impl File {
    /// Its size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// What is there from the position on, up to the end of its block.
    fn block(&mut self) -> io::Result<&[u8]> {
        if self.at >= self.size {
            return Ok(&[]);
        }
        let number = self.at / BLOCK;
        if !self.blocks.iter().any(|(known, _)| *known == number) {
            let follows = number > 0 && self.blocks.last().is_some_and(|(last, _)| *last == number - 1);
            let until = (number + if follows { AHEAD } else { 1 }).min(self.size.div_ceil(BLOCK));
            let ranges: Vec<_> = (number..until)
                .map(|number| Range {
                    port: self.port,
                    row: self.row,
                    offset: number * BLOCK,
                    length: BLOCK.min(self.size - number * BLOCK) as u32,
                })
                .collect();
            for (range, read) in ranges.iter().zip(read(&ranges)) {
                let bytes = read.map_err(io::Error::other)?;
                if bytes.len() != range.length as usize {
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file is shorter than it was"));
                }
                self.blocks.push((range.offset / BLOCK, bytes));
            }
            let surplus = self.blocks.len().saturating_sub(KEPT);
            self.blocks.drain(..surplus);
        }
        let bytes = self.blocks.iter().find(|(known, _)| *known == number).map(|(_, bytes)| bytes);
        Ok(bytes.and_then(|bytes| bytes.get((self.at % BLOCK) as usize..)).unwrap_or_default())
    }
}

impl Read for File {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let bytes = self.block()?;
        let length = bytes.len().min(into.len());
        into[..length].copy_from_slice(&bytes[..length]);
        self.at += length as u64;
        Ok(length)
    }
}

impl Seek for File {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(by) => self.size.checked_add_signed(by),
        };
        self.at = at.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "before the beginning of the file"))?;
        Ok(self.at)
    }
}
