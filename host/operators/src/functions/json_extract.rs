//! `json_extract(text, path, type)`: a value out of a JSON document, as a column of a type.

use std::{
    borrow::Cow,
    hash::{Hash, Hasher},
    sync::Arc,
};

use datafusion::{
    arrow::{
        array::{Array, ArrayRef, StringViewArray, StringViewBuilder, new_null_array},
        datatypes::{DataType, Field, FieldRef},
        error::ArrowError,
        json::{ReaderBuilder, reader::Decoder},
    },
    common::{Result, exec_datafusion_err, internal_err},
    logical_expr::{ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility},
};
use serde_json::Value;

use super::{
    TypeNames,
    arguments::{coerced, constant, constant_of, each, misused, result, text_first, texts},
    json_path::JsonPath,
};

/// How it is called.
const USAGE: &str = "json_extract(text, '$.path', 'type')";

/// `json_extract(text, path, type)`: the value at a path of a JSON document.
///
/// The path is RFC 9535's, `$` may be left out. The type is a name that schemas use too, `'utf8'` if there is none; `'json'` is the
/// value's JSON text. Text takes numbers and booleans as they are written, other types take text that reads as one of them; an
/// integer takes no number with a fraction. What isn't there, isn't JSON, or doesn't fit is null. A path that may find several
/// values needs a list (or `'json'`), in which what doesn't fit is null.
#[derive(Debug)]
pub(super) struct JsonExtract {
    types: TypeNames,
    signature: Signature,
}

impl JsonExtract {
    /// With the names of types.
    pub(super) fn new(types: TypeNames) -> Self {
        Self { types, signature: Signature::user_defined(Volatility::Immutable) }
    }

    fn wanted(&self, name: &str) -> Option<Wanted> {
        match name.trim() {
            "json" => Some(Wanted::Json),
            name => (self.types.parse)(name).map(|data_type| match data_type {
                DataType::Utf8View => Wanted::Text,
                other => Wanted::Typed(other),
            }),
        }
    }
}

/// What is asked for.
enum Wanted {
    Json,
    Text,
    Typed(DataType),
}

impl Wanted {
    fn data_type(self) -> DataType {
        match self {
            Self::Json | Self::Text => DataType::Utf8View,
            Self::Typed(data_type) => data_type,
        }
    }
}

// All of them are one function: nothing but a type's names could differ, and those don't.
impl PartialEq for JsonExtract {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for JsonExtract {}

impl Hash for JsonExtract {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name().hash(state);
    }
}

