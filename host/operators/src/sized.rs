//! Runs nodes of DataFusion's with batches of about as many bytes as ours have.
//!
//! A sort, a group and a filter make batches of a number of rows. With 8,192 rows of a web page each, one batch is most of a
//! gigabyte, and merging a sort's files takes several of them. How wide rows are is known when the first ones are there: so
//! each partition of such a node looks at them before it runs. Exchanges and joins of sorted rows have nodes of their own for that
//! ([`ExchangeExec`], [`MergeJoinExec`]).
//!
//! Views make a batch hold more than its rows: a page of a Parquet file, or the batch that it was cut from, for a few of their
//! values. A sort counts all of that for each batch that it keeps, so that it spills much too early. What it keeps is made
//! compact before. Columns that many rows share (a document, carried along by its chunks) stay behind: see [`Shared`].

use std::{
    collections::{BTreeMap, HashSet},
    fmt,
    future::poll_fn,
    iter,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{self, Poll},
};

use datafusion::{
    arrow::{
        array::{ArrayRef, AsArray, GenericByteViewArray, RecordBatch, RecordBatchOptions},
        datatypes::{BinaryViewType, ByteViewType, DataType, SchemaRef, StringViewType},
    },
    common::{
        DataFusionError, Result, internal_err,
        tree_node::{Transformed, TreeNode, TreeNodeRecursion},
    },
    execution::{
        SendableRecordBatchStream, TaskContext,
        memory_pool::{MemoryConsumer, MemoryLimit, MemoryPool},
    },
    physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr, utils::collect_columns},
    physical_plan::{
        ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, ReplaceChildrenOptions,
        aggregates::AggregateExec,
        filter::FilterExec,
        joins::SortMergeJoinExec,
        repartition::RepartitionExec,
        sorts::{sort::SortExec, sort_preserving_merge::SortPreservingMergeExec},
        stream::RecordBatchStreamAdapter,
    },
};
use dflow_pipeline::Bytes;
use futures::{
    StreamExt, TryStreamExt, stream,
    stream::{BoxStream, Fuse},
};

use crate::{
    cut::row_sizes,
    exchange::ExchangeExec,
    merge_join::MergeJoinExec,
    operator_exec::OperatorExec,
    scope::TaskScope,
    shared::{Shared, shared_columns},
};

/// What is gathered makes batches of so many times the bytes of ours: sorting and merging more at a time is quicker.
const GATHERED: u64 = 4;
/// A batch is at most this part of the memory, one of so many, since merging files holds several of each.
const BATCHES: u64 = 512;
/// Memory is short when this part of it is taken, one of so many.
const USED: u64 = 8;
/// The rows of a batch that a model was asked about.
const FEW: usize = 16;
/// A memory of fewer bytes is always short.
const SMALL: u64 = 1 << 30;

/// The bytes of a batch of what is gathered, about, with so much memory for all.
pub fn gathered_bytes(batch: Bytes, memory: u64) -> u64 {
    (batch.0 * GATHERED).min(memory / BATCHES).max(1)
}

/// How many rows a batch of what is gathered may have in a task, and how many bytes, about.
pub(crate) fn gathered_batch(context: &TaskContext) -> Result<(usize, u64)> {
    let Some(scope) = context.session_config().get_extension::<TaskScope>() else {
        return internal_err!("a node runs outside of a task");
    };
    Ok((scope.batch.rows.max(1) as usize, gathered_bytes(scope.batch.bytes, Memory::of(context).limit)))
}

/// How many rows of `each` bytes make a batch of about so many bytes.
pub(crate) fn rows_of(bytes: u64, each: u64, most: usize) -> usize {
    usize::try_from(bytes / each.max(1)).unwrap_or(most).clamp(1, most)
}

/// Whether a model is asked below.
fn asks(plan: &Arc<dyn ExecutionPlan>) -> bool {
    plan.downcast_ref::<OperatorExec>().is_some_and(OperatorExec::asks) || plan.children().into_iter().any(asks)
}

