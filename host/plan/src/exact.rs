//! Texts as values of a type, with nothing cut off.
//!
//! Where a type has fewer digits than a text, Arrow (59.3) keeps those that it has; it takes a moment's day for a date, and forgets its
//! zone.

use std::sync::Arc;

use datafusion::arrow::{
    array::{Array, ArrayRef, AsArray, Int64Array, PrimitiveArray, StringViewArray},
    compute::{
        cast, is_not_null,
        kernels::{cast_utils::parse_decimal, zip::zip},
    },
    datatypes::{DataType, Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type, DecimalType, Field, TimeUnit},
    error::ArrowError,
};
use dflow_io::off_calendar;

use crate::{rows::short, type_text};

/// The longest number whose digits Arrow counts.
const LONGEST: usize = 255;

/// Whether Arrow cuts a text that says more than a value of a type holds.
pub(crate) fn can_cut(of: &DataType) -> bool {
    of.is_decimal() || of.is_temporal()
}

/// Whether a text says more than a value of a type holds. Of what is no such value at all it means nothing.
pub(crate) fn is_cut(text: &str, by: &DataType) -> bool {
    match by {
        // Most are written so.
        DataType::Date32 if is_day(text) => false,
        DataType::Date64 | DataType::Timestamp(..) if is_day(text) || is_second(text) => false,
        DataType::Decimal32(_, scale)
        | DataType::Decimal64(_, scale)
        | DataType::Decimal128(_, scale)
        | DataType::Decimal256(_, scale) => text.len() > LONGEST || digits(text) > i64::from(*scale),
        // A number counts days or units.
        DataType::Duration(_) => !is_whole(text),
        by if by.is_integer() || text.parse::<f64>().is_ok() => !is_whole(text),
        DataType::Date32 => {
            let behind = text.get(10..).unwrap_or_default();
            let clock = &behind[..behind.len() - zone(text).len()];
            !text.starts_with(['+', '-']) && (clock.contains(|c: char| matches!(c, '1'..='9')) || !is_utc(text))
        }
        DataType::Date64 => second_digits(text) > kept(TimeUnit::Millisecond) || !is_utc(text),
        DataType::Timestamp(unit, zone) => second_digits(text) > kept(*unit) || zone.is_none() && !is_utc(text),
        DataType::Time32(unit) | DataType::Time64(unit) => second_digits(text) > kept(*unit),
        _ => false,
    }
}

/// How many digits behind the point a number needs. Where it ends with zeros before the point they are fewer than none; what has no digit is no
/// number, though Arrow takes it for nought.
fn digits(number: &str) -> i64 {
    let (number, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    if !number.bytes().any(|byte| byte.is_ascii_digit()) {
        return i64::MAX;
    }
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let (significant, fraction) = (whole.trim_end_matches('0'), fraction.trim_end_matches('0'));
    let needed = match (significant, fraction) {
        ("" | "-" | "+", "") => return i64::MIN,
        (_, "") => significant.len() as i64 - whole.len() as i64,
        _ => fraction.len() as i64,
    };
    // Arrow counts no further than this.
    exponent.parse::<i16>().map_or(i64::MAX, |exponent| needed - i64::from(exponent))
}

/// How many digits behind the seconds of a clock say something.
fn second_digits(clock: &str) -> usize {
    let (_, behind) = clock.split_once('.').unwrap_or_default();
    let end = behind.find(|c: char| !c.is_ascii_digit()).unwrap_or(behind.len());
    behind[..end].trim_end_matches('0').len()
}

/// How many of them a type keeps.
fn kept(unit: TimeUnit) -> usize {
    match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 3,
        TimeUnit::Microsecond => 6,
        TimeUnit::Nanosecond => 9,
    }
}

/// Whether a text is long enough for a day, and has its dashes: no more is in it.
fn is_day(text: &str) -> bool {
    matches!(text.as_bytes(), [_, _, _, _, b'-', _, _, b'-', _, _])
}

/// Whether a text is as long as a day and a clock without a fraction and without a zone, and has its colons.
fn is_second(text: &str) -> bool {
    text.len() == 19 && matches!(text.as_bytes()[10..], [_, _, _, b':', _, _, b':', b'0'..=b'9', b'0'..=b'9'])
}

