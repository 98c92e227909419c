//! What a program answers, held against what it was to answer.
//!
//! Beside the columns that `returns` names there may be two: `__parent__` says of which row of the batch a row comes, `__error__` that the
//! row has failed, and why.

use std::sync::Arc;

use datafusion::arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, RecordBatchOptions, new_null_array},
    compute::{CastOptions, cast, cast_with_options, filter_record_batch},
    datatypes::{DataType, SchemaRef, UInt32Type},
};
use dflow_pipeline::CommandRows;
use dflow_wasm::{Piece, Processed, RowError};

/// Says of which row of the batch a row comes.
const PARENT: &str = "__parent__";
/// Says that a row has failed, and why.
const ERROR: &str = "__error__";
/// The longest message of a row.
const MESSAGE: usize = 4 << 10;

/// What is expected of an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expected<'a> {
    /// The columns.
    pub(crate) returns: &'a SchemaRef,
    /// How rows come of those of the batch.
    pub(crate) rows: CommandRows,
    /// What types are called.
    pub(crate) type_text: fn(&DataType) -> String,
}

impl Expected<'_> {
    /// The rows of an answer to a batch of so many. Errors are phrases that follow `answered`.
    pub(crate) fn processed(&self, rows: usize, answer: &RecordBatch) -> Result<Processed, String> {
        let columns = self.columns(answer)?;
        let parents = self.parents(rows, answer)?;
        let mut failed = vec![false; rows];
        let mut errors: Vec<RowError> = Vec::new();
        if let Some(messages) = answer.column_by_name(ERROR) {
            let texts = cast(messages, &DataType::Utf8View).map_err(|_| {
                format!("with `{ERROR}` as {}, it must be utf8", (self.type_text)(messages.data_type()))
            })?;
            for (parent, message) in parents.iter().zip(texts.as_string_view()) {
                let Some(message) = message else { continue };
                if !std::mem::replace(&mut failed[*parent as usize], true) {
                    let message = message.chars().take(MESSAGE).collect();
                    errors.push(RowError { row: *parent, kind: "command".to_owned(), message });
                }
            }
        }
        let piece = if errors.is_empty() {
            Piece { columns, parents }
        } else {
            let good = |parent: &u32| !failed[*parent as usize];
            let mask = BooleanArray::from_iter(parents.iter().map(|parent| Some(good(parent))));
            let columns = filter_record_batch(&columns, &mask).map_err(|e| format!("what can't be filtered: {e}"))?;
            Piece { columns, parents: parents.into_iter().filter(good).collect() }
        };
        Ok(Processed { pieces: vec![piece], errors })
    }

    /// The columns that were asked for, as they were asked for.
    pub(crate) fn columns(&self, answer: &RecordBatch) -> Result<RecordBatch, String> {
        let schema = answer.schema();
        for (i, field) in schema.fields().iter().enumerate() {
            let name = field.name();
            let ours = match name.as_str() {
                PARENT => matches!(self.rows, CommandRows::Filter | CommandRows::Expand),
                ERROR => self.rows != CommandRows::Whole,
                _ => self.returns.field_with_name(name).is_ok(),
            };
            if !ours && [PARENT, ERROR].contains(&name.as_str()) {
                return Err(format!("with a column `{name}`, which says nothing where `rows` is \"{}\"", self.word()));
            }
            if !ours {
                return Err(format!("with a column `{name}`, which isn't in `returns`"));
            }
            if schema.fields()[..i].iter().any(|before| before.name() == name) {
                return Err(format!("with two columns `{name}`"));
            }
        }
        let columns = self.returns.fields().iter().map(|wanted| {
            let name = wanted.name();
            let Some(column) = answer.column_by_name(name) else {
                let given: Vec<_> = schema.fields().iter().map(|field| format!("`{}`", field.name())).collect();
                let given = if given.is_empty() { "no columns".to_owned() } else { given.join(", ") };
                return Err(format!("with {given}, and without `{name}`"));
            };
            if column.data_type() == wanted.data_type() {
                return Ok(column.clone());
            }
            if *column.data_type() == DataType::Null {
                return Ok(new_null_array(wanted.data_type(), column.len()));
            }
            let wrong = || {
                let (found, wanted) = ((self.type_text)(column.data_type()), (self.type_text)(wanted.data_type()));
                format!("with `{name}` as {found}, `returns` says {wanted}")
            };
            if !says_the_same(column.data_type(), wanted.data_type()) {
                return Err(wrong());
            }
            cast(column, wanted.data_type()).map_err(|_| wrong())
        });
        let columns = columns.collect::<Result<Vec<ArrayRef>, String>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(answer.num_rows()));
        RecordBatch::try_new_with_options(Arc::clone(self.returns), columns, &options)
            .map_err(|e| format!("wrongly: {e}"))
    }

    /// The row of the batch of which each row comes.
    fn parents(&self, rows: usize, answer: &RecordBatch) -> Result<Vec<u32>, String> {
        let answered = answer.num_rows();
        if self.rows == CommandRows::Map {
            return match u32::try_from(answered) {
                Ok(count) if answered == rows => Ok((0..count).collect()),
                _ => Err(format!("with {}, to a batch of {rows}: a map gives one for each", counted(answered))),
            };
        }
        let Some(column) = answer.column_by_name(PARENT) else {
            return Err(format!("without `{PARENT}`, which says of which row of the batch a row comes"));
        };
        let found = (self.type_text)(column.data_type());
        if !column.data_type().is_integer() {
            return Err(format!("with `{PARENT}` as {found}, it must be uint32"));
        }
        let options = CastOptions { safe: false, ..CastOptions::default() };
        let column = cast_with_options(column, &DataType::UInt32, &options)
            .map_err(|_| format!("with a `{PARENT}` that is no row of the batch of {rows}"))?;
        if column.null_count() > 0 {
            return Err(format!("with a `{PARENT}` that is null"));
        }
        let parents = column.as_primitive::<UInt32Type>().values().to_vec();
        if let Some(beyond) = parents.iter().find(|parent| **parent as usize >= rows) {
            return Err(format!("with `{PARENT}` {beyond}, to a batch of {}, counted from 0", counted(rows)));
        }
        let twice = self.rows == CommandRows::Filter;
        match parents.windows(2).find(|pair| pair[0] > pair[1] || (twice && pair[0] == pair[1])) {
            Some([first, second]) if first == second => {
                Err(format!("with row {first} twice: a filter keeps a row or drops it"))
            }
            Some([first, second]) => Err(format!("with `{PARENT}` {second} behind {first}: they must ascend")),
            _ => Ok(parents),
        }
    }

    fn word(&self) -> &'static str {
        match self.rows {
            CommandRows::Map => "map",
            CommandRows::Filter => "filter",
            CommandRows::Expand => "expand",
            CommandRows::Whole => "whole",
        }
    }
}

