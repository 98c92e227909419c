//! In which order a stage's rows come, for verbs whose result depends on it.
//!
//! Rows stream in source order through everything row-wise. What regroups them deals them into partitions, after which they
//! come as they come: such a stage says by which columns its rows are in order, and who needs an order sorts by those.

use datafusion::{
    arrow::datatypes::DataType,
    common::Result,
    logical_expr::{Extension, LogicalPlan, SortExpr},
};
use dflow_operators::NumberNode;
use dflow_pipeline::Name;

use crate::{
    columns::{Column, Columns},
    steps::Step,
};

/// In which order a stage's rows come.
#[derive(Clone, Debug)]
pub(crate) enum Order {
    /// As they stream: in source order, or sorted.
    Stream,
    /// Of these columns, however they stream.
    By(Vec<Column>),
    /// In none.
    Open,
}

impl Order {
    /// The order of rows that are made anew: that of their ids, if they have any.
    pub(crate) fn made(columns: &Columns) -> Self {
        columns.id().map_or(Self::Open, |id| Self::By(vec![id.clone()]))
    }

    /// The order of the children of such rows, told apart by an index.
    pub(crate) fn of_children(&self, index: Option<&Column>) -> Self {
        match (self, index) {
            (Self::By(columns), Some(index)) => Self::By(columns.iter().chain([index]).cloned().collect()),
            (Self::By(_), None) => Self::Open,
            (Self::Stream | Self::Open, _) => self.clone(),
        }
    }
}

impl Step {
    /// A plan of the same rows for `reader`, and the columns that tell their order; `None` where they have none.
    pub(crate) fn in_order(&self, reader: &Name) -> Result<Option<(LogicalPlan, Vec<Column>)>> {
        match &self.columns.order {
            Order::Stream => {
                let number = format!("{reader}.#order");
                let node = NumberNode::try_new(number.clone(), self.plan.clone())?;
                let plan = LogicalPlan::Extension(Extension { node: std::sync::Arc::new(node) });
                Ok(Some((plan, vec![Column::of(&Columns::field(&number, DataType::UInt64, false))])))
            }
            Order::By(columns) => Ok(Some((self.plan.clone(), columns.clone()))),
            Order::Open => Ok(self.columns.id().map(|id| (self.plan.clone(), vec![id.clone()]))),
        }
    }
}

/// Sorts by columns, upwards.
pub(crate) fn upwards(columns: &[Column]) -> impl Iterator<Item = SortExpr> + '_ {
    columns.iter().map(|column| column.expr().sort(true, false))
}
