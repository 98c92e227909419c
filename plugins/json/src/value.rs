//! Arrow values as JSON values.
//!
//! Integers, floats, booleans, text, lists and structs become what they are in JSON. A date is its RFC 3339 text
//! (`2024-02-29`), a timestamp too (`2024-02-29T12:00:00Z`; one without a time zone is taken as UTC). Not a number and the
//! infinities have no JSON value and become null, as null does.

use dflow_plugin::Failure;
use dflow_plugin::arrow::types::{
    ArrowPrimitiveType, ArrowTimestampType, Date32Type, Date64Type, Float16Type, Float32Type, Float64Type, Int8Type,
    Int16Type, Int32Type, Int64Type, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use dflow_plugin::arrow::{Array, AsArray, DataType, Schema, TimeUnit, temporal_conversions};
use serde_json::{Map, Value};

/// Gives the JSON value of each row of an array.
pub(crate) type Reader<'a> = Box<dyn Fn(usize) -> Value + 'a>;

/// Whether every column of a schema has JSON values; names the first one that hasn't.
pub(crate) fn check(schema: &Schema) -> Result<(), Failure> {
    for field in schema.fields() {
        if let Some(culprit) = without_value(field.data_type()) {
            let inside = if culprit == field.data_type() { "is" } else { "holds" };
            return Err(Failure::schema(format!(
                "column `{}` {inside} {culprit}, which has no JSON value\nhint: leave it out of `in`, or turn it into text first",
                field.name()
            )));
        }
    }
    Ok(())
}

fn without_value(data_type: &DataType) -> Option<&DataType> {
    match data_type {
        DataType::Null
        | DataType::Boolean
        | DataType::Utf8
        | DataType::Date32
        | DataType::Date64
        | DataType::Timestamp(..) => None,
        DataType::List(child) | DataType::FixedSizeList(child, _) => without_value(child.data_type()),
        DataType::Struct(members) => members.iter().find_map(|member| without_value(member.data_type())),
        other if other.is_integer() || other.is_floating() => None,
        other => Some(other),
    }
}

/// A reader of an array's values. The type has passed [`check`].
pub(crate) fn reader(array: &dyn Array) -> Reader<'_> {
    let plain: Reader<'_> = match array.data_type() {
        DataType::Boolean => {
            let array = array.as_boolean();
            Box::new(|row| Value::Bool(array.value(row)))
        }
        DataType::Int8 => number::<Int8Type>(array),
        DataType::Int16 => number::<Int16Type>(array),
        DataType::Int32 => number::<Int32Type>(array),
        DataType::Int64 => number::<Int64Type>(array),
        DataType::UInt8 => number::<UInt8Type>(array),
        DataType::UInt16 => number::<UInt16Type>(array),
        DataType::UInt32 => number::<UInt32Type>(array),
        DataType::UInt64 => number::<UInt64Type>(array),
        DataType::Float16 => {
            let array = array.as_primitive::<Float16Type>();
            Box::new(|row| Value::from(array.value(row).to_f64()))
        }
        DataType::Float32 => number::<Float32Type>(array),
        DataType::Float64 => number::<Float64Type>(array),
        DataType::Utf8 => {
            let array = array.as_string::<i32>();
            Box::new(|row| Value::from(array.value(row)))
        }
        DataType::Date32 => {
            let array = array.as_primitive::<Date32Type>();
            Box::new(|row| text(array.value_as_date(row), array.value(row).into()))
        }
        DataType::Date64 => {
            let array = array.as_primitive::<Date64Type>();
            Box::new(|row| text(array.value_as_date(row), array.value(row)))
        }
        DataType::Timestamp(TimeUnit::Second, _) => timestamp::<TimestampSecondType>(array),
        DataType::Timestamp(TimeUnit::Millisecond, _) => timestamp::<TimestampMillisecondType>(array),
        DataType::Timestamp(TimeUnit::Microsecond, _) => timestamp::<TimestampMicrosecondType>(array),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => timestamp::<TimestampNanosecondType>(array),
        DataType::List(_) => {
            let (offsets, items) = (array.as_list::<i32>().value_offsets(), reader(array.as_list::<i32>().values()));
            Box::new(move |row| (offsets[row] as usize..offsets[row + 1] as usize).map(&items).collect())
        }
        DataType::FixedSizeList(_, length) => {
            let (length, items) = (*length as usize, reader(array.as_fixed_size_list().values()));
            let list = array.as_fixed_size_list();
            Box::new(move |row| {
                let from = list.value_offset(row) as usize;
                (from..from + length).map(&items).collect()
            })
        }
        DataType::Struct(members) => {
            let columns = array.as_struct().columns().iter().map(|column| reader(column));
            let members: Vec<_> = members.iter().map(|member| member.name().as_str()).zip(columns).collect();
            Box::new(move |row| object(&members, row))
        }
        // The null type; what else there is was refused by `check`.
        _ => Box::new(|_| Value::Null),
    };
    match array.nulls().filter(|nulls| nulls.null_count() > 0) {
        Some(nulls) => Box::new(move |row| if nulls.is_null(row) { Value::Null } else { plain(row) }),
        None => plain,
    }
}