/// Lets the nodes of a plan that gather rows look at their first ones before they say how many make a batch.
pub fn sized(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let sized = plan.transform_up(|node| {
        if let (Some(merge), [input]) = (node.downcast_ref::<SortPreservingMergeExec>(), &node.children()[..])
            && let Some(SizedExec { node, merge: None, .. }) = input.downcast_ref::<SizedExec>()
            && node.is::<SortExec>()
        {
            // The merge makes batches as well, and sees what the sort sees.
            let merge = Some(Arc::new(merge.clone()));
            return Ok(Transformed::yes(
                Arc::new(SizedExec { node: node.clone(), merge, few: false }) as Arc<dyn ExecutionPlan>
            ));
        }
        let exchange = node.downcast_ref::<RepartitionExec>();
        let sized: Arc<dyn ExecutionPlan> = match () {
            () if !may_be_wide(node.as_ref()) => return Ok(Transformed::no(node)),
            () if gathers(node.as_ref()) => {
                let few = node.is::<FilterExec>() && asks(&node);
                Arc::new(SizedExec { node, merge: None, few })
            }
            () if node.is::<SortMergeJoinExec>() => Arc::new(MergeJoinExec::new(node)),
            // One that keeps an order merges, and gathers nothing.
            () if exchange.is_some_and(|exchange| !exchange.preserve_order()) => Arc::new(ExchangeExec::new(node)),
            () => return Ok(Transformed::no(node)),
        };
        Ok(Transformed::yes(sized))
    })?;
    Ok(sized.data)
}

/// Whether the rows that go into a node may be wide.
fn may_be_wide(node: &dyn ExecutionPlan) -> bool {
    let inputs = node.children();
    inputs.iter().any(|input| input.schema().fields().iter().any(|field| !field.data_type().is_primitive()))
}

/// Whether a node of one input, whose partitions have nothing in common, gathers rows. One that keeps only the first rows of an order has few.
fn gathers(node: &dyn ExecutionPlan) -> bool {
    match (node.downcast_ref::<SortExec>(), node.downcast_ref::<AggregateExec>()) {
        (Some(sort), _) => sort.fetch().is_none(),
        (_, Some(group)) => !group.group_expr().is_true_no_grouping(),
        _ => node.downcast_ref::<FilterExec>().is_some(),
    }
}

/// The physical node. It stands for the one that it runs, and for the merge of what the partitions of a sort give.
#[derive(Debug)]
struct SizedExec {
    node: Arc<dyn ExecutionPlan>,
    merge: Option<Arc<SortPreservingMergeExec>>,
    /// Whether it gives few rows at a time: those that a model was asked about come slowly, and cost money.
    few: bool,
}

impl DisplayAs for SizedExec {
    fn fmt_as(&self, t: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        self.node.fmt_as(t, f)?;
        if self.merge.is_some() { f.write_str(", merged") } else { Ok(()) }
    }
}

