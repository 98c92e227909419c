//! `id`: the column that identifies a stage's rows.

use std::sync::Arc;

use datafusion::logical_expr::{Extension, LogicalPlan, cast};
use dflow_operators::{ID_FIELD_TYPE, UniqueNode};
use dflow_pipeline::{At, Mistake, Name};

use super::made;
use crate::{
    order::Order,
    steps::{Planned, Step, planning},
    types::type_text,
};

impl Step {
    /// `id = "column"`: this stage's rows are known by it, and no two by the same. A source has made its ids of it already.
    pub(crate) fn identified(self, name: &Name, id: &str, is_source: bool) -> Planned {
        let at = At::stage(name).key("id");
        let column = self.columns.visible.get(id).or_else(|| self.columns.get(id)).cloned();
        let Some(column) = column else { return Err(vec![self.unknown_column(at, id)]) };
        if column.data_type().is_nested() {
            let what = format!("`{id}` is {}, an id is text or a number", type_text(column.data_type()));
            return Err(vec![Mistake::new(at, what)]);
        }
        let failed = planning(at);
        let Self { mut plan, mut columns } = self;
        if !is_source {
            let text = cast(column.expr(), ID_FIELD_TYPE);
            let (made, expr) = made(plan.schema(), &columns.flat_name("#id"), text).map_err(&failed)?;
            columns.system.insert("__id__".to_owned(), made);
            if matches!(columns.order, Order::Open) {
                columns.order = Order::made(&columns);
            }
            let step = Self { plan, columns: columns.clone() }.with_new(name, vec![expr], columns)?;
            (plan, columns) = (step.plan, step.columns);
        }
        let unique = UniqueNode::new(name.clone(), id.to_owned(), column.expr(), plan);
        Ok(Self { plan: LogicalPlan::Extension(Extension { node: Arc::new(unique) }), columns })
    }
}
