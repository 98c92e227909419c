//! Values that break what isn't ready for them, by type: empty ones, long ones, the numeric edges, text of all kinds.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, IntervalUnit, TimeUnit};
use dflow_plugin::testing::rows;
use serde_json::{Value, json};

/// Texts, written by people and by nobody.
const TEXTS: [&str; 34] = [
    "",
    " ",
    "a",
    "word",
    "Two words.",
    "The quick brown fox jumps over the lazy dog. It does so twice! Does it?",
    "a line\nanother\r\nand a third\rand\u{2028}more\n\n\n",
    "\ttabs\tand\u{b}others\u{c}",
    "ünïcödé, Größe, naïve, ﬁ, ß, İ, ǆ",
    "e\u{301}a\u{308}\u{301}\u{301} combining",
    "日本語のテキスト。中文文本，没有空格。",
    "한국어 텍스트 \u{1112}\u{1161}\u{11ab}",
    "نص عربي مع أرقام ١٢٣ و English",
    "\u{202e}right to left\u{202c} עברית",
    "👩‍👩‍👧‍👦 🏳️‍🌈 👍🏽 🇩🇪🇫🇷 🫠",
    "\u{0}nul\u{0}",
    "\u{1}\u{7f}\u{85}\u{ad}\u{200b}\u{feff}\u{fffd}\u{ffff}\u{10ffff}",
    "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𐍈 𓀀",
    "0",
    "-1",
    "12345678901234567890123",
    "1e999",
    "NaN",
    "true",
    "null",
    "{}",
    "{\"a\": 1, \"b\": [null, \"x\", {\"c\": 1.5}], \"a\": 2}",
    "[1, 2",
    "<p>Some <b>text</b> &amp; <a href=\"/x?y=1\">a link</a><script>1 < 2</script></p>",
    "<<<>>></></p></p><table><tr><td><table>",
    "a,b,c\n1,\"two, three\",\n\"unclosed",
    "https://user@example.org:8080/a/b%20c?d=e#f",
    "2024-02-29T23:59:60.999999999+14:00",
    "# Title\n\n* one\n* two\n\n```\ncode\n```\n\n| a | b |\n|---|---|\n",
];

/// Bytes, in hexadecimal.
const BYTES: [&str; 8] = ["", "00", "ff", "68656c6c6f", "c3", "f0908080", "1f8b0800", "504b0304"];

/// Values of a type; none when JSON has no form for it. The first ones are the most usual.
pub(super) fn values(data_type: &DataType) -> Vec<Value> {
    let whole = |least: i128, most: i128| -> Vec<Value> {
        let all = [1, 0, 2, 10, -1, least, least + 1, most, most - 1];
        all.iter()
            .filter(|value| (least..=most).contains(*value))
            .filter_map(|value| {
                i64::try_from(*value).map(Value::from).or_else(|_| u64::try_from(*value).map(Value::from)).ok()
            })
            .collect()
    };
    let floats = || {
        let words = ["NaN", "inf", "-inf"].map(Value::from);
        [1.0, 0.0, -0.0, 0.5, -1.5, 1e-300, 1e300, f64::MAX, f64::MIN_POSITIVE, 5e-324, 9_007_199_254_740_993.0]
            .map(Value::from)
            .into_iter()
            .chain(words)
            .collect()
    };
    match data_type {
        DataType::Null => vec![Value::Null],
        DataType::Boolean => vec![json!(true), json!(false)],
        DataType::Int8 => whole(i8::MIN.into(), i8::MAX.into()),
        DataType::Int16 => whole(i16::MIN.into(), i16::MAX.into()),
        DataType::Int32 => whole(i32::MIN.into(), i32::MAX.into()),
        DataType::Int64 => whole(i64::MIN.into(), i64::MAX.into()),
        DataType::UInt8 => whole(0, u8::MAX.into()),
        DataType::UInt16 => whole(0, u16::MAX.into()),
        DataType::UInt32 => whole(0, u32::MAX.into()),
        DataType::UInt64 => whole(0, u64::MAX.into()),
        DataType::Float16 | DataType::Float32 | DataType::Float64 => floats(),
        DataType::Decimal128(..) | DataType::Decimal64(..) | DataType::Decimal32(..) | DataType::Decimal256(..) => {
            ["1", "0", "-1", "1.5", "-0.01", "9999999.99", "-9999999.99"].map(Value::from).to_vec()
        }
        DataType::Date32 | DataType::Date64 => {
            ["2024-02-29", "1970-01-01", "1969-12-31", "0001-01-01", "9999-12-31"].map(Value::from).to_vec()
        }
        DataType::Timestamp(..) => {
            let all = [
                "2024-02-29T12:30:00Z",
                "1970-01-01T00:00:00Z",
                "1969-12-31T23:59:59.999999Z",
                "1900-01-01T00:00:00Z",
                "2261-12-31T23:59:59Z",
            ];
            all.map(Value::from).to_vec()
        }
        DataType::Time32(_) | DataType::Time64(_) => ["12:30:00", "00:00:00", "23:59:59"].map(Value::from).to_vec(),
        DataType::Duration(_) => whole(i64::MIN.into(), i64::MAX.into()),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
            let long = ["word ".repeat(2000), "x".repeat(5000), "é".repeat(3000)];
            TEXTS.iter().map(|text| Value::from(*text)).chain(long.map(Value::from)).collect()
        }
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => BYTES.map(Value::from).to_vec(),
        DataType::List(item) | DataType::LargeList(item) => {
            let items = values(item.data_type());
            let Some(first) = items.first().cloned() else { return Vec::new() };
            vec![
                Value::Array(items.iter().take(3).cloned().collect()),
                json!([]),
                Value::Array(vec![first.clone()]),
                Value::Array(vec![Value::Null, first.clone(), Value::Null]),
                Value::Array(items),
                Value::Array(vec![first; 1000]),
            ]
        }
        DataType::FixedSizeList(item, length) => {
            let items = values(item.data_type());
            let many = |from: usize| (0..*length as usize).map(|i| items[(from + i) % items.len()].clone()).collect();
            (0..items.len().min(5)).map(|from| Value::Array(many(from))).collect()
        }
        DataType::Struct(members) => {
            let of: Vec<_> = members.iter().map(|member| (member.name(), values(member.data_type()))).collect();
            if of.iter().any(|(_, values)| values.is_empty()) {
                return Vec::new();
            }
            let longest = of.iter().map(|(_, values)| values.len()).max().unwrap_or_default();
            let one = |i: usize| {
                of.iter().map(|(name, values)| ((*name).clone(), values[i % values.len()].clone())).collect()
            };
            (0..longest.min(12)).map(|i| Value::Object(one(i))).chain([json!({})]).collect()
        }
        _ => Vec::new(),
    }
}

