//! What stays of a task when some of its splits have changed: the rows of the others, copied out of its files.
//!
//! No plugin and no model is called for them. The copy is a task like any other, whose counts are those of the splits that stay; so
//! the books balance as if the others had never been there.

use std::{
    collections::BTreeMap,
    fs::File,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use datafusion::arrow::{
    array::{ArrayRef, AsArray, BooleanArray, RecordBatch, UInt32Array},
    compute::filter_record_batch,
    datatypes::UInt32Type,
    error::ArrowError,
};
use dflow_io::{Codec, Encoder, Excerpt, IoError, Prepared, StagedFile, StagedFolder, copy_rows, is_object};
use dflow_operators::{
    BySplit, DeadFile, DeadPlace, RowFailure, SPLIT_COLUMN, SplitCounts, StageCounts, StepError, is_split,
};
use dflow_pipeline::{Fault, Format, Name};
use dflow_wasm::Cancel;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde::{Deserialize, Serialize};

use crate::{
    journal::{Known, PastTask, SplitTask, TaskId},
    task::{SinkFiles, TaskResult},
    writer::{Files, TaskOutput},
};

/// Rows of failed ones that are read at a time.
const ROWS: usize = 1024;

/// What stays of an earlier task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cut {
    /// The splits that stay: their places in the earlier task, and in this one.
    places: BTreeMap<u32, u32>,
    /// Where each sink's rows are.
    files: BTreeMap<Name, Vec<CutFile>>,
    /// The files of rows that failed, by stage.
    dead: Vec<(Name, PathBuf)>,
    /// What was counted of the splits that stay.
    by_split: BySplit,
    /// What was told of their rows that failed.
    failures: Vec<RowFailure>,
}

/// A file that holds rows of an earlier task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct CutFile {
    path: PathBuf,
    codec: Codec,
    /// How many rows of others are before its own.
    before: u64,
    /// Of which of the earlier task's splits its rows are.
    splits: Vec<(u32, u64)>,
}

/// An earlier task of which some may stay.
pub(crate) struct Divisible<'a> {
    task: &'a PastTask,
    /// It, and those that have tried its failed rows again.
    parts: Vec<(&'a PastTask, SplitTask)>,
    /// Of sinks that are one file: where it is, how it is compressed, and whose rows are in it.
    singles: BTreeMap<Name, Single>,
}

/// A sink that is one file.
#[derive(Clone, Debug)]
pub(crate) struct Single {
    pub(crate) path: PathBuf,
    pub(crate) codec: Codec,
    /// The tasks whose rows are in it, in their order.
    pub(crate) tasks: Vec<(TaskId, u64)>,
}

impl<'a> Divisible<'a> {
    /// A task, if it is known of all that it did and made which split it is of. `singles` are the sinks that are one file.
    pub(crate) fn of(
        task: &'a PastTask,
        journal: Known<'_>,
        singles: &BTreeMap<Name, Single>,
    ) -> Result<Option<Self>, StepError> {
        let mut parts = Vec::new();
        for part in std::iter::once(task).chain(&task.replays) {
            let Some(known) = journal.by_split(part.id)? else { return Ok(None) };
            let counted = |counts: &BTreeMap<Name, StageCounts>, known: &BTreeMap<Name, SplitCounts>| {
                counts.keys().all(|stage| known.contains_key(stage))
            };
            let whole = counted(&part.result.counts, &known.by_split.counts)
                && counted(&part.result.again, &known.by_split.again)
                && part.rows.iter().all(|(sink, rows)| {
                    let here = |single: &Single| single.tasks.iter().any(|(id, of)| *id == part.id && of == rows);
                    match singles.get(sink) {
                        Some(single) => *rows == 0 || (here(single) && known.parts.contains_key(sink)),
                        None => {
                            let files = known.files.iter().filter(|file| file.sink == *sink);
                            files.flat_map(|file| &file.splits).map(|(_, rows)| rows).sum::<u64>() == *rows
                        }
                    }
                });
            if !whole {
                return Ok(None);
            }
            parts.push((part, known));
        }
        Ok(Some(Self { task, parts, singles: singles.clone() }))
    }

