//! Runs an operator of a plugin, or a program, on batches.
//!
//! One instance for each batch that is worked on at a time, reused from batch to batch and from task to task. Batches are cut by
//! rows and bytes before they go in; results are joined with the carried columns by their parents' positions. Each row of a batch
//! ends as exactly one of: out, filtered, skipped, failed.

use std::{
    collections::{HashSet, VecDeque},
    fmt,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use datafusion::{
    arrow::{
        array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions},
        datatypes::{Field, FieldRef, Schema, SchemaRef},
    },
    common::{Result, internal_err, runtime::SpawnedTask, tree_node::TreeNodeRecursion},
    config::ConfigOptions,
    execution::{SendableRecordBatchStream, TaskContext, memory_pool::MemoryPool},
    physical_expr::{EquivalenceProperties, PhysicalExpr},
    physical_plan::{
        DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties,
        filter_pushdown::{
            ChildFilterDescription, ChildPushdownResult, FilterDescription, FilterPushdownPhase,
            FilterPushdownPropagation,
        },
        projection::{EmbeddedProjection, ProjectionExec, try_embed_projection},
        stream::RecordBatchStreamAdapter,
    },
};
use dflow_pipeline::{Bytes, Fault, OnError};
use futures::{FutureExt, StreamExt, stream};

use crate::{
    alone::{Lost, Outcome},
    cut::{cut, row_sizes},
    error::StepError,
    held::{Held, memory_of},
    ids::seeds,
    operator_node::OperatorSpec,
    reads::{Reads, texts},
    scope::{Failed, StageCounters, StageCounts, TaskScope},
    window::{Weight, Window},
    worker::Worker,
};

/// The most bytes that wait for a model's answers in a partition.
const WAITING: u64 = 32 << 20;

/// The physical node.
#[derive(Debug)]
pub struct OperatorExec {
    spec: Arc<OperatorSpec>,
    reads: Reads<Arc<dyn PhysicalExpr>>,
    input: Arc<dyn ExecutionPlan>,
    /// Of all columns (carried, then new) those that come out.
    projection: Option<Vec<usize>>,
    /// How many rows are enough, as far as that is known: a model isn't asked about more of them at a time.
    wanted: Option<usize>,
    properties: Arc<PlanProperties>,
}

impl OperatorExec {
    /// Runs an operator on what it reads of `input`.
    pub fn new(
        spec: Arc<OperatorSpec>,
        reads: Reads<Arc<dyn PhysicalExpr>>,
        input: Arc<dyn ExecutionPlan>,
        projection: Option<Vec<usize>>,
    ) -> Self {
        let fields: Vec<FieldRef> = input.schema().fields().iter().cloned().chain(spec.new_fields()).collect();
        let fields: Vec<FieldRef> = match &projection {
            Some(kept) => kept.iter().map(|i| fields[*i].clone()).collect(),
            None => fields,
        };
        let schema = Arc::new(Schema::new_with_metadata(fields, input.schema().metadata().clone()));
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            datafusion::physical_plan::Partitioning::UnknownPartitioning(input.output_partitioning().partition_count()),
            input.pipeline_behavior(),
            input.boundedness(),
        );
        Self { spec, reads, input, projection, wanted: None, properties: Arc::new(properties) }
    }

    /// Whether it asks a model.
    pub(crate) fn asks(&self) -> bool {
        matches!(self.spec.operator, Worker::Asker(_))
    }

    /// The same, of which so many rows are enough. It may give more.
    #[must_use]
    pub fn wanting(&self, rows: usize) -> Self {
        let (spec, reads, input) = (self.spec.clone(), self.reads.clone(), self.input.clone());
        Self { wanted: Some(rows), ..Self::new(spec, reads, input, self.projection.clone()) }
    }
}

impl DisplayAs for OperatorExec {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        let ports = self.spec.operator.input().fields().iter().zip(&self.reads.ports);
        let ports: Vec<_> = ports.map(|(port, expr)| format!("{}={expr}", port.name())).collect();
        write!(f, "OperatorExec: {} {} in=[{}]", self.spec.operator.label(), self.spec.shape(), ports.join(", "))?;
        if let Some(kept) = &self.projection {
            write!(f, ", projection={kept:?}")?;
        }
        Ok(())
    }
}

