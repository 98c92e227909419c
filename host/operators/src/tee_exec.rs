//! What one reader takes of a shared plan: some of its columns, of the rows that its filter lets through.

use std::{fmt, sync::Arc};

use datafusion::{
    arrow::{
        array::{Array, AsArray, RecordBatch},
        compute::{filter_record_batch, not, prep_null_mask_filter},
    },
    common::{Result, tree_node::TreeNodeRecursion},
    execution::{SendableRecordBatchStream, TaskContext},
    physical_expr::{EquivalenceProperties, PhysicalExpr},
    physical_plan::{
        DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties,
        execution_plan::{Boundedness, EmissionType},
        stream::RecordBatchStreamAdapter,
    },
};
use futures::{future::poll_fn, stream::try_unfold};

use crate::{
    meter::ReadBy,
    scope::{StageCounters, StageCounts, TaskScope},
    split_column::{split_column, splits_of},
    tee::{Batches, Reader, Tee},
};

/// The physical node.
#[derive(Clone, Debug)]
pub struct TeeExec {
    reader: Arc<Reader>,
    /// Who reads here.
    by: Option<ReadBy>,
    /// The columns of the shared plan that come out.
    projection: Vec<usize>,
    /// Over the columns of the shared plan.
    filter: Option<Arc<dyn PhysicalExpr>>,
    /// How many rows each partition gives at most.
    fetch: Option<usize>,
    properties: Arc<PlanProperties>,
}

impl TeeExec {
    /// One reader more of a shared plan: `projection` and `filter` are of its columns.
    pub fn new(
        tee: &Arc<Tee>,
        by: Option<ReadBy>,
        projection: Vec<usize>,
        filter: Option<Arc<dyn PhysicalExpr>>,
        fetch: Option<usize>,
    ) -> Result<Self> {
        let schema = Arc::new(tee.schema().project(&projection)?);
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(tee.partitions()),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Ok(Self { reader: Arc::new(tee.reader()?), by, projection, filter, fetch, properties: Arc::new(properties) })
    }
}

impl DisplayAs for TeeExec {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        let schema = self.schema();
        let columns: Vec<_> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        let tee = self.reader.tee();
        write!(f, "TeeExec: {} partitions={} columns=[{}]", tee.stage(), tee.partitions(), columns.join(", "))?;
        if let Some(filter) = &self.filter {
            write!(f, " filter=[{filter}]")?;
        }
        match self.fetch {
            Some(fetch) => write!(f, " limit={fetch}"),
            None => Ok(()),
        }
    }
}

impl ExecutionPlan for TeeExec {
    fn name(&self) -> &str {
        "TeeExec"
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
        self.filter.as_ref().map_or(Ok(TreeNodeRecursion::Continue), f)
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
        let scope = context.session_config().get_extension::<TaskScope>();
        let by = self.by.clone().zip(scope).map(|(by, scope)| (scope.counters(&by.stage), by.counts));
        let reading = Reading {
            batches: self.reader.read(partition)?,
            by,
            projection: self.projection.clone(),
            filter: self.filter.clone(),
            left: self.fetch,
        };
        let stream = try_unfold(reading, |mut reading| async move {
            while reading.left != Some(0) {
                let Some(batch) = poll_fn(|context| reading.batches.poll_next(context)).await.transpose()? else {
                    break;
                };
                let batch = reading.batch(&batch)?;
                if batch.num_rows() > 0 {
                    return Ok(Some((batch, reading)));
                }
            }
            Ok(None)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), stream)))
    }
}

/// The reading of one partition.
struct Reading {
    batches: Batches,
    /// The counters of who reads, and whether it counts what it gets by itself.
    by: Option<(Arc<StageCounters>, bool)>,
    projection: Vec<usize>,
    filter: Option<Arc<dyn PhysicalExpr>>,
    left: Option<usize>,
}

impl Reading {
    /// What comes out of a batch.
    fn batch(&mut self, batch: &RecordBatch) -> Result<RecordBatch> {
        let (kept, dropped) = match &self.filter {
            Some(filter) => {
                let mask = filter.evaluate(batch)?.into_array(batch.num_rows())?;
                let mask = match mask.null_count() {
                    0 => mask.as_boolean().clone(),
                    _ => prep_null_mask_filter(mask.as_boolean()),
                };
                let counted = batch.project(split_column(batch.schema_ref()).as_slice())?;
                (filter_record_batch(batch, &mask)?, Some(filter_record_batch(&counted, &not(&mask)?)?))
            }
            None => (batch.clone(), None),
        };
        let rows = self.left.map_or(kept.num_rows(), |left| left.min(kept.num_rows()));
        self.left = self.left.map(|left| left - rows);
        if let Some((counters, counts)) = &self.by {
            // The filter is that of a later stage. Its rows are told where they got to.
            let one = StageCounts { rows_in: 1, ..StageCounts::default() };
            if let Some(dropped) = dropped {
                let one = if *counts { StageCounts { filtered: 1, ..one } } else { one };
                counters.add_each(&one, dropped.num_rows(), splits_of(&dropped));
            }
            if !counts {
                let given = kept.slice(0, rows);
                counters.add_each(&one, rows, splits_of(&given));
            }
        }
        Ok(kept.project(&self.projection)?.slice(0, rows))
    }
}
