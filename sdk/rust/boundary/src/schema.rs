//! Schemas ↔ fields in pre-order, with the format strings of the C data interface.

use std::{collections::HashMap, sync::Arc};

use arrow_array::types::{
    Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type, validate_decimal_precision_and_scale,
};
use arrow_schema::{
    DataType, Field, FieldRef, Schema, UnionFields, UnionMode,
    ffi::{FFI_ArrowSchema, Flags},
};

use crate::types::children;

/// The deepest nesting of types.
const DEEPEST: usize = 64;
/// The most fields, descendants counted.
const MOST_FIELDS: usize = 4096;

/// One field of a schema, as `types.field` of the contract.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WireField {
    /// Its name; may be empty below a column.
    pub name: String,
    /// Its type's format string; that of the keys when it is dictionary-encoded.
    pub format: String,
    /// Whether values may be null.
    pub nullable: bool,
    /// Whether a dictionary's order means something, or each map's keys are sorted.
    pub ordered: bool,
    /// How many of the following fields are its children, each followed by its own.
    pub children: u32,
    /// Key and value pairs.
    pub metadata: Vec<(String, String)>,
}

/// Takes a schema apart. Errors name the column whose type can't cross.
pub fn fields_of(schema: &Schema) -> Result<Vec<WireField>, String> {
    let mut fields = Vec::new();
    for field in schema.fields() {
        push(field, 0, &mut fields).map_err(|e| format!("column `{}`: {e}", field.name()))?;
    }
    Ok(fields)
}

fn push(field: &Field, depth: usize, out: &mut Vec<WireField>) -> Result<(), String> {
    within_limits(depth, out.len() + 1)?;
    let ffi = FFI_ArrowSchema::try_from(field.data_type()).map_err(|e| e.to_string())?;
    let mut metadata: Vec<_> = field.metadata().iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    metadata.sort();
    let children = children(field.data_type());
    out.push(WireField {
        name: field.name().clone(),
        format: ffi.format().to_owned(),
        nullable: field.is_nullable(),
        ordered: field.dict_is_ordered() == Some(true)
            || ffi.flags().is_some_and(|f| f.contains(Flags::MAP_KEYS_SORTED)),
        children: children.len() as u32,
        metadata,
    });
    children.iter().try_for_each(|child| push(child, depth + 1, out))
}

/// Puts a schema together. Errors name the field that isn't one.
pub fn schema_of(fields: &[WireField]) -> Result<Schema, String> {
    within_limits(0, fields.len())?;
    let mut rest = fields.iter();
    let mut columns = Vec::new();
    while rest.len() > 0 {
        columns.push(pull(&mut rest, 0)?);
    }
    Ok(Schema::new(columns))
}

fn within_limits(depth: usize, fields: usize) -> Result<(), String> {
    match () {
        () if depth > DEEPEST => Err(format!("types are nested deeper than {DEEPEST}")),
        () if fields > MOST_FIELDS => Err(format!("there are more than {MOST_FIELDS} fields, nested ones counted")),
        () => Ok(()),
    }
}

fn pull(rest: &mut std::slice::Iter<'_, WireField>, depth: usize) -> Result<Field, String> {
    let wire = rest.next().ok_or("a field has fewer children than it says")?;
    within_limits(depth, 0)?;
    if wire.children as usize > rest.len() {
        let (says, follow) = (wire.children, rest.len());
        return Err(format!("field `{}` says it has {says} children, {follow} fields follow", wire.name));
    }
    let children = (0..wire.children).map(|_| pull(rest, depth + 1).map(Arc::new)).collect::<Result<Vec<_>, _>>()?;
    let data_type = data_type(wire, children)
        .map_err(|e| format!("field `{}` of format `{}` {e}", wire.name, wire.format.escape_debug()))?;
    Ok(Field::new(&wire.name, data_type, wire.nullable)
        .with_dict_is_ordered(wire.ordered)
        .with_metadata(wire.metadata.iter().cloned().collect::<HashMap<_, _>>()))
}

