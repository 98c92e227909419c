//! An operator of a plugin, or a program, as a node of the logical plan.
//!
//! Its output is its input's columns, carried along, and the new ones. It reads its ports and the rows' id; which of the
//! carried columns are needed is the optimizer's to find out, and passes through to the reader.

use std::{
    cmp::Ordering,
    collections::HashSet,
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

use datafusion::{
    arrow::datatypes::{DataType, Field, FieldRef},
    common::{DFSchema, DFSchemaRef, Result, TableReference, internal_err},
    logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore},
};
use dflow_pipeline::{BatchLimits, Name, OnError};
use dflow_wasm::RowShape;

use crate::{alone::Health, ids::ID_FIELD_TYPE, reads::Reads, stage_models::StageModels, worker::Worker};

/// What a stage does with an operator.
#[derive(Debug)]
pub struct OperatorSpec {
    /// The stage.
    pub stage: Name,
    /// The opened operator, or the program.
    pub operator: Worker,
    /// The new columns: the operator's, under the plan's names and in the operator's order.
    pub columns: Vec<FieldRef>,
    /// What happens to failed rows.
    pub on_error: OnError,
    /// How often a row is tried again at which the operator broke.
    pub retries: u32,
    /// How batches are cut.
    pub batch: BatchLimits,
    /// For operators that expand rows with ids: the names of the children's id and index.
    pub children: Option<ChildColumns>,
    /// The column that is equal where all ports are, if results are known again by it.
    pub key: Option<String>,
    /// The models that the operator may ask.
    pub models: Option<StageModels>,
    /// How it fares.
    pub health: Health,
}

/// The names of the columns that tell the children of a row apart.
#[derive(Clone, Debug)]
pub struct ChildColumns {
    /// The children's ids.
    pub id: String,
    /// Their index among their siblings.
    pub index: String,
}

impl OperatorSpec {
    /// All new fields: the operator's columns, then a child's id and index.
    pub fn new_fields(&self) -> Vec<FieldRef> {
        let mut fields = self.columns.clone();
        if let Some(children) = &self.children {
            fields.push(Arc::new(Field::new(&children.id, ID_FIELD_TYPE, false)));
            fields.push(Arc::new(Field::new(&children.index, DataType::UInt32, false)));
        }
        fields
    }

    /// Whether each row comes out, or ends the run: then a limit on what comes out is one on what goes in.
    pub fn keeps_rows(&self) -> bool {
        self.shape() == RowShape::Map && matches!(self.on_error, OnError::Fail | OnError::Null)
    }

    /// Whether all it does is to add columns: whoever reads none of them doesn't need it.
    pub fn only_adds_columns(&self) -> bool {
        self.shape() == RowShape::Map && !self.operator.is_needed()
    }

    /// How many rows come of one.
    pub fn shape(&self) -> RowShape {
        self.operator.shape()
    }
}

/// The logical node.
#[derive(Clone, Debug)]
pub struct OperatorNode {
    /// What is done.
    pub spec: Arc<OperatorSpec>,
    /// What it reads.
    pub reads: Reads<Expr>,
    input: LogicalPlan,
    schema: DFSchemaRef,
}

impl OperatorNode {
    /// Runs an operator on what it reads of `input`.
    pub fn try_new(spec: Arc<OperatorSpec>, reads: Reads<Expr>, input: LogicalPlan) -> Result<Self> {
        let carried = input.schema().iter().map(|(table, field)| (table.cloned(), field.clone()));
        let new = spec.new_fields().into_iter().map(|field| (None::<TableReference>, field));
        let schema = DFSchema::new_with_metadata(carried.chain(new).collect(), input.schema().metadata().clone())?;
        Ok(Self { spec, reads, input, schema: Arc::new(schema) })
    }
}

impl PartialEq for OperatorNode {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.spec, &other.spec) && self.reads == other.reads && self.input == other.input
    }
}

impl Eq for OperatorNode {}

impl Hash for OperatorNode {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.spec.stage.hash(state);
        self.reads.hash(state);
        self.input.hash(state);
    }
}

impl PartialOrd for OperatorNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Arc::ptr_eq(&self.spec, &other.spec).then(|| self.input.partial_cmp(&other.input)).flatten()
    }
}

impl UserDefinedLogicalNodeCore for OperatorNode {
    fn name(&self) -> &str {
        "Operator"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        self.reads.iter().cloned().collect()
    }

    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        self.spec.new_fields().iter().map(|f| f.name().clone()).collect()
    }

    fn supports_limit_pushdown(&self) -> bool {
        self.spec.keeps_rows()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let ports = self.spec.operator.input().fields().iter().zip(&self.reads.ports);
        let ports: Vec<_> = ports.map(|(port, expr)| format!("{}={expr}", port.name())).collect();
        let columns: Vec<_> = self.spec.columns.iter().map(|c| c.name().as_str()).collect();
        write!(
            f,
            "Operator: {} ({}) in=[{}] out=[{}]",
            self.spec.operator.label(),
            self.spec.shape(),
            ports.join(", "),
            columns.join(", ")
        )
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> Result<Self> {
        match inputs.pop() {
            Some(input) => Self::try_new(self.spec.clone(), self.reads.with(exprs)?, input),
            None => internal_err!("an operator without input"),
        }
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        // Carried columns keep their index; what it reads itself is added by the optimizer.
        let carried = self.input.schema().fields().len();
        Some(vec![output_columns.iter().copied().filter(|i| *i < carried).collect()])
    }
}