impl EmbeddedProjection for OperatorExec {
    fn with_projection(&self, projection: Option<Vec<usize>>) -> Result<Self> {
        // A projection over a projection: its indices are of what comes out now.
        let projection = match (projection, &self.projection) {
            (Some(outer), Some(inner)) => Some(outer.iter().map(|i| inner[*i]).collect()),
            (Some(outer), None) => Some(outer),
            (None, inner) => inner.clone(),
        };
        let (spec, reads, input) = (self.spec.clone(), self.reads.clone(), self.input.clone());
        Ok(Self { wanted: self.wanted, ..Self::new(spec, reads, input, projection) })
    }
}

impl ExecutionPlan for OperatorExec {
    fn name(&self) -> &str {
        "OperatorExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        // Partitions are made of splits, so that rows stay in their order; batches aren't dealt round.
        vec![false]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        let mut recursion = TreeNodeRecursion::Continue;
        for expr in self.reads.iter() {
            recursion = f(expr)?;
        }
        Ok(recursion)
    }

    fn with_new_children(self: Arc<Self>, mut children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        match children.pop() {
            Some(input) => {
                let same = Self::new(self.spec.clone(), self.reads.clone(), input, self.projection.clone());
                Ok(Arc::new(Self { wanted: self.wanted, ..same }))
            }
            None => internal_err!("an operator without input"),
        }
    }

    fn gather_filters_for_pushdown(
        &self,
        _phase: FilterPushdownPhase,
        parent_filters: Vec<Arc<dyn PhysicalExpr>>,
        _config: &ConfigOptions,
    ) -> Result<FilterDescription> {
        // By index: names of carried columns and new ones never clash in our plans, but projections move indices.
        let carried = self.input.schema().fields().len();
        let through: HashSet<usize> = match &self.projection {
            Some(kept) => (0..kept.len()).filter(|i| kept[*i] < carried).collect(),
            None => (0..carried).collect(),
        };
        let child = ChildFilterDescription::from_child_with_allowed_indices(&parent_filters, through, &self.input)?;
        Ok(FilterDescription::new().with_child(child))
    }

    fn handle_child_pushdown_result(
        &self,
        _phase: FilterPushdownPhase,
        result: ChildPushdownResult,
        _config: &ConfigOptions,
    ) -> Result<FilterPushdownPropagation<Arc<dyn ExecutionPlan>>> {
        Ok(FilterPushdownPropagation::if_all(result))
    }

    fn try_swapping_with_projection(&self, projection: &ProjectionExec) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        if projection.expr().len() >= self.schema().fields().len() {
            return Ok(None);
        }
        try_embed_projection(projection, self)
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let Some(scope) = context.session_config().get_extension::<TaskScope>() else {
            return internal_err!("an operator runs outside of a task");
        };
        let pool = context.memory_pool().clone();
        let input = self.input.execute(partition, context)?;
        let carried = self.input.schema().fields().len();
        let all = carried + self.spec.new_fields().len();
        let work = Arc::new(Work {
            counters: scope.counters(&self.spec.stage),
            scope,
            spec: self.spec.clone(),
            reads: self.reads.clone(),
            carried,
            kept: self.projection.clone().unwrap_or_else(|| (0..all).collect()),
            wanted: self.wanted.map(|rows| rows.max(1)),
            schema: self.schema(),
            pool,
            partition,
            rows: AtomicU64::new(0),
        });
        let parallel = work.scope.parallel.max(1);
        let (cutting, told) = (work.clone(), work.clone());
        // A batch of wide rows is worked on part by part, as its results are asked for.
        let parts = input.flat_map(move |batch| match batch.and_then(|batch| cutting.parts(&batch)) {
            Ok(parts) => stream::iter(parts.into_iter().map(Ok).collect::<Vec<_>>()),
            Err(error) => stream::iter(vec![Err(error)]),
        });
        let results = if let Worker::Asker(asker) = &work.spec.operator {
            // Who waits takes no core.
            let rows = work.wanted.map_or(asker.window(), |wanted| wanted.min(asker.window()));
            let most = Weight { rows, bytes: WAITING };
            let weight = |part: &Part| Weight { rows: part.rows.num_rows(), bytes: part.size };
            Window::new(parts.boxed(), most, move |part: Result<Part>| {
                let weight = part.as_ref().map(weight).unwrap_or_default();
                let task = SpawnedTask::spawn(work.clone().results_of(part));
                let ended = |e| StepError::new(Fault::Internal, format!("a task ended: {e}"));
                (weight, async move { task.join_unwind().await.map_err(ended)? }.boxed())
            })
            .boxed()
        } else if work.spec.operator.streaming().is_some() {
            parts.flat_map(move |part| work.clone().streamed(part)).boxed()
        } else if parallel == 1 {
            parts.then(move |part| work.clone().results_of(part)).boxed()
        } else {
            // Rows are worked on side by side and come out in their order.
            parts.map(move |part| work.clone().spawned(part)).buffered(parallel).boxed()
        };
        let batches = results.flat_map(move |results| match results.and_then(|results| told.told(results)) {
            Ok(Results { ready, held, .. }) => stream::iter(ready)
                .map(move |batch| {
                    // What is held of all of them is until the last one is asked for.
                    let _ = &held;
                    Ok(batch)
                })
                .boxed(),
            Err(e) => stream::iter([Err(e)]).boxed(),
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), batches)))
    }
}