    /// What stays of it: the splits at these places, in this order.
    pub(crate) fn keeping(&self, places: &[u32]) -> Cut {
        let places: BTreeMap<u32, u32> = places.iter().copied().zip(0..).collect();
        let mut cut = Cut {
            files: self.task.rows.keys().map(|sink| (sink.clone(), Vec::new())).collect(),
            dead: Vec::new(),
            by_split: BySplit::default(),
            failures: Vec::new(),
            places,
        };
        for (part, known) in &self.parts {
            for file in &known.files {
                let (path, splits) = (file.path.clone(), file.splits.clone());
                let file_of_sink = CutFile { path, codec: codec_of(&file.path), before: 0, splits };
                cut.files.entry(file.sink.clone()).or_default().push(file_of_sink);
            }
            for (sink, splits) in &known.parts {
                let Some(single) = self.singles.get(sink) else { continue };
                let before = single.tasks.iter().take_while(|(id, _)| *id != part.id).map(|(_, rows)| rows).sum();
                let (path, splits) = (single.path.clone(), splits.clone());
                let file = CutFile { path, codec: single.codec, before, splits };
                cut.files.entry(sink.clone()).or_default().push(file);
            }
            cut.dead.extend(known.dead.iter().cloned());
            let places = &cut.places;
            add(&mut cut.by_split.counts, &known.by_split.counts, &part.result.counts, places, part.replayed.as_ref());
            add(&mut cut.by_split.again, &known.by_split.again, &part.result.again, places, part.replayed.as_ref());
            let kept = |failure: &RowFailure| {
                Some(RowFailure { split: Some(*places.get(&failure.split?)?), ..failure.clone() })
            };
            cut.failures.extend(part.result.failures.iter().filter_map(kept));
        }
        cut
    }
}

/// Adds what was counted of the splits that stay, at their new places. Rows that `replayed` got had failed there before.
fn add(
    to: &mut BTreeMap<Name, SplitCounts>,
    known: &BTreeMap<Name, SplitCounts>,
    stages: &BTreeMap<Name, StageCounts>,
    places: &BTreeMap<u32, u32>,
    replayed: Option<&Name>,
) {
    for (stage, splits) in known.iter().filter(|(stage, _)| stages.contains_key(*stage)) {
        let kept = to.entry(stage.clone()).or_default();
        for (from, at) in places {
            let counts = splits.of(*from);
            let again = if replayed == Some(stage) { counts.rows_in } else { 0 };
            kept.add(*at, &StageCounts { replayed: counts.replayed + again, ..counts });
        }
    }
}

/// The place of a file in its sink's folder.
fn below<'a>(path: &'a Path, output: &TaskOutput, sink: &Name) -> Result<&'a Path, StepError> {
    let folder = std::path::absolute(&output.folder).map_err(|error| IoError::os("write", &output.folder, error))?;
    path.strip_prefix(folder).map_err(|_| {
        let what = format!("`{}` isn't in the folder of stage `{sink}`", path.display());
        StepError::new(Fault::Internal, what)
    })
}

/// How a file in a sink's folder is compressed, as its name says.
fn codec_of(path: &Path) -> Codec {
    Codec::of_name(&path.to_string_lossy())
}

