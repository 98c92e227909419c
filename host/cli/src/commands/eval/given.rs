//! Rows from the command line, stdin or a file.

use std::{fs, io::Read, path::Path, sync::Arc};

use arrow::{
    array::{ArrayRef, BinaryViewArray, RecordBatch, StringViewArray},
    datatypes::{DataType, Field, Schema, SchemaRef},
    error::ArrowError,
};
use dflow_run::{Columns, decode_objects, type_text};
use serde_json::Value;

use crate::{failure::Failure, outside::Outside, settings::Given, words};

/// Reads the rows that are given, for an input stage of these columns.
///
/// # Errors
/// What is given can't be read, or isn't rows of these columns; the message says which one.
pub(crate) fn rows(given: &Given, columns: &Columns, outside: &Outside) -> Result<RecordBatch, Failure> {
    let fields = columns.visible.iter().map(|(name, column)| Field::new(name, column.data_type().clone(), true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    match given {
        Given::Texts(texts) => {
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            of_texts(&texts, &schema, "row")
        }
        Given::Unsaid if outside.stdin_is_terminal => Err(Failure::usage("no rows are given")
            .hint("`dflow-host eval \"some text\"`, `--input FILE`, or lines on stdin (`--input -` to type them)")),
        Given::Stdin | Given::Unsaid => {
            let mut bytes = Vec::new();
            let read = std::io::stdin().lock().read_to_end(&mut bytes);
            read.map_err(|e| Failure::outside(format!("can't read stdin: {e}")))?;
            of_texts(&lines(&text(bytes, "stdin")?), &schema, "line")
        }
        Given::Lines(path) => of_texts(&lines(&file(path, outside)?), &schema, "line"),
        Given::Objects(path) => {
            let text = file(path, outside)?;
            let lines = lines(&text).into_iter().map(str::trim).enumerate().filter(|(_, line)| !line.is_empty());
            let objects = lines.map(|(i, line)| object(line, &schema).map_err(|e| in_row("line", i, e)));
            of_objects(&objects.collect::<Result<Vec<_>, _>>()?, &schema, "line")
        }
    }
}

fn file(path: &Path, outside: &Outside) -> Result<String, Failure> {
    let name = path.display().to_string();
    let bytes =
        fs::read(outside.folder.join(path)).map_err(|e| Failure::outside(format!("can't read `{name}`: {e}")))?;
    text(bytes, &format!("`{name}`"))
}

fn text(bytes: Vec<u8>, name: &str) -> Result<String, Failure> {
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let line = 1 + error.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count();
        row_error(format!("{name} is not UTF-8 text (line {line})"))
    })
}

fn lines(text: &str) -> Vec<&str> {
    text.lines().collect()
}

/// Rows of which each is a text: the value of the one column there is, or an object of all columns. `word` is what a row is
/// called where it comes from.
fn of_texts(texts: &[&str], schema: &SchemaRef, word: &str) -> Result<RecordBatch, Failure> {
    let [field] = schema.fields().iter().as_slice() else {
        let objects = texts.iter().enumerate().map(|(i, text)| object(text, schema).map_err(|e| in_row(word, i, e)));
        return of_objects(&objects.collect::<Result<Vec<_>, _>>()?, schema, word);
    };
    let column: ArrayRef = match field.data_type() {
        DataType::Utf8View => Arc::new(StringViewArray::from_iter_values(texts)),
        DataType::BinaryView => Arc::new(BinaryViewArray::from_iter_values(texts)),
        _ => {
            // A number, a list: JSON, except for text that stands for one, such as a date.
            let value = |text: &&str| serde_json::from_str(text).unwrap_or_else(|_| Value::String((*text).to_owned()));
            let objects: Vec<Value> = texts
                .iter()
                .map(|text| Value::Object([(field.name().clone(), value(text))].into_iter().collect()))
                .collect();
            return of_objects(&objects, schema, word);
        }
    };
    RecordBatch::try_new(schema.clone(), vec![column]).map_err(|e| internal(&e))
}

/// A row of named values.
fn object(text: &str, schema: &SchemaRef) -> Result<Value, String> {
    let names: Vec<_> = schema.fields().iter().map(|field| format!("`{}`", field.name())).collect();
    let names = names.join(", ");
    let value: Value = serde_json::from_str(text)
        .map_err(|e| format!("`{}` isn't a JSON object of {names}: {e}", words::fit(text, 40)))?;
    let Value::Object(members) = &value else {
        return Err(format!("`{}` isn't a JSON object of {names}", words::fit(text, 40)));
    };
    match members.keys().find(|key| schema.field_with_name(key).is_err()) {
        Some(key) => Err(format!("there is no column `{key}`; there is {names}")),
        None => Ok(value),
    }
}

