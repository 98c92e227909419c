//! Nodes and buffers → arrays.
//!
//! Unless the sender is trusted, nothing is believed: arrow validates each array (sizes of buffers, offsets, UTF-8, views, keys
//! of dictionaries, type ids, run ends, nulls below what isn't nullable), and what arrow leaves to its users is checked here
//! (counts of nulls and buffers, lengths of children, decimals within their precision, times within a day, the last run end).

use arrow_array::{
    Array, ArrayRef, ArrowNumericType, OffsetSizeTrait, PrimitiveArray, make_array,
    types::{
        Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type, DecimalType, Time32MillisecondType,
        Time32SecondType, Time64MicrosecondType, Time64NanosecondType,
    },
};
use arrow_buffer::{Buffer, MutableBuffer};
use arrow_data::{ArrayData, BufferSpec, layout};
use arrow_schema::{DataType, Field, TimeUnit, UnionMode};

use crate::{WireNode, types::children};

/// Whether what was sent is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Everything is checked.
    Nothing,
    /// The sender has checked it. What a guest gets from its host is of this kind: the host can do anything to a guest's memory
    /// anyway.
    Sender,
}

/// The nodes and buffers of a batch, consumed column by column.
///
/// Buffers are taken from the iterator when their turn comes, so that it may be what copies them.
pub struct Parts<'a, B> {
    nodes: std::slice::Iter<'a, WireNode>,
    buffers: B,
    trust: Trust,
}

impl<'a, B: ExactSizeIterator<Item = Buffer>> Parts<'a, B> {
    /// Of these nodes and buffers.
    pub fn new(nodes: &'a [WireNode], buffers: B, trust: Trust) -> Self {
        Self { nodes: nodes.iter(), buffers, trust }
    }

    /// The next column, which must have `rows` values.
    ///
    /// # Errors
    ///
    /// Says which check failed: a phrase that follows the column's name.
    pub fn column(&mut self, field: &Field, rows: usize) -> Result<ArrayRef, String> {
        let array = make_array(self.array(field.data_type())?);
        if array.len() != rows {
            return Err(format!("has {} values for {rows} rows", array.len()));
        }
        if self.trust == Trust::Nothing && !field.is_nullable() {
            not_nullable(&array)?;
        }
        Ok(array)
    }

    /// That everything was consumed.
    ///
    /// # Errors
    ///
    /// Says how much is left.
    pub fn rest(&self) -> Result<(), String> {
        match (self.nodes.len(), self.buffers.len()) {
            (0, 0) => Ok(()),
            (nodes, buffers) => Err(format!("{nodes} nodes and {buffers} buffers more than the schema has")),
        }
    }

