//! What functions are called with: constants that planning reads, and columns of text.

use std::ops::RangeInclusive;

use datafusion::{
    arrow::{
        array::{Array, StringViewArray, cast::AsArray},
        datatypes::DataType,
    },
    common::{Result, ScalarValue},
    logical_expr::{ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs},
};
use dflow_pipeline::Fault;

use crate::StepError;

/// A mistake in how a function is called.
pub(super) fn misused(message: impl Into<String>, hint: impl Into<String>) -> datafusion::error::DataFusionError {
    StepError::new(Fault::Pipeline, message).hint(hint).into()
}

/// The types that a function gets: its first argument's as a view, where that is text. Whether it is, [`text_first`] says: what is
/// refused here is reported in DataFusion's words.
pub(super) fn coerced(given: &[DataType]) -> Vec<DataType> {
    let view = |(at, data_type): (usize, &DataType)| match at == 0 && is_text(data_type) {
        true => DataType::Utf8View,
        false => data_type.clone(),
    };
    given.iter().enumerate().map(view).collect()
}

fn is_text(data_type: &DataType) -> bool {
    match data_type {
        DataType::Dictionary(_, value) => is_text(value),
        other => matches!(other, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null),
    }
}

/// Checks that a function is called with as many arguments as it takes, the first of them text. `usage` shows how it is called.
///
/// # Errors
/// It isn't.
pub(super) fn text_first(usage: &str, args: &ReturnFieldArgs<'_>, count: RangeInclusive<usize>) -> Result<()> {
    let name = usage.split('(').next().unwrap_or(usage);
    counted(usage, args, count)?;
    let first = args.arg_fields[0].data_type();
    if !is_text(first) {
        let hint = format!("call it as `{usage}`; `arrow_cast(…, 'Utf8View')` makes text of other types");
        return Err(misused(format!("`{name}` takes text, and is given {first}"), hint));
    }
    Ok(())
}

/// Checks that a function is called with as many arguments as it takes.
///
/// # Errors
/// It isn't.
pub(super) fn counted(usage: &str, args: &ReturnFieldArgs<'_>, count: RangeInclusive<usize>) -> Result<()> {
    let given = args.arg_fields.len();
    if count.contains(&given) {
        return Ok(());
    }
    let name = usage.split('(').next().unwrap_or(usage);
    let many = if given == 1 { "" } else { "s" };
    Err(misused(format!("`{name}` is called with {given} argument{many}"), format!("call it as `{usage}`")))
}

/// A constant text, known while planning. `what` names it, such as "the path of `json_extract`".
pub(super) fn constant<'a>(args: &ReturnFieldArgs<'a>, at: usize, what: &str) -> Result<&'a str> {
    match args.scalar_arguments.get(at).copied().flatten() {
        Some(value) => match value.try_as_str() {
            Some(Some(text)) => Ok(text),
            _ => Err(misused(
                format!("{what} is {}, it must be text", value.data_type()),
                "write it between single quotes",
            )),
        },
        None => Err(misused(format!("{what} must be a constant"), "write it as text between single quotes")),
    }
}

/// A constant text, while running.
pub(super) fn constant_of(args: &ScalarFunctionArgs, at: usize) -> Option<&str> {
    match args.args.get(at)? {
        ColumnarValue::Scalar(value) => value.try_as_str().flatten(),
        ColumnarValue::Array(_) => None,
    }
}

/// A constant number of elements, while planning or running.
pub(super) fn length(value: &ScalarValue) -> Option<i32> {
    match value.cast_to(&DataType::Int32) {
        Ok(ScalarValue::Int32(length)) => length.filter(|length| *length > 0),
        _ => None,
    }
}

/// The column of text that a function is called with, and whether it is one constant for all rows.
pub(super) fn texts(value: &ColumnarValue) -> Result<(StringViewArray, bool)> {
    let (array, constant) = match value {
        ColumnarValue::Array(array) => (array.clone(), false),
        ColumnarValue::Scalar(value) => (value.to_array()?, true),
    };
    let array = match array.data_type() {
        DataType::Utf8View => array,
        _ => datafusion::arrow::compute::cast(&array, &DataType::Utf8View)?,
    };
    Ok((array.as_string_view().clone(), constant))
}

/// The result of a function: one value for all rows where it was called with one.
pub(super) fn result(array: datafusion::arrow::array::ArrayRef, constant: bool) -> Result<ColumnarValue> {
    Ok(match constant {
        true => ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?),
        false => ColumnarValue::Array(array),
    })
}

/// The texts, null where there is none.
pub(super) fn each(texts: &StringViewArray) -> impl Iterator<Item = Option<&str>> {
    (0..texts.len()).map(|row| texts.is_valid(row).then(|| texts.value(row)))
}
