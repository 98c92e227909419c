//! Cases as files: rows in, rows expected. `sdk/rust/README.md` describes the format.

use std::fs;
use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::rows::{self, Object};
use super::run_entry;
use crate::{Failure, Plugin, RowError};

/// One case: a file.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Case {
    /// What it is about, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    doc: Option<String>,
    /// The operator's name.
    operator: String,
    /// Its settings.
    #[serde(default, skip_serializing_if = "Object::is_empty")]
    with: Object,
    /// Names and types of the input's columns.
    schema: Object,
    /// The input's rows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    rows: Vec<Object>,
    /// The output's rows; `parent` is the position of the input row that each comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expect: Option<Vec<Object>>,
    /// The rows that have no result.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    errors: Vec<ExpectedError>,
    /// A part of the message that `open` fails with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fails: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct ExpectedError {
    row: u32,
    kind: String,
    message: String,
}

/// What came out.
#[derive(Debug, Default)]
struct Outcome {
    rows: Vec<Object>,
    errors: Vec<ExpectedError>,
}

/// Runs every `*.json` of a folder: whole, and row by row, since an answer must not depend on where batches are cut.
///
/// With `DFLOW_BLESS=1` in the environment, `expect` and `errors` are rewritten to what came out.
///
/// # Panics
///
/// When a case fails, or there is none: the message lists all that failed, with what was expected and what came out.
pub fn check_folder(plugin: &Plugin, folder: &Path) {
    let bless = std::env::var_os("DFLOW_BLESS").is_some_and(|value| value == "1");
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap_or_else(|e| panic!("failed to list `{}`: {e}", folder.display()))
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "there is no case in `{}`", folder.display());
    let failures: Vec<_> = files
        .iter()
        .filter_map(|file| check_file(plugin, file, bless).err().map(|e| format!("{}: {e}", file.display())))
        .collect();
    assert!(
        failures.is_empty(),
        "{} of {} cases failed\n\n{}\n\nhint: DFLOW_BLESS=1 rewrites what is expected to what came out",
        failures.len(),
        files.len(),
        failures.join("\n\n")
    );
}

fn check_file(plugin: &Plugin, file: &Path, bless: bool) -> Result<(), String> {
    let text = fs::read_to_string(file).map_err(|e| e.to_string())?;
    let mut case: Case = serde_json::from_str(&text).map_err(|e| format!("is not a case: {e}"))?;
    if case.fails.is_some() == case.expect.is_some() && !bless {
        return Err("a case has either `expect` or `fails`".to_owned());
    }
    let input = rows::batch(rows::schema(&case.schema)?, &case.rows)?;
    let outcome = match (run(plugin, &case, &input), &case.fails) {
        (Err(failure), Some(expected)) if failure.to_string().contains(expected) => return Ok(()),
        (Err(failure), Some(expected)) => return Err(format!("failed with `{failure}`, expected `{expected}`")),
        (Ok(_), Some(expected)) => return Err(format!("did not fail, expected `{expected}`")),
        (Err(failure), None) => return Err(format!("failed with `{failure}`")),
        (Ok(outcome), None) => outcome,
    };
    if bless {
        (case.expect, case.errors) = (Some(outcome.rows), outcome.errors);
        let text = written(&case);
        return fs::write(file, text).map_err(|e| e.to_string());
    }
    compare(case.expect.as_deref().unwrap_or_default(), &case.errors, &outcome)?;
    let mut row_by_row = Outcome::default();
    for row in 0..input.num_rows() {
        let outcome =
            run(plugin, &case, &input.slice(row, 1)).map_err(|e| format!("row {row} alone failed with `{e}`"))?;
        row_by_row.rows.extend(outcome.rows.into_iter().map(|mut object| {
            object["parent"] = row.into();
            object
        }));
        row_by_row.errors.extend(outcome.errors.into_iter().map(|error| ExpectedError { row: row as u32, ..error }));
    }
    compare(&outcome.rows, &outcome.errors, &row_by_row)
        .map_err(|e| format!("the answer depends on where batches are cut: {e}"))
}

fn run(plugin: &Plugin, case: &Case, input: &RecordBatch) -> Result<Outcome, Failure> {
    let settings = Value::Object(case.with.clone()).to_string();
    let ran = run_entry(plugin.operator(&case.operator)?, &settings, input)?;
    let objects = rows::objects(&ran.output).map_err(Failure::Other)?;
    let with_parent = |(object, parent): (Object, &u32)| {
        let mut row = Object::from_iter([("parent".to_owned(), Value::from(*parent))]);
        row.extend(object);
        row
    };
    let rows = objects.into_iter().zip(&ran.parents).map(with_parent).collect();
    let errors =
        ran.errors.into_iter().map(|RowError { row, kind, message }| ExpectedError { row, kind, message }).collect();
    Ok(Outcome { rows, errors })
}

