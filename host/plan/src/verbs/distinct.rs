//! `distinct`: the first row of each key.
//!
//! Rows are dealt and sorted by a hash of the key, then by their order, and the first of each is kept: whole, with its id and
//! its ancestors. Sorting spills where a set of keys could not.

use datafusion::{
    functions_window::expr_fn::row_number,
    logical_expr::{ExprFunctionExt, LogicalPlanBuilder, lit},
};
use dflow_pipeline::{At, Distinct, Mistake, Name};

use crate::{
    columns::{Column, flat},
    hashes::key_of,
    order::{Order, upwards},
    steps::{Planned, Step, planning},
};

impl Step {
    /// `distinct = ["url"]`
    pub(crate) fn distinct(&self, name: &Name, written: &Distinct) -> Planned {
        let at = At::stage(name).key("distinct");
        let (mut keys, mut mistakes) = (Vec::new(), Vec::new());
        for (i, column) in written.by.iter().enumerate() {
            match self.column(at.key(i), column) {
                Ok(column) => keys.push(column.expr()),
                Err(mistake) => mistakes.push(mistake),
            }
        }
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        let mut columns = self.columns.child(name);
        if written.by.is_empty() {
            keys.extend(self.columns.visible.values().map(Column::expr));
        }
        let failed = planning(at.clone());
        let (plan, order) = match self.in_order(name).map_err(&failed)? {
            Some((plan, order)) => {
                columns.order = Order::By(order.clone());
                (plan, order)
            }
            // Rows that are equal in all that is visible: which of them is kept may not be seen in what is hidden either.
            None if written.by.is_empty() => {
                let visible = self.columns.visible.iter().map(|(name, column)| (name.clone(), column.clone()));
                columns.ancestors = [(self.columns.stage.clone(), visible.collect())].into();
                (self.plan.clone(), Vec::new())
            }
            None => {
                let stage = &self.columns.stage;
                let what = format!("the rows of `{stage}` have no order, so none of them is the first with its keys");
                let hint = format!(
                    "`id = \"…\"` in stage `{stage}` names the column that tells its rows apart, a stage with `sort` orders them, or use `group`"
                );
                return Err(vec![Mistake::new(at, what).hint(hint)]);
            }
        };
        let (key, nth) = (columns.flat_name("#key"), columns.flat_name("#nth"));
        let shown = || plan.schema().fields().iter().map(|field| flat(field.name()));
        let plan = (|| {
            let order = match order.as_slice() {
                // A window needs some order.
                [] => vec![flat(&key).sort(true, false)],
                order => upwards(order).collect(),
            };
            let nth_of_key = row_number().partition_by(vec![flat(&key)]).order_by(order).build()?.alias(&nth);
            LogicalPlanBuilder::from(plan.clone())
                .project(shown().chain([key_of(keys).alias(&key)]).collect::<Vec<_>>())?
                .window([nth_of_key])?
                .filter(flat(&nth).lt_eq(lit(1u64)))?
                .project(shown().collect::<Vec<_>>())?
                .build()
        })();
        Ok(Self { plan: plan.map_err(failed)?, columns })
    }
}
