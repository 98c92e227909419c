//! Nodes and buffers → arrays.
//!
//! Unless the sender is trusted, nothing is believed: arrow validates each array (sizes of buffers, offsets, UTF-8, views, keys
//! of dictionaries, type ids, run ends, nulls below what isn't nullable), and what arrow leaves to its users is checked here
//! (counts of nulls and buffers, lengths of children, decimals within their precision, times within a day, the last run end).

use std::{ops::Deref, sync::Arc};

use arrow_array::{
    Array, ArrayRef, ArrowNumericType, ArrowPrimitiveType, BooleanArray, GenericByteArray, OffsetSizeTrait,
    PrimitiveArray, make_array,
    types::{
        ArrowTimestampType, BinaryType, ByteArrayType, Date32Type, Decimal32Type, Decimal64Type, Decimal128Type,
        Decimal256Type, DecimalType, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
        LargeBinaryType, LargeUtf8Type, Time32MillisecondType, Time32SecondType, Time64MicrosecondType,
        Time64NanosecondType, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
        TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type, Utf8Type,
    },
};
use arrow_buffer::{ArrowNativeType, BooleanBuffer, Buffer, MutableBuffer, NullBuffer, OffsetBuffer, ScalarBuffer};
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

impl<'a, B: ExactSizeIterator<Item: Deref<Target = [u8]> + Into<Buffer>>> Parts<'a, B> {
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
        let array = self.top(field.data_type())?;
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

    /// A column. The usual types are made at once: arrow's general form of them costs a small batch more than all else.
    fn top(&mut self, data_type: &DataType) -> Result<ArrayRef, String> {
        let count = usual(data_type);
        let node = self.nodes.as_slice().first().copied();
        let Some(node) =
            node.filter(|node| (1..=self.buffers.len()).contains(&count) && node.buffers as usize == count)
        else {
            return self.array(data_type).map(make_array);
        };
        self.nodes.next();
        let mut next = || self.buffers.next().ok_or("lacks a buffer");
        let (validity, values) = (next()?, next()?.into());
        let validity: Option<Buffer> = if validity.is_empty() { None } else { Some(validity.into()) };
        let text = if count > 2 { Some(next()?.into()) } else { None };
        let array = usual_array(data_type, node, validity.as_ref(), &values, text.as_ref(), self.trust);
        if let Some(array) = array {
            return Ok(array);
        }
        // Something is wrong with it: what, is said below.
        let buffers = [Some(validity.unwrap_or_default()), Some(values), text];
        self.array_of(data_type, node, buffers.into_iter().flatten().map(aligned).collect()).map(make_array)
    }

    fn array(&mut self, data_type: &DataType) -> Result<ArrayData, String> {
        let node = *self.nodes.next().ok_or("lacks a node")?;
        let layout = layout(data_type);
        let (count, fewest) = (node.buffers as usize, layout.buffers.len() + usize::from(layout.can_contain_null_mask));
        if count < fewest || (count > fewest && !layout.variadic) {
            return Err(format!("has {count} buffers, the type {} has {fewest}", crate::type_name(data_type)));
        }
        if count > self.buffers.len() {
            return Err(format!("lacks a buffer: it has {count}, {} follow", self.buffers.len()));
        }
        let buffers = self.buffers.by_ref().take(count).map(|buffer| aligned(buffer.into())).collect();
        self.array_of(data_type, node, buffers)
    }

