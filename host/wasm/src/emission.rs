//! What a guest emits for one batch, made ours and checked against the contract.
//!
//! Two orders are held here. Parents ascend over all emissions of a batch, row errors among them; and a row that errs has no
//! output, so that what it had emitted before is dropped. At the end the books must balance for the operator's shape.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, BinaryViewArray, RecordBatch, RecordBatchOptions, StringViewArray},
    compute::cast,
    datatypes::{DataType, Field, SchemaRef},
};
use dflow_boundary::{Parts, Trust, WireNode};
use dflow_pipeline::Bytes;

use crate::{
    abi::SliceColumn,
    description::RowShape,
    error::WasmError,
    joined,
    lower::viewed,
    ranges::{Ranges, indices},
};

/// A row of the input that has no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowError {
    /// Its position in the batch.
    pub row: u32,
    /// A short name for grouping.
    pub kind: String,
    /// What is wrong, for people.
    pub message: String,
}

/// Some rows of results.
#[derive(Clone, Debug)]
pub struct Piece {
    /// The new columns, in the operator's output schema.
    pub columns: RecordBatch,
    /// Each row's parent: its position in the input batch, ascending.
    pub parents: Vec<u32>,
}

/// All that came of one batch.
#[derive(Clone, Debug, Default)]
pub struct Processed {
    /// Results, parents ascending from piece to piece.
    pub pieces: Vec<Piece>,
    /// Rows without result, ascending.
    pub errors: Vec<RowError>,
}

/// One emission, its lists viewed in guest memory.
pub(crate) struct Emission<'a> {
    pub(crate) rows: u32,
    pub(crate) nodes: &'a [WireNode],
    pub(crate) buffers: &'a [&'a [u8]],
    pub(crate) parents: Option<&'a [u8]>,
    /// Column, starts, ends.
    pub(crate) slices: &'a [(u32, &'a [u8], &'a [u8])],
    pub(crate) errors: Vec<RowError>,
}

/// Why an emission was refused.
#[derive(Clone, Debug)]
pub(crate) enum Refusal {
    /// It breaks the contract.
    Lie(String),
    /// It is too much: what was asked for in all, in bytes.
    TooMuch(u64),
    /// What it asked for can't be had any more, whoever asks.
    Ending(Box<WasmError>),
}

/// What an emission takes of the host's memory beside what is in it, ...
const EMISSION: u64 = 512;
/// ... and what each of its nodes, buffers, slices and errors does: bytes, about.
const PART: u64 = 128;

/// Gathers the emissions of one batch.
pub(crate) struct Collector {
    input: RecordBatch,
    /// The plain fields that the guest emits.
    emitted: SchemaRef,
    /// The fields that we make of them.
    output: SchemaRef,
    slices: Arc<[SliceColumn]>,
    shape: RowShape,
    most: Bytes,
    bytes: u64,
    /// The highest row mentioned, and whether by an error.
    last: Option<(u32, bool)>,
    done: Processed,
}

impl Collector {
    pub(crate) fn new(
        input: RecordBatch,
        emitted: SchemaRef,
        output: SchemaRef,
        slices: Arc<[SliceColumn]>,
        shape: RowShape,
        most: Bytes,
    ) -> Self {
        Self { input, emitted, output, slices, shape, most, bytes: 0, last: None, done: Processed::default() }
    }

    /// Counts an emission before its lists are read: how many nodes, buffers, slices and errors it has. Otherwise lists of nothing
    /// would cost the guest little and the host much.
    pub(crate) fn admit(&mut self, lists: [usize; 4]) -> Result<(), Refusal> {
        let [.., slices, errors] = lists;
        if slices > self.slices.len() {
            return Err(Refusal::Lie(format!("{slices} slice columns, {} were announced", self.slices.len())));
        }
        if errors > self.input.num_rows() {
            return Err(Refusal::Lie(format!("{errors} row errors for a batch of {}", self.input.num_rows())));
        }
        self.count(EMISSION + PART * lists.iter().map(|length| *length as u64).sum::<u64>())
    }