/// The number that a text is, if it is a whole one.
fn whole(text: &str) -> Option<i128> {
    if let Ok(number) = text.parse() {
        return Some(number);
    }
    let (number, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (before, behind) = number.split_once('.').unwrap_or((number, ""));
    if !behind.bytes().all(|byte| byte.is_ascii_digit()) || before.parse::<i128>().is_err() {
        return None;
    }
    let number: i128 = [before, behind].concat().parse().ok()?;
    let shift = exponent.parse::<i32>().ok()?.checked_sub(behind.len() as i32)?;
    match 10i128.checked_pow(shift.unsigned_abs()) {
        _ if number == 0 => Some(0),
        Some(power) if shift >= 0 => number.checked_mul(power),
        Some(power) => (number % power == 0).then(|| number / power),
        None => None,
    }
}

/// The zone that a moment is written with; empty where there is none.
pub(crate) fn zone(moment: &str) -> &str {
    let clock = moment.get(10..).unwrap_or_default();
    clock.trim_start_matches(|c: char| c.is_ascii_digit() || "Tt :.".contains(c))
}

/// Whether a number is a whole one that Arrow decodes as it stands: with a point or an exponent it goes through an `f64`.
fn is_whole(text: &str) -> bool {
    let stays = |number: i128| {
        (i128::from(i64::MIN)..=i128::from(u64::MAX)).contains(&number)
            && (text.parse::<i128>().is_ok() || text.parse::<f64>().is_ok_and(|float| float as i128 == number))
    };
    text.parse::<i64>().is_ok() || whole(text).is_some_and(stays)
}

/// Whether a moment has no zone, or UTC's.
fn is_utc(moment: &str) -> bool {
    let zone = zone(moment);
    matches!(zone, "Z" | "z" | "UTC" | "GMT" | "Etc/UTC" | "UCT" | "Zulu")
        || zone.bytes().all(|byte| b"+-:0".contains(&byte))
}

/// What is said of a value that isn't one of its column.
pub(crate) fn unlike(field: &Field, value: &str) -> String {
    format!("column `{}`: `{}` is no {}", field.name(), short(value), type_text(field.data_type()))
}

/// A column of texts (as views) as values of its type.
///
/// # Errors
/// One of them isn't one, something of it would be cut off, or no text shows it.
pub(crate) fn typed(texts: &ArrayRef, field: &Field) -> Result<ArrayRef, ArrowError> {
    let to = field.data_type();
    let values = match to {
        DataType::Decimal32(precision, scale) => decimals::<Decimal32Type>(texts, *precision, *scale)?,
        DataType::Decimal64(precision, scale) => decimals::<Decimal64Type>(texts, *precision, *scale)?,
        DataType::Decimal128(precision, scale) => decimals::<Decimal128Type>(texts, *precision, *scale)?,
        DataType::Decimal256(precision, scale) => decimals::<Decimal256Type>(texts, *precision, *scale)?,
        _ => cast(texts, to)?,
    };
    let mut given = texts.as_string_view().iter().enumerate();
    let bad = given.find_map(|(row, text)| text.filter(|text| values.is_null(row) || is_cut(text, to)));
    // What fails is decoded again by halves, so that in the end it is the only row.
    let off = || off_calendar(&values).and_then(|_| texts.as_string_view().iter().flatten().next());
    match bad.or_else(off) {
        Some(text) => Err(ArrowError::ParseError(unlike(field, text))),
        None => Ok(values),
    }
}

/// A column of what JSON has (as views) as values of its type, which is a decimal, a date or a moment. A number is one of days or units; eight
/// digits are a day, whether or not they are quoted.
///
/// # Errors
/// As of [`typed`].
pub(crate) fn counted(texts: &ArrayRef, field: &Field) -> Result<ArrayRef, ArrowError> {
    let to = field.data_type();
    let count = |text: &str| match to {
        _ if is_day(text) || is_second(text) => None,
        DataType::Date32 if text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_digit()) => None,
        DataType::Date32 => whole(text).and_then(|days| i32::try_from(days).ok()).map(i64::from),
        DataType::Timestamp(..) => whole(text).and_then(|units| i64::try_from(units).ok()),
        _ => None,
    };
    let views = texts.as_string_view();
    let counts: Int64Array = views.iter().map(|text| count(text?)).collect();
    if counts.null_count() == counts.len() {
        return typed(texts, field);
    }
    let others: StringViewArray =
        views.iter().zip(&counts).map(|(text, count)| text.filter(|_| count.is_none())).collect();
    let others: ArrayRef = Arc::new(others);
    zip(&is_not_null(&counts)?, &cast(&counts, to)?, &typed(&others, field)?)
}