impl ExecutionPlan for SizedExec {
    fn name(&self) -> &str {
        self.node.name()
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.merge.as_ref().map_or_else(|| self.node.properties(), |merge| merge.properties())
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.node.children()
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.node.apply_expressions(f)
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
        let node = self.node.clone().replace_children(children, options)?;
        Ok(Arc::new(Self { node, merge: self.merge.clone(), few: self.few }))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let (most, target) = gathered_batch(&context)?;
        let [input] = self.node.children()[..] else { return internal_err!("a node of several inputs can't be sized") };
        let (node, merge, properties) = (self.node.clone(), self.merge.clone(), input.properties().clone());
        let partitions = match merge {
            Some(_) => 0..properties.output_partitioning().partition_count(),
            None => partition..partition + 1,
        };
        // Its part of the memory is kept for it until it asks for it itself: others that run before it has rows don't take all.
        let part = || MemoryConsumer::new(node.name()).with_can_spill(true).register(context.memory_pool());
        let kept: Vec<_> = partitions.clone().filter(|_| !node.is::<FilterExec>()).map(|_| part()).collect();
        let pool = Memory::of(&context);
        let most = if self.few { FEW } else { most };
        let first = partitions.map(|partition| {
            let rest = input.execute(partition, context.clone())?.fuse();
            Ok(First { partition, batches: Vec::new(), rest })
        });
        let mut first = first.collect::<Result<Vec<_>>>()?;
        let stream = stream::once(async move {
            let mut seen = (0, 0);
            poll_fn(|task| poll_first(&mut first, &mut seen, most, target, task)).await?;
            let sort = node.downcast_ref::<SortExec>();
            // What many rows share isn't sorted with them.
            let seen = || first.iter().flat_map(|first| &first.batches);
            let shared = sort.map_or_else(Vec::new, |sort| shared_columns(seen, &read_by(sort)));
            let shared =
                (!shared.is_empty()).then(|| Shared::new(properties.eq_properties.schema(), &shared, &context));
            let shared = shared.map(|shared| Arc::new(Mutex::new(shared)));
            let properties = match &shared {
                Some(shared) => numbered(&properties, lock(shared).numbered().clone()),
                None => properties,
            };
            if let Some(shared) = &shared {
                first.iter_mut().flat_map(|first| &mut first.batches).try_for_each(|batch| {
                    *batch = lock(shared).keep(batch)?;
                    Ok::<_, DataFusionError>(())
                })?;
            }
            let seen = first.iter().flat_map(|first| &first.batches);
            let (bytes, count) =
                seen.fold((0, 0), |(bytes, count), b| (bytes + bytes_of(b), count + b.num_rows() as u64));
            let size = rows_of(target, bytes / count.max(1), most);
            let rows = first.into_iter().map(|First { partition, batches, rest }| {
                let (keeping, memory, keeps) = (shared.clone(), pool.clone(), sort.is_some());
                let rest = rest.map(move |batch| match &keeping {
                    Some(shared) => lock(shared).keep(&batch?),
                    None => batch,
                });
                let rows = stream::iter(batches.into_iter().map(Ok)).chain(rest);
                (partition, rows.flat_map(move |batch| stream::iter(parts(batch, size, keeps, &memory))).boxed())
            });
            let given = Given::new(properties, rows.collect());
            let node = match (&shared, sort) {
                (Some(_), Some(sort)) => {
                    let sort = SortExec::new(sort.expr().clone(), given.clone());
                    Arc::new(sort.with_preserve_partitioning(true)) as Arc<dyn ExecutionPlan>
                }
                _ => {
                    let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Keep);
                    let node = node.clone().replace_children(vec![given.clone()], options)?;
                    // It doesn't ask the context.
                    match node.downcast_ref::<FilterExec>() {
                        Some(filter) => Arc::new(filter.with_batch_size(size)?) as Arc<dyn ExecutionPlan>,
                        None => node,
                    }
                }
            };
            let context = Arc::new(with_batch_size(&context, size));
            let gathered = |partition| -> Result<Batches> {
                let (memory, keeps) = (pool.clone(), node.is::<SortExec>());
                let rows = node.execute(partition, context.clone())?;
                // What comes out of a merge refers to all that was merged.
                Ok(rows.map(move |batch| if keeps && memory.is_short() { compact(batch?) } else { batch }).boxed())
            };
            let stream = match merge {
                Some(merge) => {
                    let rows = given.partitions().into_iter().map(|at| Ok((at, gathered(at)?)));
                    let rows = Given::new(node.properties().clone(), rows.collect::<Result<_>>()?);
                    merge
                        .replace_children(vec![rows], ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))?
                        .execute(0, context.clone())?
                        .boxed()
                }
                None => gathered(partition)?,
            };
            drop(kept);
            let stream = stream.flat_map(move |batch| stream::iter(whole_rows(batch, shared.clone(), target)));
            Ok::<_, DataFusionError>(stream)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), stream.try_flatten())))
    }
}

pub(crate) type Batches = BoxStream<'static, Result<RecordBatch>>;

/// The first rows of a partition, and the others.
struct First {
    partition: usize,
    batches: Vec<RecordBatch>,
    rest: Fuse<SendableRecordBatchStream>,
}

/// At least so many rows or bytes of all partitions together, when there are, beside those that were `seen`. None is waited for when others have them: what it gives may
/// come only after theirs were taken.
fn poll_first(
    partitions: &mut [First],
    (count, bytes): &mut (usize, u64),
    most: usize,
    target: u64,
    task: &mut task::Context<'_>,
) -> Poll<Result<()>> {
    let mut ended = true;
    for First { batches, rest, .. } in partitions {
        while *count < most && *bytes < target {
            let Poll::Ready(next) = rest.poll_next_unpin(task) else {
                ended = false;
                break;
            };
            let Some(batch) = next.transpose()? else { break };
            *count += batch.num_rows();
            *bytes += bytes_of(&batch);
            batches.push(batch);
        }
    }
    if ended || *count >= most || *bytes >= target { Poll::Ready(Ok(())) } else { Poll::Pending }
}

/// The bytes of a batch's rows.
pub(crate) fn bytes_of(batch: &RecordBatch) -> u64 {
    row_sizes(batch.columns(), batch.num_rows()).iter().sum()
}

/// The columns that the order is made of.
fn read_by(sort: &SortExec) -> HashSet<usize> {
    sort.expr().iter().flat_map(|key| collect_columns(&key.expr)).map(|column| column.index()).collect()
}

