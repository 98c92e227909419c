//! Arrays → nodes and buffers to lend to the other side.
//!
//! Buffers are lent as they are wherever that is possible, so that the copy across the boundary is the only one. What slices of
//! arrays have is made anew: bitmaps that don't begin at a byte, offsets that don't begin at zero, runs that are cut.

use std::sync::{Arc, LazyLock};

use arrow_array::{
    Array, ArrayRef, ArrowPrimitiveType, GenericByteArray, GenericByteViewArray, GenericListViewArray, OffsetSizeTrait,
    PrimitiveArray,
    cast::AsArray,
    downcast_primitive,
    types::{ByteArrayType, ByteViewType, Int16Type, Int32Type, Int64Type, RunEndIndexType},
};
use arrow_buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::DataType;

use crate::WireNode;

/// Arrays taken apart: what is lent to the other side.
#[derive(Debug, Default)]
pub struct Lent {
    /// One for each array, children after their parents.
    pub nodes: Vec<WireNode>,
    /// Each node's buffers in turn.
    pub buffers: Vec<Buffer>,
    without_views: bool,
}

impl Lent {
    /// For arrays that go as they are.
    pub fn new() -> Self {
        Self::default()
    }

    /// For arrays whose views of text and bytes go as plain utf8 and binary, at any depth (as [`unviewed`](crate::unviewed)
    /// says of types).
    pub fn without_views() -> Self {
        Self { without_views: true, ..Self::default() }
    }

    /// Adds an array and all that is below it.
    ///
    /// # Errors
    ///
    /// When it has more values than the contract can count, or more text than plain arrays can hold.
    pub fn push(&mut self, array: &dyn Array) -> Result<(), String> {
        let length = u32::try_from(array.len()).map_err(|_| "an array has more than 4 billion values")?;
        let null_count = match array.data_type() {
            DataType::Null => length,
            _ => array.null_count() as u32,
        };
        let (node, before) = (self.nodes.len(), self.buffers.len());
        self.nodes.push(WireNode { length, null_count, buffers: 0 });
        let children = self.push_own(array)?;
        self.nodes[node].buffers = (self.buffers.len() - before) as u32;
        children.iter().try_for_each(|child| self.push(child))
    }

    /// Adds an array's own buffers and gives its children.
    fn push_own(&mut self, array: &dyn Array) -> Result<Vec<ArrayRef>, String> {
        match array.data_type() {
            DataType::Null => return Ok(Vec::new()),
            DataType::Union(members, _) => {
                let union = array.as_union();
                self.buffers.push(union.type_ids().inner().clone());
                self.buffers.extend(union.offsets().map(|offsets| offsets.inner().clone()));
                return Ok(members.iter().map(|(id, _)| union.child(id).clone()).collect());
            }
            DataType::RunEndEncoded(run_ends, _) => {
                return Ok(match run_ends.data_type() {
                    DataType::Int16 => runs::<Int16Type>(array),
                    DataType::Int32 => runs::<Int32Type>(array),
                    _ => runs::<Int64Type>(array),
                });
            }
            _ => self.buffers.push(validity(array.nulls())),
        }
        let child = match array.data_type() {
            DataType::Boolean => return self.only(bits(array.as_boolean().values())),
            DataType::Utf8 => return self.bytes(array.as_string::<i32>()),
            DataType::LargeUtf8 => return self.bytes(array.as_string::<i64>()),
            DataType::Binary => return self.bytes(array.as_binary::<i32>()),
            DataType::LargeBinary => return self.bytes(array.as_binary::<i64>()),
            DataType::Utf8View => return self.views(array.as_string_view()),
            DataType::BinaryView => return self.views(array.as_binary_view()),
            DataType::FixedSizeBinary(width) => {
                let (values, width) = (array.as_fixed_size_binary(), *width as usize);
                return self.only(values.values().slice_with_length(0, array.len() * width));
            }
            DataType::Struct(_) => return Ok(array.as_struct().columns().to_vec()),
            DataType::List(_) => self.list(array.as_list::<i32>().offsets(), array.as_list::<i32>().values()),
            DataType::LargeList(_) => self.list(array.as_list::<i64>().offsets(), array.as_list::<i64>().values()),
            DataType::Map(..) => self.list(array.as_map().offsets(), array.as_map().entries()),
            DataType::ListView(_) => self.list_view(array.as_list_view::<i32>()),
            DataType::LargeListView(_) => self.list_view(array.as_list_view::<i64>()),
            DataType::FixedSizeList(_, width) => {
                let list = array.as_fixed_size_list();
                list.values().slice(list.value_offset(0) as usize, list.len() * *width as usize)
            }
            DataType::Dictionary(_, values) => {
                let dictionary = array.as_any_dictionary();
                self.buffers.push(numbers(dictionary.keys()).ok_or("a dictionary's keys are no integers")?);
                debug_assert_eq!(dictionary.values().data_type(), &**values);
                dictionary.values().clone()
            }
            other => return self.only(numbers(array).ok_or_else(|| format!("the type {other} can't cross"))?),
        };
        Ok(vec![child])
    }

