//! The rows of a source, read from the splits of a task.

use std::{fmt, iter::repeat_n, sync::Arc};

use datafusion::{
    arrow::{
        array::{ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, UInt32Array},
        compute::{cast, filter_record_batch},
        datatypes::{Schema, SchemaRef},
    },
    common::{
        ColumnStatistics, Result, Statistics, internal_err,
        stats::Precision,
        tree_node::{Transformed, TreeNode, TreeNodeRecursion},
    },
    config::ConfigOptions,
    execution::{SendableRecordBatchStream, TaskContext},
    physical_expr::{EquivalenceProperties, PhysicalExpr, expressions::Column},
    physical_plan::{
        DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties,
        execution_plan::{Boundedness, EmissionType},
        filter_pushdown::{ChildPushdownResult, FilterPushdownPhase, FilterPushdownPropagation, PushedDown},
        statistics::StatisticsArgs,
        stream::RecordBatchStreamAdapter,
    },
};
use dflow_io::{IoError, SourceBatch, SourceReader, Split, Splits, push_row};
use dflow_pipeline::{BatchLimits, Bytes, Fault, Name, OnError};
use futures::{StreamExt, stream::BoxStream};

use crate::{
    cut::row_sizes,
    error::StepError,
    held::Held,
    ids::{ID_FIELD_TYPE, Ids},
    parquet_files::{ParquetFiles, Reading},
    scope::{Failed, RowFailure, StageCounters, StageCounts, TaskScope},
    split_column::{SPLIT_COLUMN, SPLIT_TYPE},
};

/// What reads a source.
#[derive(Clone, Debug)]
pub enum Reader {
    /// A reader that gives all rows of whole splits.
    Whole(Arc<dyn SourceReader>),
    /// Parquet files: filters and ranges reach into them.
    Parquet(ParquetFiles),
}

impl Reader {
    /// All columns that it can give.
    pub fn schema(&self) -> &SchemaRef {
        match self {
            Self::Whole(reader) => reader.schema(),
            Self::Parquet(files) => files.schema(),
        }
    }

    /// The index of the column that holds the URI of each row's file, if there is one.
    pub fn uri_column(&self) -> Option<usize> {
        match self {
            Self::Whole(reader) => reader.uri_column(),
            Self::Parquet(_) => None,
        }
    }

    /// Whether a piece of a split can be read without the rest of it.
    pub fn cuts(&self) -> bool {
        matches!(self, Self::Parquet(_))
    }

    fn predicate(&self) -> Option<Arc<dyn PhysicalExpr>> {
        match self {
            Self::Whole(_) => None,
            Self::Parquet(files) => files.predicate(),
        }
    }

    fn open(&self, reading: Reading) -> BoxStream<'static, Result<SourceBatch, IoError>> {
        match self {
            Self::Whole(reader) => reader.open(reading.splits, Arc::from(reading.columns), reading.limits),
            Self::Parquet(files) => files.open(reading),
        }
    }
}

/// How a source stage reads.
#[derive(Debug)]
pub struct SourceSpec {
    /// The stage.
    pub stage: Name,
    /// What reads its splits.
    pub reader: Reader,
    /// The plan's schema: the reader's columns under the plan's names, then the rows' id, and the place of its split in the task.
    pub schema: SchemaRef,
    /// The reader's column that identifies a row, instead of its place.
    pub id: Option<usize>,
    /// What happens to rows that can't be read.
    pub on_error: OnError,
    /// How batches are cut.
    pub batch: BatchLimits,
}

impl SourceSpec {
    /// The name in the plan of a column of the reader.
    pub fn flat_name(&self, column: &str) -> String {
        format!("{}.{column}", self.stage)
    }

    /// The index of the id in the plan's schema: after the reader's columns.
    pub fn id_column(&self) -> usize {
        self.reader.schema().fields().len()
    }

    /// The index in the plan's schema of the place of a row's split: after the id.
    pub fn split_column(&self) -> usize {
        self.id_column() + 1
    }
}

/// What readers of whole files read ahead at most, in bytes.
const AHEAD: u64 = 8 << 20;

/// The physical node.
#[derive(Clone, Debug)]
pub struct SourceExec {
    spec: Arc<SourceSpec>,
    /// The columns of the plan's schema that are read.
    projection: Vec<usize>,
    /// The source's, with filters.
    reader: Reader,
    takes_filters: bool,
    statistics: Option<Arc<Statistics>>,
    /// The task's splits, dealt.
    partitions: Vec<Arc<[Split]>>,
    /// How many rows each partition gives at most.
    fetch: Option<usize>,
    properties: Arc<PlanProperties>,
}

