//! Parquet files of a source, opened by DataFusion's own reader, so that filters, ranges and statistics reach into them.

use std::{error::Error, iter, panic::AssertUnwindSafe, sync::Arc};

use chrono::DateTime;
use datafusion::{
    arrow::{
        array::{AsArray, RecordBatch},
        datatypes::{DataType, Field, FieldRef, Int64Type, Schema, SchemaRef},
    },
    common::{Result, Statistics},
    config::ConfigOptions,
    datasource::{
        listing::PartitionedFile,
        physical_plan::{
            FileScanConfigBuilder, FileSource, FileStreamBuilder, ParquetSource,
            parquet::{CachedParquetFileReaderFactory, metadata::DFParquetMetadata},
        },
        table_schema::TableSchema,
    },
    error::DataFusionError,
    execution::{TaskContext, object_store::ObjectStoreUrl, runtime_env::RuntimeEnv},
    physical_expr::PhysicalExpr,
    physical_plan::filter_pushdown::PushedDown,
};
use dflow_io::{IoError, Run, SourceBatch, SourceFailure, Split, Stores};
use dflow_pipeline::{BatchLimits, Fault};
use futures::{FutureExt, StreamExt, stream, stream::BoxStream};
use object_store::{ObjectMeta, ObjectStore};
use parquet::{
    arrow::{RowNumber, parquet_to_arrow_schema},
    file::metadata::{ParquetMetaData, RowGroupMetaData},
};

use crate::{
    error::StepError,
    held::Held,
    partitions::Partitions,
    scope::{StageCounters, StageCounts},
    unchanged::Unchanged,
};

/// Files that are opened ahead of the one that is read.
const OPENED_AHEAD: usize = 2;
/// A batch that is read holds at most so many of the batches that operators get: they cut it further.
const READ_AT_ONCE: u64 = 4;
/// From this many bytes a row on, filters are evaluated while reading, column after column; below, doing so costs more than the
/// columns that it spares (a study on TPC-H's lineitem: 0.17 s without, 0.21 with; not tuned here).
const WIDE_ROW: u64 = 256;

/// Reads Parquet files. Their columns are those of `schema`, and each row's position in its file.
#[derive(Clone)]
pub struct ParquetFiles {
    stores: Stores,
    /// The files' columns, then those of their folders.
    schema: SchemaRef,
    partitions: Partitions,
    /// Whether the user says the columns' types: then what differs is cast, and what isn't there is null.
    pinned: bool,
    source: Arc<ParquetSource>,
}

impl std::fmt::Debug for ParquetFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ParquetFiles").field("schema", &self.schema).finish_non_exhaustive()
    }
}

/// What one task reads of a source, and how.
#[derive(Clone)]
pub(crate) struct Reading {
    /// The files, or ranges of them.
    pub(crate) splits: Arc<[Split]>,
    /// The columns, indices into the schema.
    pub(crate) columns: Vec<usize>,
    /// Whether each row's position in its file is asked for.
    pub(crate) positions: bool,
    /// How batches are cut.
    pub(crate) limits: BatchLimits,
    /// The greatest number of rows that is wanted of each file.
    pub(crate) rows: Option<usize>,
    /// Where rows are counted that a filter spares.
    pub(crate) counters: Arc<StageCounters>,
    /// What tasks of this process share.
    pub(crate) context: Arc<TaskContext>,
}

impl ParquetFiles {
    /// Files of this schema, in folders that say these columns. `sample` is the metadata of one of them.
    pub fn new(stores: &Stores, schema: &SchemaRef, partitions: Partitions, sample: Option<&ParquetMetaData>) -> Self {
        let row: FieldRef = Arc::new(Field::new("#row", DataType::Int64, false).with_extension_type(RowNumber));
        let table = TableSchema::builder(schema.clone())
            .with_table_partition_cols(partitions.fields.clone())
            .with_virtual_columns(vec![row])
            .build();
        let schema = table.schema_without_virtual_columns().clone();
        let wide = sample.is_some_and(|metadata| row_bytes(metadata, None) >= WIDE_ROW);
        let source = ParquetSource::new(table).with_pushdown_filters(wide).with_reorder_filters(wide);
        Self { stores: stores.clone(), schema, partitions, pinned: false, source: Arc::new(source) }
    }

    /// With columns and types that the user says.
    #[must_use]
    pub fn pinned(self) -> Self {
        Self { pinned: true, ..self }
    }

