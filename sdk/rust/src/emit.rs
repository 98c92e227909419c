//! How results leave an operator.

use arrow_array::ArrayRef;

use crate::{Failure, Opened};

/// A row of the input that has no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowError {
    /// Its position in the batch.
    pub row: u32,
    /// What sort of error, for grouping: a short name such as `schema-violation`.
    pub kind: String,
    /// What is wrong with this row, for people.
    pub message: String,
}

/// Some rows of results, as an author makes them.
///
/// With [`parents`](Self::parents), row `i` is a result of row `parents[i]` of the input. Without, the rows are the results of
/// the next rows of the input, one each, those left out that [`Emitter::error`] was called for.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    columns: Vec<ArrayRef>,
    parents: Option<Vec<u32>>,
    slices: Vec<Ranges>,
}

/// The values of a slice column: ranges of bytes of the parents' values.
#[derive(Clone, Debug)]
pub(crate) struct Ranges {
    pub(crate) column: u32,
    pub(crate) starts: Vec<u32>,
    pub(crate) ends: Vec<u32>,
}

impl Rows {
    /// Rows of these columns: the output columns in order, slice columns left out.
    pub fn new(columns: Vec<ArrayRef>) -> Self {
        Self { columns, ..Self::default() }
    }

    /// The position in the input batch of each row's parent, ascending (repeats allowed when the shape is expand).
    pub fn parents(mut self, parents: Vec<u32>) -> Self {
        self.parents = Some(parents);
        self
    }

    /// The values of the slice column at index `column` of the output (counting all output columns): for each row a range of
    /// bytes of its parent's value, on character boundaries when it is text. A null parent has only the empty range.
    pub fn slice(mut self, column: usize, starts: Vec<u32>, ends: Vec<u32>) -> Self {
        self.slices.push(Ranges { column: column as u32, starts, ends });
        self
    }

    /// How many rows these are; `None` when nothing says it.
    fn count(&self) -> Option<usize> {
        let parents = self.parents.as_ref().map(Vec::len);
        parents
            .or(self.columns.first().map(|column| column.len()))
            .or(self.slices.first().map(|ranges| ranges.starts.len()))
    }
}

/// One emission, checked and complete, as `emitting.output` of the contract.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) rows: u32,
    pub(crate) columns: Vec<ArrayRef>,
    pub(crate) parents: Option<Vec<u32>>,
    pub(crate) slices: Vec<Ranges>,
    pub(crate) errors: Vec<RowError>,
}

/// Where emissions go: the host, or a test.
pub(crate) trait Sink {
    /// Takes one emission; false when no more rows are wanted.
    fn emit(&mut self, part: Part) -> Result<bool, Failure>;
}

/// Takes results and row errors of one batch.
///
/// **Order.** Parents ascend over all emissions of a batch: emitting for row `p` says that every row before `p` is done. Errors
/// may be told in any order; the emitter keeps them and sends them, sorted, with the next rows that come after them, and the
/// rest when `process` returns. So it is enough to tell the errors of a row before emitting rows of later ones. Of several
/// errors of a row the first counts. A row that errs has no output: what was emitted for it is dropped by the host.
///
/// **Enough.** When the host wants no more rows, emitting gives `false`: returning from `process` is then the right thing to
/// do. What is emitted after that goes nowhere.
pub struct Emitter<'a> {
    sink: &'a mut dyn Sink,
    opened: &'a Opened,
    /// How many rows the input batch has.
    input_rows: u32,
    /// Errors not yet sent.
    errors: Vec<RowError>,
    /// The first row that may still be mentioned.
    floor: u32,
    /// The first row that nothing was emitted for.
    next: u32,
    sent: bool,
    wanted: bool,
}

impl<'a> Emitter<'a> {
    pub(crate) fn new(sink: &'a mut dyn Sink, opened: &'a Opened, input_rows: u32) -> Self {
        Self { sink, opened, input_rows, errors: Vec::new(), floor: 0, next: 0, sent: false, wanted: true }
    }