    /// The array of a node, whose children follow.
    fn array_of(
        &mut self,
        data_type: &DataType,
        node: WireNode,
        mut buffers: Vec<Buffer>,
    ) -> Result<ArrayData, String> {
        let (length, layout) = (node.length as usize, layout(data_type));
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

/// How many buffers the usual types have: text, bytes, and the commonest of those that are stored as numbers and whose values need no
/// checks of their own (each type more is code more in every guest). Others: 0.
fn usual(data_type: &DataType) -> usize {
    match data_type {
        DataType::Utf8 | DataType::Binary | DataType::LargeUtf8 | DataType::LargeBinary => 3,
        DataType::Boolean | DataType::Float32 | DataType::Float64 | DataType::Date32 | DataType::Timestamp(..) => 2,
        integer if integer.is_integer() => 2,
        _ => 0,
    }
}

/// An array of a usual type; `None` when something is wrong with it, or unusual.
fn usual_array(
    data_type: &DataType,
    node: WireNode,
    validity: Option<&Buffer>,
    values: &Buffer,
    text: Option<&Buffer>,
    trust: Trust,
) -> Option<ArrayRef> {
    let length = node.length as usize;
    let nulls = match validity {
        Some(validity) if validity.len() < length.div_ceil(8) => return None,
        validity => validity.map(|validity| NullBuffer::new(BooleanBuffer::new(validity.clone(), 0, length))),
    };
    if trust == Trust::Nothing && nulls.as_ref().map_or(0, NullBuffer::null_count) != node.null_count as usize {
        return None;
    }
    let nulls = nulls.filter(|nulls| nulls.null_count() > 0);
    match data_type {
        DataType::Boolean if values.len() >= length.div_ceil(8) => {
            Some(Arc::new(BooleanArray::new(BooleanBuffer::new(values.clone(), 0, length), nulls)))
        }
        DataType::Int8 => numbers::<Int8Type>(length, nulls, values),
        DataType::Int16 => numbers::<Int16Type>(length, nulls, values),
        DataType::Int32 => numbers::<Int32Type>(length, nulls, values),
        DataType::Int64 => numbers::<Int64Type>(length, nulls, values),
        DataType::UInt8 => numbers::<UInt8Type>(length, nulls, values),
        DataType::UInt16 => numbers::<UInt16Type>(length, nulls, values),
        DataType::UInt32 => numbers::<UInt32Type>(length, nulls, values),
        DataType::UInt64 => numbers::<UInt64Type>(length, nulls, values),
        DataType::Float32 => numbers::<Float32Type>(length, nulls, values),
        DataType::Float64 => numbers::<Float64Type>(length, nulls, values),
        DataType::Date32 => numbers::<Date32Type>(length, nulls, values),
        DataType::Timestamp(TimeUnit::Second, zone) => times_of::<TimestampSecondType>(length, nulls, values, zone),
        DataType::Timestamp(TimeUnit::Millisecond, zone) => {
            times_of::<TimestampMillisecondType>(length, nulls, values, zone)
        }
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            times_of::<TimestampMicrosecondType>(length, nulls, values, zone)
        }
        DataType::Timestamp(TimeUnit::Nanosecond, zone) => {
            times_of::<TimestampNanosecondType>(length, nulls, values, zone)
        }
        DataType::Utf8 => bytes::<Utf8Type>(length, nulls, values, text?, trust, true),
        DataType::LargeUtf8 => bytes::<LargeUtf8Type>(length, nulls, values, text?, trust, true),
        DataType::Binary => bytes::<BinaryType>(length, nulls, values, text?, trust, false),
        DataType::LargeBinary => bytes::<LargeBinaryType>(length, nulls, values, text?, trust, false),
        _ => None,
    }
}

/// An array of numbers, as [`usual_array`].
fn numbers<T: ArrowPrimitiveType>(length: usize, nulls: Option<NullBuffer>, values: &Buffer) -> Option<ArrayRef> {
    Some(Arc::new(primitive::<T>(length, nulls, values)?))
}

/// An array of points in time, as [`usual_array`].
fn times_of<T: ArrowTimestampType>(
    length: usize,
    nulls: Option<NullBuffer>,
    values: &Buffer,
    zone: &Option<Arc<str>>,
) -> Option<ArrayRef> {
    Some(Arc::new(primitive::<T>(length, nulls, values)?.with_timezone_opt(zone.clone())))
}

fn primitive<T: ArrowPrimitiveType>(
    length: usize,
    nulls: Option<NullBuffer>,
    values: &Buffer,
) -> Option<PrimitiveArray<T>> {
    let values = scalars(values, length)?;
    // SAFETY: both have `length` values.
    #[expect(unsafe_code, reason = "the words for what can't happen would be in every guest, for each type")]
    Some(unsafe { PrimitiveArray::new_unchecked(values, nulls) })
}

/// An array of text or bytes, as [`usual_array`].
fn bytes<T: ByteArrayType>(
    length: usize,
    nulls: Option<NullBuffer>,
    offsets: &Buffer,
    values: &Buffer,
    trust: Trust,
    text: bool,
) -> Option<ArrayRef> {
    let offsets = scalars(offsets, length + 1)?;
    if trust == Trust::Nothing && !plain::<T::Offset>(&offsets, values, text) {
        return None;
    }
    // SAFETY: they were checked just now, or by whom we trust.
    #[expect(unsafe_code, reason = "arrow's own checks take several times as long as the copy")]
    let array =
        unsafe { GenericByteArray::<T>::new_unchecked(OffsetBuffer::new_unchecked(offsets), values.clone(), nulls) };
    Some(Arc::new(array))
}

/// So many values of a buffer, if it has them, and where a processor can read them.
fn scalars<T: ArrowNativeType>(buffer: &Buffer, length: usize) -> Option<ScalarBuffer<T>> {
    let whole = buffer.len() / size_of::<T>() >= length && buffer.as_ptr().align_offset(align_of::<T>()) == 0;
    whole.then(|| ScalarBuffer::new(buffer.clone(), 0, length))
}

/// Whether plain text or bytes are valid: the quick way to say so. What it doesn't find valid is for arrow to refuse, in its words.
fn plainly_valid(data_type: &DataType, length: usize, buffers: &[Buffer]) -> bool {
    let text = matches!(data_type, DataType::Utf8 | DataType::LargeUtf8);
    match (data_type, buffers) {
        (DataType::Utf8 | DataType::Binary, [offsets, values]) => {
            scalars::<i32>(offsets, length + 1).is_some_and(|offsets| plain(&offsets, values, text))
        }
        (DataType::LargeUtf8 | DataType::LargeBinary, [offsets, values]) => {
            scalars::<i64>(offsets, length + 1).is_some_and(|offsets| plain(&offsets, values, text))
        }
        _ => false,
    }
}

/// Whether offsets, of which there is at least one, ascend within values, and text is text between each two of them.
fn plain<O: OffsetSizeTrait>(offsets: &[O], values: &[u8], text: bool) -> bool {
    // Without a way out in the middle, so that it is done many at a time.
    let ascends = offsets.iter().zip(&offsets[1..]).fold(true, |so_far, (from, to)| so_far & (from <= to));
    let (Some(first), Some(last)) = (offsets[0].to_usize(), offsets[offsets.len() - 1].to_usize()) else {
        return false;
    };
    if !ascends || last > values.len() {
        return false;
    }
    let values = &values[first..last];
    if !text || values.is_ascii() {
        return true;
    }
    // Offsets are within `first..=last` now, and at the very end there is nothing to cut.
    let boundary = |offset: &O| values.get(offset.as_usize() - first).is_none_or(|byte| (*byte as i8) >= -0x40);
    is_utf8(values) && offsets.iter().all(boundary)
}

/// As the standard library says it, several times as fast.
#[cfg(not(target_family = "wasm"))]
fn is_utf8(bytes: &[u8]) -> bool {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        // SAFETY: this processor has AVX2.
        #[expect(unsafe_code, reason = "simdutf8 looks for itself only with its feature `std`, see Cargo.toml")]
        return unsafe { simdutf8::basic::imp::x86::avx2::validate_utf8(bytes) }.is_ok();
    }
    simdutf8::basic::from_utf8(bytes).is_ok()
}

/// For an SDK that believes nobody.
#[cfg(target_family = "wasm")]
fn is_utf8(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok()
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