mod joined;
mod streamed;

/// What came of a part of a batch.
struct Results {
    ready: VecDeque<RecordBatch>,
    failed: Failed,
    /// The memory that they and what they are made of hold.
    held: (Held, Arc<Held>),
}

/// A part of a batch that is worked on at once.
struct Part {
    rows: RecordBatch,
    ports: Vec<ArrayRef>,
    ids: Option<ArrayRef>,
    /// Of all that goes into the ports, in bytes.
    size: u64,
    /// The memory of the whole batch.
    held: Arc<Held>,
    /// The place of its first row among the partition's.
    place: u64,
}

/// One partition's work.
struct Work {
    scope: Arc<TaskScope>,
    counters: Arc<StageCounters>,
    spec: Arc<OperatorSpec>,
    reads: Reads<Arc<dyn PhysicalExpr>>,
    /// How many of the columns are carried along.
    carried: usize,
    /// The columns that come out.
    kept: Vec<usize>,
    /// How many rows are enough.
    wanted: Option<usize>,
    schema: SchemaRef,
    /// Where the memory of batches on their way comes from.
    pool: Arc<dyn MemoryPool>,
    /// Which one it is, and how many rows have come.
    partition: usize,
    rows: AtomicU64,
}

impl Work {
    /// A batch cut by the rows and bytes that go into the ports.
    fn parts(&self, batch: &RecordBatch) -> Result<Vec<Part>> {
        let rows = batch.num_rows();
        let held = Arc::new(Held::new(&self.pool, self.holder()));
        held.set(memory_of([batch]))?;
        let ports = self.reads.ports.iter().map(|p| p.evaluate(batch)?.into_array(rows)).collect::<Result<Vec<_>>>()?;
        let ids = self.reads.id.as_ref().map(|id| texts(id, batch)).transpose()?;
        let sizes = row_sizes(&ports, rows);
        let before = self.rows.fetch_add(rows as u64, Ordering::Relaxed);
        let part = |range: Range<usize>| {
            let (start, length) = (range.start, range.len());
            Part {
                rows: batch.slice(start, length),
                ports: ports.iter().map(|port| port.slice(start, length)).collect(),
                ids: ids.as_ref().map(|ids| ids.slice(start, length)),
                size: sizes[range].iter().sum(),
                held: held.clone(),
                place: before + start as u64,
            }
        };
        let mut limits = self.spec.batch_limits();
        if let (Some(wanted), Worker::Asker(_)) = (self.wanted, &self.spec.operator) {
            limits.rows = limits.rows.min(u32::try_from(wanted).unwrap_or(u32::MAX));
        }
        Ok(cut(&sizes, &limits).into_iter().map(part).collect())
    }

    /// Who holds memory, to a user.
    fn holder(&self) -> String {
        format!("the rows of stage `{}`", self.spec.stage)
    }

    /// The results of a part, with the memory that they take beyond what the batch does.
    async fn results_of(self: Arc<Self>, part: Result<Part>) -> Result<Results> {
        let part = part?;
        let (ready, failed) = self.part(&part).await?;
        let held = Held::new(&self.pool, self.holder());
        held.set(memory_of(ready.iter().chain([&part.rows])).saturating_sub(memory_of([&part.rows])))?;
        Ok(Results { ready, failed, held: (held, part.held) })
    }