impl SourceExec {
    /// Reads `projection` of a source from some splits.
    pub fn new(
        spec: Arc<SourceSpec>,
        projection: Vec<usize>,
        splits: &Arc<[Split]>,
        partitions: usize,
        fetch: Option<usize>,
    ) -> Result<Self> {
        let schema = Arc::new(spec.schema.project(&projection)?);
        let dealt = deal(&splits.clone().into(), partitions, spec.reader.cuts());
        let partitions: Vec<Arc<[Split]>> = dealt.iter().map(Splits::alone).collect();
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(partitions.len()),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        let reader = spec.reader.clone();
        let properties = Arc::new(properties);
        Ok(Self { spec, projection, reader, takes_filters: true, statistics: None, partitions, fetch, properties })
    }

    /// About how many bytes its rows are in memory. Too many rather than too few, as columns that aren't read count too.
    pub fn bytes_in_memory(&self) -> u64 {
        let bytes: u64 = self.partitions.iter().flat_map(|splits| splits.iter()).map(Split::bytes).sum();
        bytes.saturating_mul(match self.reader {
            // What is compressed and has dictionaries.
            Reader::Parquet(_) => 4,
            Reader::Whole(_) => 2,
        })
    }

    /// Gives all rows to filters, so that the first rows are the first of the source and not the first that a filter lets through.
    #[must_use]
    pub fn unfiltered(mut self) -> Self {
        self.takes_filters = false;
        self
    }

    /// With what is known of the columns of its files.
    #[must_use]
    pub fn with_statistics(mut self, statistics: Statistics) -> Self {
        self.statistics = Some(Arc::new(statistics));
        self
    }

    /// Filters over what comes out as filters over the files' columns; `None` for those that read something else.
    fn of_files(&self, filter: &Arc<dyn PhysicalExpr>) -> Option<Arc<dyn PhysicalExpr>> {
        let schema = self.spec.reader.schema();
        let mut known = true;
        let mapped = filter.clone().transform_down(|expr| {
            let Some(column) = expr.downcast_ref::<Column>() else { return Ok(Transformed::no(expr)) };
            let index = self.projection.get(column.index()).copied().filter(|i| *i < schema.fields().len());
            match index {
                Some(index) => {
                    let column: Arc<dyn PhysicalExpr> = Arc::new(Column::new(schema.field(index).name(), index));
                    Ok(Transformed::yes(column))
                }
                None => {
                    known = false;
                    Ok(Transformed::no(expr))
                }
            }
        });
        mapped.ok().map(|mapped| mapped.data).filter(|_| known)
    }
}

/// The least of a file that is worth a piece of its own, in bytes.
const LEAST_PIECE: u64 = 1 << 20;

/// Splits in consecutive lists of about the same size in bytes; at least one. With `cut`, a large split becomes several pieces.
pub fn deal(splits: &Splits, parts: usize, cut: bool) -> Vec<Splits> {
    let total: u64 = splits.iter().map(|s| s.bytes().max(1)).sum();
    let most = if cut { total.div_ceil(LEAST_PIECE) as usize } else { splits.len() };
    let parts = parts.clamp(1, most.max(splits.len()).max(1));
    let mut lists: Vec<Vec<Piece>> = vec![Vec::new()];
    let mut dealt = 0u64;
    for (place, split) in splits.iter().enumerate() {
        let (mut start, end) = split.range.unwrap_or((0, split.size));
        loop {
            let due = (total * lists.len() as u64 / parts as u64).saturating_sub(dealt);
            let open = lists.len() < parts;
            let fresh = lists.last().is_some_and(Vec::is_empty);
            let too_long = |piece: u64| cut && open && end - start >= piece + LEAST_PIECE;
            if due < LEAST_PIECE && !fresh && too_long(LEAST_PIECE) {
                // What is left of this list isn't worth a piece of its own.
                lists.push(Vec::new());
                continue;
            }
            let piece = Some(due.max(LEAST_PIECE)).filter(|piece| too_long(*piece));
            let whole = start == 0 && end == split.size && piece.is_none();
            let until = piece.map_or(end, |piece| start + piece);
            let range = if whole { None } else { Some((start, until)) };
            if let Some(list) = lists.last_mut() {
                list.push((place, range));
            }
            dealt += piece.unwrap_or((end - start).max(1));
            if open && dealt >= total * lists.len() as u64 / parts as u64 {
                lists.push(Vec::new());
            }
            if piece.is_none() {
                break;
            }
            start = until;
        }
    }
    if lists.len() > 1 && lists.last().is_some_and(Vec::is_empty) {
        lists.pop();
    }
    lists.iter().map(|list| of_pieces(splits, list)).collect()
}

