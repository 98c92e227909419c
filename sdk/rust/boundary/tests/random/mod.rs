//! Random types and arrays of them by a seed: nested, sliced, with and without nulls. The host's tests include this file too.

use std::{collections::HashMap, sync::Arc};

use arrow_array::{
    Array, ArrayRef, BooleanArray, GenericBinaryArray, GenericListArray, GenericListViewArray, GenericStringArray,
    MapArray, NullArray, OffsetSizeTrait, StructArray, UnionArray,
    builder::{BinaryViewBuilder, StringViewBuilder},
    make_array,
};
use arrow_buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_data::ArrayData;
use arrow_schema::{DataType, Field, FieldRef, Fields, IntervalUnit, TimeUnit, UnionFields, UnionMode};

/// Numbers by a seed (splitmix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// Any number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`, which isn't zero.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// True in one of `of` cases.
    pub(crate) fn once_in(&mut self, of: usize) -> bool {
        self.below(of) == 0
    }
}

fn leaf(random: &mut Random) -> DataType {
    let unit = [TimeUnit::Second, TimeUnit::Millisecond, TimeUnit::Microsecond, TimeUnit::Nanosecond][random.below(4)];
    let zone = [None, Some("UTC"), Some("+01:30")][random.below(3)].map(Into::into);
    match random.below(38) {
        0 => DataType::Null,
        1 => DataType::Boolean,
        2 => DataType::Int8,
        3 => DataType::Int16,
        4 => DataType::Int32,
        5 => DataType::Int64,
        6 => DataType::UInt8,
        7 => DataType::UInt16,
        8 => DataType::UInt32,
        9 => DataType::UInt64,
        10 => DataType::Float16,
        11 => DataType::Float32,
        12 => DataType::Float64,
        13 => DataType::Decimal32(1 + random.below(9) as u8, 1),
        14 => DataType::Decimal64(1 + random.below(18) as u8, 0),
        15 => DataType::Decimal128(10 + random.below(29) as u8, 10),
        16 => DataType::Decimal256(10 + random.below(67) as u8, -2),
        17 => DataType::Date32,
        18 => DataType::Date64,
        19 => DataType::Time32(TimeUnit::Second),
        20 => DataType::Time32(TimeUnit::Millisecond),
        21 => DataType::Time64(TimeUnit::Microsecond),
        22 => DataType::Time64(TimeUnit::Nanosecond),
        23 => DataType::Timestamp(unit, zone),
        24 => DataType::Duration(unit),
        25 => DataType::Interval(IntervalUnit::YearMonth),
        26 => DataType::Interval(IntervalUnit::DayTime),
        27 => DataType::Interval(IntervalUnit::MonthDayNano),
        28 => DataType::FixedSizeBinary(random.below(5) as i32),
        29 => DataType::LargeUtf8,
        30 => DataType::Binary,
        31 => DataType::LargeBinary,
        32 => DataType::BinaryView,
        33 | 34 => DataType::Utf8View,
        _ => DataType::Utf8,
    }
}

/// A type with at most `depth` levels below it.
pub(crate) fn data_type(random: &mut Random, depth: usize) -> DataType {
    if depth == 0 || random.once_in(3) {
        return leaf(random);
    }
    let depth = depth - 1;
    match random.below(13) {
        0 => DataType::List(item(random, depth)),
        1 => DataType::LargeList(item(random, depth)),
        2 => DataType::ListView(item(random, depth)),
        3 => DataType::LargeListView(item(random, depth)),
        4 => DataType::FixedSizeList(item(random, depth), random.below(4) as i32),
        5 | 6 => {
            let members = random.below(4);
            DataType::Struct((0..members).map(|i| field(random, &format!("m{i}"), depth)).collect())
        }
        7 => {
            let keys = [DataType::Utf8, DataType::Int32, DataType::Utf8View, DataType::FixedSizeBinary(2)];
            let key = Arc::new(Field::new("key", keys[random.below(keys.len())].clone(), false));
            let members = Fields::from(vec![key, field(random, "value", depth)]);
            DataType::Map(Arc::new(Field::new("entries", DataType::Struct(members), false)), random.once_in(2))
        }
        8 | 9 => {
            let keys = [DataType::Int8, DataType::Int16, DataType::Int32, DataType::Int64, DataType::UInt8];
            let depth = if random.once_in(3) { depth } else { 0 };
            let values = data_type(random, depth);
            DataType::Dictionary(Box::new(keys[random.below(keys.len())].clone()), Box::new(values))
        }
        10 => {
            let ends = [DataType::Int16, DataType::Int32, DataType::Int64][random.below(3)].clone();
            DataType::RunEndEncoded(Arc::new(Field::new("run_ends", ends, false)), field(random, "values", depth))
        }
        _ => {
            let count = 1 + random.below(3);
            let first = if random.once_in(3) { 120 } else { 0 };
            let members = (0..count).map(|i| ((first + 2 * i) as i8, field(random, &format!("u{i}"), depth)));
            let members: UnionFields = members.collect();
            DataType::Union(members, if random.once_in(2) { UnionMode::Sparse } else { UnionMode::Dense })
        }
    }
}

