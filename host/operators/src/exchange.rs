//! Hands rows from partition to partition in batches of about as many bytes as ours have.
//!
//! DataFusion's exchange gathers for each partition as many rows as make a batch, however wide they are. Here it hands on what it has cut
//! at once, and that is gathered by rows and bytes.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use datafusion::{
    arrow::compute::BatchCoalescer,
    common::{DataFusionError, Result, internal_err, tree_node::TreeNodeRecursion},
    execution::{SendableRecordBatchStream, TaskContext},
    physical_expr::PhysicalExpr,
    physical_plan::{
        ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, ReplaceChildrenOptions,
        stream::RecordBatchStreamAdapter,
    },
};
use futures::{StreamExt, TryStreamExt, stream};

use crate::sized::{Given, bytes_of, gathered_batch, with_batch_size};

/// The physical node. It stands for the exchange that it runs.
#[derive(Debug)]
pub(crate) struct ExchangeExec {
    exchange: Arc<dyn ExecutionPlan>,
    /// The one that runs: all partitions read from it.
    running: Mutex<Option<Arc<dyn ExecutionPlan>>>,
}

impl ExchangeExec {
    /// Runs an exchange.
    pub(crate) fn new(exchange: Arc<dyn ExecutionPlan>) -> Self {
        Self { exchange, running: Mutex::default() }
    }

    /// The exchange of rows that flow already, so that only it sees another size of batches than the task's.
    fn running(&self, context: &Arc<TaskContext>) -> Result<Arc<dyn ExecutionPlan>> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = &*running {
            return Ok(running.clone());
        }
        let [input] = self.exchange.children()[..] else { return internal_err!("an exchange has one input") };
        let partitions = input.properties().output_partitioning().partition_count();
        let rows = (0..partitions).map(|at| Ok((at, input.execute(at, context.clone())?.boxed())));
        let given = Given::new(input.properties().clone(), rows.collect::<Result<_>>()?);
        let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Keep);
        Ok(running.insert(self.exchange.clone().replace_children(vec![given], options)?).clone())
    }
}

impl DisplayAs for ExchangeExec {
    fn fmt_as(&self, t: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        self.exchange.fmt_as(t, f)
    }
}

impl ExecutionPlan for ExchangeExec {
    fn name(&self) -> &str {
        self.exchange.name()
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.exchange.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.exchange.children()
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.exchange.apply_expressions(f)
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
        Ok(Arc::new(Self::new(self.exchange.clone().replace_children(children, options)?)))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let (most, target) = gathered_batch(&context)?;
        // Of one row a batch it gathers nothing.
        let rows = self.running(&context)?.execute(partition, Arc::new(with_batch_size(&context, 1)))?;
        // As DataFusion's: a batch that is large already isn't copied.
        let waiting = BatchCoalescer::new(self.schema(), most).with_biggest_coalesce_batch_size(Some(most / 2));
        let state = (rows.fuse(), waiting, 0);
        let stream = stream::try_unfold(state, move |(mut rows, mut waiting, mut bytes)| async move {
            loop {
                if let Some(batch) = waiting.next_completed_batch() {
                    // What waits still is less than one piece that was cut.
                    return Ok::<_, DataFusionError>(Some((batch, (rows, waiting, 0))));
                }
                match rows.try_next().await? {
                    Some(batch) => {
                        bytes += bytes_of(&batch);
                        waiting.push_batch(batch)?;
                    }
                    None if waiting.is_empty() => return Ok(None),
                    None => bytes = target,
                }
                if bytes >= target {
                    waiting.finish_buffered_batch()?;
                    bytes = 0;
                }
            }
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), stream)))
    }
}