    /// All columns.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// With filters over the schema: which of them need not be looked at again, and files that skip what can't pass.
    pub(crate) fn filtered(
        &self,
        filters: Vec<Arc<dyn PhysicalExpr>>,
        config: &ConfigOptions,
    ) -> Result<(Vec<PushedDown>, Option<Self>)> {
        let pushed = self.source.try_pushdown_filters(filters, config)?;
        let source = pushed.updated_node.and_then(|node| {
            let node: Arc<dyn std::any::Any + Send + Sync> = node;
            node.downcast::<ParquetSource>().ok()
        });
        Ok((pushed.filters, source.map(|source| Self { source, ..self.clone() })))
    }

    /// The filter, if there is one.
    pub(crate) fn predicate(&self) -> Option<Arc<dyn PhysicalExpr>> {
        self.source.filter()
    }

    /// How many rows there are, and what is known of the columns' values; of what can't be read nothing is known.
    pub async fn statistics(&self, splits: &[Split], runtime: &RuntimeEnv) -> Statistics {
        let mut all = Vec::with_capacity(splits.len());
        for split in splits.iter().filter(|split| split.range.is_none_or(|(start, _)| start == 0)) {
            let one = match parquet_metadata(&self.stores, split, runtime).await {
                Ok(metadata) => DFParquetMetadata::statistics_from_parquet_metadata(&metadata, &self.schema),
                Err(e) => Err(e),
            };
            match one {
                Ok(one) => all.push(one),
                Err(_) => return Statistics::new_unknown(&self.schema),
            }
        }
        let sum = Statistics::try_merge_iter(&all, &self.schema);
        sum.ok().filter(|_| !all.is_empty()).unwrap_or_else(|| Statistics::new_unknown(&self.schema))
    }

