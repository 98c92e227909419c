//! What came of a part of a batch, joined with the columns that are carried along, and each of its rows accounted for.

use std::{collections::VecDeque, sync::Arc};

use datafusion::{
    arrow::{
        array::{
            Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, StringViewArray, UInt32Array, new_null_array,
        },
        compute::take,
    },
    common::{Result, internal_err},
};
use dflow_pipeline::OnError;
use dflow_wasm::{Piece, Processed, RowShape};

use super::Work;
use crate::{
    alone::{Lost, Outcome},
    carried::Carried,
    error::StepError,
    ids::{Ids, child_id},
    reads::texts,
    scope::{Failed, RowFailure, StageCounts},
    split_column::splits_of,
};

impl Work {
    /// Turns what came of a part of the input into batches, and accounts for each of its rows.
    pub(super) fn results(
        &self,
        part: &RecordBatch,
        ids: Option<&ArrayRef>,
        Outcome { processed, lost }: Outcome,
    ) -> Result<(VecDeque<RecordBatch>, Failed)> {
        let mut ready = VecDeque::new();
        let failures = self.failures(part, ids, &lost)?;
        self.count(part, &processed, &lost);
        if self.spec.on_error == OnError::Null && !lost.is_empty() {
            ready.push_back(self.with_nulls(part, &processed)?);
            return Ok((ready, failures));
        }
        let mut siblings = Siblings::default();
        for piece in processed.pieces {
            ready.push_back(self.piece(part, ids, &piece, &mut siblings)?);
        }
        Ok((ready, failures))
    }

    /// Counts what became of each row of a part.
    fn count(&self, part: &RecordBatch, processed: &Processed, lost: &[Lost]) {
        let splits = splits_of(part);
        let parents = || processed.pieces.iter().flat_map(|piece| &piece.parents).copied();
        let each = |one: StageCounts, rows: &mut dyn Iterator<Item = u32>| match splits {
            Some(splits) => {
                let of: Vec<u32> = rows.map(|row| splits[row as usize]).collect();
                self.counters.add_each(&one, of.len(), Some(&of));
            }
            None => self.counters.add_each(&one, rows.count(), None),
        };
        self.counters.add_each(&StageCounts { rows_in: 1, ..StageCounts::default() }, part.num_rows(), splits);
        each(StageCounts { rows_made: 1, ..StageCounts::default() }, &mut parents());
        let failed = match self.spec.on_error {
            OnError::Skip => StageCounts { skipped: 1, ..StageCounts::default() },
            OnError::Null => StageCounts { rows_made: 1, ..StageCounts::default() },
            OnError::DeadLetter => StageCounts { failed: 1, ..StageCounts::default() },
            OnError::Fail => StageCounts::default(),
        };
        each(failed, &mut lost.iter().map(|lost| lost.row));
        if self.spec.shape() == RowShape::Filter {
            let mut left = vec![true; part.num_rows()];
            parents().chain(lost.iter().map(|lost| lost.row)).for_each(|row| left[row as usize] = false);
            let filtered = &mut (0..).zip(&left).filter(|(_, left)| **left).map(|(row, _)| row);
            each(StageCounts { filtered: 1, ..StageCounts::default() }, filtered);
        }
    }

