//! Numbers rows in the order in which they come.
//!
//! Partitions are consecutive parts of the splits, so a row's partition and its place in it say where it stands among all
//! rows. The numbers have gaps and depend on how splits were dealt; their order doesn't. What picks a first row, or keeps
//! equal rows in their order, sorts by them.

use std::{
    cmp::Ordering,
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

use datafusion::{
    arrow::{
        array::{ArrayRef, RecordBatch, RecordBatchOptions, UInt64Array},
        datatypes::{DataType, Field, FieldRef, Schema},
    },
    common::{DFSchema, DFSchemaRef, Result, TableReference, internal_err, tree_node::TreeNodeRecursion},
    execution::{SendableRecordBatchStream, TaskContext},
    logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore},
    physical_expr::{EquivalenceProperties, PhysicalExpr},
    physical_plan::{
        DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, Partitioning, PlanProperties,
        stream::RecordBatchStreamAdapter,
    },
};
use futures::StreamExt;

/// Bits of a number that count rows of one partition; those above are the partition's.
const ROW_BITS: u32 = 44;

/// The logical node: its input's columns, and a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NumberNode {
    column: String,
    input: LogicalPlan,
    schema: DFSchemaRef,
}

impl NumberNode {
    /// Numbers the rows of `input` in a new column, `uint64`.
    pub fn try_new(column: String, input: LogicalPlan) -> Result<Self> {
        let carried = input.schema().iter().map(|(table, field)| (table.cloned(), field.clone()));
        let number = (None::<TableReference>, field(&column));
        let schema = DFSchema::new_with_metadata(carried.chain([number]).collect(), input.schema().metadata().clone())?;
        Ok(Self { column, input, schema: Arc::new(schema) })
    }
}

fn field(column: &str) -> FieldRef {
    Arc::new(Field::new(column, DataType::UInt64, false))
}

impl Hash for NumberNode {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.column.hash(state);
        self.input.hash(state);
    }
}

impl PartialOrd for NumberNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self.column == other.column).then(|| self.input.partial_cmp(&other.input)).flatten()
    }
}

impl UserDefinedLogicalNodeCore for NumberNode {
    fn name(&self) -> &str {
        "Number"
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

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Number: {}", self.column)
    }

    fn with_exprs_and_inputs(&self, _exprs: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> Result<Self> {
        match inputs.pop() {
            Some(input) => Self::try_new(self.column.clone(), input),
            None => internal_err!("numbered rows without input"),
        }
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let carried = self.input.schema().fields().len();
        Some(vec![output_columns.iter().copied().filter(|i| *i < carried).collect()])
    }
}

impl NumberNode {
    /// The node that does it.
    pub(crate) fn physical(&self, input: Arc<dyn ExecutionPlan>) -> NumberExec {
        NumberExec::new(self.column.clone(), input)
    }
}

/// The physical node.
#[derive(Debug)]
pub struct NumberExec {
    column: String,
    input: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
}

impl NumberExec {
    fn new(column: String, input: Arc<dyn ExecutionPlan>) -> Self {
        let fields = input.schema().fields().iter().cloned().chain([field(&column)]).collect::<Vec<_>>();
        let schema = Arc::new(Schema::new_with_metadata(fields, input.schema().metadata().clone()));
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(input.output_partitioning().partition_count()),
            input.pipeline_behavior(),
            input.boundedness(),
        );
        Self { column, input, properties: Arc::new(properties) }
    }
}

impl DisplayAs for NumberExec {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "NumberExec: {}", self.column)
    }
}

impl ExecutionPlan for NumberExec {
    fn name(&self) -> &str {
        "NumberExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        // Rows that were dealt round before they are numbered have lost their order.
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
            Some(input) => Ok(Arc::new(Self::new(self.column.clone(), input))),
            None => internal_err!("numbered rows without input"),
        }
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let input = self.input.execute(partition, context)?;
        let schema = self.schema();
        let mut next = (partition as u64) << ROW_BITS;
        let numbered = input.map({
            let schema = schema.clone();
            move |batch| {
                let batch = batch?;
                let rows = batch.num_rows() as u64;
                let numbers: ArrayRef = Arc::new(UInt64Array::from_iter_values(next..next + rows));
                next += rows;
                let columns = batch.columns().iter().cloned().chain([numbers]).collect();
                let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
                Ok(RecordBatch::try_new_with_options(schema.clone(), columns, &options)?)
            }
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, numbered)))
    }
}