/// The JSON object of one row, made of these members.
pub(crate) fn object(members: &[(&str, Reader<'_>)], row: usize) -> Value {
    Value::Object(members.iter().map(|(name, read)| ((*name).to_owned(), read(row))).collect::<Map<_, _>>())
}

fn number<T: ArrowPrimitiveType<Native: Into<Value>>>(array: &dyn Array) -> Reader<'_> {
    let array = array.as_primitive::<T>();
    Box::new(|row| array.value(row).into())
}

fn timestamp<T: ArrowTimestampType>(array: &dyn Array) -> Reader<'_> {
    let array = array.as_primitive::<T>();
    Box::new(|row| {
        let value = array.value(row);
        // Its debug form is RFC 3339 but for the offset.
        temporal_conversions::as_datetime::<T>(value)
            .map_or(Value::from(value), |time| Value::from(format!("{time:?}Z")))
    })
}

/// A date's text; the number itself when it is beyond the calendar.
fn text(date: Option<impl std::fmt::Display>, number: i64) -> Value {
    date.map_or(Value::from(number), |date| Value::from(date.to_string()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use dflow_plugin::arrow::{
        ArrayRef, BinaryArray, BooleanArray, Date32Array, Field, Fields, FixedSizeListArray, Float32Array,
        Float64Array, Int64Array, ListArray, StringArray, StructArray, TimestampMicrosecondArray, TimestampSecondArray,
        UInt64Array,
    };
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_what_they_are_in_json() {
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![Some(-1), None]));
        let names: ArrayRef = Arc::new(StringArray::from(vec!["a", "b"]));
        let members =
            Fields::from(vec![Field::new("n", DataType::Int64, true), Field::new("s", DataType::Utf8, false)]);
        let lists = [Some(vec![Some(1), None]), None];
        let pairs = [Some(vec![Some(1), Some(2)]), Some(vec![None, Some(4)])];
        let cases: Vec<(ArrayRef, [Value; 2])> = vec![
            (Arc::new(BooleanArray::from(vec![Some(true), None])), [json!(true), json!(null)]),
            (Arc::new(UInt64Array::from(vec![u64::MAX, 0])), [json!(u64::MAX), json!(0)]),
            (Arc::new(Float32Array::from(vec![0.5, f32::INFINITY])), [json!(0.5), json!(null)]),
            (Arc::new(Float64Array::from(vec![1e300, f64::NAN])), [json!(1e300), json!(null)]),
            (Arc::new(Date32Array::from(vec![19782, -1])), [json!("2024-02-29"), json!("1969-12-31")]),
            (Arc::new(TimestampSecondArray::from(vec![0, i64::MAX])), [json!("1970-01-01T00:00:00Z"), json!(i64::MAX)]),
            (
                Arc::new(TimestampMicrosecondArray::from(vec![1_500_000, -1]).with_timezone("+02:00")),
                [json!("1970-01-01T00:00:01.500Z"), json!("1969-12-31T23:59:59.999999Z")],
            ),
            (Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(lists)), [json!([1, null]), json!(null)]),
            (
                Arc::new(FixedSizeListArray::from_iter_primitive::<Int32Type, _, _>(pairs, 2)),
                [json!([1, 2]), json!([null, 4])],
            ),
            (
                Arc::new(StructArray::new(members, vec![numbers, names], None)),
                [json!({"n": -1, "s": "a"}), json!({"n": null, "s": "b"})],
            ),
        ];
        for (array, expected) in cases {
            assert_eq!([0, 1].map(reader(&array)), expected, "{}", array.data_type());
            assert_eq!(reader(&array.slice(1, 1))(0), expected[1], "{} sliced", array.data_type());
        }
    }

    #[test]
    fn bytes_are_refused_by_name() {
        let bytes: ArrayRef = Arc::new(BinaryArray::from_vec(vec![b"x"]));
        let inside = DataType::List(Arc::new(Field::new("item", bytes.data_type().clone(), true)));
        for (data_type, expected) in [(bytes.data_type().clone(), "`raw` is Binary"), (inside, "`raw` holds Binary")] {
            let failure = check(&Schema::new(vec![Field::new("raw", data_type, true)])).unwrap_err().to_string();
            assert!(failure.contains(expected), "{failure}");
        }
    }
}