    /// Emits results of the next rows, one each: `columns` have one value for each row that [`error`](Self::error) was not
    /// called for. The same as [`rows`](Self::rows) with neither parents nor slices.
    ///
    /// # Errors
    ///
    /// As [`rows`](Self::rows).
    pub fn map(&mut self, columns: Vec<ArrayRef>) -> Result<bool, Failure> {
        self.rows(Rows::new(columns))
    }

    /// Emits some rows, and the errors of rows before them. False: the host wants no more.
    ///
    /// # Errors
    ///
    /// When the columns don't fit each other or what `open` said, or a row comes after a later one: bugs of the operator, to be
    /// passed on with `?`.
    pub fn rows(&mut self, rows: Rows) -> Result<bool, Failure> {
        if !self.wanted {
            return Ok(false);
        }
        self.sort_errors()?;
        let left =
            (self.input_rows - self.next) as usize - self.errors.iter().filter(|error| error.row >= self.next).count();
        let count = rows.count().unwrap_or(left);
        self.check(&rows, count)?;
        let parents = match rows.parents {
            Some(parents) => Some(parents),
            None if count > left => {
                return Err(Failure::other(format!(
                    "{count} rows were emitted for the {left} rows that have neither a result nor an error\n\
                     hint: columns have no value for a row that `error` was called for"
                )));
            }
            None if self.sent || !self.errors.is_empty() => Some(self.next_rows(count)),
            // All from the first row on: the host knows the parents.
            None => None,
        };
        let last = match &parents {
            Some(parents) => self.check_parents(parents)?,
            None => (count as u32).checked_sub(1),
        };
        let complete = last.is_some_and(|last| last + 1 == self.input_rows) || count == left;
        let errors = match last {
            _ if complete => std::mem::take(&mut self.errors),
            None => Vec::new(),
            Some(last) => {
                let later = self.errors.split_off(self.errors.partition_point(|error| error.row <= last));
                std::mem::replace(&mut self.errors, later)
            }
        };
        if count == 0 && errors.is_empty() {
            return Ok(true);
        }
        if let Some(last) = last {
            (self.floor, self.next) = (last, last + 1);
        }
        self.send(Part { rows: count as u32, columns: rows.columns, parents, slices: rows.slices, errors })
    }

    /// Says that row `row` (its position in the input batch) has no result, and why: `kind` is a short name for grouping,
    /// `message` is for people.
    pub fn error(&mut self, row: usize, kind: &str, message: impl Into<String>) {
        self.errors.push(RowError { row: row as u32, kind: kind.to_owned(), message: message.into() });
    }

    /// Whether the host still wants rows.
    pub fn wanted(&self) -> bool {
        self.wanted
    }

    /// Sends the errors that are left. Called when `process` has returned.
    pub(crate) fn finish(mut self) -> Result<(), Failure> {
        self.sort_errors()?;
        if self.wanted && !self.errors.is_empty() {
            let errors = std::mem::take(&mut self.errors);
            let columns = self.plain_columns().map(|field| arrow_array::new_empty_array(field.data_type())).collect();
            let slices = self
                .opened
                .slices
                .iter()
                .map(|slice| Ranges { column: slice.column, starts: vec![], ends: vec![] })
                .collect();
            self.send(Part { rows: 0, columns, parents: Some(vec![]), slices, errors })?;
        }
        Ok(())
    }

    fn send(&mut self, part: Part) -> Result<bool, Failure> {
        if let Some(error) = part.errors.last() {
            (self.floor, self.next) = (self.floor.max(error.row + 1), self.next.max(error.row + 1));
        }
        self.sent = true;
        self.wanted = self.sink.emit(part)?;
        Ok(self.wanted)
    }

    fn sort_errors(&mut self) -> Result<(), Failure> {
        self.errors.sort_by_key(|error| error.row);
        self.errors.dedup_by_key(|error| error.row);
        if let Some(error) = self.errors.first().filter(|error| error.row < self.floor) {
            return Err(Failure::other(format!(
                "an error for row {} came after a result for row {}\nhint: tell a row's errors before emitting for later rows",
                error.row, self.floor
            )));
        }
        match self.errors.last() {
            Some(error) if error.row >= self.input_rows => {
                Err(Failure::other(format!("an error for row {} of a batch of {} rows", error.row, self.input_rows)))
            }
            _ => Ok(()),
        }
    }