    fn count(&mut self, bytes: u64) -> Result<(), Refusal> {
        self.bytes += bytes;
        if self.bytes > self.most.0 { Err(Refusal::TooMuch(self.bytes)) } else { Ok(()) }
    }

    /// Takes one emission in.
    pub(crate) fn emit(&mut self, emission: Emission<'_>) -> Result<(), Refusal> {
        let lists =
            emission.buffers.iter().map(|b| b.len()).chain(emission.slices.iter().map(|s| s.1.len() + s.2.len()));
        let errors = emission.errors.iter().map(|e| e.kind.len() + e.message.len());
        // Values that take no bytes (nulls, runs, structs of nothing) count as one, so that none can claim to be billions.
        let claimed = emission.nodes.iter().map(|node| node.length as usize);
        let parents = emission.parents.map_or(0, <[u8]>::len);
        let made = joined::left_out(emission.nodes, emission.buffers, self.own());
        self.count((lists.chain(errors).chain(claimed).sum::<usize>() + parents + made) as u64)?;
        self.take(emission).map_err(Refusal::Lie)
    }

    fn take(&mut self, emission: Emission<'_>) -> Result<(), String> {
        let rows = emission.rows as usize;
        let parents = self.parents(&emission)?;
        self.check_order(&parents, &emission.errors)?;
        let columns = self.columns(&emission, &parents)?;
        if rows > 0 {
            let options = RecordBatchOptions::new().with_row_count(Some(rows));
            let columns =
                RecordBatch::try_new_with_options(self.output.clone(), columns, &options).map_err(|e| e.to_string())?;
            self.done.pieces.push(Piece { columns, parents });
        }
        for error in emission.errors {
            self.drop_output_of(error.row);
            self.done.errors.push(error);
        }
        Ok(())
    }

    /// The fields whose columns are emitted as such, not as ranges.
    fn own(&self) -> impl Iterator<Item = &Arc<Field>> {
        let sliced = |place: usize| self.slices.iter().any(|slice| slice.column as usize == place);
        self.emitted.fields().iter().enumerate().filter(move |(place, _)| !sliced(*place)).map(|(_, field)| field)
    }

    /// Each emitted row's parent.
    fn parents(&self, emission: &Emission<'_>) -> Result<Vec<u32>, String> {
        let rows = emission.rows as usize;
        match emission.parents {
            Some(bytes) => {
                let parents = indices(bytes, rows).map_err(|e| format!("parents: {e}"))?;
                let parents: Vec<u32> = parents.iter().map(|b| u32::from_le_bytes(*b)).collect();
                match first_pair(&parents, |one, next| one > next) {
                    Some([one, next]) => Err(format!("parents descend from {one} to {next}")),
                    None => Ok(parents),
                }
            }
            None => {
                // The results of the next rows that aren't done, one each; rows that err in this emission are done.
                let mut next = self.last.map_or(0, |(row, _)| row + 1);
                if rows > self.input.num_rows().saturating_sub(next as usize) {
                    return Err(format!(
                        "{rows} rows without parents, {} are not done",
                        self.input.num_rows().saturating_sub(next as usize)
                    ));
                }
                if emission.errors.is_empty() {
                    return Ok((next..next + rows as u32).collect());
                }
                let mut errors = emission.errors.iter().map(|e| e.row).peekable();
                Ok((0..rows)
                    .map(|_| {
                        // The first of them may be of a row that has a result already.
                        while errors.next_if(|row| *row < next).is_some() {}
                        while errors.next_if_eq(&next).is_some() {
                            next += 1;
                        }
                        next += 1;
                        next - 1
                    })
                    .collect())
            }
        }
    }