/// The place of a split among others, and the bytes of it that are meant.
type Piece = (usize, Option<(u64, u64)>);

/// Pieces of splits that follow each other. They are copied only where one of them is cut.
fn of_pieces(splits: &Splits, pieces: &[Piece]) -> Splits {
    let whole = pieces.iter().all(|(place, range)| splits[*place].range == *range);
    match (pieces.first(), pieces.last()) {
        (Some((first, _)), Some((last, _))) if whole => splits.part(*first..*last + 1),
        _ => {
            let cut = pieces.iter().map(|(place, range)| Split { range: *range, ..splits[*place].clone() });
            cut.collect::<Vec<_>>().into()
        }
    }
}

impl DisplayAs for SourceExec {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        let schema = &self.spec.schema;
        let columns: Vec<_> = self.projection.iter().map(|i| schema.field(*i).name().as_str()).collect();
        let splits: usize = self.partitions.iter().map(|p| p.len()).sum();
        write!(
            f,
            "SourceExec: {} splits={splits} partitions={} columns=[{}]",
            self.spec.stage,
            self.partitions.len(),
            columns.join(", ")
        )?;
        if let Some(predicate) = self.reader.predicate() {
            write!(f, " filter=[{predicate}]")?;
        }
        match self.fetch {
            Some(fetch) => write!(f, " limit={fetch}"),
            None => Ok(()),
        }
    }
}

impl ExecutionPlan for SourceExec {
    fn name(&self) -> &str {
        "SourceExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        match self.reader.predicate() {
            Some(predicate) => f(&predicate),
            None => Ok(TreeNodeRecursion::Continue),
        }
    }

    fn statistics_from_inputs(&self, _input: &[Arc<Statistics>], args: &StatisticsArgs) -> Result<Arc<Statistics>> {
        let whole = args.partition().is_none() || self.partitions.len() == 1;
        let Some(statistics) = self.statistics.as_ref().filter(|_| whole) else {
            return Ok(Arc::new(Statistics::new_unknown(&self.schema())));
        };
        let column =
            |i: &usize| statistics.column_statistics.get(*i).cloned().unwrap_or_else(ColumnStatistics::new_unknown);
        let statistics = Statistics {
            num_rows: statistics.num_rows,
            total_byte_size: Precision::Absent,
            column_statistics: self.projection.iter().map(column).collect(),
        };
        // A filter or a file that breaks makes them fewer.
        Ok(Arc::new(statistics.to_inexact()))
    }

    fn handle_child_pushdown_result(
        &self,
        _phase: FilterPushdownPhase,
        result: ChildPushdownResult,
        config: &ConfigOptions,
    ) -> Result<FilterPushdownPropagation<Arc<dyn ExecutionPlan>>> {
        let (Reader::Parquet(files), true) = (&self.reader, self.takes_filters) else {
            return Ok(FilterPushdownPropagation::all_unsupported(result));
        };
        let mapped: Vec<_> = result.parent_filters.iter().map(|parent| self.of_files(&parent.filter)).collect();
        let (pushed, files) = files.filtered(mapped.iter().flatten().cloned().collect(), config)?;
        let mut pushed = pushed.into_iter();
        let of = |filter: &Option<_>| filter.as_ref().and_then(|_| pushed.next()).unwrap_or(PushedDown::No);
        let propagation = FilterPushdownPropagation::with_parent_pushdown_result(mapped.iter().map(of).collect());
        Ok(match files {
            Some(files) => {
                propagation.with_updated_node(Arc::new(Self { reader: Reader::Parquet(files), ..self.clone() }))
            }
            None => propagation,
        })
    }

    fn with_new_children(self: Arc<Self>, _children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn fetch(&self) -> Option<usize> {
        self.fetch
    }

    fn with_fetch(&self, fetch: Option<usize>) -> Option<Arc<dyn ExecutionPlan>> {
        Some(Arc::new(Self { fetch, ..self.clone() }))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let Some(scope) = context.session_config().get_extension::<TaskScope>() else {
            return internal_err!("a source is read outside of a task");
        };
        let Some(splits) = self.partitions.get(partition).cloned() else {
            return internal_err!("partition {partition} of {}", self.partitions.len());
        };
        let schema = self.schema();
        let id_column = self.spec.id_column();
        // What the reader has to give: the columns that are read, and the one that the id is made of.
        let mut columns: Vec<usize> = self.projection.iter().copied().filter(|i| *i < id_column).collect();
        let wants_id = self.projection.contains(&id_column);
        if let (true, Some(id)) = (wants_id, self.spec.id)
            && !columns.contains(&id)
        {
            columns.push(id);
        }
        let first = scope.first.map(|n| n as usize);
        let left = match (self.fetch, first) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        let counters = scope.counters(&self.spec.stage);
        let input = self.reader.open(Reading {
            splits: splits.clone(),
            columns: columns.clone(),
            positions: wants_id && self.spec.id.is_none(),
            limits: self.spec.batch,
            rows: left,
            counters: counters.clone(),
            context: context.clone(),
        });
        let pool = context.memory_pool();
        let held = Held::new(pool, "files that are read");
        if let Reader::Whole(_) = &self.reader {
            let bytes = splits.iter().map(Split::bytes).sum();
            held.take(AHEAD.min(bytes) as usize);
        }
        let source = Source {
            held,
            counters,
            scope,
            spec: self.spec.clone(),
            projection: self.projection.clone(),
            columns,
            schema: schema.clone(),
            splits,
            left,
        };
        let stream = futures::stream::try_unfold((source, input), |(mut source, mut input)| async move {
            loop {
                if source.left == Some(0) || source.scope.cancel.is_raised() {
                    return Ok(None);
                }
                match input.next().await {
                    Some(batch) => {
                        let batch = source.batch(batch.map_err(StepError::from)?)?;
                        if batch.num_rows() > 0 {
                            return Ok(Some((batch, (source, input))));
                        }
                    }
                    None => return Ok(None),
                }
            }
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, stream)))
    }
}

