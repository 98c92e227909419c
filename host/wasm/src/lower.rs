//! The form in which columns go into ports, and the form in which a guest's columns become the engine's.
//!
//! Most buffers are lent as they are: the one copy is the one into the guest. Views of text and bytes are always made plain,
//! without gathering when their values lie one after the other in one buffer, as they do when a reader or a guest made them.

use std::sync::Arc;

use arrow::{
    array::{
        Array, ArrayRef, AsArray, BinaryViewArray, DictionaryArray, GenericByteArray, PrimitiveArray, StringViewArray,
        builder::make_view,
        downcast_dictionary_array,
        types::{ArrowDictionaryKeyType, ByteArrayType},
    },
    buffer::ScalarBuffer,
    compute::{can_cast_types, cast, take},
    datatypes::{ArrowNativeType, DataType, Field, FieldRef},
    error::ArrowError,
};
use dflow_boundary::{Lent, type_name, unviewed};

use crate::{
    blobs::{FILE, is_file},
    description::PortType,
};

/// The type in which a column of `data_type` goes into a port that takes `types`; `None` when the port doesn't take it.
///
/// A port that takes `any`, or an encoding by its name (`dictionary`, `large_utf8`), gets the column as it is, without views. One
/// that takes what is encoded (`utf8`, `list`) gets that, encodings resolved at any depth. Of files the sizes go in.
pub fn goes_in(types: &[PortType], data_type: &DataType) -> Option<DataType> {
    let takes = |data_type: &DataType| types.iter().any(|t| t.0 == type_name(data_type));
    if takes_files(types) && is_file(data_type) {
        return Some(FILE);
    }
    let (as_it_is, plain) = (unviewed(data_type), plain(data_type));
    if types.iter().any(|t| t.0 == "any") || (takes(&as_it_is) && type_name(&as_it_is) != type_name(&plain)) {
        Some(as_it_is)
    } else if takes(&plain) && can_cast_types(data_type, &plain) {
        Some(unviewed(&plain))
    } else {
        takes(&as_it_is).then_some(as_it_is)
    }
}

/// Whether a port takes files.
pub fn takes_files(types: &[PortType]) -> bool {
    types.iter().any(|t| t.0 == "file")
}

/// A type without encodings, at any depth: views, large variants, dictionaries and runs become what they stand for.
fn plain(data_type: &DataType) -> DataType {
    let child = |field: &FieldRef| Arc::new(Field::clone(field).with_data_type(plain(field.data_type())));
    match data_type {
        DataType::Utf8View | DataType::LargeUtf8 => DataType::Utf8,
        DataType::BinaryView | DataType::LargeBinary => DataType::Binary,
        DataType::List(f) | DataType::LargeList(f) | DataType::ListView(f) | DataType::LargeListView(f) => {
            DataType::List(child(f))
        }
        DataType::FixedSizeList(f, n) => DataType::FixedSizeList(child(f), *n),
        DataType::Map(entries, sorted) => DataType::Map(child(entries), *sorted),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(child).collect()),
        DataType::Dictionary(_, values) => plain(values),
        DataType::RunEndEncoded(_, values) => plain(values.data_type()),
        other => other.clone(),
    }
}

/// Adds a column to what is lent, in the form that [`goes_in`] said. Errors are ours: planning has checked the types.
pub(crate) fn lend(lent: &mut Lent, array: &ArrayRef, to: &DataType) -> Result<(), String> {
    if unviewed(array.data_type()) == *to {
        // Arrow can't take values of every type (a fixed-size list of no width loses its length); then all of them go.
        return lent.push(compact(array).as_ref().unwrap_or(array));
    }
    // Below unions, which can't be cast, views are still there.
    let plain = plain(array.data_type());
    let array = cast(array, if unviewed(&plain) == *to { &plain } else { to }).map_err(|e| e.to_string())?;
    lent.push(&array)
}