    fn check_order(&mut self, parents: &[u32], errors: &[RowError]) -> Result<(), String> {
        if let Some(pair) = errors.windows(2).find(|p| p[0].row >= p[1].row) {
            return Err(format!("row errors don't ascend: {} before {}", pair[0].row, pair[1].row));
        }
        if let (Some(first), Some((last, erred))) = (parents.first(), self.last)
            && (*first < last || (*first == last && erred))
        {
            return Err(format!("a result for row {first} after row {last} was done"));
        }
        if let (Some(first), Some((last, erred))) = (errors.first(), self.last)
            && (first.row < last || (first.row == last && erred))
        {
            return Err(format!("an error for row {} after row {last} was done", first.row));
        }
        let result = parents.last().map(|row| (*row, false));
        let error = errors.last().map(|e| (e.row, true));
        let last = result.max(error);
        if let Some((row, _)) = last
            && row as usize >= self.input.num_rows()
        {
            return Err(format!("row {row} of a batch of {}", self.input.num_rows()));
        }
        if self.shape != RowShape::Expand {
            let twice = first_pair(parents, |one, next| one == next).map(|[row, _]| row);
            let again = parents.first().copied().filter(|first| self.last == Some((*first, false)));
            if let Some(row) = twice.or(again) {
                return Err(format!("two results for row {row}, a {} gives one", self.shape));
            }
        }
        self.last = self.last.max(last);
        Ok(())
    }

    fn columns(&self, emission: &Emission<'_>, parents: &[u32]) -> Result<Vec<ArrayRef>, String> {
        let apart = match joined::left_out(emission.nodes, emission.buffers, self.own()) {
            0 => None,
            _ => Some(joined::split(emission.nodes, emission.buffers, self.own())?),
        };
        let apart: Option<Vec<&[u8]>> = apart.as_ref().map(|all| all.iter().map(|buffer| &**buffer).collect());
        let buffers = apart.as_deref().unwrap_or(emission.buffers);
        let mut parts = Parts::new(emission.nodes, buffers.iter().copied(), Trust::Nothing);
        let mut columns = Vec::with_capacity(self.output.fields().len());
        for (i, field) in self.emitted.fields().iter().enumerate() {
            let column = match self.slices.iter().find(|s| s.column as usize == i) {
                None => parts.column(field, parents.len()).map(viewed),
                Some(slice) => self.slice(field, *slice, emission, parents),
            };
            columns.push(column.map_err(|e| format!("column `{}` {e}", field.name()))?);
        }
        parts.rest()?;
        if emission.slices.len() > self.slices.len() {
            return Err(format!("{} slice columns, {} were announced", emission.slices.len(), self.slices.len()));
        }
        Ok(columns)
    }

    /// A column given by ranges: views into the buffers that the port's column already has.
    fn slice(
        &self,
        field: &Field,
        slice: SliceColumn,
        emission: &Emission<'_>,
        parents: &[u32],
    ) -> Result<ArrayRef, String> {
        let given = emission.slices.iter().find(|(column, ..)| *column == slice.column);
        let (starts, ends) = match given {
            Some((_, starts, ends)) => (indices(starts, parents.len())?, indices(ends, parents.len())?),
            None if parents.is_empty() => (&[][..], &[][..]),
            None => return Err("is a slice, and its ranges are missing".to_owned()),
        };
        let port = self.input.column(slice.port as usize);
        let text = field.data_type() == &DataType::Utf8;
        let nulls = port.logical_nulls().filter(|nulls| nulls.null_count() > 0);
        let ranges = Ranges { parents, starts, ends, nulls, text };
        let (views, buffers) = match port.data_type() {
            DataType::Utf8 => ranges.of_plain(port.as_string::<i32>())?,
            DataType::Binary => ranges.of_plain(port.as_binary::<i32>())?,
            DataType::Utf8View => ranges.of_views(port.as_string_view())?,
            DataType::BinaryView => ranges.of_views(port.as_binary_view())?,
            // Other encodings of the port's type.
            _ => {
                let views = if text { DataType::Utf8View } else { DataType::BinaryView };
                let port = cast(port, &views).map_err(|e| e.to_string())?;
                match port.as_string_view_opt() {
                    Some(port) => ranges.of_views(port)?,
                    None => ranges.of_views(port.as_binary_view())?,
                }
            }
        };
        // SAFETY: each view is a range of a valid value, of text on its character boundaries, in the same buffers.
        #[expect(unsafe_code, reason = "validating each view again would read all text")]
        Ok(unsafe {
            if text {
                Arc::new(StringViewArray::new_unchecked(views.into(), buffers, None))
            } else {
                Arc::new(BinaryViewArray::new_unchecked(views.into(), buffers, None))
            }
        })
    }

