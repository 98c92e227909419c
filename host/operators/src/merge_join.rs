//! Joins sorted rows in batches of about as many bytes as ours have.
//!
//! DataFusion's join gathers as many rows of both sides as make a batch, however wide they are. How wide is known when the first ones of
//! each side are there.

use std::{fmt, sync::Arc};

use datafusion::{
    common::{Result, tree_node::TreeNodeRecursion},
    execution::{SendableRecordBatchStream, TaskContext},
    physical_expr::PhysicalExpr,
    physical_plan::{
        ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, ReplaceChildrenOptions,
        stream::RecordBatchStreamAdapter,
    },
};
use futures::{StreamExt, TryStreamExt, stream};

use crate::sized::{Given, bytes_of, gathered_batch, rows_of, with_batch_size};

/// The physical node. It stands for the join that it runs.
#[derive(Debug)]
pub(crate) struct MergeJoinExec {
    join: Arc<dyn ExecutionPlan>,
}

impl MergeJoinExec {
    /// Runs a join whose partitions have nothing in common.
    pub(crate) fn new(join: Arc<dyn ExecutionPlan>) -> Self {
        Self { join }
    }
}

impl DisplayAs for MergeJoinExec {
    fn fmt_as(&self, t: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        self.join.fmt_as(t, f)
    }
}

impl ExecutionPlan for MergeJoinExec {
    fn name(&self) -> &str {
        self.join.name()
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.join.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.join.children()
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.join.apply_expressions(f)
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
        Ok(Arc::new(Self::new(self.join.clone().replace_children(children, options)?)))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let (most, target) = gathered_batch(&context)?;
        let sides = self.join.children().into_iter().map(|side| {
            let rows = side.execute(partition, context.clone())?.fuse();
            Ok((side.properties().clone(), rows))
        });
        let (join, sides) = (self.join.clone(), sides.collect::<Result<Vec<_>>>()?);
        let stream = stream::once(async move {
            let (mut given, mut each) = (Vec::new(), 0);
            for (properties, mut rows) in sides {
                let first = rows.try_next().await?;
                each += first.as_ref().map_or(0, |first| bytes_of(first) / first.num_rows().max(1) as u64);
                let rows = stream::iter(first.map(Ok)).chain(rows).boxed();
                given.push(Given::new(properties, vec![(partition, rows)]) as Arc<dyn ExecutionPlan>);
            }
            let join = join.replace_children(given, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Keep))?;
            join.execute(partition, Arc::new(with_batch_size(&context, rows_of(target, each, most))))
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), stream.try_flatten())))
    }
}
