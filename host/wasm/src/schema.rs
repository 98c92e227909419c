//! Arrow schemas ↔ the fields of the contract: what is asked of a guest's schema beyond its parts.

use arrow::{
    array::timezone::Tz,
    datatypes::{DataType, Field, Schema},
};

use dflow_pipeline::Bytes;

use crate::{
    abi::WireSchema,
    state::{controls, cut},
};

/// Bytes of a field's name.
const LONGEST_NAME: usize = 256;

/// Takes a schema apart. Errors name a column that can't cross.
pub(crate) fn to_wire(schema: &Schema) -> Result<WireSchema, String> {
    let fields = dflow_boundary::fields_of(schema)?;
    Ok(WireSchema { fields: fields.into_iter().map(Into::into).collect() })
}

/// A schema as settings hold one: its fields in pre-order, as the contract has them.
///
/// # Errors
/// A type that has no format string.
pub fn fields_as_json(schema: &Schema) -> Result<serde_json::Value, String> {
    let field = |field: dflow_boundary::WireField| {
        serde_json::json!({
            "name": field.name,
            "format": field.format,
            "nullable": field.nullable,
            "ordered": field.ordered,
            "children": field.children,
            "metadata": field.metadata,
        })
    };
    Ok(dflow_boundary::fields_of(schema)?.into_iter().map(field).collect())
}

/// Puts a guest's schema together. Errors say which field isn't one.
pub(crate) fn from_wire(wire: &WireSchema) -> Result<Schema, String> {
    let fields: Vec<_> = wire.fields.iter().cloned().map(Into::into).collect();
    let schema = dflow_boundary::schema_of(&fields)?;
    for (i, field) in schema.fields().iter().enumerate() {
        if schema.fields()[..i].iter().any(|f| f.name() == field.name()) {
            return Err(format!("two columns are named `{}`", field.name()));
        }
        if field.name().is_empty() {
            return Err("a column has no name".to_owned());
        }
    }
    for field in schema.flattened_fields() {
        if field.name().chars().any(controls) || field.name().len() > LONGEST_NAME {
            return Err(format!("{:?} is not a field's name", cut(field.name(), Bytes(LONGEST_NAME as u64))));
        }
        known_zone(field)?;
    }
    Ok(schema)
}

/// How deep types are nested: 0 where all columns hold plain values.
pub(crate) fn nesting(schema: &Schema) -> u32 {
    fn of(data_type: &DataType) -> u32 {
        dflow_boundary::children(data_type).iter().map(|child| 1 + of(child.data_type())).max().unwrap_or(0)
    }
    schema.fields().iter().map(|field| of(field.data_type())).max().unwrap_or(0)
}

/// A time zone that nobody knows would only be noticed when a value is written out.
fn known_zone(field: &Field) -> Result<(), String> {
    let mut data_type = field.data_type();
    while let DataType::Dictionary(_, values) = data_type {
        data_type = values;
    }
    match data_type {
        DataType::Timestamp(_, Some(zone)) if zone.parse::<Tz>().is_err() => {
            Err(format!("field `{}` has the unknown time zone `{}`", field.name(), zone.escape_debug()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::WireField;

    fn field(name: &str, format: &str) -> WireField {
        WireField {
            name: name.into(),
            format: format.into(),
            nullable: true,
            ordered: false,
            children: 0,
            metadata: vec![],
        }
    }

    #[test]
    fn types_are_as_deep_as_what_is_below_them() {
        let list = |depth: u32| {
            let fields = (0..depth).map(|_| WireField { children: 1, ..field("l", "+l") }).chain([field("u", "u")]);
            nesting(&from_wire(&WireSchema { fields: fields.collect() }).expect("a list"))
        };
        assert_eq!([0, 1, 7].map(list), [0, 1, 7]);
    }

    #[test]
    fn what_a_guest_says_of_its_columns_is_checked() {
        let cases = [
            (vec![field("a", "u"), field("a", "l")], "two columns are named `a`"),
            (vec![field("", "u")], "a column has no name"),
            (vec![field("a\nb", "u")], "is not a field's name"),
            (vec![WireField { children: 1, ..field("l", "+l") }, field("a\u{202e}b", "u")], "is not a field's name"),
            (vec![field("t", "tsu:Mars/Base")], "unknown time zone `Mars/Base`"),
            (vec![WireField { children: 1, ..field("d", "i") }, field("", "tss:?")], "unknown time zone `?`"),
            (vec![field("a", "nonesuch")], "field `a` of format `nonesuch` is of no type that is known here"),
        ];
        for (fields, expected) in cases {
            let message = from_wire(&WireSchema { fields }).expect_err(expected);
            assert!(message.contains(expected), "{message} / {expected}");
        }
    }
}