    /// Drops what was emitted for a row that then erred; rows after it may have come in the same emission.
    fn drop_output_of(&mut self, row: u32) {
        let from = self.done.pieces.partition_point(|piece| piece.parents.last().is_some_and(|last| *last < row));
        for piece in self.done.pieces.split_off(from) {
            let (start, end) =
                (piece.parents.partition_point(|p| *p < row), piece.parents.partition_point(|p| *p <= row));
            for (from, to) in [(0, start), (end, piece.parents.len())] {
                if from < to {
                    let columns = piece.columns.slice(from, to - from);
                    self.done.pieces.push(Piece { columns, parents: piece.parents[from..to].to_vec() });
                }
            }
        }
    }

    /// The results so far, taken out when they have more than so many bytes.
    pub(crate) fn take_above(&mut self, most: u64) -> Option<Vec<Piece>> {
        if self.bytes <= most || self.done.pieces.is_empty() {
            return None;
        }
        self.bytes = 0;
        Some(std::mem::take(&mut self.done.pieces))
    }

    /// The result, once `process` has said that every row is done.
    pub(crate) fn finish(self) -> Result<Processed, String> {
        self.balanced(self.input.num_rows() as u32)?;
        Ok(self.done)
    }

    /// The results of the rows that were done when `process` ended before all were, and how many these are. A row that something
    /// was emitted for may not be done, unless that was an error.
    pub(crate) fn stop(mut self) -> Result<(u32, Processed), String> {
        let done = self.last.map_or(0, |(row, erred)| row + u32::from(erred));
        self.drop_output_of(done);
        self.balanced(done)?;
        Ok((done, self.done))
    }

    /// That each of the first rows has a result or an error, where the shape asks for one.
    fn balanced(&self, rows: u32) -> Result<(), String> {
        if self.shape == RowShape::Map {
            // No row has two of them: what comes twice, or after an error, was refused, and what came before one dropped.
            let results: usize = self.done.pieces.iter().map(|piece| piece.parents.len()).sum();
            if results + self.done.errors.len() == rows as usize {
                return Ok(());
            }
            let mut results = self.done.pieces.iter().flat_map(|p| &p.parents).copied().peekable();
            let mut errors = self.done.errors.iter().map(|e| e.row).peekable();
            for row in 0..rows {
                if results.next_if_eq(&row).is_none() && errors.next_if_eq(&row).is_none() {
                    return Err(format!("row {row} has neither a result nor an error, a map gives one"));
                }
            }
        }
        Ok(())
    }
}

/// The first two neighbours of which something is so. That there are none is found without a way out in the middle, many at a time.
fn first_pair(values: &[u32], is: impl Fn(u32, u32) -> bool) -> Option<[u32; 2]> {
    let pairs = || values.iter().zip(values.iter().skip(1)).map(|(one, next)| [*one, *next]);
    let any = pairs().fold(false, |so_far, [one, next]| so_far | is(one, next));
    if any { pairs().find(|[one, next]| is(*one, *next)) } else { None }
}

#[cfg(test)]
mod tests {
    use arrow::{array::Int32Array, datatypes::Schema};

    use super::*;