    fn only(&mut self, buffer: Buffer) -> Result<Vec<ArrayRef>, String> {
        self.buffers.push(buffer);
        Ok(Vec::new())
    }

    fn bytes<T: ByteArrayType>(&mut self, array: &GenericByteArray<T>) -> Result<Vec<ArrayRef>, String> {
        let (first, last) = bounds(array.offsets());
        self.buffers.push(from_zero(array.offsets()));
        self.only(array.values().slice_with_length(first, last - first))
    }

    fn views<T: ByteViewType + ?Sized>(&mut self, array: &GenericByteViewArray<T>) -> Result<Vec<ArrayRef>, String> {
        if self.without_views {
            let (offsets, values) = gather(array)?;
            self.buffers.push(offsets.into_inner().into_inner());
            return self.only(values);
        }
        let used: u64 = array.lengths().filter(|length| *length > INLINE).map(u64::from).sum();
        let held: u64 = array.data_buffers().iter().map(|buffer| buffer.len() as u64).sum();
        // A slice still holds the buffers of the whole.
        let array = if held / 2 > used { array.gc() } else { array.clone() };
        self.buffers.push(array.views().inner().clone());
        self.buffers.extend(array.data_buffers().iter().cloned());
        Ok(Vec::new())
    }

    fn list<O: OffsetSizeTrait>(&mut self, offsets: &OffsetBuffer<O>, values: &dyn Array) -> ArrayRef {
        let (first, last) = bounds(offsets);
        self.buffers.push(from_zero(offsets));
        values.slice(first, last - first)
    }

    fn list_view<O: OffsetSizeTrait>(&mut self, array: &GenericListViewArray<O>) -> ArrayRef {
        let ranges = || {
            let all = array.offsets().iter().zip(array.sizes()).map(|(from, size)| (from.as_usize(), size.as_usize()));
            all.filter(|(_, size)| *size > 0)
        };
        let first = ranges().map(|(from, _)| from).min().unwrap_or_default();
        let last = ranges().map(|(from, size)| from + size).max().unwrap_or(first);
        // The offset of an empty list may be anything.
        let moved = |from: &O| O::usize_as(from.as_usize().saturating_sub(first).min(last - first));
        self.buffers.push(array.offsets().iter().map(moved).collect::<ScalarBuffer<O>>().into_inner());
        self.buffers.push(array.sizes().inner().clone());
        array.values().slice(first, last - first)
    }
}

fn validity(nulls: Option<&NullBuffer>) -> Buffer {
    // An empty buffer of its own would be allocated for each column.
    static NONE: LazyLock<Buffer> = LazyLock::new(Buffer::default);
    nulls.filter(|nulls| nulls.null_count() > 0).map_or_else(|| NONE.clone(), |nulls| bits(nulls.inner()))
}

/// The bytes of a bitmap, from its first bit to the byte of its last.
fn bits(bits: &BooleanBuffer) -> Buffer {
    let bytes = bits.sliced();
    bytes.slice_with_length(0, bits.len().div_ceil(8).min(bytes.len()))
}

/// The values of an array of numbers, or of what is stored as such.
fn numbers(array: &dyn Array) -> Option<Buffer> {
    macro_rules! values {
        ($type:ty) => {{
            let values = array.as_primitive::<$type>().values();
            Some(values.inner().slice_with_length(0, size_of_val(&**values)))
        }};
    }
    downcast_primitive! {
        array.data_type() => (values),
        _ => None,
    }
}

fn bounds<O: OffsetSizeTrait>(offsets: &OffsetBuffer<O>) -> (usize, usize) {
    let first = offsets.first().map_or(0, |offset| offset.as_usize());
    (first, offsets.last().map_or(first, |offset| offset.as_usize()))
}

fn from_zero<O: OffsetSizeTrait>(offsets: &OffsetBuffer<O>) -> Buffer {
    match offsets.first() {
        Some(first) if first.as_usize() > 0 => {
            offsets.iter().map(|offset| *offset - *first).collect::<ScalarBuffer<O>>().into_inner()
        }
        _ => offsets.inner().inner().clone(),
    }
}

