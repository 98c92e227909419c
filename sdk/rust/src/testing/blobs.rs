//! Files of ports, as a test gives them: as bytes.

use std::cell::RefCell;

use arrow_array::{Array, BinaryArray};

use crate::blobs::Range;

thread_local! {
    static FILES: RefCell<Vec<(u32, BinaryArray)>> = const { RefCell::new(Vec::new()) };
}

/// Does something, during which parts of these files can be read on this thread: of each port's position its column.
pub(super) fn holding<T>(files: Vec<(u32, BinaryArray)>, what: impl FnOnce() -> T) -> T {
    let before = FILES.replace(files);
    let done = what();
    FILES.set(before);
    done
}

/// A part of a file.
pub(crate) fn part(range: &Range) -> Result<Vec<u8>, String> {
    FILES.with_borrow(|files| {
        let row = range.row as usize;
        let column = files.iter().find(|(port, _)| *port == range.port).map(|(_, column)| column);
        let column = column.filter(|column| row < column.len() && column.is_valid(row));
        let bytes = column.ok_or_else(|| format!("row {row} of column {} has no file", range.port))?.value(row);
        let start = range.offset.min(bytes.len() as u64);
        let end = (start + u64::from(range.length)).min(bytes.len() as u64);
        Ok(bytes[start as usize..end as usize].to_vec())
    })
}