    fn collector(shape: RowShape) -> Collector {
        let text = StringViewArray::from(vec![Some("grüße aus der ferne"), None, Some("kurz"), Some("")]);
        let input = RecordBatch::try_from_iter([("text", Arc::new(text) as ArrayRef)]).expect("one column");
        let emitted = Arc::new(Schema::new(vec![
            Field::new("chunk", DataType::Utf8, false),
            Field::new("n", DataType::Int32, false),
        ]));
        let output = Arc::new(Schema::new(vec![
            Field::new("chunk", DataType::Utf8View, false),
            Field::new("n", DataType::Int32, false),
        ]));
        Collector::new(input, emitted, output, Arc::from([SliceColumn { column: 0, port: 0 }]), shape, Bytes(10_000))
    }

    fn bytes(values: &[u32]) -> Vec<u8> {
        values.iter().flat_map(|v| v.to_le_bytes()).collect()
    }

    /// Emits rows of `(parent, start, end)` and errors.
    fn emit(
        collector: &mut Collector,
        rows: &[(u32, u32, u32)],
        with_parents: bool,
        errors: &[u32],
    ) -> Result<(), Refusal> {
        let column = |f: fn(&(u32, u32, u32)) -> u32| bytes(&rows.iter().map(f).collect::<Vec<_>>());
        let (parents, starts, ends) = (column(|r| r.0), column(|r| r.1), column(|r| r.2));
        collector.emit(Emission {
            rows: rows.len() as u32,
            nodes: &[WireNode { length: rows.len() as u32, null_count: 0, buffers: 2 }],
            buffers: &[&[], &parents],
            parents: with_parents.then_some(&parents),
            slices: &[(0, &starts, &ends)],
            errors: errors.iter().map(|row| RowError { row: *row, kind: "k".into(), message: "m".into() }).collect(),
        })
    }

    fn rows(processed: &Processed) -> Vec<(u32, String, i32)> {
        let mut out = Vec::new();
        for piece in &processed.pieces {
            let text = piece.columns.column(0).as_string_view();
            let n: &Int32Array = piece.columns.column(1).as_primitive();
            out.extend((0..text.len()).map(|i| (piece.parents[i], text.value(i).to_owned(), n.value(i))));
        }
        out
    }

    #[test]
    fn slices_are_views_of_the_ports_text() {
        let mut c = collector(RowShape::Expand);
        emit(&mut c, &[(0, 0, 7), (0, 0, 21), (2, 1, 4)], true, &[]).expect("allowed");
        emit(&mut c, &[(2, 0, 0), (3, 0, 0)], true, &[]).expect("the row in work may go on");
        let done = c.finish().expect("expand gives any number");
        let texts: Vec<_> = rows(&done).into_iter().map(|r| r.1).collect();
        assert_eq!(texts, ["grüße", "grüße aus der ferne", "urz", "", ""]);
    }