/// Run ends that begin with the array's first value and end with its last, and the runs' values.
fn runs<R: RunEndIndexType>(array: &dyn Array) -> Vec<ArrayRef> {
    let runs = array.as_run::<R>();
    let whole = runs.run_ends().offset() == 0 && runs.run_ends().max_value() == runs.len();
    let ends = if whole {
        runs.run_ends().inner().clone()
    } else {
        runs.run_ends().sliced_values().collect::<ScalarBuffer<<R as ArrowPrimitiveType>::Native>>()
    };
    let values = runs.values_slice();
    vec![Arc::new(PrimitiveArray::<R>::new(ends, None)), values]
}

/// Up to this length a view holds the value itself.
const INLINE: u32 = 12;

/// Offsets and values of a view array: the buffer itself when all values lie in it one after the other, else a copy.
fn gather<T: ByteViewType + ?Sized>(array: &GenericByteViewArray<T>) -> Result<(OffsetBuffer<i32>, Buffer), String> {
    let place = |view: u128| (view >> 64) as u64;
    let first = array.views().iter().copied().find(|view| *view as u32 > 0).map(place).unwrap_or_default();
    // Where the next value lies if it is adjacent: its buffer, and its offset in the upper half.
    let (mut next, mut adjacent, mut total) = (first, true, 0u64);
    let ends = array.views().iter().map(|view| {
        let length = u64::from(*view as u32);
        adjacent &= length == 0 || (length > u64::from(INLINE) && place(*view) == next);
        next = next.wrapping_add(length << 32);
        total += length;
        total as i32
    });
    let mut offsets = Vec::with_capacity(array.len() + 1);
    offsets.push(0);
    offsets.extend(ends);
    i32::try_from(total).map_err(|_| format!("a batch of {total} bytes of text is too large to cross the boundary"))?;
    // SAFETY: lengths were added up, and their sum is within `i32`.
    #[expect(unsafe_code, reason = "checking that sums ascend")]
    let offsets = unsafe { OffsetBuffer::new_unchecked(offsets.into()) };
    if let Some(buffer) = array.data_buffers().get(first as u32 as usize).filter(|_| adjacent) {
        return Ok((offsets, buffer.slice_with_length((first >> 32) as usize, total as usize)));
    }
    // With room behind the last one, so that short values are copied as if all were as long as such can be.
    let (mut values, mut at) = (vec![0u8; total as usize + INLINE as usize], 0);
    for (i, view) in array.views().iter().enumerate() {
        let length = *view as u32 as usize;
        if length <= INLINE as usize {
            values[at..at + INLINE as usize].copy_from_slice(&view.to_le_bytes()[4..]);
        } else {
            // Null rows keep whatever length their view has, so that offsets and values agree.
            // SAFETY: `i` is within the array.
            #[expect(unsafe_code, reason = "the iterator would skip null rows")]
            let value: &[u8] = unsafe { array.value_unchecked(i) }.as_ref();
            values[at..at + length].copy_from_slice(value);
        }
        at += length;
    }
    values.truncate(at);
    Ok((offsets, values.into()))
}

#[cfg(test)]
mod tests {
    use arrow_array::{StringArray, StringViewArray};

    use super::*;

    #[test]
    fn whole_arrays_are_lent_in_place() {
        let text = StringArray::from(vec!["one", "two"]);
        let mut lent = Lent::new();
        lent.push(&text).unwrap();
        assert_eq!(lent.buffers[2].as_ptr(), text.value_data().as_ptr());
        assert!(lent.buffers[0].is_empty());
    }

    #[test]
    fn views_become_plain_without_gathering_when_adjacent() {
        let plain = StringArray::from(vec!["thirteen bytes", "another long value", "and a third one"]);
        let views = StringViewArray::from(&plain);
        let mut lent = Lent::without_views();
        lent.push(&views.slice(1, 2)).unwrap();
        assert_eq!(lent.buffers[2].as_slice(), b"another long valueand a third one");
        assert_eq!(lent.buffers[2].as_ptr(), views.data_buffers()[0][14..].as_ptr());
        let mut lent = Lent::without_views();
        lent.push(&StringViewArray::from(vec![Some("a"), None, Some("a value of some length"), Some("b")])).unwrap();
        assert_eq!(lent.buffers[1].typed_data::<i32>(), [0, 1, 1, 23, 24]);
        assert_eq!(lent.buffers[2].as_slice(), b"aa value of some lengthb");
    }

    #[test]
    fn a_slice_of_views_leaves_behind_what_it_does_not_use() {
        let views: StringViewArray = (0..100).map(|i| Some(format!("a value that is long: {i:03}"))).collect();
        let mut lent = Lent::new();
        lent.push(&views.slice(7, 2)).unwrap();
        assert_eq!(lent.buffers.len(), 3);
        assert_eq!(lent.buffers[2].as_slice(), b"a value that is long: 007a value that is long: 008");
    }
}