    /// The rows of some files, in order. A file that can't be read, or breaks in its middle, is a failure, and the others go on.
    pub(crate) fn open(&self, reading: Reading) -> BoxStream<'static, Result<SourceBatch, IoError>> {
        let files = self.clone();
        let count = reading.splits.len();
        let wanted = self.schema.project(&reading.columns).map_or_else(|_| self.schema.clone(), Arc::new);
        stream::iter(0..count)
            .map(move |i| {
                let (files, reading, wanted) = (files.clone(), reading.clone(), wanted.clone());
                async move {
                    let splits = reading.splits.clone();
                    match files.file(reading, i, &wanted).await {
                        Ok(batches) => batches,
                        Err(e) => stream::iter([Ok(failure(&files.stores, &splits, i, 0, &wanted, &e))]).boxed(),
                    }
                }
            })
            .buffered(OPENED_AHEAD)
            .flatten()
            .boxed()
    }

    /// Whether a file has the columns that are read as the first file has them.
    fn check(&self, metadata: &ParquetMetaData, columns: &[usize]) -> Result<()> {
        let file = metadata.file_metadata();
        let schema = parquet_to_arrow_schema(file.schema_descr(), file.key_value_metadata())?;
        let own = self.schema.fields().len() - self.partitions.fields.len();
        let fields = columns.iter().filter(|i| **i < own).map(|i| self.schema.field(*i));
        let differs = fields.filter_map(|field| differs(&schema, field)).next();
        differs.map_or(Ok(()), |what| Err(DataFusionError::Execution(what)))
    }

    /// The rows of one file.
    async fn file(
        &self,
        reading: Reading,
        index: usize,
        wanted: &SchemaRef,
    ) -> Result<BoxStream<'static, Result<SourceBatch, IoError>>> {
        let split = &reading.splits[index];
        let runtime = reading.context.runtime_env();
        let metadata = parquet_metadata(&self.stores, split, &runtime).await?;
        if !self.pinned {
            self.check(&metadata, &reading.columns)?;
        }
        let (store, meta) = object(&self.stores, split)?;
        let wanted_names = names(&self.schema, &reading.columns);
        let bytes = row_bytes(&metadata, Some(&wanted_names));
        let group = largest_group(&metadata, &wanted_names);
        let held = Held::new(&runtime.memory_pool, "files that are read");
        let rows =
            (reading.limits.bytes.0 * READ_AT_ONCE / bytes.max(1)).clamp(1, u64::from(reading.limits.rows.max(1)));
        let cache = runtime.cache_manager.get_file_metadata_cache();
        let factory = CachedParquetFileReaderFactory::new(store.clone(), cache);
        let source = self.source.as_ref().clone().with_parquet_file_reader_factory(Arc::new(factory));
        let mut file = PartitionedFile::new_from_meta(meta);
        file.partition_values = self.partitions.values(split).map_err(DataFusionError::Execution)?;
        if let Some((start, end)) = split.range {
            file = file.with_range(start as i64, end as i64);
        }
        let mut columns = reading.columns.clone();
        if reading.positions {
            columns.push(self.schema.fields().len());
        }
        let config = FileScanConfigBuilder::new(ObjectStoreUrl::local_filesystem(), Arc::new(source))
            .with_projection_indices(Some(columns))?
            .with_limit(reading.rows)
            .with_file(file)
            .build();
        let source = config.file_source().with_batch_size(rows as usize);
        let morselizer = source.create_morselizer(store, &config, 0)?;
        let batches = FileStreamBuilder::new(&config)
            .with_partition(0)
            .with_morselizer(morselizer)
            .with_metrics(source.metrics())
            .build()?;
        let (stores, wanted) = (self.stores.clone(), wanted.clone());
        // What a filter spares is known when all of the rest is read.
        let all = self.predicate().is_some().then(|| rows_within(&metadata, split.range));
        let state = (AssertUnwindSafe(batches), 0u64, held);
        let batches = stream::try_unfold(Some(state), move |state| {
            let (stores, reading, wanted) = (stores.clone(), reading.clone(), wanted.clone());
            async move {
                let failure = |reading: &Reading, wanted: &SchemaRef, read, e: &_| {
                    failure(&stores, &reading.splits, index, read, wanted, e)
                };
                let Some((mut batches, read, held)) = state else { return Ok(None) };
                held.take(group);
                let next = AssertUnwindSafe(batches.next()).catch_unwind().await.map_err(panicked);
                let batch = match next.and_then(Option::transpose) {
                    Ok(None) => {
                        let spared = all.filter(|_| reading.rows.is_none()).map_or(0, |all| all.saturating_sub(read));
                        let spared = StageCounts { rows_in: spared, filtered: spared, ..StageCounts::default() };
                        reading.counters.add_to(index as u32, &spared);
                        return Ok(None);
                    }
                    // Each row group is read of the file that is there then. One that is as it was listed has been so all the time.
                    Ok(Some(batch)) => match stores.changed(&reading.splits[index]) {
                        None => batch,
                        Some(e) => {
                            let e = DataFusionError::External(e.into());
                            return Ok(Some((failure(&reading, &wanted, read, &e), None)));
                        }
                    },
                    Err(e) => return Ok(Some((failure(&reading, &wanted, read, &e), None))),
                };
                let count = batch.num_rows() as u64;
                let runs = runs(&batch, &reading, index as u32, read);
                let rows = match batch.project(&(0..reading.columns.len()).collect::<Vec<_>>()) {
                    Ok(rows) => rows.with_schema(wanted.clone()),
                    Err(e) => Err(e),
                };
                let batch = match rows {
                    Ok(rows) => SourceBatch { rows, runs, failed: Vec::new() },
                    Err(e) => return Ok(Some((failure(&reading, &wanted, read, &e.into()), None))),
                };
                Ok(Some((batch, Some((batches, read + count, held)))))
            }
        });
        Ok(batches.boxed())
    }
}

/// What is wrong with the column of a file that should be as the first file has it: a phrase, if it isn't. Encodings (views,
/// dictionaries) may differ.
pub fn differs(file: &Schema, field: &Field) -> Option<String> {
    let name = field.name();
    let Ok(found) = file.field_with_name(name) else {
        return Some(format!("it has no column `{name}`, and the first file has one (`schema` pins what is read)"));
    };
    let (here, first) = (stands_for(found.data_type()), stands_for(field.data_type()));
    let word = |data_type: &DataType| match data_type {
        DataType::Utf8View => "utf8".to_owned(),
        DataType::BinaryView => "binary".to_owned(),
        other => other.to_string().to_lowercase(),
    };
    (here != first).then(|| {
        let (here, first) = (word(&here), word(&first));
        format!("its column `{name}` is {here}, that of the first file is {first} (`schema` pins one for all)")
    })
}

/// What a column's type stands for, its encoding aside.
fn stands_for(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 => DataType::Utf8View,
        DataType::Binary | DataType::LargeBinary => DataType::BinaryView,
        DataType::Dictionary(_, value) => stands_for(value),
        other => other.clone(),
    }
}