fn counted(rows: usize) -> String {
    if rows == 1 { "1 row".to_owned() } else { format!("{rows} rows") }
}

/// Whether two types hold the same values, however they are laid out.
fn says_the_same(a: &DataType, b: &DataType) -> bool {
    use DataType::{
        Binary, BinaryView, Dictionary, LargeBinary, LargeList, LargeListView, LargeUtf8, List, ListView, Map, Struct,
        Utf8, Utf8View,
    };
    match (a, b) {
        (Utf8 | LargeUtf8 | Utf8View, Utf8 | LargeUtf8 | Utf8View) => true,
        (Binary | LargeBinary | BinaryView, Binary | LargeBinary | BinaryView) => true,
        (Dictionary(_, a), Dictionary(_, b)) => says_the_same(a, b),
        (Dictionary(_, a), b) => says_the_same(a, b),
        (
            List(a) | LargeList(a) | ListView(a) | LargeListView(a),
            List(b) | LargeList(b) | ListView(b) | LargeListView(b),
        ) => says_the_same(a.data_type(), b.data_type()),
        (DataType::FixedSizeList(a, m), DataType::FixedSizeList(b, n)) => {
            m == n && says_the_same(a.data_type(), b.data_type())
        }
        (Struct(a), Struct(b)) => {
            let same = |(a, b): (&Arc<_>, &Arc<_>)| {
                let (a, b): (&datafusion::arrow::datatypes::Field, &datafusion::arrow::datatypes::Field) = (a, b);
                a.name() == b.name() && says_the_same(a.data_type(), b.data_type())
            };
            a.len() == b.len() && a.iter().zip(b.iter()).all(same)
        }
        (Map(a, _), Map(b, _)) => match (a.data_type(), b.data_type()) {
            (Struct(a), Struct(b)) => {
                a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| says_the_same(a.data_type(), b.data_type()))
            }
            _ => false,
        },
        (a, b) => a == b,
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::{
        array::{Int64Array, StringArray, UInt32Array},
        datatypes::{Field, Schema},
    };

    use super::*;

    fn processed(rows: CommandRows, answer: &[(&str, ArrayRef)]) -> Result<(Vec<u32>, Vec<u32>), String> {
        let returns: SchemaRef = Arc::new(Schema::new(vec![Field::new("x", DataType::Int64, true)]));
        let expected = Expected { returns: &returns, rows, type_text: |data_type| data_type.to_string() };
        let answer = RecordBatch::try_from_iter_with_nullable(answer.iter().map(|(n, c)| (*n, c.clone(), true)));
        let done = expected.processed(3, &answer.expect("a batch"))?;
        let failed = done.errors.iter().map(|error| error.row).collect();
        Ok((done.pieces.into_iter().flat_map(|piece| piece.parents).collect(), failed))
    }

    fn x(rows: i64) -> (&'static str, ArrayRef) {
        ("x", Arc::new(Int64Array::from_iter_values(0..rows)))
    }

    fn parents(parents: &[u32]) -> (&'static str, ArrayRef) {
        (PARENT, Arc::new(UInt32Array::from(parents.to_vec())))
    }

    fn errors(messages: &[Option<&str>]) -> (&'static str, ArrayRef) {
        (ERROR, Arc::new(StringArray::from(messages.to_vec())))
    }

    #[test]
    fn rows_that_failed_have_no_output() {
        use CommandRows::{Expand, Filter, Map};
        assert_eq!(processed(Map, &[x(3)]), Ok((vec![0, 1, 2], vec![])));
        assert_eq!(processed(Map, &[x(3), errors(&[None, Some("no"), None])]), Ok((vec![0, 2], vec![1])));
        assert_eq!(processed(Filter, &[x(2), parents(&[0, 2])]), Ok((vec![0, 2], vec![])));
        let wrong = errors(&[None, None, Some("no"), None]);
        assert_eq!(processed(Expand, &[x(4), parents(&[0, 2, 2, 2]), wrong]), Ok((vec![0], vec![2])));
    }

    #[test]
    fn an_answer_that_is_wrong_says_how() {
        use CommandRows::{Expand, Filter, Map};
        let text: ArrayRef = Arc::new(StringArray::from(vec!["a", "b", "c"]));
        for (rows, answer, said) in [
            (Map, vec![x(2)], "2 rows, to a batch of 3"),
            (Map, vec![("y", x(3).1)], "`y`, which isn't in `returns`"),
            (Map, vec![("x", text)], "`x` as Utf8, `returns` says Int64"),
            (Map, vec![x(3), parents(&[0, 1, 2])], "says nothing where `rows` is \"map\""),
            (Filter, vec![x(2)], "without `__parent__`"),
            (Filter, vec![x(2), parents(&[1, 1])], "row 1 twice"),
            (Expand, vec![x(2), parents(&[1, 0])], "0 behind 1"),
            (Expand, vec![x(2), parents(&[1, 3])], "`__parent__` 3, to a batch of 3 rows"),
            (Expand, vec![parents(&[1])], "without `x`"),
        ] {
            let what = processed(rows, &answer).expect_err(said);
            assert!(what.contains(said), "{what}");
        }
    }
}
