//! Rows as a person or a program reads them.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, RecordBatch, StringArray},
    datatypes::{DataType, Field, Schema},
    error::ArrowError,
    json::{WriterBuilder, writer::LineDelimited},
    util::{
        display::{ArrayFormatter, FormatOptions},
        pretty::pretty_format_batches,
    },
};
use dflow_pipeline::Fault;

use crate::{failure::Failure, words};

/// A column is never made narrower than this.
const NARROWEST: usize = 8;

/// JSON, an object a line with every column.
pub(crate) fn json(rows: &[RecordBatch]) -> Result<Vec<u8>, Failure> {
    let mut writer = WriterBuilder::new().with_explicit_nulls(true).build::<_, LineDelimited>(Vec::new());
    let written = rows.iter().try_for_each(|rows| writer.write(rows)).and_then(|()| writer.finish());
    written.map_err(|e| unshown(&e))?;
    Ok(writer.into_inner())
}

/// A table of at most `width` columns of text; long cells are cut.
pub(crate) fn table(rows: &[RecordBatch], width: usize) -> Result<String, Failure> {
    let Some(first) = rows.first() else { return Ok(String::new()) };
    let names: Vec<String> = first.schema().fields().iter().map(|field| field.name().clone()).collect();
    let mut cells: Vec<Vec<String>> = vec![Vec::new(); names.len()];
    let options = FormatOptions::default().with_null("∅");
    for batch in rows {
        for (column, cells) in batch.columns().iter().zip(&mut cells) {
            let formatter = ArrayFormatter::try_new(column, &options).map_err(|e| unshown(&e))?;
            // Nothing is cut away here that could still be seen.
            cells.extend((0..batch.num_rows()).map(|row| words::fit(&formatter.value(row).to_string(), width)));
        }
    }
    let wanted: Vec<usize> = names
        .iter()
        .zip(&cells)
        .map(|(name, cells)| {
            cells.iter().chain([name]).map(|c| console::measure_text_width(c)).max().unwrap_or_default()
        })
        .collect();
    // Each column takes its text, a space at both sides and a rule.
    let widths = shares(&wanted, width.saturating_sub(3 * names.len() + 1));
    let columns = cells.iter().zip(&widths).map(|(cells, width)| {
        Arc::new(StringArray::from_iter_values(cells.iter().map(|cell| words::fit(cell, *width)))) as ArrayRef
    });
    let fields =
        names.iter().zip(&widths).map(|(name, width)| Field::new(words::fit(name, *width), DataType::Utf8, false));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let whole = RecordBatch::try_new(schema, columns.collect()).map_err(|e| unshown(&e))?;
    Ok(format!("{}\n", pretty_format_batches(&[whole]).map_err(|e| unshown(&e))?))
}

/// The width of each column, so that all fit: those that want less than their share leave the rest to the others.
fn shares(wanted: &[usize], room: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by_key(|i| wanted[*i]);
    let mut widths = vec![0; wanted.len()];
    let mut room = room;
    for (done, i) in order.iter().enumerate() {
        let share = (room / (wanted.len() - done)).max(NARROWEST);
        widths[*i] = wanted[*i].min(share);
        room = room.saturating_sub(widths[*i]);
    }
    widths
}

fn unshown(error: &ArrowError) -> Failure {
    Failure::Error { message: format!("the rows can't be shown: {error}"), hint: None, fault: Some(Fault::Internal) }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, StringViewArray};

    use super::*;

    fn rows() -> Vec<RecordBatch> {
        let columns: [(&str, ArrayRef); 3] = [
            ("n", Arc::new(Int64Array::from(vec![Some(1), None]))),
            ("text", Arc::new(StringViewArray::from(vec!["short", &"long words ".repeat(20)]))),
            ("more", Arc::new(StringViewArray::from(vec!["two\nlines", "日本語"]))),
        ];
        vec![
            RecordBatch::try_from_iter_with_nullable(columns.map(|(n, c)| (n, c, true)))
                .expect("columns of one length"),
        ]
    }

    #[test]
    fn a_table_fits_its_terminal() {
        let table = table(&rows(), 50).expect("a table");
        assert_eq!(
            table,
            "+---+--------------------------------+-----------+\n\
             | n | text                           | more      |\n\
             +---+--------------------------------+-----------+\n\
             | 1 | short                          | two⏎lines |\n\
             | ∅ | long words long words long wo… | 日本語    |\n\
             +---+--------------------------------+-----------+\n"
        );
    }

    #[test]
    fn json_has_every_column() {
        let text = String::from_utf8(json(&rows()).expect("json")).expect("JSON is text");
        let first = text.lines().next();
        assert_eq!(first, Some(r#"{"n":1,"text":"short","more":"two\nlines"}"#));
        assert!(text.lines().nth(1).is_some_and(|line| line.starts_with(r#"{"n":null,"text":"long "#)), "{text}");
    }

    #[test]
    fn what_small_columns_leave_goes_to_large_ones() {
        assert_eq!(shares(&[3, 100, 10], 60), [3, 47, 10]);
        assert_eq!(shares(&[100, 100], 60), [30, 30]);
        assert_eq!(shares(&[100, 100, 100], 6), [8, 8, 8]);
        assert_eq!(shares(&[], 60), [0usize; 0]);
    }
}