/// What a Parquet file says about itself: read once, then kept for all that run in this process.
///
/// # Errors
/// It can't be read, or isn't Parquet.
pub async fn parquet_metadata(stores: &Stores, split: &Split, runtime: &RuntimeEnv) -> Result<Arc<ParquetMetaData>> {
    if split.size == 0 && stores.local_path(split).is_none() {
        let what = "it is empty, isn't there, or its server doesn't say how large it is";
        return Err(DataFusionError::Execution(what.to_owned()));
    }
    let (store, meta) = object(stores, split)?;
    let cache = runtime.cache_manager.get_file_metadata_cache();
    let reader = DFParquetMetadata::new(store.as_ref(), &meta).with_file_metadata_cache(Some(cache));
    // A panic of a decoder on a broken file is that file's failure, not ours.
    AssertUnwindSafe(reader.fetch_metadata()).catch_unwind().await.map_err(panicked)?
}

fn object(stores: &Stores, split: &Split) -> Result<(Arc<dyn ObjectStore>, ObjectMeta)> {
    let (store, location) = stores.object(split).map_err(StepError::from)?;
    let last_modified = DateTime::from_timestamp_millis(split.modified).unwrap_or_default();
    let meta = ObjectMeta { location, last_modified, size: split.size, e_tag: Some(split.etag.clone()), version: None };
    Ok((Unchanged::of(store, &split.etag), meta))
}

fn names(schema: &Schema, columns: &[usize]) -> Vec<String> {
    columns.iter().map(|i| schema.field(*i).name().clone()).collect()
}

/// Bytes of a row, decoded, of all columns or of those named: the mean of the file.
fn row_bytes(metadata: &ParquetMetaData, names: Option<&[String]>) -> u64 {
    let (mut bytes, mut rows) = (0u64, 0u64);
    for group in metadata.row_groups() {
        rows += group.num_rows().max(0) as u64;
        for column in group.columns() {
            let root = column.column_path().parts().first();
            if names.is_none_or(|names| root.is_some_and(|root| names.contains(root))) {
                bytes += column.uncompressed_size().max(0) as u64;
            }
        }
    }
    bytes.checked_div(rows).unwrap_or(0)
}

/// The largest row group as it is read, in bytes, of some columns: the reader holds all of it.
fn largest_group(metadata: &ParquetMetaData, names: &[String]) -> usize {
    let of = |group: &RowGroupMetaData| {
        let columns = group.columns().iter();
        let read = columns.filter(|c| c.column_path().parts().first().is_some_and(|root| names.contains(root)));
        read.map(|column| column.compressed_size().max(0) as usize).sum()
    };
    metadata.row_groups().iter().map(of).max().unwrap_or(0)
}

/// The rows of the row groups that begin within a range of the file.
fn rows_within(metadata: &ParquetMetaData, range: Option<(u64, u64)>) -> u64 {
    let begins = |group: &RowGroupMetaData| {
        let column = group.columns().first()?;
        Some(column.dictionary_page_offset().unwrap_or_else(|| column.data_page_offset()) as u64)
    };
    let within = |group: &&RowGroupMetaData| match (range, begins(group)) {
        (Some((start, end)), Some(at)) => (start..end).contains(&at),
        _ => true,
    };
    metadata.row_groups().iter().filter(within).map(|group| group.num_rows().max(0) as u64).sum()
}

/// Where the rows of a batch come from.
fn runs(batch: &RecordBatch, reading: &Reading, split: u32, read: u64) -> Vec<Run> {
    if !reading.positions {
        return vec![Run { split, position: read, rows: batch.num_rows() as u32 }];
    }
    let mut runs: Vec<Run> = Vec::new();
    for position in batch.column(reading.columns.len()).as_primitive::<Int64Type>().values() {
        let position = *position as u64;
        match runs.last_mut() {
            Some(run) if run.position + u64::from(run.rows) == position => run.rows += 1,
            _ => runs.push(Run { split, position, rows: 1 }),
        }
    }
    runs
}

/// What is wrong with a Parquet file, in a phrase that names it.
pub fn unreadable_parquet(split: &Split, error: &DataFusionError) -> String {
    let text = error.find_root().strip_backtrace();
    let text = text.lines().next().unwrap_or_default();
    let text = text.trim_start_matches("External: ").trim_start_matches("Parquet error: ");
    let text = text.trim_start_matches("Execution error: ");
    format!("`{}` can't be read as parquet: {text}", split.uri())
}

