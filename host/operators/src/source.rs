//! The rows of a source, read from the splits of a task.

use std::{fmt, ops::Range, sync::Arc};

use datafusion::{
    arrow::{
        array::{ArrayRef, RecordBatch, RecordBatchOptions},
        compute::cast,
        datatypes::{Schema, SchemaRef},
    },
    common::{Result, internal_err, tree_node::TreeNodeRecursion},
    execution::{SendableRecordBatchStream, TaskContext},
    physical_expr::{EquivalenceProperties, PhysicalExpr},
    physical_plan::{
        DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties,
        execution_plan::{Boundedness, EmissionType},
        stream::RecordBatchStreamAdapter,
    },
};
use dflow_io::{SourceBatch, SourceReader, Split};
use dflow_pipeline::{BatchLimits, Name, OnError};
use futures::StreamExt;

use crate::{
    error::StepError,
    ids::{ID_FIELD_TYPE, Ids},
    scope::{RowFailure, StageCounters, StageCounts, TaskScope},
};

/// How a source stage reads.
#[derive(Debug)]
pub struct SourceSpec {
    /// The stage.
    pub stage: Name,
    /// What reads its splits.
    pub reader: Arc<dyn SourceReader>,
    /// The plan's schema: the reader's columns under the plan's names, then the rows' id.
    pub schema: SchemaRef,
    /// The reader's column that identifies a row, instead of its place.
    pub id: Option<usize>,
    /// What happens to rows that can't be read.
    pub on_error: OnError,
    /// How batches are cut.
    pub batch: BatchLimits,
}

impl SourceSpec {
    /// The index of the id in the plan's schema: after the reader's columns.
    pub fn id_column(&self) -> usize {
        self.reader.schema().fields().len()
    }
}

/// The physical node.
#[derive(Debug)]
pub struct SourceExec {
    spec: Arc<SourceSpec>,
    /// The columns of the plan's schema that are read.
    projection: Vec<usize>,
    /// The task's splits, dealt into consecutive ranges.
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
        splits: &[Split],
        partitions: usize,
        fetch: Option<usize>,
    ) -> Result<Self> {
        let schema = Arc::new(spec.schema.project(&projection)?);
        let partitions: Vec<Arc<[Split]>> =
            deal(splits, partitions).into_iter().map(|range| Arc::from(&splits[range])).collect();
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(partitions.len()),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Ok(Self { spec, projection, partitions, fetch, properties: Arc::new(properties) })
    }
}

/// Consecutive ranges of splits of about the same size in bytes; at least one.
pub fn deal(splits: &[Split], parts: usize) -> Vec<Range<usize>> {
    let parts = parts.clamp(1, splits.len().max(1));
    let total: u64 = splits.iter().map(|s| s.size.max(1)).sum();
    let mut ranges = Vec::with_capacity(parts);
    let (mut start, mut bytes) = (0, 0u64);
    for (i, split) in splits.iter().enumerate() {
        bytes += split.size.max(1);
        let due = total * (ranges.len() as u64 + 1) / parts as u64;
        if bytes >= due && ranges.len() + 1 < parts {
            ranges.push(start..i + 1);
            start = i + 1;
        }
    }
    if start < splits.len() || ranges.is_empty() {
        ranges.push(start..splits.len());
    }
    ranges
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
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, _children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn fetch(&self) -> Option<usize> {
        self.fetch
    }

    fn with_fetch(&self, fetch: Option<usize>) -> Option<Arc<dyn ExecutionPlan>> {
        let (spec, projection, partitions) = (self.spec.clone(), self.projection.clone(), self.partitions.clone());
        Some(Arc::new(Self { spec, projection, partitions, fetch, properties: self.properties.clone() }))
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
        let input = self.spec.reader.open(splits.clone(), Arc::from(columns.as_slice()), self.spec.batch);
        let first = scope.first.map(|n| n as usize);
        let left = match (self.fetch, first) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        let source = Source {
            counters: scope.counters(&self.spec.stage),
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
        let mut counts = StageCounts { bytes: batch.rows.get_array_memory_size() as u64, ..StageCounts::default() };
        for failure in batch.failed {
            let split = self.splits.get(failure.split as usize);
            let row = RowFailure {
                stage: self.spec.stage.clone(),
                id: split.map(|s| s.row_id(failure.position).as_str().to_owned()),
                uri: split.map(Split::uri),
                fault: failure.fault,
                kind: "unreadable".to_owned(),
                message: failure.message,
            };
            match self.spec.on_error {
                OnError::Fail => {
                    return Err(StepError::new(row.fault, format!("stage `{}`: {}", row.stage, row.message)).into());
                }
                OnError::Skip => counts.skipped += 1,
                OnError::Null | OnError::DeadLetter => counts.failed += 1,
            }
            self.scope.fail(row);
        }
        let rows = self.left.map_or(batch.rows.num_rows(), |left| left.min(batch.rows.num_rows()));
        self.left = self.left.map(|left| left - rows);
        counts.rows_in = rows as u64 + counts.failed + counts.skipped;
        self.counters.add(&counts);
        let id =
            self.projection.contains(&self.spec.id_column()).then(|| self.ids(&batch.rows, &batch.runs)).transpose()?;
        let columns = self.projection.iter().map(|i| match (self.columns.iter().position(|c| c == i), &id) {
            (Some(at), _) => Ok(batch.rows.column(at).clone()),
            (None, Some(id)) => Ok(id.clone()),
            (None, None) => internal_err!("a column that was not read"),
        });
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(batch.rows.num_rows()));
        Ok(RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?.slice(0, rows))
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

/// The schema of a source in the plan: the reader's columns and the id, each named by `name`.
pub fn source_schema(reader: &dyn SourceReader, name: impl Fn(&str) -> String) -> SchemaRef {
    use datafusion::arrow::datatypes::Field;
    let mut fields: Vec<_> =
        reader.schema().fields().iter().map(|f| Field::clone(f).with_name(name(f.name()))).collect();
    fields.push(Field::new(name("__id__"), ID_FIELD_TYPE, false));
    Arc::new(Schema::new(fields))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_are_dealt_by_bytes_and_in_order() {
        let split =
            |size: u64| Split { volume: String::new(), path: size.to_string(), size, modified: 0, etag: String::new() };
        let splits: Vec<_> = [10, 10, 10, 10, 40, 1, 1].map(split).to_vec();
        assert_eq!(deal(&splits, 2), [0..5, 5..7]);
        for (splits, parts, only) in [(&splits[..], 1, 0..7), (&splits[..1], 4, 0..1), (&[], 4, 0..0)] {
            assert_eq!(deal(splits, parts), std::slice::from_ref(&only));
        }
        for parts in 1..10 {
            let dealt = deal(&splits, parts);
            assert_eq!(dealt.iter().flat_map(Clone::clone).collect::<Vec<_>>(), (0..7).collect::<Vec<_>>(), "{parts}");
        }
    }
}