    /// The next `count` rows without error.
    fn next_rows(&self, count: usize) -> Vec<u32> {
        let mut errors = self.errors.iter().map(|error| error.row).filter(|row| *row >= self.next).peekable();
        (self.next..self.input_rows).filter(|row| errors.next_if_eq(row).is_none()).take(count).collect()
    }

    fn plain_columns(&self) -> impl Iterator<Item = &arrow_schema::Field> {
        let columns = self.opened.output.iter().enumerate();
        columns.filter(|(index, _)| !self.opened.is_slice(*index)).map(|(_, field)| field)
    }

    fn check(&self, rows: &Rows, count: usize) -> Result<(), Failure> {
        let expected = self.opened.output.len() - self.opened.slices.len();
        if rows.columns.len() != expected {
            return Err(Failure::other(format!(
                "{} columns were emitted, `open` announced {expected}",
                rows.columns.len()
            )));
        }
        for (column, field) in rows.columns.iter().zip(self.plain_columns()) {
            if column.len() != count {
                return Err(Failure::other(format!(
                    "output column `{}` has {} values for {count} rows",
                    field.name(),
                    column.len()
                )));
            }
            if column.data_type() != field.data_type() {
                return Err(Failure::other(format!(
                    "output column `{}` is of type {}, `open` announced {}",
                    field.name(),
                    column.data_type(),
                    field.data_type()
                )));
            }
        }
        for announced in &self.opened.slices {
            let name = self.opened.output[announced.column as usize].name();
            match rows.slices.iter().find(|ranges| ranges.column == announced.column) {
                Some(ranges) if ranges.starts.len() == count && ranges.ends.len() == count => {}
                Some(ranges) => {
                    let (starts, ends) = (ranges.starts.len(), ranges.ends.len());
                    return Err(Failure::other(format!(
                        "slice column `{name}` has {starts} starts and {ends} ends for {count} rows"
                    )));
                }
                None => return Err(Failure::other(format!("slice column `{name}` has no ranges"))),
            }
        }
        if rows.slices.len() != self.opened.slices.len() {
            let (given, announced) = (rows.slices.len(), self.opened.slices.len());
            return Err(Failure::other(format!("{given} slice columns were emitted, `open` announced {announced}")));
        }
        Ok(())
    }

