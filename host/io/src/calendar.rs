//! Dates, moments and times that no text shows: columns may hold more than a calendar and a clock have.

use std::ops::RangeInclusive;

use arrow::{
    array::{Array, ArrayRef, AsArray, OffsetSizeTrait},
    compute::{max, min},
    datatypes::{
        ArrowPrimitiveType, DataType, Date32Type, Date64Type, Time32MillisecondType, Time32SecondType,
        Time64MicrosecondType, Time64NanosecondType, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
        TimestampSecondType,
    },
};

/// The days, counted from 1970, that `chrono` has in all zones: from the year -262143 to 262142.
const DAYS: RangeInclusive<i64> = -96_465_291..=95_026_235;
const SECONDS_A_DAY: i64 = 86_400;

/// A value of an array, or below it, that is a date or a moment beyond all years, or no time of a day: the number that
/// it is.
pub fn off_calendar(array: &dyn Array) -> Option<i64> {
    match array.data_type() {
        DataType::Date32 => outside::<Date32Type>(array, &DAYS),
        DataType::Date64 => outside::<Date64Type>(array, &moments(1000)),
        DataType::Timestamp(TimeUnit::Second, _) => outside::<TimestampSecondType>(array, &moments(1)),
        DataType::Timestamp(TimeUnit::Millisecond, _) => outside::<TimestampMillisecondType>(array, &moments(1000)),
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            outside::<TimestampMicrosecondType>(array, &moments(1_000_000))
        }
        DataType::Time32(TimeUnit::Second) => outside::<Time32SecondType>(array, &times(1)),
        DataType::Time32(_) => outside::<Time32MillisecondType>(array, &times(1000)),
        DataType::Time64(TimeUnit::Microsecond) => outside::<Time64MicrosecondType>(array, &times(1_000_000)),
        DataType::Time64(_) => outside::<Time64NanosecondType>(array, &times(1_000_000_000)),
        DataType::Struct(_) => array.as_struct().columns().iter().find_map(|member| off_calendar(member)),
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            off_calendar(&items(list.value_offsets(), list.values()))
        }
        DataType::LargeList(_) => {
            let list = array.as_list::<i64>();
            off_calendar(&items(list.value_offsets(), list.values()))
        }
        DataType::FixedSizeList(..) => off_calendar(array.as_fixed_size_list().values()),
        DataType::Map(..) => {
            let map = array.as_map();
            off_calendar(&items(map.value_offsets(), map.values()))
        }
        _ => None,
    }
}

/// The moments of those days, in so many units a second.
fn moments(units: i64) -> RangeInclusive<i64> {
    DAYS.start() * SECONDS_A_DAY * units..=(DAYS.end() + 1) * SECONDS_A_DAY * units - 1
}

/// The times of a day.
fn times(units: i64) -> RangeInclusive<i64> {
    0..=SECONDS_A_DAY * units - 1
}

/// One of an array's values that is outside of a range.
fn outside<T: ArrowPrimitiveType>(array: &dyn Array, range: &RangeInclusive<i64>) -> Option<i64>
where
    T::Native: Into<i64>,
{
    let values = array.as_primitive::<T>();
    [min(values), max(values)].into_iter().flatten().map(Into::<i64>::into).find(|value| !range.contains(value))
}

/// The items of lists, without those of the rows around them that are still in memory.
fn items<O: OffsetSizeTrait>(offsets: &[O], values: &ArrayRef) -> ArrayRef {
    let (begin, end) = (offsets[0].as_usize(), offsets[offsets.len() - 1].as_usize());
    values.slice(begin, end - begin)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::{
        array::{
            Date32Array, Int64Array, ListArray, Time32SecondArray, TimestampNanosecondArray, TimestampSecondArray,
        },
        compute::cast,
    };

    use super::*;

    #[test]
    fn what_no_text_shows() {
        let seconds = TimestampSecondArray::from(vec![Some(1_704_189_600), None, Some(1_704_189_600_000_000)]);
        assert_eq!(off_calendar(&seconds), Some(1_704_189_600_000_000));
        assert_eq!(off_calendar(&seconds.slice(0, 2)), None);
        assert_eq!(off_calendar(&TimestampNanosecondArray::from(vec![i64::MAX, i64::MIN])), None);
        assert_eq!(off_calendar(&Date32Array::from(vec![1_000_000_000])), Some(1_000_000_000));
        for (time, off) in [(0, None), (86_399, None), (86_400, Some(86_400)), (-1, Some(-1))] {
            assert_eq!(off_calendar(&Time32SecondArray::from(vec![time])), off);
        }
        // Only what is in the rows counts.
        let days = ListArray::from_iter_primitive::<Date32Type, _, _>([
            Some(vec![Some(1), None]),
            None,
            Some(vec![Some(i32::MAX)]),
        ]);
        assert_eq!((off_calendar(&days), off_calendar(&days.slice(0, 2))), (Some(i64::from(i32::MAX)), None));
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![i64::MAX]));
        let shown = |to: &str| off_calendar(&cast(&numbers, &to.parse().expect("a type")).expect("a cast"));
        assert_eq!((shown("Int64"), shown("Timestamp(Microsecond, None)")), (None, Some(i64::MAX)));
    }
}