/// A value of more than `bytes`, made of one that is given; none of a type whose values can't be long.
pub(super) fn huge(data_type: &DataType, like: &Value, bytes: usize) -> Option<Value> {
    Some(match (data_type, like) {
        (DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View, Value::String(text)) => {
            let text = if text.trim().is_empty() { "Some words. " } else { text };
            Value::from(text.repeat(bytes / text.len() + 1))
        }
        (DataType::Binary | DataType::LargeBinary | DataType::BinaryView, _) => {
            Value::from("00ff68".repeat(bytes / 3 + 1))
        }
        (DataType::List(item) | DataType::LargeList(item), _) => {
            let first = values(item.data_type()).into_iter().next()?;
            Value::Array(vec![first; bytes / 64])
        }
        _ => return None,
    })
}

/// Types of a name that ports use, without parameters of their own; some for `any`.
pub(super) fn types_named(name: &str) -> Vec<DataType> {
    let item = |data_type| Arc::new(Field::new("item", data_type, true));
    let members = || Fields::from(vec![Field::new("a", DataType::Utf8, true), Field::new("b", DataType::Int64, true)]);
    if let Ok(known) = rows::data_type(&Value::from(name)) {
        return vec![known];
    }
    vec![match name {
        "decimal32" => DataType::Decimal32(9, 2),
        "decimal64" => DataType::Decimal64(18, 2),
        "decimal128" => DataType::Decimal128(20, 2),
        "decimal256" => DataType::Decimal256(40, 2),
        "time32" => DataType::Time32(TimeUnit::Millisecond),
        "time64" => DataType::Time64(TimeUnit::Microsecond),
        "duration" => DataType::Duration(TimeUnit::Microsecond),
        "interval" => DataType::Interval(IntervalUnit::MonthDayNano),
        "large_utf8" => DataType::LargeUtf8,
        "file" => DataType::Binary,
        "large_binary" => DataType::LargeBinary,
        "list" => DataType::List(item(DataType::Utf8)),
        "large_list" => DataType::LargeList(item(DataType::Int64)),
        "fixed_size_list" => DataType::FixedSizeList(item(DataType::Float32), 3),
        "struct" => DataType::Struct(members()),
        "any" => {
            return ["utf8", "int64", "float64", "bool", "timestamp", "binary", "list", "struct", "null"]
                .into_iter()
                .flat_map(types_named)
                .collect();
        }
        _ => return Vec::new(),
    }]
}

#[cfg(test)]
mod tests {
    use dflow_plugin::testing::rows::batch;
    use serde_json::Map;

    use super::*;

    #[test]
    fn all_values_are_of_their_types() {
        let names = [
            "null",
            "bool",
            "int8",
            "uint64",
            "float16",
            "float32",
            "float64",
            "decimal128",
            "date32",
            "date64",
            "time64",
            "timestamp",
            "duration",
            "utf8",
            "large_utf8",
            "binary",
            "list",
            "large_list",
            "fixed_size_list",
            "struct",
            "any",
        ];
        for data_type in names.into_iter().flat_map(types_named) {
            let schema = arrow::datatypes::Schema::new(vec![Field::new("c", data_type.clone(), true)]);
            let rows: Vec<_> = values(&data_type).into_iter().map(|v| Map::from_iter([("c".to_owned(), v)])).collect();
            assert!(!rows.is_empty(), "{data_type}");
            let made = batch(schema.into(), &rows).unwrap_or_else(|e| panic!("{data_type}: {e}"));
            assert_eq!(made.num_rows(), rows.len());
        }
    }
}