fn item(random: &mut Random, depth: usize) -> FieldRef {
    field(random, "item", depth)
}

/// A field; one whose nulls are below it is always nullable.
pub(crate) fn field(random: &mut Random, name: &str, depth: usize) -> FieldRef {
    let data_type = data_type(random, depth);
    let below = data_type == DataType::Null
        || matches!(data_type, DataType::Union(..) | DataType::RunEndEncoded(..) | DataType::Dictionary(..));
    let mut field = Field::new(name, data_type, below || !random.once_in(4)).with_dict_is_ordered(random.once_in(3));
    if random.once_in(5) {
        field.set_metadata(HashMap::from([("ARROW:extension:name".to_owned(), "a.b".to_owned())]));
    }
    Arc::new(field)
}

/// An array, often a slice of a longer one.
pub(crate) fn array(random: &mut Random, data_type: &DataType, length: usize, nullable: bool) -> ArrayRef {
    let (before, after) = if random.once_in(2) { (random.below(12), random.below(12)) } else { (0, 0) };
    whole(random, data_type, before + length + after, nullable).slice(before, length)
}

fn of_field(random: &mut Random, field: &Field, length: usize) -> ArrayRef {
    array(random, field.data_type(), length, field.is_nullable())
}

fn nulls(random: &mut Random, length: usize, nullable: bool) -> Option<NullBuffer> {
    match random.below(6) {
        _ if !nullable => None,
        0 | 1 => None,
        2 => Some(NullBuffer::new_null(length)),
        3 => Some(NullBuffer::new_valid(length)),
        _ => {
            // A bitmap that doesn't begin at a byte.
            let from = random.below(9);
            let bits: BooleanBuffer = (0..from + length).map(|_| !random.once_in(3)).collect();
            Some(NullBuffer::new(bits.slice(from, length)))
        }
    }
}

fn texts(random: &mut Random, length: usize) -> Vec<String> {
    let words =
        ["", "a", "grün", "twelve bytes", "thirteen byte", "日本語の文字列です", "a text that is longer than a view"];
    (0..length).map(|_| words[random.below(words.len())].to_owned()).collect()
}

fn offsets<O: OffsetSizeTrait>(random: &mut Random, length: usize) -> (OffsetBuffer<O>, usize) {
    let mut at = if random.once_in(2) { random.below(4) } else { 0 };
    let mut offsets = vec![O::usize_as(at)];
    for _ in 0..length {
        at += random.below(4);
        offsets.push(O::usize_as(at));
    }
    let slack = if random.once_in(2) { random.below(3) } else { 0 };
    (OffsetBuffer::new(ScalarBuffer::from(offsets)), at + slack)
}

fn string<O: OffsetSizeTrait>(random: &mut Random, length: usize, nulls: Option<NullBuffer>) -> ArrayRef {
    let texts = texts(random, length);
    let offsets = OffsetBuffer::<O>::from_lengths(texts.iter().map(String::len));
    // A null may have bytes.
    Arc::new(GenericStringArray::<O>::new(offsets, Buffer::from_vec(texts.concat().into_bytes()), nulls))
}

fn binary<O: OffsetSizeTrait>(random: &mut Random, length: usize, nulls: Option<NullBuffer>) -> ArrayRef {
    let (offsets, bytes) = offsets::<O>(random, length);
    let bytes: Vec<u8> = (0..bytes).map(|_| random.next() as u8).collect();
    Arc::new(GenericBinaryArray::<O>::new(offsets, Buffer::from_vec(bytes), nulls))
}