    /// Tells the task of what failed. This is done in the rows' order, whichever part was worked on first.
    fn told(&self, mut results: Results) -> Result<Results> {
        let code = self.spec.operator.digest();
        self.scope.met(&self.spec.stage, self.spec.on_error, code, &std::mem::take(&mut results.failed))?;
        Ok(results)
    }

    /// The same on whichever core is free. Its time isn't within that of who waits for it, so it is counted here.
    async fn spawned(self: Arc<Self>, part: Result<Part>) -> Result<Results> {
        let counters = self.counters.clone();
        let work = SpawnedTask::spawn(async move {
            let started = Instant::now();
            let results = self.results_of(part).await;
            let aside = started.elapsed().as_nanos() as u64;
            counters.add(&StageCounts { aside, ..StageCounts::default() });
            results
        });
        work.join_unwind().await.map_err(|e| StepError::new(Fault::Internal, format!("a task ended: {e}")))?
    }

    /// All results of a part, and what failed of it.
    async fn part(&self, part: &Part) -> Result<(VecDeque<RecordBatch>, Failed)> {
        let done = self.done(part).await;
        self.bill();
        done
    }

    /// Counts what models were asked for the stage meanwhile, whatever became of it.
    fn bill(&self) {
        match (&self.spec.operator, &self.spec.models) {
            (Worker::Asker(asker), _) => self.counters.add(&asker.desk.counted()),
            (_, Some(models)) => self.counters.add(&models.counted()),
            _ => {}
        }
    }

    async fn done(&self, part: &Part) -> Result<(VecDeque<RecordBatch>, Failed)> {
        if self.scope.cancel.is_raised() {
            return Err(StepError::new(Fault::Outside, "interrupted").into());
        }
        if let Some(lost) = self.too_large(part) {
            return self.results(&part.rows, part.ids.as_ref(), Outcome { lost: vec![lost], ..Outcome::default() });
        }
        let input = self.input(part)?;
        if let Worker::Asker(asker) = &self.spec.operator {
            let (outcome, recalled) = asker.outcome(&input, part.ids.as_ref(), &self.scope.cancel).await?;
            self.counters.add(&StageCounts { recalled, ..StageCounts::default() });
            return self.results(&part.rows, part.ids.as_ref(), outcome);
        }
        let whole = self.spec.on_error == OnError::Fail;
        let key = self.spec.key.as_ref().and_then(|key| Some((key, part.rows.column_by_name(key)?)));
        let outcome = match (self.scope.recalls.get(&self.spec.stage), key) {
            (Some(recall), Some((key, keys))) => {
                let (outcome, recalled) = recall.outcome(&self.spec, key, keys, &input, whole).await?;
                self.counters.add(&StageCounts { recalled, ..StageCounts::default() });
                outcome
            }
            _ => self.spec.outcome(&input, whole).await?,
        };
        self.results(&part.rows, part.ids.as_ref(), outcome)
    }

    /// A row alone that is larger than one may be.
    fn too_large(&self, part: &Part) -> Option<Lost> {
        let limits = self.spec.batch;
        if part.rows.num_rows() == 1 && part.size > limits.max_row.0 {
            let what = format!("the row has {}, the limit is {}", Bytes(part.size), limits.max_row);
            return Some(Lost {
                row: 0,
                fault: Fault::Limit,
                kind: "row-too-large".to_owned(),
                message: format!("{what} (`batch.max_row`)"),
                attempts: 1,
            });
        }
        None
    }

    /// What goes into the ports.
    fn input(&self, part: &Part) -> Result<RecordBatch> {
        let options = RecordBatchOptions::new().with_row_count(Some(part.rows.num_rows()));
        let mut ports = part.ports.clone();
        if self.spec.operator.is_seeded() {
            let Some(ids) = &part.ids else { return internal_err!("seeds without ids") };
            ports.push(Arc::new(seeds(self.spec.stage.as_str(), ids.as_string_view())));
        }
        let fields = self.spec.operator.input().fields().iter().zip(&ports);
        let fields: Vec<_> =
            fields.map(|(f, p)| Field::clone(f).with_data_type(p.data_type().clone()).with_nullable(true)).collect();
        Ok(RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), ports, &options)?)
    }
}
