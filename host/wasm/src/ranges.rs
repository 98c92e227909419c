//! Columns that a guest gives as ranges of its input's values: views into the buffers that these have already.

use arrow::{
    array::{
        GenericByteArray, GenericByteViewArray,
        types::{ByteArrayType, ByteViewType},
    },
    buffer::{Buffer, NullBuffer},
};

use crate::lower::{INLINE, part_of, view_of};

/// A little-endian `u32`, wherever it lies.
pub(crate) type Index = [u8; 4];

pub(crate) fn indices(bytes: &[u8], count: usize) -> Result<&[Index], String> {
    if bytes.len() != count * 4 {
        return Err(format!("{} bytes for {count} rows, 4 each are needed", bytes.len()));
    }
    Ok(bytes.as_chunks::<4>().0)
}

/// Ranges of values.
pub(crate) struct Ranges<'a> {
    pub(crate) parents: &'a [u32],
    pub(crate) starts: &'a [Index],
    pub(crate) ends: &'a [Index],
    pub(crate) nulls: Option<NullBuffer>,
    /// Whether no character may be cut.
    pub(crate) text: bool,
}

impl Ranges<'_> {
    /// Of values that lie one after the other.
    pub(crate) fn of_plain<T: ByteArrayType<Offset = i32>>(
        &self,
        port: &GenericByteArray<T>,
    ) -> Result<(Vec<u128>, Vec<Buffer>), String> {
        let (offsets, values) = (port.value_offsets(), port.value_data());
        let place = |parent: usize| (offsets[parent] as usize, offsets[parent + 1] as usize);
        let boundary = |at: usize| !self.text || values.get(at).is_none_or(|byte| (*byte as i8) >= -0x40);
        let views = self.views(
            |parent| place(parent).1 - place(parent).0,
            |parent, from, to| {
                let (start, end) = place(parent);
                let (from, to) = (start + from, start + to);
                // Past the value's end anything may follow.
                let whole = |at: usize| at == end || boundary(at);
                (from <= to && to <= end && whole(from) && whole(to)).then(|| view_of(values, from, to - from, 0))
            },
        )?;
        Ok((views, vec![port.values().clone()]))
    }

    /// Of values that views point at.
    pub(crate) fn of_views<T: ByteViewType>(
        &self,
        port: &GenericByteViewArray<T>,
    ) -> Result<(Vec<u128>, Vec<Buffer>), String> {
        let (views, buffers) = (port.views(), port.data_buffers());
        let length = |parent: usize| views[parent] as u32 as usize;
        let whole_characters = |value: &[u8], from: usize, to: usize| {
            let boundary = |at: usize| value.get(at).is_none_or(|byte| (*byte as i8) >= -0x40);
            !self.text || (boundary(from) && boundary(to))
        };
        let views = self.views(length, |parent, from, to| {
            let (view, length) = (views[parent], length(parent));
            if from == 0 && to == length {
                return Some(view);
            }
            if from > to || to > length {
                return None;
            }
            if length <= INLINE {
                let bytes = view.to_le_bytes();
                return whole_characters(&bytes[4..4 + length], from, to).then(|| part_of(view, from, to));
            }
            let (buffer, start) = ((view >> 64) as u32, (view >> 96) as u32 as usize);
            let values = buffers[buffer as usize].as_slice();
            let whole = whole_characters(&values[start..start + length], from, to);
            whole.then(|| view_of(values, start + from, to - from, buffer))
        })?;
        Ok((views, buffers.to_vec()))
    }

    /// One view for each row: what `view` makes of a parent that isn't null and its range, unless that is beyond the value's `length` or
    /// cuts a character.
    #[inline]
    fn views(
        &self,
        length: impl Fn(usize) -> usize,
        view: impl Fn(usize, usize, usize) -> Option<u128>,
    ) -> Result<Vec<u128>, String> {
        let index = |index: &Index| u32::from_le_bytes(*index) as usize;
        let rows = || {
            let ranges = self.starts.iter().zip(self.ends).map(|(start, end)| (index(start), index(end)));
            self.parents.iter().zip(ranges).map(|(parent, (from, to))| (*parent as usize, from, to))
        };
        let null = |parent| self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(parent));
        let view = |(parent, from, to)| match null(parent) {
            true => (from == 0 && to == 0).then_some(0),
            false => view(parent, from, to),
        };
        // Without a way out in the middle, and with one call of `view`, so that it becomes part of the loop.
        let mut wrong = None;
        let views = rows().map(|row| {
            let view = view(row);
            if view.is_none() {
                wrong = wrong.or(Some(row));
            }
            view.unwrap_or_default()
        });
        let views: Vec<u128> = views.collect();
        match wrong {
            None => Ok(views),
            Some((parent, from, to)) => {
                let length = if null(parent) { 0 } else { length(parent) };
                let what = match from <= to && to <= length {
                    true => "cuts a character".to_owned(),
                    false => format!("has {length} bytes"),
                };
                Err(format!("has the range {from}..{to} of row {parent}, which {what}"))
            }
        }
    }
}