/// A dictionary with more values than the array is long, as slices have, with those values alone that the array has.
fn compact(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    fn of<K: ArrowDictionaryKeyType>(array: &DictionaryArray<K>) -> Result<ArrayRef, ArrowError> {
        let values = take(array.values(), array.keys(), None)?;
        let keys = (0..array.len()).map(|i| array.is_valid(i).then(|| K::Native::usize_as(i)));
        let keys: PrimitiveArray<K> = keys.collect();
        Ok(Arc::new(DictionaryArray::try_new(keys, values)?))
    }
    downcast_dictionary_array! {
        array => if array.values().len() > array.len() { return of(array) },
        _ => {}
    }
    Ok(array.clone())
}

/// Makes a column of a guest's the engine's own: text and bytes become views over the same buffer.
pub(crate) fn viewed(array: ArrayRef) -> ArrayRef {
    match array.data_type() {
        DataType::Utf8 => {
            let array = array.as_string::<i32>();
            // SAFETY: each view is of a value of this array.
            #[expect(unsafe_code, reason = "checking each would read all text again")]
            let views = unsafe {
                StringViewArray::new_unchecked(views(array), vec![array.values().clone()], array.nulls().cloned())
            };
            Arc::new(views)
        }
        DataType::Binary => {
            let array = array.as_binary::<i32>();
            // SAFETY: as above.
            #[expect(unsafe_code, reason = "as above")]
            let views = unsafe {
                BinaryViewArray::new_unchecked(views(array), vec![array.values().clone()], array.nulls().cloned())
            };
            Arc::new(views)
        }
        DataType::LargeUtf8 => Arc::new(StringViewArray::from(array.as_string::<i64>())),
        DataType::LargeBinary => Arc::new(BinaryViewArray::from(array.as_binary::<i64>())),
        _ => array,
    }
}

/// A view of each value.
fn views<T: ByteArrayType<Offset = i32>>(array: &GenericByteArray<T>) -> ScalarBuffer<u128> {
    let values = array.value_data();
    let ranges = array.value_offsets().windows(2).map(|pair| (pair[0] as usize, pair[1] as usize));
    ranges.map(|(from, to)| view_of(values, from, to - from, 0)).collect()
}

/// Up to this length a view holds the value itself.
pub(crate) const INLINE: usize = 12;

/// The view of `length` bytes at `at` of the buffer with number `buffer`, in which they must be.
#[inline]
pub(crate) fn view_of(values: &[u8], at: usize, length: usize, buffer: u32) -> u128 {
    debug_assert!(at + length <= values.len());
    match values.get(at..at + 16).and_then(|bytes| bytes.first_chunk::<16>()) {
        // The same as below with loads of a fixed size.
        Some(bytes) => {
            let bytes = u128::from_le_bytes(*bytes);
            if length <= INLINE {
                (bytes & KEPT[length]) << 32 | length as u128
            } else {
                let (prefix, place) = (bytes as u32, u64::from(buffer) | (at as u64) << 32);
                u128::from(place) << 64 | u128::from(prefix) << 32 | length as u128
            }
        }
        None => make_view(&values[at..at + length], buffer, at as u32),
    }
}

/// The view of the bytes `from..to` of a view that holds them itself.
#[inline]
pub(crate) fn part_of(view: u128, from: usize, to: usize) -> u128 {
    (view >> 32 >> (8 * from) & KEPT[to - from]) << 32 | (to - from) as u128
}

/// What is kept of sixteen bytes, by how many.
const KEPT: [u128; INLINE + 1] = {
    let mut kept = [0; INLINE + 1];
    let mut length = 0;
    while length <= INLINE {
        kept[length] = (1 << (8 * length)) - 1;
        length += 1;
    }
    kept
};