    fn array(&mut self, data_type: &DataType) -> Result<ArrayData, String> {
        let node = *self.nodes.next().ok_or("lacks a node")?;
        let length = node.length as usize;
        let layout = layout(data_type);
        let (count, fewest) = (node.buffers as usize, layout.buffers.len() + usize::from(layout.can_contain_null_mask));
        if count < fewest || (count > fewest && !layout.variadic) {
            return Err(format!("has {count} buffers, the type {} has {fewest}", crate::type_name(data_type)));
        }
        if count > self.buffers.len() {
            return Err(format!("lacks a buffer: it has {count}, {} follow", self.buffers.len()));
        }
        let mut buffers: Vec<_> = self.buffers.by_ref().take(count).map(aligned).collect();
        let validity = layout.can_contain_null_mask.then(|| buffers.remove(0)).filter(|buffer| !buffer.is_empty());
        for (buffer, spec) in buffers.iter_mut().zip(&layout.buffers) {
            // Arrow panics at padding that is no whole number of values.
            if let BufferSpec::FixedWidth { byte_width: width @ 1.., .. } = spec {
                *buffer = buffer.slice_with_length(0, buffer.len() - buffer.len() % width);
            }
        }
        if self.trust == Trust::Nothing {
            check_nulls(data_type, node, validity.as_ref())?;
        }
        if length == 0
            && let Some(offsets) = buffers.first_mut().filter(|buffer| buffer.is_empty())
        {
            // The one offset of no values may be left out.
            match data_type {
                DataType::Utf8 | DataType::Binary | DataType::List(_) | DataType::Map(..) => {
                    *offsets = Buffer::from(0i32.to_le_bytes());
                }
                DataType::LargeUtf8 | DataType::LargeBinary | DataType::LargeList(_) => {
                    *offsets = Buffer::from(0i64.to_le_bytes());
                }
                _ => {}
            }
        }
        let mut below = Vec::new();
        for (i, child) in children(data_type).iter().enumerate() {
            let data = self.array(child.data_type()).map_err(|e| format!("has {}, which {e}", child_name(child, i)))?;
            if self.trust == Trust::Nothing {
                check_child(data_type, length, child, i, &data)?;
            }
            below.push(data);
        }
        if self.trust == Trust::Nothing && plainly_valid(data_type, length, &buffers) {
            let builder = ArrayData::builder(data_type.clone()).len(length).null_bit_buffer(validity).buffers(buffers);
            // SAFETY: offsets and text were checked just now; of the bitmap, its length by `check_nulls`.
            #[expect(unsafe_code, reason = "arrow's own checks take several times as long as the copy")]
            return Ok(unsafe { builder.build_unchecked() });
        }
        let builder = ArrayData::builder(data_type.clone()).len(length).null_bit_buffer(validity).buffers(buffers);
        // The other side advises alignment, but a small buffer may be less aligned than its type asks.
        let builder = builder.child_data(below).align_buffers(true);
        if self.trust == Trust::Sender {
            // SAFETY: the sender has promised valid arrays, and has our trust.
            #[expect(unsafe_code, reason = "checking each batch again would cost as much as the boundary")]
            return Ok(unsafe { builder.build_unchecked() });
        }
        let data = builder.build().map_err(|e| format!("is not valid Arrow: {e}"))?;
        check_values(&data)?;
        Ok(data)
    }
}

/// Whether plain text or bytes are valid: the quick way to say so. What it doesn't find valid is for arrow to refuse, in its words.
fn plainly_valid(data_type: &DataType, length: usize, buffers: &[Buffer]) -> bool {
    let text = matches!(data_type, DataType::Utf8 | DataType::LargeUtf8);
    match (data_type, buffers) {
        (DataType::Utf8 | DataType::Binary, [offsets, values]) => plain::<i32>(length, offsets, values, text),
        (DataType::LargeUtf8 | DataType::LargeBinary, [offsets, values]) => plain::<i64>(length, offsets, values, text),
        _ => false,
    }
}

fn plain<O: OffsetSizeTrait>(length: usize, offsets: &Buffer, values: &[u8], text: bool) -> bool {
    if offsets.len() / size_of::<O>() <= length || offsets.as_ptr().align_offset(align_of::<O>()) != 0 {
        return false;
    }
    let offsets = &offsets.typed_data::<O>()[..=length];
    // Without a way out in the middle, so that it is done many at a time.
    let ascends = offsets.iter().zip(&offsets[1..]).fold(true, |so_far, (from, to)| so_far & (from <= to));
    let (Some(first), Some(last)) = (offsets[0].to_usize(), offsets[length].to_usize()) else { return false };
    if !ascends || last > values.len() {
        return false;
    }
    let values = &values[first..last];
    if !text || values.is_ascii() {
        return true;
    }
    // Offsets are within `first..=last` now, and at the very end there is nothing to cut.
    let boundary = |offset: &O| values.get(offset.as_usize() - first).is_none_or(|byte| (*byte as i8) >= -0x40);
    std::str::from_utf8(values).is_ok() && offsets.iter().all(boundary)
}

/// An empty list may be at any address; arrow wants one that is aligned.
fn aligned(buffer: Buffer) -> Buffer {
    if buffer.is_empty() { MutableBuffer::new(0).into() } else { buffer }
}

fn child_name(child: &Field, index: usize) -> String {
    if child.name().is_empty() { format!("a child {index}") } else { format!("a child `{}`", child.name()) }
}