fn failure(
    stores: &Stores,
    splits: &[Split],
    index: usize,
    position: u64,
    wanted: &SchemaRef,
    error: &DataFusionError,
) -> SourceBatch {
    let split = &splits[index];
    let (fault, message) = match stores.changed(split) {
        Some(changed) => (changed.fault, changed.message),
        None if of_store(error, stores.local_path(split).is_some()) => {
            (Fault::Outside, unreadable_parquet(split, error))
        }
        None => (Fault::Data, unreadable_parquet(split, error)),
    };
    let failed = vec![SourceFailure { split: index as u32, position, fault, message }];
    SourceBatch { rows: RecordBatch::new_empty(wanted.clone()), runs: Vec::new(), failed }
}

/// Whether it is the store that failed. Of files on this machine one that ends too early is an error of their store, too: there only one
/// that isn't found counts, which may be back by now.
fn of_store(error: &DataFusionError, local: bool) -> bool {
    let causes = iter::successors(Some(error as &(dyn Error + 'static)), |&error| error.source());
    let mut errors = causes.filter_map(|error| error.downcast_ref::<object_store::Error>());
    errors.any(|error| !local || matches!(error, object_store::Error::NotFound { .. }))
}

fn panicked(_: Box<dyn std::any::Any + Send>) -> DataFusionError {
    DataFusionError::Execution("its decoder panicked".to_owned())
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use datafusion::arrow::array::Int64Array;
    use dflow_pipeline::Pipeline;
    use parquet::{arrow::ArrowWriter, errors::ParquetError};
    use tokio::runtime::Handle;

    use super::*;

    fn write(path: &Path, numbers: Vec<i64>) {
        let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]));
        let file = fs::File::create(path).expect("a file");
        let mut writer = ArrowWriter::try_new(file, schema.clone(), None).expect("a writer");
        for number in numbers {
            let batch = RecordBatch::try_new(schema.clone(), vec![Arc::new(Int64Array::from(vec![number]))]);
            writer.write(&batch.expect("a batch")).expect("it can be written");
            writer.flush().expect("a row group ends");
        }
        writer.close().expect("it is whole");
    }

    #[tokio::test]
    async fn no_row_is_read_of_a_file_that_was_replaced() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, other) = (folder.path().join("a.parquet"), folder.path().join("b.parquet"));
        write(&path, vec![1, 2, 3, 4]);
        write(&other, vec![11, 12, 13, 14, 15]);
        let stores = Stores::new(&Pipeline::default(), folder.path(), |_| None, Handle::current()).expect("stores");
        let splits = stores.list("a.parquet").await.expect("the file");
        let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]));
        let mut batches = ParquetFiles::new(&stores, &schema, Partitions::default(), None).open(Reading {
            splits: splits.into(),
            columns: vec![0],
            positions: false,
            limits: BatchLimits { rows: 1, ..BatchLimits::default() },
            rows: None,
            counters: Arc::default(),
            context: Arc::new(TaskContext::default()),
        });
        let first = batches.next().await.expect("a batch").expect("it can be read");
        assert_eq!((first.rows.num_rows(), first.failed.len()), (1, 0));
        fs::rename(&other, &path).expect("it is replaced");
        let second = batches.next().await.expect("a batch").expect("a file's failure ends no other");
        let failed: Vec<_> = second.failed.iter().map(|failed| (failed.fault, failed.message.as_str())).collect();
        assert_eq!(failed, [(Fault::Outside, "can't read `a.parquet`: it has changed since it was listed")]);
        assert_eq!((second.rows.num_rows(), batches.next().await.is_none()), (0, true));
    }

    #[test]
    fn what_a_store_fails_at_is_told_from_what_is_wrong_with_a_file() {
        let broken = || object_store::Error::Generic { store: "HTTP", source: "broken off".into() };
        let missing = || object_store::Error::NotFound { path: "a".to_owned(), source: "not there".into() };
        for (error, remote, local) in [
            (DataFusionError::from(broken()), true, false),
            (DataFusionError::from(ParquetError::from(broken())), true, false),
            (DataFusionError::from(ParquetError::from(missing())), true, true),
            (DataFusionError::from(ParquetError::General("not a file".to_owned())), false, false),
        ] {
            assert_eq!((of_store(&error, false), of_store(&error, true)), (remote, local), "{error}");
        }
    }
}
