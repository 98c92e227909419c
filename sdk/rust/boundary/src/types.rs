//! Types: their children, their names at ports, and the form without views.

use std::sync::Arc;

use arrow_schema::{DataType, Field, FieldRef, Fields, UnionFields, UnionMode};

/// The fields below a type, in the order in which they cross; a dictionary's values are a field without a name.
pub fn children(data_type: &DataType) -> Vec<FieldRef> {
    match data_type {
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _)
        | DataType::Map(item, _) => vec![item.clone()],
        DataType::Struct(members) => members.iter().cloned().collect(),
        DataType::Union(members, _) => members.iter().map(|(_, member)| member.clone()).collect(),
        DataType::RunEndEncoded(run_ends, values) => vec![run_ends.clone(), values.clone()],
        DataType::Dictionary(_, values) => vec![Arc::new(Field::new("", DataType::clone(values), true))],
        _ => Vec::new(),
    }
}

/// The same type with other types below it.
fn with_children(data_type: &DataType, change: impl Fn(&DataType) -> DataType) -> DataType {
    let field = |field: &FieldRef| Arc::new(Field::clone(field).with_data_type(change(field.data_type())));
    match data_type {
        DataType::List(item) => DataType::List(field(item)),
        DataType::LargeList(item) => DataType::LargeList(field(item)),
        DataType::ListView(item) => DataType::ListView(field(item)),
        DataType::LargeListView(item) => DataType::LargeListView(field(item)),
        DataType::FixedSizeList(item, size) => DataType::FixedSizeList(field(item), *size),
        DataType::Map(entries, sorted) => DataType::Map(field(entries), *sorted),
        DataType::Struct(members) => DataType::Struct(members.iter().map(field).collect::<Fields>()),
        DataType::Union(members, mode) => {
            DataType::Union(members.iter().map(|(id, member)| (id, field(member))).collect::<UnionFields>(), *mode)
        }
        DataType::RunEndEncoded(run_ends, values) => DataType::RunEndEncoded(run_ends.clone(), field(values)),
        DataType::Dictionary(keys, values) => DataType::Dictionary(keys.clone(), Box::new(change(values))),
        other => other.clone(),
    }
}

/// A type with plain text and bytes in the place of views, at any depth: the form in which the host's columns go in.
pub fn unviewed(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        other => with_children(other, unviewed),
    }
}

/// The name by which ports ask for a type (`wit/README.md`); parameters and what is below it don't count.
pub fn type_name(data_type: &DataType) -> &'static str {
    match data_type {
        DataType::Null => "null",
        DataType::Boolean => "bool",
        DataType::Int8 => "int8",
        DataType::Int16 => "int16",
        DataType::Int32 => "int32",
        DataType::Int64 => "int64",
        DataType::UInt8 => "uint8",
        DataType::UInt16 => "uint16",
        DataType::UInt32 => "uint32",
        DataType::UInt64 => "uint64",
        DataType::Float16 => "float16",
        DataType::Float32 => "float32",
        DataType::Float64 => "float64",
        DataType::Decimal32(..) => "decimal32",
        DataType::Decimal64(..) => "decimal64",
        DataType::Decimal128(..) => "decimal128",
        DataType::Decimal256(..) => "decimal256",
        DataType::Date32 => "date32",
        DataType::Date64 => "date64",
        DataType::Time32(_) => "time32",
        DataType::Time64(_) => "time64",
        DataType::Timestamp(..) => "timestamp",
        DataType::Duration(_) => "duration",
        DataType::Interval(_) => "interval",
        DataType::Utf8 => "utf8",
        DataType::LargeUtf8 => "large_utf8",
        DataType::Utf8View => "utf8_view",
        DataType::Binary => "binary",
        DataType::LargeBinary => "large_binary",
        DataType::BinaryView => "binary_view",
        DataType::FixedSizeBinary(_) => "fixed_size_binary",
        DataType::List(_) => "list",
        DataType::LargeList(_) => "large_list",
        DataType::ListView(_) => "list_view",
        DataType::LargeListView(_) => "large_list_view",
        DataType::FixedSizeList(..) => "fixed_size_list",
        DataType::Struct(_) => "struct",
        DataType::Map(..) => "map",
        DataType::Dictionary(..) => "dictionary",
        DataType::RunEndEncoded(..) => "run_end_encoded",
        DataType::Union(_, UnionMode::Sparse) => "sparse_union",
        DataType::Union(_, UnionMode::Dense) => "dense_union",
    }
}