impl ScalarUDFImpl for JsonExtract {
    fn name(&self) -> &str {
        "json_extract"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        Ok(coerced(given))
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        internal_err!("the type of json_extract depends on its arguments")
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        text_first(USAGE, &args, 2..=3)?;
        let path = constant(&args, 1, "the path of `json_extract`")?;
        let parsed = JsonPath::parse(path).map_err(|e| {
            misused(format!("`{path}` is not a JSON path: {e}"), "such as `$.user.name`, `$.tags[0]`, `$.items[*].id`")
        })?;
        let name = match args.scalar_arguments.len() {
            2 => "utf8",
            _ => constant(&args, 2, "the type of `json_extract`")?,
        };
        let Some(wanted) = self.wanted(name) else {
            let known = [&["json"], (self.types.known)().as_slice()].concat().join("`, `");
            return Err(misused(
                format!("`json_extract` into an unknown type `{name}`"),
                format!("there is: `{known}`"),
            ));
        };
        let json = matches!(wanted, Wanted::Json);
        let data_type = wanted.data_type();
        if parsed.is_query() && !json && !matches!(data_type, DataType::List(_)) {
            let what = format!("`{path}` may find several values, which `{name}` can't hold");
            return Err(misused(what, format!("ask for `'list<{name}>'` and take one of them: `json_extract(…)[1]`")));
        }
        if decoder(&data_type, 1).is_err() {
            let what = format!("JSON can't be read as `{name}`");
            return Err(misused(what, "extract `'utf8'` and cast it"));
        }
        Ok(Arc::new(Field::new(self.name(), data_type, true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let (texts, constant) = texts(&args.args[0])?;
        let path = constant_of(&args, 1).ok_or_else(|| exec_datafusion_err!("json_extract has lost its path"))?;
        let path = JsonPath::parse(path).map_err(|e| exec_datafusion_err!("json_extract: {e}"))?;
        let wanted = self.wanted(constant_of(&args, 2).unwrap_or("utf8"));
        let wanted = wanted.ok_or_else(|| exec_datafusion_err!("json_extract has lost its type"))?;
        let array = match wanted {
            Wanted::Json => collected(&texts, &path, |found| (found != "null").then_some(found)),
            Wanted::Text => collected(&texts, &path, text_of),
            Wanted::Typed(data_type) => typed(&texts, &path, &data_type)?,
        };
        result(array, constant)
    }
}

/// A column of text made of what is found.
fn collected(
    texts: &StringViewArray,
    path: &JsonPath,
    make: impl Fn(Cow<'_, str>) -> Option<Cow<'_, str>>,
) -> ArrayRef {
    let mut column = StringViewBuilder::with_capacity(texts.len());
    for text in each(texts) {
        column.append_option(text.and_then(|text| path.find(text)).and_then(&make));
    }
    Arc::new(column.finish())
}

/// A JSON value as text: a string's characters, a number's digits.
fn text_of(found: Cow<'_, str>) -> Option<Cow<'_, str>> {
    match found.as_bytes().first()? {
        b'"' if !found.contains('\\') => Some(match found {
            Cow::Borrowed(found) => Cow::Borrowed(found.get(1..found.len() - 1)?),
            Cow::Owned(found) => Cow::Owned(found.get(1..found.len() - 1)?.to_owned()),
        }),
        b'"' => serde_json::from_str::<String>(&found).ok().map(Cow::Owned),
        b'{' | b'[' | b'n' => None,
        _ => Some(found),
    }
}

/// A column of another type, made of what is found by Arrow's reader of JSON.
fn typed(texts: &StringViewArray, path: &JsonPath, data_type: &DataType) -> Result<ArrayRef> {
    if texts.is_empty() {
        return Ok(new_null_array(data_type, 0));
    }
    let whole_numbers = has_integers(data_type);
    let mut rows = String::new();
    let mut ends = Vec::with_capacity(texts.len());
    for text in each(texts) {
        let found = text.and_then(|text| path.find(text)).and_then(|found| match whole_numbers {
            true => without_fractions(found, data_type),
            false => Some(found),
        });
        rows.push_str(found.as_deref().unwrap_or("null"));
        rows.push('\n');
        ends.push(rows.len());
    }
    if let Ok(column) = decode(&rows, texts.len(), data_type) {
        return Ok(column);
    }
    // What the reader refuses altogether (such as a number out of a date's range) must not cost the other rows theirs.
    let starts = std::iter::once(0).chain(ends.iter().copied());
    let one = |(start, end): (usize, usize)| {
        decode(&rows[start..end], 1, data_type).unwrap_or_else(|_| new_null_array(data_type, 1))
    };
    let columns: Vec<ArrayRef> = starts.zip(ends.iter().copied()).map(one).collect();
    let columns: Vec<&dyn Array> = columns.iter().map(AsRef::as_ref).collect();
    Ok(datafusion::arrow::compute::concat(&columns)?)
}

fn decoder(data_type: &DataType, rows: usize) -> Result<Decoder, ArrowError> {
    ReaderBuilder::new_with_field(Field::new("value", data_type.clone(), true))
        .with_batch_size(rows)
        .with_coerce_primitive(true)
        .with_ignore_type_conflicts(true)
        .build_decoder()
}

fn decode(rows: &str, count: usize, data_type: &DataType) -> Result<ArrayRef, ArrowError> {
    let mut decoder = decoder(data_type, count)?;
    decoder.decode(rows.as_bytes())?;
    match decoder.flush()? {
        Some(batch) if batch.num_rows() == count => Ok(batch.column(0).clone()),
        _ => Err(ArrowError::JsonError(format!("{count} rows are other than {count}"))),
    }
}

fn has_integers(data_type: &DataType) -> bool {
    match data_type {
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::FixedSizeList(item, _)
        | DataType::Map(item, _) => has_integers(item.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field| has_integers(field.data_type())),
        other => other.is_integer(),
    }
}

/// The value, null where a number with a fraction stands for an integer: the reader would cut it.
fn without_fractions<'a>(found: Cow<'a, str>, data_type: &DataType) -> Option<Cow<'a, str>> {
    if !found.contains(['.', 'e', 'E']) {
        return Some(found);
    }
    let mut value: Value = serde_json::from_str(&found).ok()?;
    null_fractions(&mut value, data_type);
    serde_json::to_string(&value).ok().map(Cow::Owned)
}

fn null_fractions(value: &mut Value, data_type: &DataType) {
    match (value, data_type) {
        (value @ Value::Number(_), integer) if integer.is_integer() && has_fraction(value) => *value = Value::Null,
        (Value::Array(items), DataType::List(item) | DataType::LargeList(item)) => {
            items.iter_mut().for_each(|value| null_fractions(value, item.data_type()));
        }
        (Value::Object(members), DataType::Struct(fields)) => {
            for field in fields {
                if let Some(value) = members.get_mut(field.name()) {
                    null_fractions(value, field.data_type());
                }
            }
        }
        _ => {}
    }
}

fn has_fraction(value: &Value) -> bool {
    value.as_f64().is_some_and(|number| number.fract() != 0.0)
}