fn list<O: OffsetSizeTrait>(
    random: &mut Random,
    item: &FieldRef,
    length: usize,
    nulls: Option<NullBuffer>,
) -> ArrayRef {
    let (offsets, below) = offsets::<O>(random, length);
    let values = of_field(random, item, below);
    Arc::new(GenericListArray::<O>::new(item.clone(), offsets, values, nulls))
}

fn list_view<O: OffsetSizeTrait>(
    random: &mut Random,
    item: &FieldRef,
    length: usize,
    nulls: Option<NullBuffer>,
) -> ArrayRef {
    let below = 1 + random.below(20);
    let (mut offsets, mut sizes) = (Vec::new(), Vec::new());
    for _ in 0..length {
        let from = random.below(below + 1);
        offsets.push(O::usize_as(from));
        sizes.push(O::usize_as(random.below((below - from).min(3) + 1)));
    }
    let values = of_field(random, item, below);
    Arc::new(GenericListViewArray::<O>::new(item.clone(), offsets.into(), sizes.into(), values, nulls))
}

/// An array of values that have a width, of these bytes.
fn fixed(data_type: &DataType, bytes: &[u8], length: usize, nulls: Option<NullBuffer>) -> ArrayRef {
    let data = ArrayData::builder(data_type.clone()).len(length).add_buffer(Buffer::from_slice_ref(bytes)).nulls(nulls);
    make_array(data.build().expect("bytes of a fixed width are valid"))
}

fn primitive(random: &mut Random, data_type: &DataType, length: usize, nulls: Option<NullBuffer>) -> ArrayRef {
    let width = data_type.primitive_width().expect("all others are arms of `whole`");
    let mut bytes = Vec::with_capacity(length * width);
    for _ in 0..length {
        let any = random.next();
        let value: i128 = match data_type {
            DataType::Decimal32(p, _)
            | DataType::Decimal64(p, _)
            | DataType::Decimal128(p, _)
            | DataType::Decimal256(p, _) => (any as i128 - (1 << 63)) % 10i128.pow(u32::from(*p).min(19)),
            DataType::Time32(TimeUnit::Second) => i128::from(any % 86_400),
            DataType::Time32(_) => i128::from(any % 86_400_000),
            DataType::Time64(TimeUnit::Microsecond) => i128::from(any % 86_400_000_000),
            DataType::Time64(_) => i128::from(any % 86_400_000_000_000),
            DataType::Interval(IntervalUnit::MonthDayNano) => i128::from(any & 0xff_00ff_ffff) * ((1 << 64) + 1),
            _ if data_type.is_temporal() => i128::from(any % 2_000_000_000) - 1_000_000_000,
            _ => i128::from(any),
        };
        let sign = if value < 0 { 0xff } else { 0 };
        bytes.extend(value.to_le_bytes().into_iter().chain([sign; 16]).take(width));
    }
    fixed(data_type, &bytes, length, nulls)
}

