//! Arrow arrays → nodes and buffers to lend to a guest.
//!
//! Most buffers are lent as they are: the one copy is the one into the guest. Slices are trimmed, offsets made to begin at
//! zero, and view arrays made plain: without gathering when their values lie one after the other in one buffer, as they do
//! when a reader or a guest made them.

use std::sync::Arc;

use arrow::{
    array::{
        Array, ArrayRef, AsArray, BinaryArray, BinaryViewArray, GenericByteArray, GenericByteViewArray,
        OffsetSizeTrait, StringArray, StringViewArray, make_array,
    },
    buffer::{Buffer, MutableBuffer, NullBuffer, OffsetBuffer, ScalarBuffer},
    compute::cast,
    datatypes::{ByteArrayType, ByteViewType, DataType, Field, FieldRef, Schema},
};

use crate::abi::WireNode;

/// Whether values of a type can cross the boundary as they are (after [`plain`]).
pub fn crosses(data_type: &DataType) -> bool {
    match data_type {
        DataType::Null
        | DataType::Boolean
        | DataType::Utf8
        | DataType::Binary
        | DataType::Date32
        | DataType::Date64
        | DataType::Timestamp(..) => true,
        DataType::List(child) | DataType::FixedSizeList(child, _) => crosses(child.data_type()),
        DataType::Struct(children) => children.iter().all(|c| crosses(c.data_type())),
        other => other.is_integer() || matches!(other, DataType::Float16 | DataType::Float32 | DataType::Float64),
    }
}

/// The type in which a column goes in: views and large variants become plain, at any depth.
pub fn plain(data_type: &DataType) -> DataType {
    let child = |field: &FieldRef| Arc::new(Field::clone(field).with_data_type(plain(field.data_type())));
    match data_type {
        DataType::Utf8View | DataType::LargeUtf8 => DataType::Utf8,
        DataType::BinaryView | DataType::LargeBinary => DataType::Binary,
        DataType::List(f) | DataType::LargeList(f) | DataType::ListView(f) | DataType::LargeListView(f) => {
            DataType::List(child(f))
        }
        DataType::FixedSizeList(f, n) => DataType::FixedSizeList(child(f), *n),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(child).collect()),
        DataType::Dictionary(_, values) => plain(values),
        other => other.clone(),
    }
}

/// The schema in which a batch of `schema` goes in.
pub(crate) fn plain_schema(schema: &Schema) -> Schema {
    let fields: Vec<_> = schema.fields().iter().map(|f| Field::clone(f).with_data_type(plain(f.data_type()))).collect();
    Schema::new(fields)
}

/// A batch taken apart: what is lent to the guest.
#[derive(Default)]
pub(crate) struct Lowered {
    pub(crate) nodes: Vec<WireNode>,
    pub(crate) buffers: Vec<Buffer>,
}

impl Lowered {
    /// Adds a column. Errors are ours: planning has checked the types.
    pub(crate) fn push(&mut self, array: &ArrayRef) -> Result<(), String> {
        let array = match array.data_type() {
            DataType::Utf8View => Arc::new(gather_utf8(array.as_string_view())?) as ArrayRef,
            DataType::BinaryView => Arc::new(gather_binary(array.as_binary_view())?),
            other if plain(other) != *other => cast(array, &plain(other)).map_err(|e| e.to_string())?,
            _ => array.clone(),
        };
        self.add(&array)
    }

    fn add(&mut self, array: &dyn Array) -> Result<(), String> {
        let length = u32::try_from(array.len()).map_err(|_| "an array is longer than 4 billion values")?;
        // The null type has no validity; its null count is its length.
        let null_count = if array.data_type() == &DataType::Null { length } else { array.null_count() as u32 };
        self.nodes.push(WireNode { length, null_count });
        if array.data_type() != &DataType::Null {
            self.buffers.push(validity(array.nulls()));
        }
        match array.data_type() {
            DataType::Null => {}
            DataType::Boolean => self.buffers.push(array.as_boolean().values().sliced()),
            DataType::Utf8 => self.add_bytes(array.as_string::<i32>()),
            DataType::Binary => self.add_bytes(array.as_binary::<i32>()),
            DataType::List(_) => {
                let list = array.as_list::<i32>();
                let (first, last) = bounds(list.offsets());
                self.buffers.push(rebased(list.offsets()));
                self.add(&list.values().slice(first, last - first))?;
            }
            DataType::FixedSizeList(_, width) => {
                let list = array.as_fixed_size_list();
                let from = list.value_offset(0) as usize;
                self.add(&list.values().slice(from, list.len() * *width as usize))?;
            }
            DataType::Struct(_) => {
                for column in array.as_struct().columns() {
                    self.add(column)?;
                }
            }
            other => {
                let width =
                    other.primitive_width().ok_or_else(|| format!("the type {other} can't cross the boundary"))?;
                let data = array.to_data();
                self.buffers.push(data.buffers()[0].slice_with_length(data.offset() * width, data.len() * width));
            }
        }
        Ok(())
    }

