//! Takes emissions in the host's place and holds them against the contract.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, BinaryArray, BooleanArray, RecordBatch, RecordBatchOptions, StringArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use arrow_select::{concat::concat_batches, filter::filter_record_batch};

use super::Ran;
use crate::boundary;
use crate::emit::{Part, Ranges, Sink};
use crate::{Failure, Opened, RowError, Shape};

/// Gathers the emissions of one batch.
pub(super) struct Collector<'a> {
    input: &'a RecordBatch,
    opened: &'a Opened,
    schema: SchemaRef,
    pieces: Vec<RecordBatch>,
    parents: Vec<u32>,
    errors: Vec<RowError>,
}

impl Sink for Collector<'_> {
    fn emit(&mut self, part: Part) -> Result<bool, Failure> {
        let rows = part.rows as usize;
        let parents = part.parents.unwrap_or_else(|| (0..part.rows).collect());
        let mut plain = self.through_boundary(rows, &part.columns)?.columns().to_vec().into_iter();
        let mut columns = Vec::with_capacity(self.opened.output.len());
        for (index, field) in self.opened.output.iter().enumerate() {
            columns.push(match self.opened.slices.iter().find(|slice| slice.column as usize == index) {
                Some(slice) => {
                    let ranges = part.slices.iter().find(|ranges| ranges.column == slice.column);
                    let ranges = ranges.expect("the emitter has checked that each slice column has ranges");
                    resolve(field, self.input.column(slice.port as usize), &parents, ranges)?
                }
                None => plain.next().expect("the emitter has counted the columns"),
            });
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        self.pieces.push(RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?);
        self.parents.extend(parents);
        self.errors.extend(part.errors);
        Ok(true)
    }
}

impl<'a> Collector<'a> {
    pub(super) fn new(input: &'a RecordBatch, opened: &'a Opened) -> Self {
        let schema = Arc::new(opened.schema());
        Self { input, opened, schema, pieces: Vec::new(), parents: Vec::new(), errors: Vec::new() }
    }

    /// Emitted columns as the host gets them, checked by arrow.
    fn through_boundary(&self, rows: usize, columns: &[ArrayRef]) -> Result<RecordBatch, Failure> {
        let lent = boundary::lend(columns)?;
        let fields = self
            .opened
            .output
            .iter()
            .enumerate()
            .filter(|(index, _)| !self.opened.is_slice(*index))
            .map(|(_, field)| field.clone());
        let fields = boundary::fields_of(&Schema::new(fields.collect::<Vec<_>>()))?;
        boundary::receive(Arc::new(boundary::schema_of(&fields)?), rows, &lent.nodes, lent.buffers)
    }

    /// The result, when the books balance.
    pub(super) fn finish(self) -> Result<Ran, Failure> {
        let erred = |row: &u32| self.errors.binary_search_by_key(row, |error| error.row).is_ok();
        let kept: Vec<_> = self.parents.iter().map(|parent| !erred(parent)).collect();
        let parents: Vec<_> = self.parents.iter().copied().filter(|parent| !erred(parent)).collect();
        if self.opened.shape != Shape::Expand
            && let Some(pair) = self.parents.windows(2).find(|pair| pair[0] == pair[1])
        {
            let shape = self.opened.shape.as_str();
            return Err(Failure::other(format!("two results for row {}, a {shape} gives one", pair[0])));
        }
        if self.opened.shape == Shape::Map {
            let answered = |row: &u32| parents.binary_search(row).is_ok() || erred(row);
            if let Some(row) = (0..self.input.num_rows() as u32).find(|row| !answered(row)) {
                return Err(Failure::other(format!("row {row} has neither a result nor an error, a map gives one")));
            }
        }
        let all = concat_batches(&self.schema, &self.pieces)?;
        let output = filter_record_batch(&all, &BooleanArray::from(kept))?;
        Ok(Ran { output, parents, errors: self.errors })
    }
}