    /// The rows of a part that failed, and what happened to each.
    pub(super) fn failures(&self, part: &RecordBatch, ids: Option<&ArrayRef>, lost: &[Lost]) -> Result<Failed> {
        let of = part.num_rows();
        if lost.is_empty() {
            return Ok(Failed { of, ..Failed::default() });
        }
        let uris = self.reads.uri.as_ref().map(|uri| texts(uri, part)).transpose()?;
        let before = self.reads.tried(part)?;
        let splits = splits_of(part);
        let mut failures = Vec::with_capacity(lost.len());
        for lost in lost {
            let row = lost.row as usize;
            let of = |texts: &ArrayRef| texts.is_valid(row).then(|| texts.as_string_view().value(row).to_owned());
            let failure = RowFailure {
                stage: self.spec.stage.clone(),
                id: ids.and_then(of),
                uri: uris.as_ref().and_then(of),
                split: splits.map(|splits| splits[row]),
                fault: lost.fault,
                kind: lost.kind.clone(),
                message: lost.message.clone(),
                attempts: lost.attempts + before.as_ref().map_or(0, |before| before.value(row)),
            };
            if self.spec.on_error == OnError::Fail {
                let row = failure.id.as_deref().map_or_else(String::new, |id| format!(" `{id}`"));
                let of = failure.uri.as_deref().map_or_else(String::new, |uri| format!(" of `{uri}`"));
                let message =
                    format!("stage `{}`: row{row}{of} failed: {}: {}", failure.stage, failure.kind, failure.message);
                return Err(StepError::new(lost.fault, message)
                    .hint("`on_error = \"dead_letter\"` goes on without such rows")
                    .into());
            }
            failures.push(failure);
        }
        let places = UInt32Array::from_iter_values(lost.iter().map(|lost| lost.row));
        let columns = part.columns().iter().map(|column| take(column, &places, None)).collect::<Result<Vec<_>, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(lost.len()));
        let rows = Some(RecordBatch::try_new_with_options(part.schema(), columns, &options)?);
        let leading = lost.iter().enumerate().take_while(|(i, lost)| *i == lost.row as usize).count();
        Ok(Failed { failures, rows, leading, of })
    }

    /// Joins new columns with the carried columns of their parents.
    pub(super) fn piece(
        &self,
        part: &RecordBatch,
        ids: Option<&ArrayRef>,
        piece: &Piece,
        siblings: &mut Siblings,
    ) -> Result<RecordBatch> {
        let rows = piece.parents.len();
        let carried = Carried::of(&piece.parents);
        let new = self.carried + self.spec.columns.len();
        // A later piece goes on where the one before left a parent, so indices are counted even when nobody reads them.
        let index: Option<Vec<u32>> =
            self.spec.children.as_ref().map(|_| piece.parents.iter().map(|p| siblings.next(*p)).collect());
        let columns = self.kept.iter().map(|i| -> Result<ArrayRef> {
            match *i {
                i if i < self.carried => carried.column(part.column(i)),
                i if i < new => Ok(piece.columns.column(i - self.carried).clone()),
                i if i == new => match (ids, &index) {
                    (Some(ids), Some(index)) => Ok(Arc::new(self.child_ids(ids, &piece.parents, index)) as ArrayRef),
                    _ => internal_err!("children without ids"),
                },
                _ => Ok(Arc::new(UInt32Array::from(index.clone().unwrap_or_default()))),
            }
        });
        self.made(columns.collect::<Result<Vec<_>>>()?, rows)
    }

    /// One row each, the new columns of failed rows null.
    fn with_nulls(&self, part: &RecordBatch, processed: &Processed) -> Result<RecordBatch> {
        let rows = part.num_rows();
        let mut from = vec![None; rows];
        let joined = processed.joined().map_err(StepError::from)?;
        if let Some((_, parents)) = &joined {
            parents.iter().enumerate().for_each(|(i, parent)| from[*parent as usize] = Some(i as u32));
        }
        let from = UInt32Array::from(from);
        let columns = self.kept.iter().map(|i| -> Result<ArrayRef> {
            match *i {
                i if i < self.carried => Ok(part.column(i).clone()),
                i => match &joined {
                    Some((columns, _)) => Ok(take(columns.column(i - self.carried), &from, None)?),
                    None => Ok(new_null_array(self.spec.columns[i - self.carried].data_type(), rows)),
                },
            }
        });
        self.made(columns.collect::<Result<Vec<_>>>()?, rows)
    }

    fn child_ids(&self, ids: &ArrayRef, parents: &[u32], index: &[u32]) -> StringViewArray {
        let ids = ids.as_string_view();
        let mut out = Ids::with_capacity(parents.len());
        for (parent, index) in parents.iter().zip(index) {
            out.push(&child_id(ids.value(*parent as usize), self.spec.stage.as_str(), u64::from(*index)));
        }
        out.finish()
    }

    fn made(&self, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?)
    }
}

/// Counts children of the same parent, from piece to piece.
#[derive(Default)]
pub(super) struct Siblings {
    parent: Option<u32>,
    next: u32,
}

impl Siblings {
    fn next(&mut self, parent: u32) -> u32 {
        if self.parent != Some(parent) {
            (self.parent, self.next) = (Some(parent), 0);
        }
        self.next += 1;
        self.next - 1
    }
}
