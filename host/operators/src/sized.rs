//! Runs nodes of DataFusion's with batches of about as many bytes as ours have.
//!
//! A sort, a group and a filter make batches of a number of rows. With 8,192 rows of a web page each, one batch is most of a
//! gigabyte, and merging a sort's files takes several of them. How wide rows are is known when the first ones are there: so
//! each partition of such a node looks at them before it runs.
//!
//! Views make a batch hold more than its rows: a page of a Parquet file, or the batch that it was cut from, for a few of their
//! values. A sort counts all of that for each batch that it keeps, so that it spills much too early. What it keeps is made
//! compact before. Columns that many rows share (a document, carried along by its chunks) are left as they are: they would
//! become more.

use std::{fmt, sync::Arc};

use datafusion::{
    arrow::{
        array::{ArrayRef, AsArray, GenericByteViewArray, RecordBatch, RecordBatchOptions},
        datatypes::{BinaryViewType, ByteViewType, DataType, StringViewType},
    },
    common::{
        DataFusionError, Result, internal_err,
        tree_node::{Transformed, TreeNode, TreeNodeRecursion},
    },
    execution::{
        SendableRecordBatchStream, TaskContext,
        memory_pool::{MemoryConsumer, MemoryLimit, MemoryPool},
    },
    physical_expr::PhysicalExpr,
    physical_plan::{
        ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, ReplaceChildrenOptions,
        aggregates::AggregateExec, filter::FilterExec, sorts::sort::SortExec, stream::RecordBatchStreamAdapter,
    },
};
use dflow_pipeline::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use std::sync::{Mutex, PoisonError};

use crate::{cut::row_sizes, scope::TaskScope};

/// What is gathered makes batches of so many times the bytes of ours: sorting and merging more at a time is quicker.
const GATHERED: u64 = 4;
/// A batch is at most this part of the memory, one of so many, since merging files holds several of each.
const BATCHES: u64 = 512;
/// Memory is short when this part of it is taken, one of so many.
const USED: u64 = 8;
/// A memory of fewer bytes is always short.
const SMALL: u64 = 1 << 30;

/// The bytes of a batch of what is gathered, about, with so much memory for all.
pub fn gathered_bytes(batch: Bytes, memory: u64) -> u64 {
    (batch.0 * GATHERED).min(memory / BATCHES).max(1)
}

/// Lets the nodes of a plan that gather rows look at their first ones before they say how many make a batch.
pub fn sized(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let sized = plan.transform_up(|node| {
        Ok(match gathers(node.as_ref()) {
            true => Transformed::yes(Arc::new(SizedExec { node }) as Arc<dyn ExecutionPlan>),
            false => Transformed::no(node),
        })
    })?;
    Ok(sized.data)
}

/// Whether a node gathers rows that may be wide. One that keeps only the first rows of an order has few.
fn gathers(node: &dyn ExecutionPlan) -> bool {
    let of_rows = match (node.downcast_ref::<SortExec>(), node.downcast_ref::<AggregateExec>()) {
        (Some(sort), _) => sort.fetch().is_none(),
        (_, Some(group)) => !group.group_expr().is_true_no_grouping(),
        _ => node.downcast_ref::<FilterExec>().is_some(),
    };
    let inputs = node.children();
    of_rows && inputs.iter().any(|input| input.schema().fields().iter().any(|field| !field.data_type().is_primitive()))
}

/// The physical node. It stands for the one that it runs.
#[derive(Debug)]
struct SizedExec {
    node: Arc<dyn ExecutionPlan>,
}

impl DisplayAs for SizedExec {
    fn fmt_as(&self, t: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        self.node.fmt_as(t, f)
    }
}

impl ExecutionPlan for SizedExec {
    fn name(&self) -> &str {
        self.node.name()
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.node.properties()
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
        Ok(Arc::new(Self { node: self.node.clone().replace_children(children, options)? }))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let Some(scope) = context.session_config().get_extension::<TaskScope>() else {
            return internal_err!("a node runs outside of a task");
        };
        let [input] = self.node.children()[..] else { return internal_err!("a node of several inputs can't be sized") };
        let (node, properties) = (self.node.clone(), input.properties().clone());
        // Its part of the memory is kept for it until it asks for it itself: others that run before it has rows don't take all.
        let kept = (!node.is::<FilterExec>())
            .then(|| MemoryConsumer::new(node.name()).with_can_spill(true).register(context.memory_pool()));
        let keeps = node.is::<SortExec>();
        let pool = Memory::of(&context);
        let mut rows = input.execute(partition, context.clone())?;
        let stream = stream::once(async move {
            let most = scope.batch.rows.max(1) as usize;
            let target = gathered_bytes(scope.batch.bytes, pool.limit);
            let (mut first, mut count, mut bytes) = (Vec::new(), 0, 0u64);
            while count < most && bytes < target {
                let Some(batch) = rows.try_next().await? else { break };
                count += batch.num_rows();
                bytes += row_sizes(batch.columns(), batch.num_rows()).iter().sum::<u64>();
                first.push(Ok(batch));
            }
            let each = (bytes / (count as u64).max(1)).max(1);
            let size = usize::try_from(target / each).unwrap_or(most).clamp(1, most);
            let rows = stream::iter(first).chain(rows);
            let memory = pool.clone();
            let rows = rows.flat_map(move |batch| stream::iter(parts(batch, size, keeps, &memory)));
            let rows: SendableRecordBatchStream =
                Box::pin(RecordBatchStreamAdapter::new(properties.eq_properties.schema().clone(), rows));
            let given = Arc::new(Given { properties, partition, rows: Mutex::new(Some(rows)) });
            let node = node.replace_children(vec![given], ReplaceChildrenOptions::new(ChildrenPropertiesMode::Keep))?;
            let stream = node.execute(partition, Arc::new(with_batch_size(&context, size)));
            drop(kept);
            // What comes out of a merge refers to all that was merged.
            let stream = stream?.map(move |batch| if keeps && pool.is_short() { compact(batch?) } else { batch });
            Ok::<_, DataFusionError>(stream)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), stream.try_flatten())))
    }
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
fn with_batch_size(context: &TaskContext, rows: usize) -> TaskContext {
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

/// Rows of one partition that flow already.
struct Given {
    properties: Arc<PlanProperties>,
    partition: usize,
    rows: Mutex<Option<SendableRecordBatchStream>>,
}

impl fmt::Debug for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Given").field("partition", &self.partition).finish_non_exhaustive()
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
        let rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner).take();
        match rows.filter(|_| partition == self.partition) {
            Some(rows) => Ok(rows),
            None => internal_err!("rows of partition {} are asked for as those of {partition}", self.partition),
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
