//! From our logical nodes to our physical ones.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::{
    catalog::Session,
    common::Result,
    logical_expr::physical_planning_context::PhysicalPlanningContext,
    logical_expr::{LogicalPlan, UserDefinedLogicalNode},
    physical_plan::ExecutionPlan,
    physical_planner::{ExtensionPlanner, PhysicalPlanner},
};

use crate::{
    command_exec::CommandExec,
    command_node::CommandNode,
    meter::{MeterExec, MeterNode},
    number::NumberNode,
    open_exec::OpenExec,
    open_node::OpenNode,
    operator_exec::OperatorExec,
    operator_node::OperatorNode,
    unique::UniqueNode,
};

/// Plans the nodes of this room.
#[derive(Debug, Default)]
pub struct StepPlanner;

#[async_trait]
impl ExtensionPlanner for StepPlanner {
    async fn plan_extension(
        &self,
        planner: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        logical_inputs: &[&LogicalPlan],
        physical_inputs: &[Arc<dyn ExecutionPlan>],
        session: &dyn Session,
        context: &PhysicalPlanningContext,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let (Some(logical), Some(physical)) = (logical_inputs.first(), physical_inputs.first()) else {
            return Ok(None);
        };
        if let Some(meter) = node.as_any().downcast_ref::<MeterNode>() {
            let reader = meter.reader.as_ref().filter(|reader| !reader.counts).map(|reader| reader.stage.clone());
            return Ok(Some(Arc::new(MeterExec::new(meter.stage.clone(), reader, physical.clone()))));
        }
        if let Some(number) = node.as_any().downcast_ref::<NumberNode>() {
            return Ok(Some(Arc::new(number.physical(physical.clone()))));
        }
        if let Some(unique) = node.as_any().downcast_ref::<UniqueNode>() {
            let id = planner.create_physical_expr(unique.id(), logical.schema(), session, context)?;
            return Ok(Some(Arc::new(unique.physical(id, physical.clone()))));
        }
        if let Some(open) = node.as_any().downcast_ref::<OpenNode>() {
            let expr = |e| planner.create_physical_expr(e, logical.schema(), session, context);
            let reads = open.reads.with(open.reads.iter().map(expr).collect::<Result<Vec<_>>>()?)?;
            let exec = OpenExec::new(open.spec.clone(), open.parts.clone(), reads, physical.clone());
            return Ok(Some(Arc::new(exec)));
        }
        if let Some(command) = node.as_any().downcast_ref::<CommandNode>() {
            let expr = |e| planner.create_physical_expr(e, logical.schema(), session, context);
            let reads = command.reads.iter().map(expr).collect::<Result<Vec<_>>>()?;
            return Ok(Some(Arc::new(CommandExec::new(command.spec.clone(), reads, physical.clone()))));
        }
        if let Some(operator) = node.as_any().downcast_ref::<OperatorNode>() {
            let expr = |e| planner.create_physical_expr(e, logical.schema(), session, context);
            let reads = operator.reads.with(operator.reads.iter().map(expr).collect::<Result<Vec<_>>>()?)?;
            return Ok(Some(Arc::new(OperatorExec::new(operator.spec.clone(), reads, physical.clone(), None))));
        }
        Ok(None)
    }
}