/// The engine's type for a guest's column.
pub(crate) fn viewed_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 => DataType::Utf8View,
        DataType::Binary | DataType::LargeBinary => DataType::BinaryView,
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_are_those_that_arrow_makes() {
        let values = b"twelve bytes, and some more than that";
        for (from, to) in [(0, 12), (0, 0), (12, 12), (7, 12), (3, 4), (0, 13), (2, 20), (20, 37), (25, 37), (37, 37)] {
            assert_eq!(
                view_of(values, from, to - from, 3),
                make_view(&values[from..to], 3, from as u32),
                "{from}..{to}"
            );
            if to <= INLINE {
                let whole = make_view(&values[..INLINE], 0, 0);
                assert_eq!(part_of(whole, from, to), make_view(&values[from..to], 0, 0), "{from}..{to}");
            }
        }
    }

    #[test]
    fn ports_get_what_they_ask_for() {
        let types = |names: &[&str]| names.iter().map(|n| PortType((*n).to_owned())).collect::<Vec<_>>();
        let dictionary = |values| DataType::Dictionary(Box::new(DataType::Int32), Box::new(values));
        let list = |item| DataType::List(Arc::new(Field::new("item", item, true)));
        let large = |item| DataType::LargeList(Arc::new(Field::new("item", item, true)));
        let union = DataType::Union(
            [(0i8, Arc::new(Field::new("text", DataType::Utf8View, true)))].into_iter().collect(),
            arrow::datatypes::UnionMode::Sparse,
        );
        let (utf8, view) = (DataType::Utf8, DataType::Utf8View);
        let cases = [
            (types(&["utf8"]), view.clone(), Some(utf8.clone())),
            (types(&["utf8"]), DataType::LargeUtf8, Some(utf8.clone())),
            (types(&["utf8"]), dictionary(view.clone()), Some(utf8.clone())),
            (types(&["utf8"]), DataType::Int64, None),
            (types(&["int64", "utf8"]), DataType::Int64, Some(DataType::Int64)),
            (types(&["any"]), dictionary(view.clone()), Some(dictionary(utf8.clone()))),
            (types(&["any"]), DataType::LargeUtf8, Some(DataType::LargeUtf8)),
            (types(&["any"]), DataType::Null, Some(DataType::Null)),
            (types(&["large_utf8"]), DataType::LargeUtf8, Some(DataType::LargeUtf8)),
            (types(&["dictionary", "utf8"]), dictionary(view.clone()), Some(dictionary(utf8.clone()))),
            (types(&["list"]), large(dictionary(view.clone())), Some(list(utf8.clone()))),
            (types(&["list"]), list(dictionary(view.clone())), Some(list(utf8.clone()))),
            (types(&["large_list"]), large(view.clone()), Some(large(utf8))),
            (types(&["sparse_union"]), union.clone(), Some(unviewed(&union))),
            (types(&["list"]), list(union.clone()), Some(list(unviewed(&union)))),
            (types(&["utf8_view"]), view, None),
        ];
        for (types, data_type, expected) in cases {
            let found = goes_in(&types, &data_type);
            assert_eq!(found, expected, "{types:?} {data_type}");
            // What goes in is not changed by asking again.
            assert_eq!(found.as_ref().and_then(|t| goes_in(&types, t)), expected, "{types:?} {data_type}, again");
        }
    }

    #[test]
    fn a_slice_of_a_dictionary_goes_without_the_values_it_lacks() {
        let values: Vec<String> = (0..1000).map(|i| format!("value {i}")).collect();
        let all: ArrayRef =
            Arc::new(values.iter().map(String::as_str).collect::<DictionaryArray<arrow::datatypes::Int16Type>>());
        let slice = all.slice(700, 3);
        let mut lent = Lent::without_views();
        lend(&mut lent, &slice, slice.data_type()).expect("dictionaries can cross");
        assert_eq!(lent.nodes.iter().map(|n| n.length).collect::<Vec<_>>(), [3, 3]);
        assert_eq!(lent.buffers[4].as_slice(), b"value 700value 701value 702");
    }
}
