//! A program that makes rows anew of all rows, as a node of the logical plan: it reads what goes in, and gives its own columns alone.

use std::{
    cmp::Ordering,
    collections::HashSet,
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

use datafusion::{
    arrow::datatypes::FieldRef,
    common::{DFSchema, DFSchemaRef, Result, TableReference, internal_err},
    logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore},
};
use dflow_pipeline::BatchLimits;

use crate::command::Program;

/// What a stage does with a program that is given all rows.
#[derive(Debug)]
pub struct CommandSpec {
    /// The program.
    pub program: Arc<Program>,
    /// Its columns, under the plan's names.
    pub columns: Vec<FieldRef>,
    /// How batches are cut.
    pub batch: BatchLimits,
}

/// The logical node.
#[derive(Clone, Debug)]
pub struct CommandNode {
    /// What is done.
    pub spec: Arc<CommandSpec>,
    /// What goes in, a column each.
    pub(crate) reads: Vec<Expr>,
    input: LogicalPlan,
    schema: DFSchemaRef,
}

impl CommandNode {
    /// Gives a program what it reads of `input`.
    pub fn try_new(spec: Arc<CommandSpec>, reads: Vec<Expr>, input: LogicalPlan) -> Result<Self> {
        let columns = spec.columns.iter().map(|field| (None::<TableReference>, field.clone())).collect();
        let schema = DFSchema::new_with_metadata(columns, input.schema().metadata().clone())?;
        Ok(Self { spec, reads, input, schema: Arc::new(schema) })
    }
}

impl PartialEq for CommandNode {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.spec, &other.spec) && self.reads == other.reads && self.input == other.input
    }
}

impl Eq for CommandNode {}

impl Hash for CommandNode {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.spec.program.stage.hash(state);
        self.reads.hash(state);
        self.input.hash(state);
    }
}

impl PartialOrd for CommandNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Arc::ptr_eq(&self.spec, &other.spec).then(|| self.input.partial_cmp(&other.input)).flatten()
    }
}

impl UserDefinedLogicalNodeCore for CommandNode {
    fn name(&self) -> &str {
        "Command"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        self.reads.clone()
    }

    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        self.spec.columns.iter().map(|column| column.name().clone()).collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Command: {}", shown(&self.spec, &self.reads))
    }

    fn with_exprs_and_inputs(&self, reads: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> Result<Self> {
        match inputs.pop() {
            Some(input) => Self::try_new(self.spec.clone(), reads, input),
            None => internal_err!("a command without input"),
        }
    }

    fn necessary_children_exprs(&self, _output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        // What it reads is added by the optimizer; nothing is carried along.
        Some(vec![Vec::new()])
    }
}

/// ``python3 train.py` (whole) in=[a=t.a] out=[t.b]``
pub(crate) fn shown<E: fmt::Display>(spec: &CommandSpec, reads: &[E]) -> String {
    let ports = spec.program.input.fields().iter().zip(reads);
    let ports: Vec<_> = ports.map(|(port, expr)| format!("{}={expr}", port.name())).collect();
    let columns: Vec<_> = spec.columns.iter().map(|column| column.name().as_str()).collect();
    format!("`{}` (whole) in=[{}] out=[{}]", spec.program.line.join(" "), ports.join(", "), columns.join(", "))
}