/// The type of a field. Errors are phrases that follow its name.
fn data_type(wire: &WireField, children: Vec<FieldRef>) -> Result<DataType, String> {
    let count = children.len();
    let wrong = || format!("has {count} children");
    let one = || <[FieldRef; 1]>::try_from(children.clone()).map(|[child]| child).map_err(|_| wrong());
    Ok(match wire.format.split_once(':').unwrap_or((&wire.format, "")) {
        ("+l", "") => DataType::List(one()?),
        ("+L", "") => DataType::LargeList(one()?),
        ("+vl", "") => DataType::ListView(one()?),
        ("+vL", "") => DataType::LargeListView(one()?),
        ("+w", size) => {
            let size = size.parse().ok().filter(|size: &i32| *size >= 0).ok_or("has a size that is no number")?;
            DataType::FixedSizeList(one()?, size)
        }
        ("+s", "") => DataType::Struct(children.into()),
        ("+m", "") => {
            let entries = one()?;
            match entries.data_type() {
                DataType::Struct(members) if members.len() == 2 && !members[0].is_nullable() => {}
                _ => return Err("is a map whose child isn't a struct of a key, not nullable, and a value".to_owned()),
            }
            if entries.is_nullable() {
                return Err("is a map whose entries are nullable".to_owned());
            }
            DataType::Map(entries, wire.ordered)
        }
        ("+r", "") => {
            let [run_ends, values] = <[FieldRef; 2]>::try_from(children).map_err(|_| wrong())?;
            if !DataType::is_run_ends_type(run_ends.data_type()) || run_ends.is_nullable() {
                return Err("has run ends that aren't int16, int32 or int64, not nullable".to_owned());
            }
            DataType::RunEndEncoded(run_ends, values)
        }
        (mode @ ("+us" | "+ud"), ids) => {
            let ids = ids.split(',').map(str::parse::<i8>).collect::<Result<Vec<_>, _>>();
            let ids = ids.map_err(|_| "has type ids that aren't numbers from 0 to 127")?;
            let members = UnionFields::try_new(ids, children).map_err(|e| format!("is no union: {e}"))?;
            DataType::Union(members, if mode == "+us" { UnionMode::Sparse } else { UnionMode::Dense })
        }
        _ => {
            let leaf = leaf(&wire.format)?;
            match <[FieldRef; 1]>::try_from(children) {
                Ok([values]) if DataType::is_dictionary_key_type(&leaf) => {
                    DataType::Dictionary(Box::new(leaf), Box::new(values.data_type().clone()))
                }
                Err(children) if children.is_empty() => leaf,
                _ => return Err(wrong()),
            }
        }
    })
}

/// A type without children.
fn leaf(format: &str) -> Result<DataType, String> {
    let unknown = || "is of no type that is known here".to_owned();
    if format.is_empty() || format.contains('\0') || format.starts_with('+') {
        return Err(unknown());
    }
    let leaf = FFI_ArrowSchema::try_new(format, vec![], None).and_then(|ffi| DataType::try_from(&ffi));
    let leaf = leaf.map_err(|_| unknown())?;
    match leaf {
        DataType::FixedSizeBinary(size) if size < 0 => return Err("has a negative size".to_owned()),
        DataType::Decimal32(precision, scale) => {
            validate_decimal_precision_and_scale::<Decimal32Type>(precision, scale)
        }
        DataType::Decimal64(precision, scale) => {
            validate_decimal_precision_and_scale::<Decimal64Type>(precision, scale)
        }
        DataType::Decimal128(precision, scale) => {
            validate_decimal_precision_and_scale::<Decimal128Type>(precision, scale)
        }
        DataType::Decimal256(precision, scale) => {
            validate_decimal_precision_and_scale::<Decimal256Type>(precision, scale)
        }
        _ => Ok(()),
    }
    .map_err(|e| format!("is no decimal: {e}"))?;
    Ok(leaf)
}
