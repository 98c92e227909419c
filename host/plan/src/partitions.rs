//! Which columns the folders of a source's files say, and of which types they are.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, SchemaRef};
use dflow_io::Split;
use dflow_operators::Partitions;
use dflow_pipeline::{At, Fault, Mistake};

use crate::types::parse_type;

/// The columns of folders. `asked` is what the user says about them, `pinned` the columns that the user names: of those the ones
/// that are folders' are taken out.
///
/// # Errors
/// The files' folders differ in their columns, a value doesn't fit, or there are none and they are asked for.
pub(crate) fn partitions(
    at: &At,
    splits: &[Split],
    asked: Option<bool>,
    pinned: &mut Option<SchemaRef>,
) -> Result<Partitions, Mistake> {
    if asked == Some(false) {
        return Ok(Partitions::default());
    }
    let wrong = |what: String| Mistake::new(at.key("read"), what).fault(Fault::Data);
    let keys = |split: &Split| -> Vec<String> { Partitions::said(split).into_iter().map(|(name, _)| name).collect() };
    let Some(first) = splits.first() else { return Ok(Partitions::default()) };
    let names = keys(first);
    if let Some(other) = splits.iter().find(|split| keys(split) != names) {
        let said = |split: &Split| match keys(split).as_slice() {
            [] => "none".to_owned(),
            names => names.join(", "),
        };
        let what = format!(
            "the folders of `{}` and `{}` say different columns: {} and {}",
            first.uri(),
            other.uri(),
            said(first),
            said(other)
        );
        return Err(wrong(what).hint("`partitions = false` reads only what is in the files"));
    }
    if let Some(twice) = names.iter().enumerate().find(|(i, name)| names[..*i].contains(name)) {
        let what = format!("the folders of `{}` say the column `{}` twice", first.uri(), twice.1);
        return Err(wrong(what).hint("`partitions = false` reads only what is in the files"));
    }
    if names.is_empty() {
        return match asked {
            Some(true) => {
                let what = format!("no folder of `{}` is named like `column=value`", first.uri());
                Err(Mistake::new(at.key("partitions"), what).fault(Fault::Data))
            }
            _ => Ok(Partitions::default()),
        };
    }
    let mut fields = Vec::new();
    for (place, name) in names.iter().enumerate() {
        let data_type = match pinned.as_ref().map(|schema| schema.field_with_name(name)) {
            Some(Ok(field)) => field.data_type().clone(),
            // What isn't named isn't read, unless it is asked for.
            Some(Err(_)) if asked.is_none() => continue,
            _ => inferred(splits, place),
        };
        fields.push(Arc::new(Field::new(name, data_type, true)));
    }
    if let Some(schema) = pinned {
        let files = schema.fields().iter().filter(|field| !names.contains(field.name())).cloned();
        *schema = Arc::new(datafusion::arrow::datatypes::Schema::new(files.collect::<Vec<_>>()));
    }
    let partitions = Partitions { fields };
    splits.iter().try_for_each(|split| partitions.values(split).map(drop)).map_err(wrong)?;
    Ok(partitions)
}

/// The type that all values of a folder's column allow: whole numbers as they are written, days, or text.
fn inferred(splits: &[Split], place: usize) -> DataType {
    let values = || splits.iter().filter_map(|split| Partitions::said(split).swap_remove(place).1);
    // `007` is a text: as a number it would be another one.
    let whole = |value: String| value.parse::<i64>().is_ok_and(|number| number.to_string() == value);
    let day = |value: String| {
        let shape = value.len() == 10 && value.bytes().enumerate().all(|(i, b)| (b == b'-') == matches!(i, 4 | 7));
        shape && datafusion::common::ScalarValue::try_from_string(value, &DataType::Date32).is_ok()
    };
    let text = parse_type("utf8").unwrap_or(DataType::Utf8View);
    match values().next() {
        None => text,
        Some(_) if values().all(whole) => DataType::Int64,
        Some(_) if values().all(day) => DataType::Date32,
        Some(_) => text,
    }
}

/// Refuses columns of folders that the files have, too.
pub(crate) fn refuse_both(at: &At, file: &SchemaRef, partitions: &Partitions) -> Result<(), Mistake> {
    match partitions.fields.iter().find(|field| file.field_with_name(field.name()).is_ok()) {
        None => Ok(()),
        Some(field) => {
            let what = format!("the column `{}` is in the files, and their folders say it, too", field.name());
            Err(Mistake::new(at.key("read"), what)
                .fault(Fault::Data)
                .hint("`partitions = false` takes that of the files"))
        }
    }
}