fn of_objects(objects: &[Value], schema: &SchemaRef, word: &str) -> Result<RecordBatch, Failure> {
    decode_objects(objects, schema).map_err(|whole| {
        // The decoder doesn't say in which row; so each is tried alone.
        let wrong = objects
            .iter()
            .enumerate()
            .find_map(|(i, o)| Some((i, decode_objects(std::slice::from_ref(o), schema).err()?)));
        let (row, error) = wrong.unwrap_or((0, whole));
        let text = error.to_string();
        let text = text.strip_prefix("Json error: ").unwrap_or(&text);
        let types: Vec<_> =
            schema.fields().iter().map(|field| format!("{} {}", field.name(), type_text(field.data_type()))).collect();
        in_row(word, row, format!("{text} (the columns are {})", types.join(", ")))
    })
}

fn in_row(word: &str, row: usize, message: String) -> Failure {
    row_error(format!("{word} {}: {message}", row + 1))
}

/// Rows that are given wrongly are the command line's.
fn row_error(message: String) -> Failure {
    Failure::usage(message)
}

fn internal(error: &ArrowError) -> Failure {
    Failure::Error {
        message: format!("the rows given can't be put together: {error}"),
        hint: Some("this is a mistake of dflow's; please report it".to_owned()),
        fault: Some(dflow_pipeline::Fault::Internal),
    }
}

#[cfg(test)]
mod tests {
    use arrow::{datatypes::TimeUnit, json::LineDelimitedWriter};

    use super::*;

    fn schema(fields: &[(&str, DataType)]) -> SchemaRef {
        Arc::new(Schema::new(fields.iter().map(|(n, t)| Field::new(*n, t.clone(), true)).collect::<Vec<_>>()))
    }

    fn json(rows: &RecordBatch) -> String {
        let mut writer = LineDelimitedWriter::new(Vec::new());
        writer.write(rows).and_then(|()| writer.finish()).expect("rows can be written");
        String::from_utf8(writer.into_inner()).expect("JSON is text")
    }

    fn wrong(texts: &[&str], schema: &SchemaRef) -> String {
        of_texts(texts, schema, "row").expect_err("it is wrong").shown(false, None)
    }

    #[test]
    fn a_text_is_the_value_of_the_one_column() {
        let text = schema(&[("text", DataType::Utf8View)]);
        let rows = of_texts(&["a", "", "{\"text\": 1}"], &text, "row").expect("rows");
        assert_eq!(json(&rows), "{\"text\":\"a\"}\n{\"text\":\"\"}\n{\"text\":\"{\\\"text\\\": 1}\"}\n");
        let numbers = of_texts(&["1", "-2", "null"], &schema(&[("n", DataType::Int64)]), "row").expect("rows");
        assert_eq!(json(&numbers), "{\"n\":1}\n{\"n\":-2}\n{}\n");
        let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let times = of_texts(&["2026-01-02T03:04:05Z"], &schema(&[("t", time)]), "row").expect("rows");
        assert_eq!(json(&times), "{\"t\":\"2026-01-02T03:04:05Z\"}\n");
        assert_eq!(of_texts(&[], &text, "row").expect("no rows").num_rows(), 0);
    }

    #[test]
    fn a_text_is_an_object_where_there_are_several_columns() {
        let columns = schema(&[("title", DataType::Utf8View), ("size", DataType::Int64)]);
        let rows = of_texts(&["{\"size\": 2, \"title\": \"x\"}", "{}"], &columns, "row").expect("rows");
        assert_eq!(json(&rows), "{\"title\":\"x\",\"size\":2}\n{}\n");
    }

    #[test]
    fn what_is_wrong_is_named_with_its_row() {
        let columns = schema(&[("title", DataType::Utf8View), ("size", DataType::Int64)]);
        for (texts, start) in [
            (&["{}", "x"][..], "error: row 2: `x` isn't a JSON object of `title`, `size`: "),
            (&["[1]"], "error: row 1: `[1]` isn't a JSON object of `title`, `size`\n"),
            (&["{\"tilte\": 1}"], "error: row 1: there is no column `tilte`; there is `title`, `size`\n"),
            (&["{}", "{\"size\": \"big\"}"], "error: row 2: "),
        ] {
            let shown = wrong(texts, &columns);
            assert!(shown.starts_with(start), "{texts:?}: {shown}");
        }
        let shown = wrong(&["1", "many"], &schema(&[("n", DataType::Int64)]));
        assert!(shown.starts_with("error: row 2: ") && shown.contains("(the columns are n int64)"), "{shown}");
    }

    #[test]
    fn what_is_not_text_is_named_with_its_line() {
        let failure = text(b"a\nb\xff\n".to_vec(), "stdin").expect_err("it is wrong");
        assert_eq!(failure.shown(false, None), "error: stdin is not UTF-8 text (line 2)\n");
    }
}