impl Cut {
    /// Copies what stays into the task's own files, under temporary names. On an error nothing is left behind.
    ///
    /// # Errors
    /// A file isn't as it was written (fault `Outside` or `Internal`); the output can't be written; the run was interrupted.
    pub(crate) fn run(
        &self,
        outputs: &BTreeMap<Name, TaskOutput>,
        dead: Option<&DeadPlace>,
        cancel: &Cancel,
    ) -> Result<TaskResult, StepError> {
        let started = Instant::now();
        let mut files: BTreeMap<Name, SinkFiles> = BTreeMap::new();
        let made = outputs.iter().try_for_each(|(sink, output)| {
            if cancel.is_raised() {
                return Err(StepError::new(Fault::Outside, "interrupted"));
            }
            files.insert(sink.clone(), self.sink(sink, output)?.into());
            Ok(())
        });
        let dead = made.and_then(|()| dead.map_or_else(|| Ok(Vec::new()), |place| self.dead(place)));
        let dead = dead.inspect_err(|_| files.values().for_each(SinkFiles::discard))?;
        let sum = |splits: &BTreeMap<Name, SplitCounts>| -> BTreeMap<Name, StageCounts> {
            splits.iter().map(|(stage, splits)| (stage.clone(), splits.sum())).collect()
        };
        let (mut counts, again) = (sum(&self.by_split.counts), sum(&self.by_split.again));
        for (sink, made) in &files {
            if let Some(counts) = counts.get_mut(sink) {
                counts.bytes = made.files.iter().map(|file| file.bytes).sum();
            }
        }
        let (by_split, failures) = (Some(self.by_split.clone()), self.failures.clone());
        Ok(TaskResult { files, counts, again, by_split, failures, dead, elapsed: started.elapsed() })
    }

    fn sink(&self, sink: &Name, output: &TaskOutput) -> Result<Vec<Prepared>, StepError> {
        let files = self.files.get(sink).map(Vec::as_slice).unwrap_or_default();
        let excerpts: Vec<(Excerpt, Vec<(u32, u64)>)> = files.iter().map(|file| self.excerpt(file)).collect();
        match &output.files {
            Files::One if excerpts.is_empty() => Ok(Vec::new()),
            Files::One => {
                let (excerpts, splits): (Vec<_>, Vec<_>) = excerpts.into_iter().unzip();
                let splits = splits.concat();
                let file = copy_rows(output.format, output.codec, &excerpts, output.begin()?)?.finish()?;
                let rows = splits.iter().map(|(_, rows)| rows).sum();
                Ok(vec![Prepared { splits, ..file.with_rows(rows) }])
            }
            Files::Partitioned(_) => {
                let staged = StagedFolder::create(&output.folder, &output.name)?;
                let (stem, ending) = output.name.split_at(output.name.find('.').unwrap_or(output.name.len()));
                let mut made: Vec<Prepared> = Vec::new();
                for (number, (excerpt, splits)) in excerpts.into_iter().enumerate() {
                    let rows: u64 = splits.iter().map(|(_, rows)| rows).sum();
                    if rows == 0 {
                        continue;
                    }
                    let place = below(&excerpt.path, output, sink)?.parent().unwrap_or(Path::new("")).to_string_lossy();
                    let file = staged.begin(&format!("{place}/{stem}-{number}{ending}"))?;
                    let file = copy_rows(output.format, output.codec, &[excerpt], file)?.close()?;
                    made.push(Prepared { splits, ..file.with_rows(rows) });
                }
                if !made.is_empty() {
                    staged.finish(&made)?;
                }
                Ok(made)
            }
            Files::Named(_) => {
                let staged = StagedFolder::create(&output.folder, &output.name)?;
                let mut made: Vec<Prepared> = Vec::new();
                for (excerpt, splits) in excerpts.into_iter().filter(|(_, splits)| !splits.is_empty()) {
                    let name = below(&excerpt.path, output, sink)?.to_string_lossy();
                    made.push(Prepared { splits, ..staged.take_in(&name, &excerpt.path)?.with_rows(1) });
                }
                if !made.is_empty() {
                    staged.finish(&made)?;
                }
                Ok(made)
            }
        }
    }

    /// The objects of a sink that it copies rows of.
    pub(crate) fn objects_of(&self, sink: &Name) -> impl Iterator<Item = &PathBuf> {
        self.files.get(sink).into_iter().flatten().map(|file| &file.path).filter(|path| is_object(path))
    }

