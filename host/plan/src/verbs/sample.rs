//! `sample`: some of the rows, by the hash of their ids.

use datafusion::logical_expr::{LogicalPlanBuilder, lit};
use dflow_pipeline::{At, Name, Sample, SampleSize};

use crate::{
    hashes::lot_of,
    order::{Order, upwards},
    steps::{Planned, Step, planning},
};

impl Step {
    /// `sample = 0.1`
    pub(crate) fn sample(&self, name: &Name, written: &Sample) -> Planned {
        let at = At::stage(name).key("sample");
        let Some(id) = self.columns.id() else {
            return Err(vec![self.lacks_ids(at, "`sample` picks rows by their ids")]);
        };
        let failed = planning(at);
        let lot = lot_of(id.expr(), written.seed);
        let mut columns = self.columns.child(name);
        let plan = match written.size {
            SampleSize::Fraction(share) => {
                // A share of 1 is all of them: the highest lot would not be below the threshold.
                let threshold = (share * 2f64.powi(64)) as u64;
                let picked = if share < 1.0 { lot.lt(lit(threshold)) } else { lit(true) };
                LogicalPlanBuilder::from(self.plan.clone()).filter(picked).and_then(LogicalPlanBuilder::build)
            }
            SampleSize::Rows(rows) => {
                let rows = usize::try_from(rows).unwrap_or(usize::MAX);
                // Those with the lowest lots, put back into their order.
                self.in_order(name).and_then(|ordered| {
                    let (plan, order) = ordered.unwrap_or_else(|| (self.plan.clone(), vec![id.clone()]));
                    let lots = [lot.sort(true, false), id.expr().sort(true, false)];
                    columns.order = Order::Stream;
                    LogicalPlanBuilder::from(plan)
                        .sort_with_limit(lots, Some(rows))?
                        .sort(upwards(&order).collect::<Vec<_>>())?
                        .build()
                })
            }
        };
        Ok(Self { plan: plan.map_err(failed)?, columns })
    }
}