    /// The last parent, when they ascend from the floor within the batch.
    fn check_parents(&self, parents: &[u32]) -> Result<Option<u32>, Failure> {
        let (Some(first), Some(last)) = (parents.first(), parents.last()) else { return Ok(None) };
        if let Some(pair) = parents.windows(2).find(|pair| pair[0] > pair[1]) {
            return Err(Failure::other(format!("parents descend from {} to {}", pair[0], pair[1])));
        }
        if *first < self.floor {
            return Err(Failure::other(format!("a result for row {first} came after row {} was done", self.floor - 1)));
        }
        if *last >= self.input_rows {
            return Err(Failure::other(format!("a result for row {last} of a batch of {} rows", self.input_rows)));
        }
        Ok(Some(*last))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::Int32Array;
    use arrow_schema::{DataType, Field};

    use super::*;
    use crate::Shape;

    /// Emissions as `(parents, errors)`.
    #[derive(Default)]
    struct Seen(Vec<(Option<Vec<u32>>, Vec<u32>)>, usize);

    impl Sink for Seen {
        fn emit(&mut self, part: Part) -> Result<bool, Failure> {
            self.0.push((part.parents, part.errors.iter().map(|error| error.row).collect()));
            Ok(self.0.len() != self.1)
        }
    }

    fn numbers(count: i32) -> Vec<ArrayRef> {
        vec![Arc::new(Int32Array::from_iter_values(0..count))]
    }

    fn emitted(work: impl FnOnce(&mut Emitter<'_>) -> Result<(), Failure>) -> Result<Seen, Failure> {
        let mut seen = Seen::default();
        let opened = Opened::new(Shape::Expand).column(Field::new("n", DataType::Int32, false));
        let mut emitter = Emitter::new(&mut seen, &opened, 6);
        work(&mut emitter)?;
        emitter.finish()?;
        Ok(seen)
    }

    #[test]
    fn errors_go_with_the_rows_after_them() {
        let seen = emitted(|emit| {
            emit.error(4, "k", "later");
            emit.error(1, "k", "first");
            emit.error(1, "k", "second");
            emit.rows(Rows::new(numbers(3)).parents(vec![0, 2, 2]))?;
            emit.rows(Rows::new(numbers(1)).parents(vec![2]))?;
            emit.error(2, "k", "in the end");
            emit.rows(Rows::new(numbers(1)).parents(vec![3]))?;
            Ok(())
        });
        let expected = [
            (Some(vec![0, 2, 2]), vec![1]),
            (Some(vec![2]), vec![]),
            (Some(vec![3]), vec![2]),
            (Some(vec![]), vec![4]),
        ];
        assert_eq!(seen.unwrap().0, expected);
    }

    #[test]
    fn a_map_leaves_out_rows_with_errors() {
        let seen = emitted(|emit| emit.map(numbers(6)).map(drop)).unwrap();
        assert_eq!(seen.0, [(None, vec![])]);
        let seen = emitted(|emit| {
            emit.error(5, "k", "m");
            emit.error(0, "k", "m");
            emit.map(numbers(4)).map(drop)
        });
        assert_eq!(seen.unwrap().0, [(Some(vec![1, 2, 3, 4]), vec![0, 5])]);
        let seen = emitted(|emit| {
            emit.map(numbers(2))?;
            emit.map(numbers(4)).map(drop)
        });
        assert_eq!(seen.unwrap().0, [(None, vec![]), (Some(vec![2, 3, 4, 5]), vec![])]);
    }

    #[test]
    fn mistakes_are_named() {
        type Work = fn(&mut Emitter<'_>) -> Result<bool, Failure>;
        let cases: [(Work, &str); 8] = [
            (|emit| emit.map(numbers(7)), "7 rows were emitted for the 6 rows"),
            (|emit| emit.map(vec![]), "0 columns were emitted, `open` announced 1"),
            (|emit| emit.rows(Rows::new(numbers(2)).parents(vec![1])), "`n` has 2 values for 1 rows"),
            (|emit| emit.rows(Rows::new(numbers(2)).parents(vec![1, 0])), "descend from 1 to 0"),
            (|emit| emit.rows(Rows::new(numbers(1)).parents(vec![6])), "row 6 of a batch of 6"),
            (
                |emit| emit.map(numbers(3)).and_then(|_| emit.rows(Rows::new(numbers(1)).parents(vec![1]))),
                "row 1 came after row 1",
            ),
            (
                |emit| emit.rows(Rows::new(numbers(6)).slice(0, vec![0; 6], vec![0; 6])),
                "1 slice columns were emitted, `open` announced 0",
            ),
            (|emit| emit.map(vec![Arc::new(arrow_array::NullArray::new(6))]), "of type Null, `open` announced Int32"),
        ];
        for (work, expected) in cases {
            let failure = emitted(|emit| work(emit).map(drop)).err().unwrap().to_string();
            assert!(failure.contains(expected), "{failure} / {expected}");
        }
        let late = emitted(|emit| {
            emit.map(numbers(3))?;
            emit.error(1, "k", "m");
            Ok(())
        });
        assert!(late.err().unwrap().to_string().contains("row 1 came after a result for row 2"));
    }

    #[test]
    fn nothing_is_sent_when_nothing_is_wanted() {
        let mut seen = Seen(Vec::new(), 1);
        let opened = Opened::new(Shape::Expand).column(Field::new("n", DataType::Int32, false));
        let mut emitter = Emitter::new(&mut seen, &opened, 6);
        assert!(!emitter.map(numbers(2)).unwrap());
        assert!(!emitter.map(numbers(4)).unwrap());
        emitter.error(5, "k", "m");
        emitter.finish().unwrap();
        assert_eq!(seen.0.len(), 1);
    }
}
