//! Counts what leaves a stage, and the time until it did.
//!
//! It changes nothing, so projections, limits and filters pass through it. What a later stage's filter drops below it is counted
//! here as filtered: the difference between what the stage made and what came out.

use std::{
    cmp::Ordering,
    collections::HashSet,
    fmt,
    hash::{Hash, Hasher},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use datafusion::{
    arrow::{datatypes::SchemaRef, record_batch::RecordBatch},
    common::{
        DFSchema, DFSchemaRef, FunctionalDependencies, Result, Statistics, internal_err, tree_node::TreeNodeRecursion,
    },
    config::ConfigOptions,
    execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext},
    logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore},
    physical_expr::{OrderingRequirements, PhysicalExpr},
    physical_plan::{
        DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties,
        execution_plan::CardinalityEffect,
        filter_pushdown::{ChildPushdownResult, FilterDescription, FilterPushdownPhase, FilterPushdownPropagation},
        projection::{ProjectionExec, make_with_child},
        statistics::{ChildStats, StatisticsArgs},
    },
};
use dflow_pipeline::Name;
use futures::{Stream, StreamExt};

use crate::{
    scope::{StageCounters, StageCounts, TaskScope},
    split_column::splits_of,
};

/// A stage that reads another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ReadBy {
    /// The stage.
    pub stage: Name,
    /// Whether it counts by itself what it gets.
    pub counts: bool,
}

/// The logical node: the output of a stage, and the input of another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeterNode {
    /// The stage.
    pub stage: Name,
    /// Who reads it here.
    pub reader: Option<ReadBy>,
    input: LogicalPlan,
    schema: DFSchemaRef,
}

impl MeterNode {
    /// The output of a stage.
    pub fn try_new(stage: Name, input: LogicalPlan) -> Result<Self> {
        let mut schema = input.schema().clone();
        if !schema.functional_dependencies().is_empty() {
            // DataFusion carries what it knows of keys (after an aggregate) through an unnest, where it isn't true any more.
            let plain = DFSchema::clone(&schema).with_functional_dependencies(FunctionalDependencies::empty())?;
            schema = Arc::new(plain);
        }
        Ok(Self { stage, reader: None, input, schema })
    }

    /// The same for a reader: counted as its input, too, where it doesn't count by itself.
    #[must_use]
    pub fn read_by(&self, reader: ReadBy) -> Self {
        Self { reader: Some(reader), ..self.clone() }
    }
}

impl Hash for MeterNode {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.stage.hash(state);
        self.reader.hash(state);
        self.input.hash(state);
    }
}

impl PartialOrd for MeterNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self.stage == other.stage).then(|| self.input.partial_cmp(&other.input)).flatten()
    }
}

impl UserDefinedLogicalNodeCore for MeterNode {
    fn name(&self) -> &str {
        "Stage"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        Vec::new()
    }

    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        HashSet::new()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Stage: {}", self.stage)
    }

    fn with_exprs_and_inputs(&self, _exprs: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> Result<Self> {
        match inputs.pop() {
            Some(input) => Ok(Self { reader: self.reader.clone(), ..Self::try_new(self.stage.clone(), input)? }),
            None => internal_err!("a stage without input"),
        }
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        Some(vec![output_columns.to_vec()])
    }

    fn supports_limit_pushdown(&self) -> bool {
        true
    }
}

/// The physical node.
#[derive(Debug)]
pub struct MeterExec {
    stage: Name,
    reader: Option<Name>,
    input: Arc<dyn ExecutionPlan>,
}

impl MeterExec {
    /// Counts what `input` gives as the output of `stage`, and as the input of `reader`.
    pub fn new(stage: Name, reader: Option<Name>, input: Arc<dyn ExecutionPlan>) -> Self {
        Self { stage, reader, input }
    }
}

impl DisplayAs for MeterExec {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "StageExec: {}", self.stage)
    }
}

impl ExecutionPlan for MeterExec {
    fn name(&self) -> &str {
        "StageExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        // It does, but a sort that DataFusion moved below it would cut rows before they are counted.
        vec![false]
    }

    fn required_input_ordering(&self) -> Vec<Option<OrderingRequirements>> {
        // A stage's order is its result: without this, DataFusion drops a sort that nothing it knows of needs.
        vec![self.input.output_ordering().cloned().map(OrderingRequirements::from)]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, mut children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        match children.pop() {
            Some(input) => Ok(Arc::new(Self::new(self.stage.clone(), self.reader.clone(), input))),
            None => internal_err!("a stage without input"),
        }
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let scope = context.session_config().get_extension::<TaskScope>();
        let counters = scope.as_ref().map(|scope| scope.counters(&self.stage)).unwrap_or_default();
        let reader = scope.zip(self.reader.as_ref()).map(|(scope, reader)| scope.counters(reader));
        let input = self.input.execute(partition, context)?;
        Ok(Box::pin(Metered { counters, reader, input }))
    }

    fn supports_limit_pushdown(&self) -> bool {
        true
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        CardinalityEffect::Equal
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        vec![ChildStats::At(partition)]
    }

    fn statistics_from_inputs(&self, input: &[Arc<Statistics>], _args: &StatisticsArgs) -> Result<Arc<Statistics>> {
        Ok(input.first().cloned().unwrap_or_else(|| Arc::new(Statistics::new_unknown(&self.schema()))))
    }

    fn gather_filters_for_pushdown(
        &self,
        _phase: FilterPushdownPhase,
        parent_filters: Vec<Arc<dyn PhysicalExpr>>,
        _config: &ConfigOptions,
    ) -> Result<FilterDescription> {
        FilterDescription::from_children(parent_filters, &self.children())
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
        let swapped = make_with_child(projection, &self.input)?;
        Ok(Some(Arc::new(Self::new(self.stage.clone(), self.reader.clone(), swapped))))
    }
}

/// The stream of a metered stage.
struct Metered {
    counters: Arc<StageCounters>,
    reader: Option<Arc<StageCounters>>,
    input: SendableRecordBatchStream,
}

impl Stream for Metered {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let started = Instant::now();
        let polled = self.input.poll_next_unpin(context);
        self.counters.add(&StageCounts { nanos: started.elapsed().as_nanos() as u64, ..StageCounts::default() });
        if let Poll::Ready(Some(Ok(batch))) = &polled {
            let (rows, splits) = (batch.num_rows(), splits_of(batch));
            self.counters.add_each(&StageCounts { rows_out: 1, ..StageCounts::default() }, rows, splits);
            if let Some(reader) = &self.reader {
                reader.add_each(&StageCounts { rows_in: 1, ..StageCounts::default() }, rows, splits);
            }
        }
        polled
    }
}

impl RecordBatchStream for Metered {
    fn schema(&self) -> SchemaRef {
        self.input.schema()
    }
}
