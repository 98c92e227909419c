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
        Result, internal_err,
        tree_node::{Transformed, TreeNode, TreeNodeRecursion},
    },
    execution::{SendableRecordBatchStream, TaskContext, memory_pool::MemoryConsumer},
    physical_expr::PhysicalExpr,
    physical_plan::{
        ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, ReplaceChildrenOptions,
        aggregates::AggregateExec, filter::FilterExec, sorts::sort::SortExec, stream::RecordBatchStreamAdapter,
    },
};
use futures::{StreamExt, TryStreamExt, stream};
use std::sync::{Mutex, PoisonError};

use crate::{cut::row_sizes, scope::TaskScope};

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
        let mut rows = input.execute(partition, context.clone())?;
        let stream = stream::once(async move {
            let most = scope.batch.rows.max(1) as usize;
            let (mut first, mut count, mut bytes) = (Vec::new(), 0, 0u64);
            while count < most && bytes < scope.batch.bytes.0 {
                let Some(batch) = rows.try_next().await? else { break };
                count += batch.num_rows();
                bytes += row_sizes(batch.columns(), batch.num_rows()).iter().sum::<u64>();
                first.push(Ok(batch));
            }
            let each = (bytes / (count as u64).max(1)).max(1);
            let size = usize::try_from(scope.batch.bytes.0 / each).unwrap_or(most).clamp(1, most);
            let rows = stream::iter(first).chain(rows);
            let rows = rows.map(move |batch| if keeps { compact(batch?) } else { batch });
            let rows: SendableRecordBatchStream =
                Box::pin(RecordBatchStreamAdapter::new(properties.eq_properties.schema().clone(), rows));
            let given = Arc::new(Given { properties, partition, rows: Mutex::new(Some(rows)) });
            let node = node.replace_children(vec![given], ReplaceChildrenOptions::new(ChildrenPropertiesMode::Keep))?;
            let stream = node.execute(partition, Arc::new(with_batch_size(&context, size)));
            drop(kept);
            stream
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), stream.try_flatten())))
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
