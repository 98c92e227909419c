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
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// What it is about, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doc: Option<String>,
    /// The operator's name.
    pub operator: String,
    /// Its settings.
    #[serde(default, skip_serializing_if = "Object::is_empty")]
    pub with: Object,
    /// Names and types of the input's columns.
    pub schema: Object,
    /// The input's rows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rows: Vec<Object>,
    /// The output's rows; `parent` is the position of the input row that each comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<Vec<Object>>,
    /// The rows that have no result.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<ExpectedError>,
    /// A part of the message that `open` fails with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fails: Option<String>,
}

/// A row without a result.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectedError {
    /// Its position in the input.
    pub row: u32,
    /// What sort of error.
    pub kind: String,
    /// What is wrong with it.
    pub message: String,
}

/// What came out.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Output rows, each with the position of its `parent`.
    pub rows: Vec<Object>,
    /// Rows that have none.
    pub errors: Vec<ExpectedError>,
}

impl Outcome {
    /// Of output columns, their rows' parents, and what failed.
    ///
    /// # Errors
    ///
    /// A type that JSON has no form for.
    pub fn new(output: &RecordBatch, parents: &[u32], errors: Vec<ExpectedError>) -> Result<Self, String> {
        let with_parent = |(object, parent): (Object, &u32)| {
            let mut row = Object::from_iter([("parent".to_owned(), Value::from(*parent))]);
            row.extend(object);
            row
        };
        Ok(Self { rows: rows::objects(output)?.into_iter().zip(parents).map(with_parent).collect(), errors })
    }
}

impl Case {
    /// Reads a file.
    ///
    /// # Errors
    ///
    /// It can't be read, or isn't a case.
    pub fn read(file: &Path) -> Result<Self, String> {
        let text = fs::read_to_string(file).map_err(|e| e.to_string())?;
        serde_json::from_str(&text).map_err(|e| format!("is not a case: {e}"))
    }

    /// Its rows as a batch.
    ///
    /// # Errors
    ///
    /// A type that isn't one, or a row that isn't of its schema.
    pub fn input(&self) -> Result<RecordBatch, String> {
        rows::batch(rows::schema(&self.schema)?, &self.rows)
    }
}

/// The cases of a folder, by name; none when there is no such folder.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    files.sort();
    files
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
    let files = files(folder);
    assert!(!files.is_empty(), "there is no case in `{}`", folder.display());
    let mut run = |case: &Case, input: &RecordBatch| run(plugin, case, input).map_err(|failure| failure.to_string());
    let failures: Vec<_> = files
        .iter()
        .filter_map(|file| check_file(file, bless, &mut run).err().map(|e| format!("{}: {e}", file.display())))
        .collect();
    assert!(
        failures.is_empty(),
        "{} of {} cases failed\n\n{}\n\nhint: DFLOW_BLESS=1 rewrites what is expected to what came out",
        failures.len(),
        files.len(),
        failures.join("\n\n")
    );
}

/// Runs a case by `run`, whole and again row by row. With `bless`, its file is rewritten to what came out.
///
/// # Errors
///
/// What differs, or why it isn't a case.
pub fn check_file(
    file: &Path,
    bless: bool,
    run: &mut dyn FnMut(&Case, &RecordBatch) -> Result<Outcome, String>,
) -> Result<(), String> {
    let mut case = Case::read(file)?;
    if case.fails.is_some() == case.expect.is_some() && !bless {
        return Err("a case has either `expect` or `fails`".to_owned());
    }
    let input = case.input()?;
    let outcome = match (run(&case, &input), &case.fails) {
        (Err(failure), Some(expected)) if failure.contains(expected) => return Ok(()),
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
        let outcome = run(&case, &input.slice(row, 1)).map_err(|e| format!("row {row} alone failed with `{e}`"))?;
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
    let errors =
        ran.errors.into_iter().map(|RowError { row, kind, message }| ExpectedError { row, kind, message }).collect();
    Outcome::new(&ran.output, &ran.parents, errors).map_err(Failure::Other)
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
