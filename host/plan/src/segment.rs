//! A segment: stages that stream without storing, from sources to one sink.

use std::sync::Arc;

use datafusion::{
    common::{Result, tree_node::TreeNodeRecursion},
    execution::{SessionStateBuilder, TaskContext, session_state::SessionState},
    logical_expr::LogicalPlan,
    physical_plan::{ExecutionPlan, displayable},
};
use dflow_io::Split;
use dflow_operators::{OpenNode, OperatorNode, TaskScope, UniqueNode};
use dflow_pipeline::Name;

/// A source of a segment, with all that there is to read.
#[derive(Clone, Debug)]
pub struct SegmentSource {
    /// The stage.
    pub stage: Name,
    /// Its splits, in source order.
    pub splits: Arc<[Split]>,
    /// Whether a task may read a piece of a split.
    pub cut: bool,
}

/// Stages that stream without storing, from sources to one sink.
#[derive(Clone)]
pub struct Segment {
    /// The stage at its end: a sink, or the stage that is asked for.
    pub stage: Name,
    /// Its stages, each after those it reads.
    pub stages: Vec<Name>,
    /// Its sources.
    pub sources: Vec<SegmentSource>,
    /// The stages whose operators run, or that open files: a map whose columns nobody reads doesn't.
    pub operators: Vec<Name>,
    /// Whether rows regroup (sort, limit, join, group, …), so that one task must see them all.
    pub global: bool,
    /// Whether the order of rows matters to a limit, so that a global task may not deal them into partitions.
    pub ordered: bool,
    state: SessionState,
    logical: LogicalPlan,
}

impl Segment {
    pub(crate) fn new(
        stage: Name,
        stages: Vec<Name>,
        sources: Vec<SegmentSource>,
        state: SessionState,
        logical: &LogicalPlan,
    ) -> Result<Self> {
        let (global, ordered) = regroups(logical)?;
        let logical = state.optimize(logical)?;
        let (global, operators) = (global || sources_join(&logical)?, operators(&logical)?);
        Ok(Self { stage, stages, sources, operators, global, ordered, state, logical })
    }

    /// The optimised logical plan.
    pub fn logical(&self) -> &LogicalPlan {
        &self.logical
    }

    /// Makes the plan physical for a task, whose splits are in its scope.
    pub async fn physical(&self, scope: Arc<TaskScope>) -> Result<(Arc<dyn ExecutionPlan>, Arc<TaskContext>)> {
        let config = self
            .state
            .config()
            .clone()
            .with_target_partitions(scope.partitions.max(1))
            .with_batch_size((scope.batch.rows as usize).max(1))
            .with_extension(scope);
        let state = SessionStateBuilder::new_from_existing(self.state.clone()).with_config(config).build();
        let plan = state.query_planner().create_physical_plan(&self.logical, &state).await?;
        Ok((plan, Arc::new(TaskContext::from(&state))))
    }

    /// The logical and the physical plan as text.
    pub async fn explain(&self, scope: Arc<TaskScope>) -> Result<(String, String)> {
        let (physical, _) = self.physical(scope).await?;
        Ok((self.logical.display_indent().to_string(), displayable(physical.as_ref()).indent(false).to_string()))
    }
}

/// Whether rows regroup, and whether by their order.
fn regroups(plan: &LogicalPlan) -> Result<(bool, bool)> {
    let (mut global, mut ordered) = (false, false);
    plan.apply_with_subqueries(|node| {
        match node {
            LogicalPlan::Limit(_) => (global, ordered) = (true, true),
            LogicalPlan::Sort(_)
            | LogicalPlan::Aggregate(_)
            | LogicalPlan::Window(_)
            | LogicalPlan::Distinct(_)
            | LogicalPlan::Join(_)
            | LogicalPlan::Union(_)
            | LogicalPlan::Repartition(_)
            | LogicalPlan::RecursiveQuery(_)
            | LogicalPlan::Subquery(_) => global = true,
            // Two rows with one id may be in any two splits.
            LogicalPlan::Extension(extension) => global |= extension.node.as_any().is::<UniqueNode>(),
            _ => {}
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok((global, ordered))
}

/// The stages whose operators are part of a plan.
fn operators(plan: &LogicalPlan) -> Result<Vec<Name>> {
    let mut stages = Vec::new();
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::Extension(extension) = node
            && let Some(operator) = extension.node.as_any().downcast_ref::<OperatorNode>()
        {
            stages.push(operator.spec.stage.clone());
        }
        if let LogicalPlan::Extension(extension) = node
            && let Some(open) = extension.node.as_any().downcast_ref::<OpenNode>()
        {
            stages.push(open.spec.stage.clone());
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(stages)
}

/// Whether the plan reads more than one source, or one twice.
fn sources_join(plan: &LogicalPlan) -> Result<bool> {
    let mut scans = 0;
    plan.apply_with_subqueries(|node| {
        scans += usize::from(matches!(node, LogicalPlan::TableScan(_)));
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(scans != 1)
}
