//! Files in folders that are named by values: `lang=de/year=2024/NAME`.
//!
//! Rows wait until there are enough of them to be dealt, so that a partition's file is opened for many rows at once. A bounded
//! number of files is open; a partition whose file was closed for others gets another one.

use std::{collections::HashMap, sync::Arc};

use datafusion::arrow::{
    array::{Array, ArrayRef, RecordBatch, UInt32Array},
    compute::{cast, take_record_batch},
    datatypes::{DataType, SchemaRef},
    error::ArrowError,
    row::{OwnedRow, RowConverter, SortField},
    util::display::{ArrayFormatter, FormatOptions},
};
use dflow_io::{Encoder, Prepared, StagedFile, StagedFolder, partition_folder, push_splits};
use dflow_operators::{StepError, row_sizes};
use dflow_pipeline::{Codec, Fault, Format};

use super::TaskOutput;

/// Files that are open at a time.
const OPEN: usize = 64;
/// Bytes of rows that wait. (They may hold on to more: to all of the batches that they came in.)
const PENDING: usize = 32 << 20;
/// Bytes that the open files' encoders hold, all together.
const BUFFERED: usize = 64 << 20;

/// Writes rows into folders by their values.
pub(crate) struct Partitioned {
    staged: StagedFolder,
    /// The file's name, before and from its ending on.
    name: (String, String),
    format: Format,
    codec: Codec,
    /// The columns that name folders, and those that are written.
    by: Vec<usize>,
    rest: Vec<usize>,
    columns: Vec<String>,
    schema: SchemaRef,
    converter: RowConverter,
    known: HashMap<OwnedRow, usize>,
    partitions: Vec<Partition>,
    pending: Vec<Pending>,
    pending_bytes: usize,
    turn: u64,
    files: Vec<Prepared>,
}

/// Rows that wait to be written.
struct Pending {
    rows: RecordBatch,
    /// The partition of each.
    parts: Vec<usize>,
    /// The task's split of each, where that is known.
    splits: Option<Vec<u32>>,
}

struct Partition {
    folder: String,
    open: Option<Encoder<StagedFile>>,
    /// Where the rows in it come from.
    splits: Vec<(u32, u64)>,
    /// Files that were begun for it.
    begun: usize,
    /// When rows were written to it last.
    turn: u64,
}

impl Partitioned {
    pub(super) fn create(output: &TaskOutput, columns: &[String], schema: &SchemaRef) -> Result<Self, StepError> {
        let by = columns
            .iter()
            .map(|column| schema.index_of(column))
            .collect::<Result<Vec<_>, _>>()
            .map_err(StepError::internal)?;
        let rest: Vec<usize> = (0..schema.fields().len()).filter(|i| !by.contains(i)).collect();
        let written = Arc::new(schema.project(&rest).map_err(StepError::internal)?);
        // A format that can't hold the columns is found out before anything is read.
        drop(Encoder::new(output.format, Arc::clone(&written), Vec::new())?);
        let fields = by.iter().map(|i| SortField::new(schema.field(*i).data_type().clone())).collect();
        let ending = output.name.find('.').unwrap_or(output.name.len());
        Ok(Self {
            staged: StagedFolder::create(&output.folder, &output.name)?,
            name: (output.name[..ending].to_owned(), output.name[ending..].to_owned()),
            format: output.format,
            codec: output.codec,
            by,
            rest,
            columns: columns.to_vec(),
            schema: written,
            converter: RowConverter::new(fields).map_err(StepError::internal)?,
            known: HashMap::new(),
            partitions: Vec::new(),
            pending: Vec::new(),
            pending_bytes: 0,
            turn: 0,
            files: Vec::new(),
        })
    }

    pub(super) fn write(&mut self, batch: &RecordBatch, splits: Option<&[u32]>) -> Result<(), StepError> {
        let values: Vec<ArrayRef> = self.by.iter().map(|i| Arc::clone(batch.column(*i))).collect();
        let rows = self.converter.convert_columns(&values).map_err(StepError::internal)?;
        let mut parts: Vec<usize> = Vec::with_capacity(batch.num_rows());
        for i in 0..batch.num_rows() {
            let part = match parts.last() {
                Some(last) if rows.row(i) == rows.row(i - 1) => *last,
                _ => {
                    let row = rows.row(i).owned();
                    match self.known.get(&row) {
                        Some(part) => *part,
                        None => {
                            let folder = self.folder(&values, i)?;
                            self.partitions.push(Partition {
                                folder,
                                open: None,
                                splits: Vec::new(),
                                begun: 0,
                                turn: 0,
                            });
                            self.known.insert(row, self.partitions.len() - 1);
                            self.partitions.len() - 1
                        }
                    }
                }
            };
            parts.push(part);
        }
        self.pending_bytes += row_sizes(batch.columns(), batch.num_rows()).iter().sum::<u64>() as usize;
        let rows = batch.project(&self.rest).map_err(StepError::internal)?;
        self.pending.push(Pending { rows, parts, splits: splits.map(<[u32]>::to_vec) });
        if self.pending_bytes >= PENDING {
            self.deal()?;
        }
        Ok(())
    }