/// The properties of rows that have numbers in place of values: as many partitions, in no order that is known.
fn numbered(whole: &PlanProperties, schema: SchemaRef) -> Arc<PlanProperties> {
    let partitions = Partitioning::UnknownPartitioning(whole.output_partitioning().partition_count());
    let equivalences = EquivalenceProperties::new(schema);
    Arc::new(PlanProperties::new(equivalences, partitions, whole.emission_type, whole.boundedness))
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sorted rows with what stayed behind, which is read when it is asked for.
fn whole_rows(
    batch: Result<RecordBatch>,
    shared: Option<Arc<Mutex<Shared>>>,
    bytes: u64,
) -> impl Iterator<Item = Result<RecordBatch>> {
    let mut left = Some(batch);
    iter::from_fn(move || {
        let batch = left.take()?;
        let (Ok(rows), Some(shared)) = (&batch, &shared) else { return Some(batch) };
        let given = lock(shared).give(rows, bytes);
        let done = given.as_ref().map_or(rows.num_rows(), RecordBatch::num_rows);
        left = (done < rows.num_rows()).then(|| Ok(rows.slice(done, rows.num_rows() - done)));
        Some(given)
    })
}

/// The memory that all share.
#[derive(Clone)]
struct Memory {
    pool: Arc<dyn MemoryPool>,
    limit: u64,
}

impl Memory {
    fn of(context: &TaskContext) -> Self {
        let pool = context.memory_pool().clone();
        let limit = match pool.memory_limit() {
            MemoryLimit::Finite(bytes) => bytes as u64,
            _ => u64::MAX,
        };
        Self { pool, limit }
    }

    /// Whether copying is better than holding what nobody needs.
    fn is_short(&self) -> bool {
        self.limit < SMALL || self.pool.reserved() as u64 > self.limit / USED
    }
}

/// The same context with batches of so many rows.
pub(crate) fn with_batch_size(context: &TaskContext, rows: usize) -> TaskContext {
    TaskContext::new(
        context.task_id(),
        context.session_id(),
        context.session_config().clone().with_batch_size(rows),
        context.scalar_functions().clone(),
        context.higher_order_functions().clone(),
        context.aggregate_functions().clone(),
        context.window_functions().clone(),
        context.runtime_env(),
    )
}

/// Rows of partitions that flow already.
pub(crate) struct Given {
    properties: Arc<PlanProperties>,
    rows: Mutex<BTreeMap<usize, SendableRecordBatchStream>>,
}

impl Given {
    pub(crate) fn new(properties: Arc<PlanProperties>, rows: Vec<(usize, Batches)>) -> Arc<Self> {
        let schema = properties.eq_properties.schema();
        let stream = |rows| Box::pin(RecordBatchStreamAdapter::new(schema.clone(), rows)) as SendableRecordBatchStream;
        let rows = rows.into_iter().map(|(partition, rows)| (partition, stream(rows))).collect();
        Arc::new(Self { properties: properties.clone(), rows: Mutex::new(rows) })
    }

    fn partitions(&self) -> Vec<usize> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner).keys().copied().collect()
    }
}

impl fmt::Debug for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Given").field("partitions", &self.partitions()).finish_non_exhaustive()
    }
}

impl DisplayAs for Given {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("Given")
    }
}

impl ExecutionPlan for Given {
    fn name(&self) -> &str {
        "Given"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, _children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, partition: usize, _context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        match self.rows.lock().unwrap_or_else(PoisonError::into_inner).remove(&partition) {
            Some(rows) => Ok(rows),
            None => internal_err!("rows of partition {partition} were given already, or aren't there"),
        }
    }
}

/// The parts of a batch that a node is given. One that keeps them counts for each what its buffers hold: parts share none.
fn parts(batch: Result<RecordBatch>, rows: usize, keeps: bool, memory: &Memory) -> Vec<Result<RecordBatch>> {
    match batch {
        Ok(batch) if keeps && batch.num_rows() > rows => (0..batch.num_rows())
            .step_by(rows)
            .map(|start| compact(batch.slice(start, rows.min(batch.num_rows() - start))))
            .collect(),
        Ok(batch) if keeps && memory.is_short() => vec![compact(batch)],
        batch => vec![batch],
    }
}

/// The batch with views that hold about as much as their values are.
fn compact(batch: RecordBatch) -> Result<RecordBatch> {
    let columns = batch.columns().iter().map(|column| match column.data_type() {
        DataType::Utf8View => compact_views::<StringViewType>(column),
        DataType::BinaryView => compact_views::<BinaryViewType>(column),
        _ => column.clone(),
    });
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(batch.schema(), columns.collect(), &options)?)
}

fn compact_views<T: ByteViewType>(column: &ArrayRef) -> ArrayRef {
    let views: &GenericByteViewArray<T> = column.as_byte_view();
    let held: usize = views.data_buffers().iter().map(|buffer| buffer.capacity()).sum();
    // A quarter more is less than the copy costs.
    if held / 5 * 4 > views.total_buffer_bytes_used() { Arc::new(views.gc()) } else { column.clone() }
}

#[cfg(test)]
mod tests;
