//! Arrow schemas ↔ the fields of the contract, through the C data interface's format strings.

use std::collections::HashMap;

use arrow::{
    datatypes::{DataType, Field, Schema},
    ffi::FFI_ArrowSchema,
};

use crate::abi::{WireField, WireSchema};

/// The deepest nesting of types that is accepted from a guest.
const DEEPEST: usize = 64;
/// The most fields, descendants counted, that are accepted from a guest.
const MOST_FIELDS: usize = 4096;

/// Takes a schema apart. Errors name a type that can't cross.
pub(crate) fn to_wire(schema: &Schema) -> Result<WireSchema, String> {
    let mut fields = Vec::new();
    for field in schema.fields() {
        push(field, &mut fields)?;
    }
    Ok(WireSchema { fields })
}

fn push(field: &Field, out: &mut Vec<WireField>) -> Result<(), String> {
    let children: Vec<_> = match field.data_type() {
        DataType::List(child) | DataType::FixedSizeList(child, _) => vec![child.clone()],
        DataType::Struct(children) => children.iter().cloned().collect(),
        _ => Vec::new(),
    };
    // The format string of a field is made by arrow; names and metadata are ours, since children go flat.
    let ffi = FFI_ArrowSchema::try_from(field.data_type()).map_err(|e| e.to_string())?;
    let mut metadata: Vec<_> = field.metadata().iter().map(|(k, v)| (k.clone(), v.clone())).collect();
    metadata.sort();
    out.push(WireField {
        name: field.name().clone(),
        format: ffi.format().to_owned(),
        nullable: field.is_nullable(),
        children: children.len() as u32,
        metadata,
    });
    children.iter().try_for_each(|child| push(child, out))
}

/// Puts a guest's schema together. Errors say which field isn't one.
pub(crate) fn from_wire(wire: &WireSchema) -> Result<Schema, String> {
    if wire.fields.len() > MOST_FIELDS {
        return Err(format!("{} fields, at most {MOST_FIELDS} are accepted", wire.fields.len()));
    }
    let mut rest = wire.fields.iter();
    let mut fields = Vec::new();
    while rest.len() > 0 {
        fields.push(pull(&mut rest, 0)?);
    }
    for (i, field) in fields.iter().enumerate() {
        if fields[..i].iter().any(|f: &Field| f.name() == field.name()) {
            return Err(format!("two columns are named `{}`", field.name()));
        }
        if field.name().is_empty() || field.name().chars().any(char::is_control) || field.name().len() > 256 {
            return Err(format!("{:?} is not a column's name", field.name()));
        }
    }
    Ok(Schema::new(fields))
}

fn pull(rest: &mut std::slice::Iter<'_, WireField>, depth: usize) -> Result<Field, String> {
    let wire = rest.next().ok_or("a field has fewer children than it says")?;
    if depth > DEEPEST {
        return Err(format!("types are nested deeper than {DEEPEST}"));
    }
    if wire.children as usize > rest.len() {
        return Err(format!(
            "field `{}` says it has {} children, {} fields follow",
            wire.name,
            wire.children,
            rest.len()
        ));
    }
    let children = (0..wire.children).map(|_| pull(rest, depth + 1)).collect::<Result<Vec<_>, _>>()?;
    let children = children
        .iter()
        .map(FFI_ArrowSchema::try_from)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| format!("field `{}`: {e}", wire.name))?;
    let named = |e: arrow::error::ArrowError| format!("field `{}` of format `{}`: {e}", wire.name, wire.format);
    if wire.format.contains('\0') || wire.format.is_empty() {
        return Err(format!("field `{}` has the format {:?}", wire.name, wire.format));
    }
    let expected = match wire.format.as_str() {
        "+l" => 1,
        f if f.starts_with("+w:") => 1,
        "+s" => children.len(),
        _ => 0,
    };
    if children.len() != expected {
        return Err(format!("field `{}` of format `{}` has {} children", wire.name, wire.format, children.len()));
    }
    let ffi = FFI_ArrowSchema::try_new(&wire.format, children, None).map_err(named)?;
    let data_type = DataType::try_from(&ffi).map_err(named)?;
    if !crate::lower::crosses(&data_type) {
        return Err(format!("field `{}`: the type {data_type} can't cross the boundary", wire.name));
    }
    Ok(Field::new(&wire.name, data_type, wire.nullable)
        .with_metadata(wire.metadata.iter().cloned().collect::<HashMap<_, _>>()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::{Fields, TimeUnit};

    use super::*;

    #[test]
    fn every_type_of_the_contract_survives() {
        let item = |t| Arc::new(Field::new("item", t, true));
        let types = [
            DataType::Null,
            DataType::Boolean,
            DataType::Int8,
            DataType::UInt64,
            DataType::Float32,
            DataType::Utf8,
            DataType::Binary,
            DataType::Date32,
            DataType::Date64,
            DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            DataType::List(item(DataType::Utf8)),
            DataType::FixedSizeList(item(DataType::Float32), 3),
            DataType::Struct(Fields::from(vec![
                Field::new("a", DataType::Int64, false),
                Field::new("b", DataType::List(item(DataType::Boolean)), true),
            ])),
        ];
        let fields: Vec<_> =
            types.into_iter().enumerate().map(|(i, t)| Field::new(format!("c{i}"), t, i % 2 == 0)).collect();
        let schema = Schema::new(fields);
        assert_eq!(from_wire(&to_wire(&schema).expect("all can cross")).expect("what we wrote can be read"), schema);
    }

    #[test]
    fn lies_about_children_are_refused() {
        let field = |format: &str, children| WireField {
            name: "x".into(),
            format: format.into(),
            nullable: true,
            children,
            metadata: vec![],
        };
        for fields in [
            vec![field("+l", 0)],
            vec![field("+l", 1)],
            vec![field("u", 1), field("u", 0)],
            vec![field("??", 0)],
            vec![field("+s", u32::MAX)],
            vec![field("", 0)],
        ] {
            from_wire(&WireSchema { fields: fields.clone() }).expect_err(&format!("{fields:?}"));
        }
        let mut deep = vec![field("+l", 1); 1000];
        deep.push(field("u", 0));
        from_wire(&WireSchema { fields: deep }).expect_err("nested 1,000 deep");
    }
}