    fn add_bytes<T: ByteArrayType<Offset = i32>>(&mut self, array: &GenericByteArray<T>) {
        let (first, last) = bounds(array.offsets());
        self.buffers.push(rebased(array.offsets()));
        self.buffers.push(array.values().slice_with_length(first, last - first));
    }
}

fn validity(nulls: Option<&NullBuffer>) -> Buffer {
    match nulls {
        Some(nulls) if nulls.null_count() > 0 => nulls.inner().sliced(),
        _ => Buffer::default(),
    }
}

fn bounds<O: OffsetSizeTrait>(offsets: &OffsetBuffer<O>) -> (usize, usize) {
    let first = offsets.first().map_or(0, |o| o.as_usize());
    (first, offsets.last().map_or(first, |o| o.as_usize()))
}

fn rebased(offsets: &OffsetBuffer<i32>) -> Buffer {
    match offsets.first() {
        None | Some(0) => offsets.inner().inner().clone(),
        Some(first) => offsets.iter().map(|o| o - first).collect::<ScalarBuffer<i32>>().into_inner(),
    }
}

fn gather_utf8(views: &StringViewArray) -> Result<StringArray, String> {
    let (offsets, values) = gather(views)?;
    // SAFETY: the bytes are those of a valid string view array, value by value, and the offsets are their ends.
    #[expect(unsafe_code, reason = "checking again what was checked would cost as much as the boundary")]
    let plain = unsafe { StringArray::new_unchecked(offsets, values, views.nulls().cloned()) };
    Ok(plain)
}

fn gather_binary(views: &BinaryViewArray) -> Result<BinaryArray, String> {
    let (offsets, values) = gather(views)?;
    Ok(BinaryArray::new(offsets, values, views.nulls().cloned()))
}

/// Offsets and values of a view array: the buffer itself when all values lie in it one after the other, else a copy.
fn gather<T: ByteViewType + ?Sized>(array: &GenericByteViewArray<T>) -> Result<(OffsetBuffer<i32>, Buffer), String> {
    let total: usize = array.lengths().map(|l| l as usize).sum();
    i32::try_from(total).map_err(|_| format!("a batch of {total} bytes of text is too large to cross the boundary"))?;
    let offsets = OffsetBuffer::from_lengths(array.lengths().map(|l| l as usize));
    if let Some(buffer) = adjacent(array) {
        return Ok((offsets, buffer));
    }
    let mut values = MutableBuffer::with_capacity(total);
    for i in 0..array.len() {
        // Null rows keep whatever length their view has, so that offsets and values agree.
        // SAFETY: `i` is within the array.
        #[expect(unsafe_code, reason = "the iterator would skip null rows")]
        let value: &[u8] = unsafe { array.value_unchecked(i) }.as_ref();
        values.extend_from_slice(value);
    }
    Ok((offsets, values.into()))
}

/// The part of a buffer that holds all values, if they lie in it one after the other.
fn adjacent<T: ByteViewType + ?Sized>(array: &GenericByteViewArray<T>) -> Option<Buffer> {
    const INLINE: u32 = 12;
    let (mut start, mut end, mut buffer) = (0, 0, None);
    for view in array.views() {
        let length = *view as u32;
        if length == 0 {
            continue;
        }
        if length <= INLINE {
            return None;
        }
        let (index, offset) = ((*view >> 64) as u32, (*view >> 96) as u32);
        match buffer {
            None => (start, buffer) = (offset, Some(index)),
            Some(b) if b != index || offset != end => return None,
            Some(_) => {}
        }
        end = offset + length;
    }
    let buffer = array.data_buffers().get(buffer? as usize)?;
    Some(buffer.slice_with_length(start as usize, (end - start) as usize))
}

/// Makes an array of a guest's plain column the engine's own: text and bytes become views over the same buffer.
pub(crate) fn viewed(array: ArrayRef) -> ArrayRef {
    match array.data_type() {
        DataType::Utf8 => Arc::new(StringViewArray::from(array.as_string::<i32>())),
        DataType::Binary => Arc::new(BinaryViewArray::from(array.as_binary::<i32>())),
        _ => make_array(array.to_data()),
    }
}

/// The engine's type for a guest's column.
pub(crate) fn viewed_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Utf8 => DataType::Utf8View,
        DataType::Binary => DataType::BinaryView,
        other => other.clone(),
    }
}