    #[test]
    fn a_row_that_errs_loses_what_it_had() {
        let mut c = collector(RowShape::Expand);
        emit(&mut c, &[(0, 0, 1), (2, 0, 1)], true, &[]).expect("allowed");
        emit(&mut c, &[(2, 1, 2)], true, &[]).expect("allowed");
        emit(&mut c, &[(2, 2, 3), (3, 0, 0)], true, &[2]).expect("allowed");
        let done = c.finish().expect("balanced");
        assert_eq!(rows(&done).iter().map(|r| r.0).collect::<Vec<_>>(), [0, 3]);
        assert_eq!(done.errors.iter().map(|e| e.row).collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn without_parents_rows_follow_each_other_and_skip_errors() {
        let mut c = collector(RowShape::Map);
        emit(&mut c, &[(0, 0, 0), (2, 0, 0)], false, &[1]).expect("allowed");
        emit(&mut c, &[(3, 0, 0)], false, &[]).expect("allowed");
        let done = c.finish().expect("balanced");
        assert_eq!(rows(&done).iter().map(|r| r.0).collect::<Vec<_>>(), [0, 2, 3]);
        let mut c = collector(RowShape::Map);
        emit(&mut c, &[(0, 0, 0), (1, 0, 0)], false, &[]).expect("allowed");
        emit(&mut c, &[(3, 0, 0)], false, &[1, 2]).expect("what row 1 had is dropped");
        let done = c.finish().expect("balanced");
        assert_eq!(rows(&done).iter().map(|r| (r.0, r.2)).collect::<Vec<_>>(), [(0, 0), (3, 3)]);
        let mut c = collector(RowShape::Map);
        emit(&mut c, &[(0, 0, 0)], false, &[]).expect("allowed");
        assert!(c.finish().expect_err("three rows are missing").contains("row 1"));
    }

    #[test]
    fn of_a_batch_that_stops_stay_the_rows_that_were_done() {
        let mut c = collector(RowShape::Expand);
        emit(&mut c, &[(0, 0, 1), (0, 1, 2), (2, 0, 1)], true, &[1]).expect("allowed");
        let (done, processed) = c.stop().expect("a row in work is no lie");
        assert_eq!((done, rows(&processed).iter().map(|r| r.0).collect::<Vec<_>>()), (2, vec![0, 0]));
        assert_eq!(processed.errors.len(), 1);
        let mut c = collector(RowShape::Map);
        emit(&mut c, &[], true, &[0]).expect("allowed");
        assert_eq!(c.stop().expect("an error is an end").0, 1);
        assert_eq!(collector(RowShape::Map).stop().expect("nothing is promised").0, 0);
        let mut c = collector(RowShape::Map);
        emit(&mut c, &[(0, 0, 0), (2, 0, 0)], true, &[]).expect("allowed");
        assert!(c.stop().expect_err("row 1 was passed over").contains("row 1"));
    }

    #[test]
    fn what_breaks_the_order_is_refused() {
        type Rows<'a> = &'a [(u32, u32, u32)];
        type Case<'a> = (Rows<'a>, &'a [u32], Rows<'a>, &'a [u32], &'a str);
        let cases: &[Case<'_>] = &[
            (&[(2, 0, 0), (0, 0, 0)], &[], &[], &[], "descend"),
            (&[(2, 0, 0)], &[], &[(0, 0, 0)], &[], "after row 2"),
            (&[], &[2], &[(2, 0, 0)], &[], "after row 2"),
            (&[], &[2], &[], &[2], "after row 2"),
            (&[], &[2, 1], &[], &[], "don't ascend"),
            (&[(4, 0, 0)], &[], &[], &[], "row 4 of a batch of 4"),
            (&[], &[9], &[], &[], "row 9 of a batch of 4"),
            (&[(0, 3, 5)], &[], &[], &[], "cuts a character"),
            (&[(0, 5, 4)], &[], &[], &[], "range 5..4"),
            (&[(2, 0, 5)], &[], &[], &[], "4 bytes"),
            (&[(1, 0, 1)], &[], &[], &[], "0 bytes"),
        ];
        for (first, errors, second, more, expected) in cases {
            let mut c = collector(RowShape::Expand);
            let result = emit(&mut c, first, true, errors).and_then(|()| emit(&mut c, second, true, more));
            match result {
                Err(Refusal::Lie(message)) => assert!(message.contains(expected), "{message} / {expected}"),
                other => panic!("{expected}: {other:?}"),
            }
        }
        let mut c = collector(RowShape::Filter);
        assert!(
            matches!(emit(&mut c, &[(0, 0, 0), (0, 0, 0)], true, &[]), Err(Refusal::Lie(m)) if m.contains("two results for row 0"))
        );
        let mut c = collector(RowShape::Expand);
        assert!(matches!(emit(&mut c, &[(0, 0, 0); 5000], true, &[]), Err(Refusal::TooMuch(_))));
    }
}
