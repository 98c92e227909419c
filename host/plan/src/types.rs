//! Names of types, as pipelines and tables write them.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, TimeUnit};

/// Names and what they mean. Text and bytes are views throughout the engine.
const NAMES: &[(&str, DataType)] = &[
    ("bool", DataType::Boolean),
    ("int8", DataType::Int8),
    ("int16", DataType::Int16),
    ("int32", DataType::Int32),
    ("int64", DataType::Int64),
    ("uint8", DataType::UInt8),
    ("uint16", DataType::UInt16),
    ("uint32", DataType::UInt32),
    ("uint64", DataType::UInt64),
    ("float16", DataType::Float16),
    ("float32", DataType::Float32),
    ("float64", DataType::Float64),
    ("utf8", DataType::Utf8View),
    ("binary", DataType::BinaryView),
    ("date", DataType::Date32),
    ("null", DataType::Null),
];

/// A type by its name: `utf8`, `int64`, `list<float32>`, `timestamp`. `None` when it isn't one.
pub fn parse_type(text: &str) -> Option<DataType> {
    let text = text.trim();
    if let Some(item) = text.strip_prefix("list<").and_then(|t| t.strip_suffix('>')) {
        // Inside of lists text is plain: views are for columns.
        let item = dflow_wasm::plain(&parse_type(item)?);
        return Some(DataType::List(Arc::new(Field::new("item", item, true))));
    }
    if text == "timestamp" {
        return Some(DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())));
    }
    NAMES.iter().find(|(name, _)| *name == text).map(|(_, data_type)| data_type.clone())
}

/// The names that [`parse_type`] knows.
pub(crate) fn type_names() -> Vec<&'static str> {
    NAMES.iter().map(|(name, _)| *name).chain(["timestamp", "list<utf8>"]).collect()
}

/// A type as tables show it.
pub fn type_text(data_type: &DataType) -> String {
    match data_type {
        DataType::List(f) | DataType::LargeList(f) => format!("list<{}>", type_text(f.data_type())),
        DataType::FixedSizeList(f, n) => format!("list<{}; {n}>", type_text(f.data_type())),
        DataType::Struct(fields) => {
            let fields: Vec<_> = fields.iter().map(|f| format!("{}: {}", f.name(), type_text(f.data_type()))).collect();
            format!("struct<{}>", fields.join(", "))
        }
        DataType::Utf8 | DataType::LargeUtf8 => "utf8".to_owned(),
        DataType::Binary | DataType::LargeBinary => "binary".to_owned(),
        DataType::Timestamp(unit, zone) => {
            let unit = match unit {
                TimeUnit::Second => "s",
                TimeUnit::Millisecond => "ms",
                TimeUnit::Microsecond => "us",
                TimeUnit::Nanosecond => "ns",
            };
            format!("timestamp[{unit}{}]", zone.as_ref().map(|z| format!(", {z}")).unwrap_or_default())
        }
        other => match NAMES.iter().find(|(_, t)| t == other) {
            Some((name, _)) => (*name).to_owned(),
            None => other.to_string().to_lowercase(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_shown() {
        for name in ["utf8", "int64", "list<float32>", "list<list<utf8>>", "bool"] {
            assert_eq!(parse_type(name).map(|t| type_text(&t)).as_deref(), Some(name));
        }
        assert_eq!(parse_type("string"), None);
        assert_eq!(type_text(&parse_type("timestamp").expect("a type")), "timestamp[us, UTC]");
    }
}
