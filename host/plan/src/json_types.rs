//! Whether JSON rows have one type a column.

use std::collections::BTreeMap;

use serde_json::Value;

/// The kind of each column and member that was seen, and the row that it was seen first in.
#[derive(Default)]
pub(crate) struct JsonTypes {
    seen: BTreeMap<String, (&'static str, u64)>,
}

impl JsonTypes {
    /// Looks at a row, of a number from 1.
    ///
    /// # Errors
    /// A value is of another kind than one before: a phrase with the column and both rows.
    pub(crate) fn row(&mut self, number: u64, row: &Value) -> Result<(), String> {
        row.as_object()
            .map_or(Ok(()), |members| members.iter().try_for_each(|(name, value)| self.value(number, name, value)))
    }

    fn value(&mut self, number: u64, path: &str, value: &Value) -> Result<(), String> {
        let kind = match value {
            Value::Null => return Ok(()),
            Value::Bool(_) => "a boolean",
            Value::Number(_) => "a number",
            Value::String(_) => "text",
            Value::Array(_) => "a list",
            Value::Object(_) => "an object",
        };
        match self.seen.get(path) {
            None => {
                self.seen.insert(path.to_owned(), (kind, number));
            }
            Some((before, _)) if *before == kind => {}
            Some((before, first)) => {
                return Err(format!("`{path}` is {before} in row {first} and {kind} in row {number}"));
            }
        }
        match value {
            Value::Array(items) => items.iter().try_for_each(|item| self.value(number, &format!("{path}[]"), item)),
            Value::Object(members) => {
                members.iter().try_for_each(|(name, value)| self.value(number, &format!("{path}.{name}"), value))
            }
            _ => Ok(()),
        }
    }
}