    /// Has objects read from files here.
    pub(crate) fn read_from(&mut self, here: &BTreeMap<PathBuf, PathBuf>) {
        for file in self.files.values_mut().flatten() {
            if let Some(path) = here.get(&file.path) {
                file.path.clone_from(path);
            }
        }
    }

    /// The rows of a file that stay, and of which splits they are.
    fn excerpt(&self, file: &CutFile) -> (Excerpt, Vec<(u32, u64)>) {
        let (mut at, mut ranges, mut splits) = (file.before, Vec::<Range<u64>>::new(), Vec::<(u32, u64)>::new());
        for (split, rows) in &file.splits {
            let end = at + rows;
            if let Some(place) = self.places.get(split) {
                match ranges.last_mut() {
                    Some(last) if last.end == at => last.end = end,
                    _ => ranges.push(at..end),
                }
                splits.push((*place, *rows));
            }
            at = end;
        }
        (Excerpt { path: file.path.clone(), codec: file.codec, rows: ranges }, splits)
    }

    /// The rows that failed, of splits that stay.
    fn dead(&self, place: &DeadPlace) -> Result<Vec<DeadFile>, StepError> {
        let mut staged: Option<StagedFolder> = None;
        let mut made: Vec<DeadFile> = Vec::new();
        for (number, (stage, path)) in self.dead.iter().enumerate() {
            let unreadable = |why: String| {
                let what = format!("the rows that failed can't be read from `{}`: {why}", path.display());
                StepError::new(Fault::Outside, what).hint("`dflow-host run --fresh` does everything again")
            };
            let file = File::open(path).map_err(|e| unreadable(e.to_string()))?;
            let reader = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|e| unreadable(e.to_string()))?;
            let schema = reader.schema().clone();
            let mut encoder: Option<Encoder<StagedFile>> = None;
            let batches = reader.with_batch_size(ROWS).build().map_err(|e| unreadable(e.to_string()))?;
            for batch in batches {
                let batch = batch.and_then(|batch| self.failed(&batch)).map_err(|e| unreadable(e.to_string()))?;
                if batch.num_rows() == 0 {
                    continue;
                }
                let encoder = match &mut encoder {
                    Some(encoder) => encoder,
                    None => {
                        let folder = match staged.take() {
                            Some(staged) => staged,
                            None => StagedFolder::create(&place.folder, &place.name)?,
                        };
                        let file = staged.insert(folder).begin(&format!("{}-{stage}-{number}.parquet", place.name))?;
                        encoder.insert(Encoder::new(Format::Parquet, Arc::clone(&schema), file)?)
                    }
                };
                encoder.write(&batch)?;
            }
            if let Some(encoder) = encoder {
                let rows = encoder.rows();
                made.push(DeadFile { stage: stage.clone(), file: encoder.finish()?.close()?.with_rows(rows) });
            }
        }
        if let Some(staged) = staged {
            staged.finish(&made.iter().map(|dead| dead.file.clone()).collect::<Vec<_>>())?;
        }
        Ok(made)
    }

    /// Of rows that failed those of splits that stay, which are at their new places.
    fn failed(&self, batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let place = |split: Option<u32>| split.and_then(|split| self.places.get(&split).copied());
        let splits = batch.column_by_name(SPLIT_COLUMN).and_then(|column| column.as_primitive_opt::<UInt32Type>());
        let Some(splits) = splits else { return Ok(batch.slice(0, 0)) };
        let stays = BooleanArray::from_iter(splits.iter().map(|split| Some(place(split).is_some())));
        let batch = filter_record_batch(batch, &stays)?;
        let columns = batch.schema_ref().fields().iter().zip(batch.columns()).map(|(field, column)| -> ArrayRef {
            match column.as_primitive_opt::<UInt32Type>().filter(|_| is_split(field.name())) {
                Some(splits) => Arc::new(splits.iter().map(place).collect::<UInt32Array>()),
                None => Arc::clone(column),
            }
        });
        RecordBatch::try_new(batch.schema(), columns.collect())
    }
}