/// Texts as decimals, null where one isn't: a cast of Arrow's goes through 256 bits.
fn decimals<T: DecimalType>(texts: &ArrayRef, precision: u8, scale: i8) -> Result<ArrayRef, ArrowError> {
    let texts = texts.as_string_view().iter();
    let values = texts.map(|text| parse_decimal::<T>(text?, precision, scale).ok());
    Ok(Arc::new(values.collect::<PrimitiveArray<T>>().with_precision_and_scale(precision, scale)?))
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::Int64Type;

    use super::*;
    use crate::parse_type;

    #[test]
    fn what_a_type_cuts() {
        for (text, by, cut) in [
            ("1.25", "decimal128(10, 2)", false),
            ("1.2500", "decimal128(10, 2)", false),
            ("1.256", "decimal128(10, 2)", true),
            ("125.6e-1", "decimal128(10, 2)", false),
            ("1.256e1", "decimal128(10, 2)", false),
            ("1e-3", "decimal32(9, 2)", true),
            ("-0.000", "decimal64(9, 0)", false),
            ("1e40000", "decimal256(76, 2)", true),
            ("100", "decimal128(10, 0)", false),
            ("e1", "decimal128(10, 2)", true),
            (".e2", "decimal128(10, 2)", true),
            (".5", "decimal128(10, 2)", false),
            ("1.9", "int64", true),
            ("9007199254740993", "int64", false),
            ("9007199254740993.0", "int64", true),
            ("9007199254740992.5", "int64", true),
            ("-900719925474099.10e1", "int64", false),
            ("18446744073709551615", "uint64", false),
            ("1e18", "int64", false),
            ("1.00000000000000000001", "int32", true),
            ("1e-400", "int32", true),
            ("0e-50", "int32", false),
            ("1e20", "timestamp(s)", true),
            ("100000000000000000000", "timestamp(s)", true),
            ("1.5e1", "int64", false),
            ("1.9", "duration(ms)", true),
            ("2024-01-02", "date", false),
            ("20240102", "date", false),
            ("+12024-01-02", "date", false),
            ("2024-01-02T00:00:00.000Z", "date", false),
            ("2024-01-02 00:00:00 UTC", "date", false),
            ("2024-01-02 10:00:00 UTC", "date", true),
            ("2024-01-02 00:00:00 Europe/London", "date", true),
            ("2024-01-02 00:00:00.000", "date", false),
            ("2024-01-02T10:00:00", "date", true),
            ("2024-01-02T00:00:00+02:00", "date", true),
            ("19724.5", "date", true),
            ("2024-01-02T10:00:00", "timestamp(s)", false),
            ("2024-01-02T10:00:00.500", "timestamp(s)", true),
            ("2024-01-02T10:00:00.500", "timestamp(ms)", false),
            ("2024-01-02 10:00:00.1234567Z", "timestamp", true),
            ("2024-01-02 10:00:00.1234560 +02:00", "timestamp", false),
            ("2024-01-02 10:00:00 Europe/Berlin", "timestamp(s, UTC)", false),
            ("2024-01-02T10:00:00+02:00", "timestamp(us)", true),
            ("2024-01-02T10:00:00Z", "timestamp(us)", false),
            ("2024-01-02 10:00:00 GMT", "timestamp(us)", false),
            ("2024-01-02 10:00:00.5 Etc/UTC", "timestamp(us)", false),
            ("2024-01-02 100000+00", "timestamp(us)", false),
            ("2024-01-02 100000+04", "timestamp(us)", true),
            ("1700000000.5", "timestamp(ms)", true),
            ("1700000000", "timestamp(s)", false),
            ("10:00:00.5", "time32(s)", true),
            ("10:00:00.5 PM", "time32(ms)", false),
            ("2024-01-02T10:00:00", "timestamp(ms)", false),
            ("2024-01-02T10:00:0Z", "timestamp(ms)", false),
            ("2024-01-02 10000+04", "timestamp(ms)", true),
        ] {
            let by = parse_type(by).unwrap_or_else(|| panic!("{by}"));
            assert_eq!(is_cut(text, &by), cut, "{text} {by}");
        }
    }

    #[test]
    fn numbers_of_days_and_units_are_values() {
        for (text, by, number) in [
            ("1704189600", "timestamp(s)", Ok(1_704_189_600)),
            ("1.7041896e9", "timestamp(s)", Ok(1_704_189_600)),
            ("2024-01-02T10:00:00", "timestamp(s)", Ok(1_704_189_600)),
            ("-1000e-3", "timestamp(ns, UTC)", Ok(-1)),
            ("1704189600.5", "timestamp(s)", Err("no timestamp(s)")),
            ("9223372036854775807", "timestamp(ns)", Ok(i64::MAX)),
            ("9223372036854775808", "timestamp(ns)", Err("no timestamp(ns)")),
            ("1e20", "timestamp(ns)", Err("no timestamp(ns)")),
            ("true", "timestamp(ns)", Err("no timestamp(ns)")),
            ("19724", "date", Ok(19724)),
            ("20240102", "date", Ok(19724)),
            ("2024-01-02", "date", Ok(19724)),
            ("3000000000", "date", Err("no date")),
        ] {
            let field = Field::new("a", parse_type(by).unwrap_or_else(|| panic!("{by}")), true);
            let texts: ArrayRef = Arc::new(StringViewArray::from(vec![Some(text), None]));
            match (counted(&texts, &field), number) {
                (Ok(values), Ok(number)) => {
                    assert!(values.data_type() == field.data_type() && values.is_null(1), "{text} {by}");
                    let numbers = cast(&values, &DataType::Int64).expect("units");
                    assert_eq!(numbers.as_primitive::<Int64Type>().value(0), number, "{text} {by}");
                }
                (Err(error), Err(what)) => {
                    let said = format!("Parser error: column `a`: `{text}` is {what}");
                    assert_eq!(error.to_string(), said);
                }
                (got, _) => panic!("{text} {by}: {got:?}"),
            }
        }
    }
}