/// The values that ranges of a port's values stand for.
fn resolve(field: &Field, port: &ArrayRef, parents: &[u32], ranges: &Ranges) -> Result<ArrayRef, Failure> {
    let is_text = port.data_type() == &DataType::Utf8;
    let value = |row: usize| -> &[u8] {
        match (port.is_null(row), is_text) {
            (true, _) => &[],
            (_, true) => port.as_string::<i32>().value(row).as_bytes(),
            (_, false) => port.as_binary::<i32>().value(row),
        }
    };
    let mut values: Vec<&[u8]> = Vec::with_capacity(parents.len());
    for ((row, start), end) in parents.iter().zip(&ranges.starts).zip(&ranges.ends) {
        let whole = value(*row as usize);
        let range = *start as usize..*end as usize;
        let wrong = |what: &str| {
            Failure::other(format!("slice column `{}`: the range {range:?} of row {row} {what}", field.name()))
        };
        let part =
            whole.get(range.clone()).ok_or_else(|| wrong(&format!("is outside of its {} bytes", whole.len())))?;
        if is_text && std::str::from_utf8(part).is_err() {
            return Err(wrong("cuts a character"));
        }
        values.push(part);
    }
    Ok(if is_text {
        Arc::new(StringArray::try_from_binary(BinaryArray::from_vec(values))?)
    } else {
        Arc::new(BinaryArray::from_vec(values))
    })
}

#[cfg(test)]
mod tests {
    use arrow_array::Int32Array;

    use super::*;
    use crate::{Emitter, Rows};

    fn collected(
        opened: &Opened,
        work: impl FnOnce(&mut Emitter<'_>) -> Result<bool, Failure>,
    ) -> Result<Ran, Failure> {
        let text: ArrayRef = Arc::new(StringArray::from(vec![Some("größe"), None, Some("ab")]));
        let input = RecordBatch::try_from_iter([("text", text)]).unwrap();
        let mut collector = Collector::new(&input, opened);
        let mut emitter = Emitter::new(&mut collector, opened, 3);
        work(&mut emitter)?;
        emitter.finish()?;
        collector.finish()
    }

    fn expand() -> Opened {
        Opened::new(Shape::Expand).slice(Field::new("part", DataType::Utf8, false), 0).column(Field::new(
            "n",
            DataType::Int32,
            false,
        ))
    }

    fn numbers(count: i32) -> Vec<ArrayRef> {
        vec![Arc::new(Int32Array::from_iter_values(0..count))]
    }

    #[test]
    fn slices_are_resolved_and_rows_that_err_dropped() {
        let ran = collected(&expand(), |emit| {
            emit.rows(Rows::new(numbers(3)).parents(vec![0, 0, 1]).slice(0, vec![0, 4, 0], vec![4, 7, 0]))?;
            emit.rows(Rows::new(numbers(1)).parents(vec![2]).slice(0, vec![0], vec![1]))?;
            emit.error(2, "k", "m");
            Ok(true)
        });
        let ran = ran.unwrap();
        let parts: Vec<_> = ran.output.column(0).as_string::<i32>().iter().flatten().collect();
        assert_eq!(parts, ["grö", "ße", ""]);
        assert_eq!((ran.parents, ran.errors[0].row), (vec![0, 0, 1], 2));
    }

    #[test]
    fn lies_are_refused_by_name() {
        let slice = |row, start, end| {
            collected(&expand(), |emit| {
                emit.rows(Rows::new(numbers(1)).parents(vec![row]).slice(0, vec![start], vec![end]))
            })
        };
        let number = |shape, parents: Vec<u32>| {
            let opened = Opened::new(shape).column(Field::new("n", DataType::Int32, false));
            collected(&opened, |emit| emit.rows(Rows::new(numbers(parents.len() as i32)).parents(parents)))
        };
        let null = || {
            let opened = Opened::new(Shape::Map).column(Field::new("n", DataType::Int32, false));
            collected(&opened, |emit| emit.map(vec![Arc::new(Int32Array::from(vec![Some(1), None, None]))]))
        };
        let cases = [
            (slice(0, 0, 3), "0..3 of row 0 cuts a character"),
            (slice(0, 3, 2), "outside of its 7 bytes"),
            (slice(1, 0, 1), "outside of its 0 bytes"),
            (slice(2, 1, 3), "outside of its 2 bytes"),
            (number(Shape::Map, vec![0, 1]), "row 2 has neither"),
            (number(Shape::Filter, vec![0, 0]), "two results for row 0"),
            (null(), "column `n` is not nullable and has 2 nulls"),
        ];
        for (ran, expected) in cases {
            let message = ran.unwrap_err().to_string();
            assert!(message.contains(expected), "{message} / {expected}");
        }
        let nothing = collected(&expand(), |_| Ok(true)).unwrap();
        assert_eq!(nothing.output.num_rows(), 0);
        let filter =
            collected(&Opened::new(Shape::Filter), |emit| emit.rows(Rows::new(vec![]).parents(vec![1]))).unwrap();
        assert_eq!((filter.output.num_rows(), filter.parents), (1, vec![1]));
    }
}