/// One partition's reading.
struct Source {
    /// What is read ahead.
    #[expect(dead_code, reason = "it is held for as long as the source is read")]
    held: Held,
    scope: Arc<TaskScope>,
    counters: Arc<StageCounters>,
    spec: Arc<SourceSpec>,
    projection: Vec<usize>,
    columns: Vec<usize>,
    schema: SchemaRef,
    splits: Arc<[Split]>,
    left: Option<usize>,
}

impl Source {
    /// Gives a batch its ids and the plan's schema, and accounts for what could not be read.
    fn batch(&mut self, batch: SourceBatch) -> Result<RecordBatch> {
        let mut bytes = batch.rows.get_array_memory_size() as u64;
        for failure in batch.failed {
            let split = self.splits.get(failure.split as usize);
            // Where a file breaks off nobody knows whether there is another row.
            let row = split.filter(|_| failure.fault != Fault::Outside || failure.position == 0);
            let row = RowFailure {
                stage: self.spec.stage.clone(),
                id: row.map(|s| s.row_id(failure.position).as_str().to_owned()),
                uri: split.map(Split::uri),
                split: Some(failure.split),
                fault: failure.fault,
                kind: if failure.fault == Fault::Limit { "row-too-large" } else { "unreadable" }.to_owned(),
                message: failure.message,
                attempts: 1,
            };
            self.fail(row, failure.split)?;
        }
        let batch = self.without_large(SourceBatch { failed: Vec::new(), ..batch })?;
        let rows = self.left.map_or(batch.rows.num_rows(), |left| left.min(batch.rows.num_rows()));
        self.left = self.left.map(|left| left - rows);
        if rows > 0 {
            let through = Failed { of: rows, ..Failed::default() };
            self.scope.met(&self.spec.stage, self.spec.on_error, None, &through)?;
        }
        let mut left = rows as u64;
        for run in &batch.runs {
            let rows = left.min(u64::from(run.rows));
            let share = bytes * rows / left.max(1);
            let counts = StageCounts { rows_in: rows, rows_made: rows, bytes: share, ..StageCounts::default() };
            self.counters.add_to(run.split, &counts);
            (left, bytes) = (left - rows, bytes - share);
        }
        self.counters.add(&StageCounts { bytes, ..StageCounts::default() });
        let id =
            self.projection.contains(&self.spec.id_column()).then(|| self.ids(&batch.rows, &batch.runs)).transpose()?;
        let columns = self.projection.iter().map(|i| match (self.columns.iter().position(|c| c == i), &id) {
            (Some(at), _) => Ok(batch.rows.column(at).clone()),
            (None, _) if *i == self.spec.split_column() => {
                let splits = batch.runs.iter().flat_map(|run| repeat_n(run.split, run.rows as usize));
                Ok(Arc::new(UInt32Array::from_iter_values(splits)) as ArrayRef)
            }
            (None, Some(id)) => Ok(id.clone()),
            (None, None) => internal_err!("a column that was not read"),
        });
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(batch.rows.num_rows()));
        Ok(RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?.slice(0, rows))
    }

    /// Counts a row of a split that isn't given.
    fn fail(&self, row: RowFailure, split: u32) -> Result<()> {
        let mut counts = StageCounts { rows_in: 1, ..StageCounts::default() };
        match self.spec.on_error {
            OnError::Fail => {
                return Err(StepError::new(row.fault, format!("stage `{}`: {}", row.stage, row.message)).into());
            }
            OnError::Skip => counts.skipped += 1,
            OnError::Null | OnError::DeadLetter => counts.failed += 1,
        }
        self.counters.add_to(split, &counts);
        let failed = Failed { failures: vec![row], leading: 1, of: 1, rows: None };
        Ok(self.scope.met(&self.spec.stage, self.spec.on_error, None, &failed)?)
    }

    /// A batch without the rows that are larger than a row may be; each of them fails.
    fn without_large(&self, batch: SourceBatch) -> Result<SourceBatch> {
        let most = self.spec.batch.max_row.0;
        let rows = batch.rows.num_rows();
        // Nothing of a batch that is smaller than one row may be is too large.
        if batch.rows.get_array_memory_size() as u64 <= most {
            return Ok(batch);
        }
        let sizes = row_sizes(batch.rows.columns(), rows);
        if sizes.iter().all(|size| *size <= most) {
            return Ok(batch);
        }
        let mut runs = Vec::with_capacity(batch.runs.len());
        let places = batch.runs.iter().flat_map(|run| (0..u64::from(run.rows)).map(|i| (run.split, run.position + i)));
        for ((split, position), size) in places.zip(&sizes) {
            if *size <= most {
                push_row(&mut runs, split, position);
                continue;
            }
            let of = self.splits.get(split as usize);
            let (uri, limit) = (of.map(Split::uri).unwrap_or_default(), self.spec.batch.max_row);
            let message =
                format!("row {} of `{uri}` has {}, the limit is {limit} (`batch.max_row`)", position + 1, Bytes(*size));
            let row = RowFailure {
                stage: self.spec.stage.clone(),
                id: of.map(|split| split.row_id(position).as_str().to_owned()),
                uri: Some(uri),
                split: Some(split),
                fault: Fault::Limit,
                kind: "row-too-large".to_owned(),
                message,
                attempts: 1,
            };
            self.fail(row, split)?;
        }
        let kept = BooleanArray::from_iter(sizes.iter().map(|size| Some(*size <= most)));
        Ok(SourceBatch { rows: filter_record_batch(&batch.rows, &kept)?, runs, failed: Vec::new() })
    }

    fn ids(&self, rows: &RecordBatch, runs: &[dflow_io::Run]) -> Result<ArrayRef> {
        if let Some(id) = self.spec.id
            && let Some(at) = self.columns.iter().position(|c| *c == id)
        {
            let ids = cast(rows.column(at), &ID_FIELD_TYPE)?;
            if ids.null_count() > 0 {
                let name = self.spec.reader.schema().field(id).name().clone();
                let message = format!(
                    "stage `{}`: the column `{name}`, its `id`, is null in {} rows",
                    self.spec.stage,
                    ids.null_count()
                );
                return Err(StepError::new(dflow_pipeline::Fault::Data, message).into());
            }
            return Ok(ids);
        }
        let mut ids = Ids::with_capacity(rows.num_rows());
        for run in runs {
            let of = self.splits[run.split as usize].row_ids();
            for position in run.position..run.position + u64::from(run.rows) {
                ids.push(of.at(position).as_bytes());
            }
        }
        Ok(Arc::new(ids.finish()))
    }
}

/// The schema of a source in the plan: the reader's columns, the id and the place of the split, each named by `name`.
pub fn source_schema(reader: &Reader, name: impl Fn(&str) -> String) -> SchemaRef {
    use datafusion::arrow::datatypes::Field;
    let mut fields: Vec<_> =
        reader.schema().fields().iter().map(|f| Field::clone(f).with_name(name(f.name()))).collect();
    fields.push(Field::new(name("__id__"), ID_FIELD_TYPE, false));
    fields.push(Field::new(name(SPLIT_COLUMN), SPLIT_TYPE, false));
    Arc::new(Schema::new(fields))
}

#[cfg(test)]
mod tests;