    /// The folders of a row's values.
    fn folder(&self, values: &[ArrayRef], row: usize) -> Result<String, StepError> {
        let mut folders = Vec::with_capacity(values.len());
        for (column, values) in self.columns.iter().zip(values) {
            let folder = partition_folder(column, text(values, row).map_err(StepError::internal)?.as_deref());
            if let Some(why) = dflow_pipeline::refuse_name(&folder) {
                return Err(StepError::new(Fault::Data, format!("the folder `{folder}` {why}"))
                    .hint("partition by something shorter"));
            }
            folders.push(folder);
        }
        Ok(folders.join("/"))
    }

    /// Writes the rows that wait, partition by partition.
    fn deal(&mut self) -> Result<(), StepError> {
        let pending = std::mem::take(&mut self.pending);
        self.pending_bytes = 0;
        // For each partition, in the order of its first row: the rows of each batch.
        let mut order: Vec<usize> = Vec::new();
        let mut rows: HashMap<usize, Vec<(usize, Vec<u32>)>> = HashMap::new();
        for (i, waiting) in pending.iter().enumerate() {
            for (row, part) in (0u32..).zip(&waiting.parts) {
                let batches = rows.entry(*part).or_insert_with(|| {
                    order.push(*part);
                    Vec::new()
                });
                match batches.last_mut() {
                    Some((batch, rows)) if *batch == i => rows.push(row),
                    _ => batches.push((i, vec![row])),
                }
            }
        }
        for part in order {
            self.open(part)?;
            for (batch, rows) in rows.remove(&part).unwrap_or_default() {
                let waiting = &pending[batch];
                let Partition { open: Some(encoder), splits, .. } = &mut self.partitions[part] else { continue };
                if let Some(of) = &waiting.splits {
                    let of: Vec<u32> = rows.iter().map(|row| of[*row as usize]).collect();
                    push_splits(splits, &of);
                }
                encoder
                    .write(&take_record_batch(&waiting.rows, &UInt32Array::from(rows)).map_err(StepError::internal)?)?;
            }
            self.relieve()?;
        }
        Ok(())
    }

    /// Opens a partition's file, if it isn't open; another one is closed for it when there are too many.
    fn open(&mut self, part: usize) -> Result<(), StepError> {
        self.turn += 1;
        self.partitions[part].turn = self.turn;
        if self.partitions[part].open.is_some() {
            return Ok(());
        }
        let open = || self.partitions.iter().enumerate().filter(|(_, p)| p.open.is_some());
        if open().count() >= OPEN
            && let Some((oldest, _)) = open().min_by_key(|(_, p)| p.turn)
        {
            self.close(oldest)?;
        }
        let partition = &mut self.partitions[part];
        let number = if partition.begun == 0 { String::new() } else { format!("-{}", partition.begun) };
        let (stem, ending) = &self.name;
        let file = self.staged.begin(&format!("{}/{stem}{number}{ending}", partition.folder))?;
        partition.open = Some(Encoder::packed(self.format, self.codec, Arc::clone(&self.schema), file)?);
        partition.begun += 1;
        Ok(())
    }

    /// Has the encoders that hold most write it out, when all hold too much together.
    fn relieve(&mut self) -> Result<(), StepError> {
        let held = |p: &Partition| p.open.as_ref().map_or(0, Encoder::buffered_bytes);
        while self.partitions.iter().map(held).sum::<usize>() > BUFFERED {
            let most = self.partitions.iter_mut().max_by_key(|p| held(p)).and_then(|p| p.open.as_mut());
            let Some(encoder) = most else { break };
            let before = encoder.buffered_bytes();
            encoder.relieve()?;
            if encoder.buffered_bytes() >= before {
                break;
            }
        }
        Ok(())
    }

    /// About how many bytes of rows wait in memory.
    pub(super) fn buffered_bytes(&self) -> usize {
        let held = |p: &Partition| p.open.as_ref().map_or(0, Encoder::buffered_bytes);
        self.pending_bytes + self.partitions.iter().map(held).sum::<usize>()
    }

    /// Writes out what waits, and what the encoders hold.
    pub(super) fn spill(&mut self) -> Result<(), StepError> {
        self.deal()?;
        let mut open = self.partitions.iter_mut().filter_map(|p| p.open.as_mut());
        Ok(open.try_for_each(Encoder::relieve)?)
    }

    fn close(&mut self, part: usize) -> Result<(), StepError> {
        if let Some(encoder) = self.partitions[part].open.take() {
            let rows = encoder.rows();
            let splits = std::mem::take(&mut self.partitions[part].splits);
            self.files.push(Prepared { splits, ..encoder.finish()?.close()?.with_rows(rows) });
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<Vec<Prepared>, StepError> {
        self.deal()?;
        for part in 0..self.partitions.len() {
            self.close(part)?;
        }
        self.files.sort_by(|a, b| a.path.cmp(&b.path));
        if self.files.is_empty() {
            return Ok(Vec::new());
        }
        self.staged.finish(&self.files)?;
        Ok(self.files)
    }
}

/// The text of a value as a folder's name says it; `None` for null.
pub(crate) fn text(values: &ArrayRef, row: usize) -> Result<Option<String>, ArrowError> {
    if values.logical_nulls().is_some_and(|nulls| nulls.is_null(row)) {
        return Ok(None);
    }
    // A date's text is the day, whatever holds it.
    let one = values.slice(row, 1);
    let one = if *one.data_type() == DataType::Date64 { cast(&one, &DataType::Date32)? } else { one };
    let options = FormatOptions::default();
    Ok(Some(ArrayFormatter::try_new(one.as_ref(), &options)?.value(0).to_string()))
}
