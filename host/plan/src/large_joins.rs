//! Joins of two large sides are done by sorting.
//!
//! DataFusion's hash join holds one side whole and can't put it on disk. Where that side may be more than a part of the memory,
//! both sides are sorted by what they are joined on, which spills, and merged.

use std::sync::Arc;

use datafusion::{
    arrow::compute::SortOptions,
    common::{
        Result,
        config::ConfigOptions,
        tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion},
    },
    physical_expr::expressions::Column,
    physical_optimizer::PhysicalOptimizerRule,
    physical_plan::{
        ExecutionPlan,
        joins::{HashJoinExec, SortMergeJoinExec},
        projection::{ProjectionExec, ProjectionExpr},
    },
};
use dflow_operators::SourceExec;

/// The side that a hash join holds may be this part of the memory, one of so many.
const HELD: u64 = 4;

/// Does joins by sorting whose held side may be too large for a memory of so many bytes.
#[derive(Debug)]
pub(crate) struct SortLargeJoins {
    pub(crate) memory: u64,
}

impl PhysicalOptimizerRule for SortLargeJoins {
    fn name(&self) -> &str {
        "sort_large_joins"
    }

    fn schema_check(&self) -> bool {
        true
    }

    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| {
            let Some(join) = node.downcast_ref::<HashJoinExec>() else { return Ok(Transformed::no(node)) };
            // Only the hash join knows the nulls of `NOT IN`.
            if join.null_aware || bytes(join.left())? <= self.memory / HELD {
                return Ok(Transformed::no(node));
            }
            let sorted: Arc<dyn ExecutionPlan> = Arc::new(SortMergeJoinExec::try_new(
                join.left().clone(),
                join.right().clone(),
                join.on().to_vec(),
                join.filter().cloned(),
                *join.join_type(),
                vec![SortOptions::default(); join.on().len()],
                join.null_equality(),
            )?);
            let Some(kept) = &join.projection else { return Ok(Transformed::yes(sorted)) };
            let schema = sorted.schema();
            let columns = kept.iter().map(|i| {
                let name = schema.field(*i).name();
                ProjectionExpr::new(Arc::new(Column::new(name, *i)), name.clone())
            });
            Ok(Transformed::yes(Arc::new(ProjectionExec::try_new(columns.collect::<Vec<_>>(), sorted)?)))
        })
        .data()
    }
}

/// About how many bytes the sources of a plan have in memory; what operators and filters make of them isn't known.
fn bytes(plan: &Arc<dyn ExecutionPlan>) -> Result<u64> {
    let mut bytes = 0u64;
    plan.apply(|node| {
        if let Some(source) = node.downcast_ref::<SourceExec>() {
            bytes = bytes.saturating_add(source.bytes_in_memory());
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(bytes)
}
