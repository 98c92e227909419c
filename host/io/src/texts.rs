//! Columns of texts that lie one after another in one buffer: the host lowers such a column without gathering it.

use std::{str, sync::Arc};

use arrow::{
    array::{ArrayRef, BinaryViewArray, StringViewArray, UInt32Array, make_view},
    buffer::Buffer,
    compute::take,
};

use crate::{Run, Split, source::each_row};

/// Where a text lies in a buffer: first byte and end.
pub(crate) type Span = (u32, u32);

/// The most that one buffer of a view array can hold: its offsets are signed 32-bit to other readers.
pub(crate) const MAX_BUFFER: u64 = i32::MAX as u64;

/// A binary column over a buffer.
pub(crate) fn binary_views(buffer: &Buffer, spans: impl Iterator<Item = Span>) -> BinaryViewArray {
    let views: Vec<u128> =
        spans.map(|(start, end)| make_view(&buffer[start as usize..end as usize], 0, start)).collect();
    BinaryViewArray::try_new(views.into(), vec![buffer.clone()], None).expect("every view lies in the one buffer")
}

/// A text column over a buffer, or `None` when one of the texts is not UTF-8. (The whole is checked once; who gets `None`
/// looks for the culprits with [`not_utf8`].)
pub(crate) fn text_views(buffer: &Buffer, spans: impl Iterator<Item = Span>) -> Option<StringViewArray> {
    binary_views(buffer, spans).to_string_view().ok()
}

/// A text column of what is known to be UTF-8.
pub(crate) fn known_text_views(buffer: &Buffer, spans: impl Iterator<Item = Span>) -> StringViewArray {
    text_views(buffer, spans).expect("these are UTF-8")
}

/// Copies texts together, so that nothing lies between them.
pub(crate) fn gather(bytes: &[u8], spans: &mut [Span]) -> Vec<u8> {
    let mut out = Vec::with_capacity(spans.iter().map(|(start, end)| (end - start) as usize).sum());
    for span in spans {
        let start = out.len() as u32;
        out.extend_from_slice(&bytes[span.0 as usize..span.1 as usize]);
        *span = (start, out.len() as u32);
    }
    out
}

/// Why a text is not UTF-8, if it isn't: a phrase that names the offset.
pub fn not_utf8(text: &[u8]) -> Option<String> {
    let error = str::from_utf8(text).err()?;
    let at = error.valid_up_to();
    Some(match error.error_len() {
        Some(_) => format!("invalid byte 0x{:02x} at offset {at}", text[at]),
        None => format!("it ends within a character, at offset {at}"),
    })
}

/// The column of the rows' URIs.
pub(crate) fn uris(splits: &[Split], runs: &[Run]) -> ArrayRef {
    let mut bytes = Vec::new();
    let mut spans = Vec::<Span>::with_capacity(runs.len());
    for (i, run) in runs.iter().enumerate() {
        match spans.last().filter(|_| runs[i - 1].split == run.split) {
            Some(same) => spans.push(*same),
            None => {
                let start = bytes.len() as u32;
                splits[run.split as usize].push_uri(&mut bytes);
                spans.push((start, bytes.len() as u32));
            }
        }
    }
    let one_each = runs.iter().all(|run| run.rows == 1);
    let names = known_text_views(&Buffer::from_vec(bytes), spans.into_iter());
    if one_each {
        return Arc::new(names);
    }
    // `take` copies views without looking at their texts again.
    let repeated = UInt32Array::from_iter_values((0u32..).zip(runs).flat_map(|(i, run)| (0..run.rows).map(move |_| i)));
    take(&names, &repeated, None).expect("every index is one of a name")
}

/// The runs that are left of some, of the rows that are kept.
pub(crate) fn kept_runs(runs: &[Run], kept: &[bool]) -> Vec<Run> {
    let mut out = Vec::new();
    for ((split, position), _) in each_row(runs).zip(kept).filter(|(_, kept)| **kept) {
        crate::source::push_row(&mut out, split, position);
    }
    out
}