fn whole(random: &mut Random, data_type: &DataType, length: usize, nullable: bool) -> ArrayRef {
    let nulls = nulls(random, length, nullable);
    // SAFETY: what is generated is valid.
    #[expect(unsafe_code, reason = "arrow refuses booleans whose bits and nulls begin at different places")]
    let build = |data: arrow_data::ArrayDataBuilder| make_array(unsafe { data.build_unchecked() });
    match data_type {
        DataType::Null => Arc::new(NullArray::new(length)),
        DataType::Boolean => {
            let from = random.below(9);
            let bits: BooleanBuffer = (0..from + length).map(|_| random.once_in(2)).collect();
            Arc::new(BooleanArray::new(bits.slice(from, length), nulls))
        }
        DataType::Utf8 => string::<i32>(random, length, nulls),
        DataType::LargeUtf8 => string::<i64>(random, length, nulls),
        DataType::Binary => binary::<i32>(random, length, nulls),
        DataType::LargeBinary => binary::<i64>(random, length, nulls),
        DataType::Utf8View => {
            // Small blocks make several buffers, and finding values again makes views that share one.
            let mut views = StringViewBuilder::new().with_fixed_block_size(64);
            if random.once_in(2) {
                views = views.with_deduplicate_strings();
            }
            texts(random, length).iter().for_each(|text| views.append_value(text));
            let (views, buffers, _) = views.finish().into_parts();
            Arc::new(arrow_array::StringViewArray::new(views, buffers, nulls))
        }
        DataType::BinaryView => {
            let mut views = BinaryViewBuilder::new().with_fixed_block_size(64);
            texts(random, length).iter().for_each(|text| views.append_value(text));
            let (views, buffers, _) = views.finish().into_parts();
            Arc::new(arrow_array::BinaryViewArray::new(views, buffers, nulls))
        }
        DataType::FixedSizeBinary(width) => {
            let bytes: Vec<u8> = (0..length * *width as usize).map(|_| random.next() as u8).collect();
            fixed(data_type, &bytes, length, nulls)
        }
        DataType::List(item) => list::<i32>(random, item, length, nulls),
        DataType::LargeList(item) => list::<i64>(random, item, length, nulls),
        DataType::ListView(item) => list_view::<i32>(random, item, length, nulls),
        DataType::LargeListView(item) => list_view::<i64>(random, item, length, nulls),
        DataType::FixedSizeList(item, size) => {
            let values = of_field(random, item, length * *size as usize);
            build(ArrayData::builder(data_type.clone()).len(length).nulls(nulls).add_child_data(values.to_data()))
        }
        DataType::Struct(members) => {
            let columns = members.iter().map(|member| of_field(random, member, length)).collect();
            let array = StructArray::try_new_with_length(members.clone(), columns, nulls, length);
            Arc::new(array.expect("members fit"))
        }
        DataType::Map(entries, sorted) => {
            let (offsets, below) = offsets::<i32>(random, length);
            let DataType::Struct(members) = entries.data_type() else { panic!("a map of {entries}") };
            let columns = members.iter().map(|member| of_field(random, member, below)).collect();
            let below = StructArray::try_new_with_length(members.clone(), columns, None, below).expect("members fit");
            Arc::new(MapArray::new(entries.clone(), offsets, below, nulls, *sorted))
        }
        DataType::Dictionary(keys, values) => {
            let count = 1 + random.below(9);
            let values = array(random, values, count, true);
            let width = keys.primitive_width().expect("keys are integers");
            let keys: Vec<u8> =
                (0..length).flat_map(|_| (random.below(count) as u64).to_le_bytes().into_iter().take(width)).collect();
            let data = ArrayData::builder(data_type.clone()).len(length).nulls(nulls);
            build(data.add_buffer(Buffer::from_slice_ref(&keys)).add_child_data(values.to_data()))
        }
        DataType::RunEndEncoded(ends, values) => {
            let (mut at, mut all) = (0, Vec::new());
            while at < length {
                at = (at + 1 + random.below(5)).min(length);
                all.push(at as i64);
            }
            let width = ends.data_type().primitive_width().expect("run ends are integers");
            let bytes: Vec<u8> = all.iter().flat_map(|end| end.to_le_bytes().into_iter().take(width)).collect();
            let values = of_field(random, values, all.len());
            let ends = fixed(ends.data_type(), &bytes, all.len(), None);
            let data = ArrayData::builder(data_type.clone()).len(length);
            build(data.add_child_data(ends.to_data()).add_child_data(values.to_data()))
        }
        DataType::Union(members, mode) => {
            let ids: Vec<i8> = members.iter().map(|(id, _)| id).collect();
            let mut counts = vec![0i32; members.len()];
            let (mut type_ids, mut offsets) = (Vec::new(), Vec::new());
            for _ in 0..length {
                let member = random.below(ids.len());
                type_ids.push(ids[member]);
                offsets.push(counts[member]);
                counts[member] += 1;
            }
            let dense = *mode == UnionMode::Dense;
            let below = members
                .iter()
                .zip(counts)
                .map(|((_, member), count)| of_field(random, member, if dense { count as usize } else { length }));
            let below = below.collect();
            let offsets = dense.then(|| ScalarBuffer::from(offsets));
            Arc::new(UnionArray::try_new(members.clone(), type_ids.into(), offsets, below).expect("members fit"))
        }
        other => primitive(random, other, length, nulls),
    }
}