fn compare(rows: &[Object], errors: &[ExpectedError], got: &Outcome) -> Result<(), String> {
    for index in 0..rows.len().max(got.rows.len()) {
        let same = rows.get(index).zip(got.rows.get(index)).is_some_and(|(a, b)| same_object(a, b));
        if !same {
            let show = |row: Option<&Object>| row.map_or("nothing".to_owned(), line);
            return Err(format!(
                "output row {index} differs\n  expected {}\n  got      {}",
                show(rows.get(index)),
                show(got.rows.get(index))
            ));
        }
    }
    for index in 0..errors.len().max(got.errors.len()) {
        let (expected, got) = (errors.get(index), got.errors.get(index));
        if expected != got {
            let show = |error: Option<&ExpectedError>| error.map_or("nothing".to_owned(), line);
            return Err(format!("error {index} differs\n  expected {}\n  got      {}", show(expected), show(got)));
        }
    }
    Ok(())
}

fn same_object(a: &Object, b: &Object) -> bool {
    a.len() == b.len() && a.iter().all(|(key, value)| b.get(key).is_some_and(|other| same(value, other)))
}

/// Whether two values are the same; `1` and `1.0` are.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(x), Value::Number(y)) => x == y || (x.is_f64() != y.is_f64() && x.as_f64() == y.as_f64()),
        (Value::Array(x), Value::Array(y)) => x.len() == y.len() && x.iter().zip(y).all(|(x, y)| same(x, y)),
        (Value::Object(x), Value::Object(y)) => same_object(x, y),
        _ => a == b,
    }
}

/// A case as text: a key a line, and of lists a row a line.
fn written(case: &Case) -> String {
    let Ok(Value::Object(case)) = serde_json::to_value(case) else { unreachable!("a case is an object") };
    let entries = case.iter().map(|(key, value)| match value {
        Value::Array(rows) if !rows.is_empty() => {
            let rows: Vec<_> = rows.iter().map(|row| format!("    {}", line(row))).collect();
            format!("  \"{key}\": [\n{}\n  ]", rows.join(",\n"))
        }
        _ => format!("  \"{key}\": {}", line(value)),
    });
    format!("{{\n{}\n}}\n", entries.collect::<Vec<_>>().join(",\n"))
}

/// JSON in one line, with a blank after each colon and comma.
fn line(value: &impl Serialize) -> String {
    struct Spaced;

    impl serde_json::ser::Formatter for Spaced {
        fn begin_array_value<W: ?Sized + std::io::Write>(&mut self, out: &mut W, first: bool) -> std::io::Result<()> {
            out.write_all(if first { b"" } else { b", " })
        }

        fn begin_object_key<W: ?Sized + std::io::Write>(&mut self, out: &mut W, first: bool) -> std::io::Result<()> {
            out.write_all(if first { b"" } else { b", " })
        }

        fn begin_object_value<W: ?Sized + std::io::Write>(&mut self, out: &mut W) -> std::io::Result<()> {
            out.write_all(b": ")
        }
    }

    let mut out = Vec::new();
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, Spaced);
    value.serialize(&mut serializer).expect("a value becomes text");
    String::from_utf8(out).expect("JSON is UTF-8")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_compare_by_value() {
        assert!(same(&json!([1, {"a": 2.0}]), &json!([1.0, {"a": 2}])));
        assert!(!same(&json!(1), &json!(1.5)));
        assert!(!same(&json!({"a": 1}), &json!({"a": 1, "b": null})));
    }

    #[test]
    fn a_case_is_written_a_row_a_line() {
        let text = r#"{"operator": "o", "schema": {"a": "utf8"}, "rows": [{"a": "x"}, {"a": null}], "expect": []}"#;
        let case: Case = serde_json::from_str(text).unwrap();
        let expected = "{\n  \"operator\": \"o\",\n  \"schema\": {\"a\": \"utf8\"},\n  \"rows\": [\n    {\"a\": \"x\"},\n    {\"a\": null}\n  ],\n  \"expect\": []\n}\n";
        assert_eq!(written(&case), expected);
    }
}