fn check_nulls(data_type: &DataType, node: WireNode, validity: Option<&Buffer>) -> Result<(), String> {
    let length = node.length as usize;
    let nulls = match validity {
        _ if data_type == &DataType::Null => length,
        None => 0,
        Some(validity) if validity.len() < length.div_ceil(8) => {
            return Err(format!("has a validity buffer of {} bytes for {length} values", validity.len()));
        }
        Some(validity) => length - validity.count_set_bits_offset(0, length),
    };
    match node.null_count as usize {
        says if says == nulls => Ok(()),
        says => Err(format!("says that {says} of {length} values are null, there are {nulls}")),
    }
}

/// What arrow doesn't check of a child: that it is exactly as long as its parent needs it, and nulls where no type above says
/// where they may be.
fn check_child(parent: &DataType, length: usize, child: &Field, index: usize, data: &ArrayData) -> Result<(), String> {
    let expected = match parent {
        DataType::Struct(_) | DataType::Union(_, UnionMode::Sparse) => Some(length),
        DataType::FixedSizeList(_, width) => Some(length.saturating_mul(*width as usize)),
        _ => None,
    };
    let name = || child_name(child, index);
    if let Some(expected) = expected.filter(|expected| *expected != data.len()) {
        return Err(format!("has {} of {} values, {expected} are needed", name(), data.len()));
    }
    match parent {
        DataType::Union(..) | DataType::RunEndEncoded(..) if !child.is_nullable() => {
            not_nullable(&make_array(data.clone())).map_err(|e| format!("has {}, which {e}", name()))
        }
        _ => Ok(()),
    }
}

fn not_nullable(array: &ArrayRef) -> Result<(), String> {
    match array.logical_null_count() {
        0 => Ok(()),
        nulls => Err(format!("is not nullable and has {nulls} nulls")),
    }
}

/// What arrow doesn't check of values.
fn check_values(data: &ArrayData) -> Result<(), String> {
    match data.data_type() {
        DataType::Decimal32(precision, scale) => decimals::<Decimal32Type>(data, *precision, *scale),
        DataType::Decimal64(precision, scale) => decimals::<Decimal64Type>(data, *precision, *scale),
        DataType::Decimal128(precision, scale) => decimals::<Decimal128Type>(data, *precision, *scale),
        DataType::Decimal256(precision, scale) => decimals::<Decimal256Type>(data, *precision, *scale),
        DataType::Time32(TimeUnit::Second) => times::<Time32SecondType>(data, DAY),
        DataType::Time32(_) => times::<Time32MillisecondType>(data, DAY * 1_000),
        DataType::Time64(TimeUnit::Microsecond) => times::<Time64MicrosecondType>(data, DAY * 1_000_000),
        DataType::Time64(_) => times::<Time64NanosecondType>(data, DAY * 1_000_000_000),
        DataType::RunEndEncoded(..) => last_run_end(data),
        _ => Ok(()),
    }
}

fn decimals<T: DecimalType>(data: &ArrayData, precision: u8, scale: i8) -> Result<(), String> {
    let values = PrimitiveArray::<T>::from(data.clone());
    let check = |value| T::validate_decimal_precision(value, precision, scale);
    values.iter().flatten().try_for_each(check).map_err(|e| format!("is not within its precision: {e}"))
}

/// Seconds of a day.
const DAY: i64 = 86_400;

fn times<T: ArrowNumericType>(data: &ArrayData, day: i64) -> Result<(), String>
where
    T::Native: Into<i64>,
{
    let values = PrimitiveArray::<T>::from(data.clone());
    match values.iter().flatten().map(Into::into).find(|value: &i64| !(0..day).contains(value)) {
        Some(value) => Err(format!("has the time {value}, a day ends before {day}")),
        None => Ok(()),
    }
}

fn last_run_end(data: &ArrayData) -> Result<(), String> {
    let ends = &data.child_data()[0];
    let last = match (ends.len().checked_sub(1), ends.data_type()) {
        (None, _) => 0,
        (Some(last), DataType::Int16) => i64::from(ends.buffer::<i16>(0)[last]),
        (Some(last), DataType::Int32) => i64::from(ends.buffer::<i32>(0)[last]),
        (Some(last), _) => ends.buffer::<i64>(0)[last],
    };
    if last == data.len() as i64 {
        Ok(())
    } else {
        Err(format!("has {} values, its last run ends at {last}", data.len()))
    }
}
