//! What a stage's SQL leaves open: rows or values that may differ from run to run. `check` warns about them.

use datafusion::{
    common::tree_node::{TreeNode, TreeNodeRecursion},
    logical_expr::{Distinct, Expr, LogicalPlan, Volatility, WindowFunctionDefinition},
};
use dflow_operators::MeterNode;
use dflow_pipeline::{At, Mistake};

/// Functions over several rows whose value depends on the rows' order.
pub(crate) const BY_ORDER: [&str; 10] = [
    "row_number",
    "lag",
    "lead",
    "ntile",
    "nth_value",
    "first_value",
    "last_value",
    "array_agg",
    "string_agg",
    "cume_dist",
];

/// Warnings about what the plan of one stage leaves open, without that of the stages it reads.
pub(crate) fn left_open(at: &At, plan: &LogicalPlan) -> Vec<Mistake> {
    let plan = below_meter(plan).unwrap_or(plan);
    let mut open = Vec::new();
    // The closures can't fail.
    let _ = plan.apply_with_subqueries(|node| {
        if below_meter(node).is_some() {
            return Ok(TreeNodeRecursion::Jump);
        }
        match node {
            LogicalPlan::Limit(limit) if !has_order(&limit.input, true) => open.push(
                Mistake::new(at.clone(), "which rows a limit keeps is open, since nothing says their order")
                    .hint("sort them first"),
            ),
            LogicalPlan::Distinct(Distinct::On(on)) if on.sort_expr.is_none() => open.push(
                Mistake::new(at.clone(), "which row `DISTINCT ON` keeps is open, since nothing says their order")
                    .hint("add ORDER BY"),
            ),
            _ => {}
        }
        for expr in node.expressions() {
            let _ = expr.apply(|expr| {
                open.extend(open_expression(at, expr));
                Ok(TreeNodeRecursion::Continue)
            });
        }
        Ok(TreeNodeRecursion::Continue)
    });
    open
}

fn open_expression(at: &At, expr: &Expr) -> Option<Mistake> {
    let by_order = |name: &str| {
        let what = format!("`{name}` depends on the order of rows, which is open");
        Mistake::new(at.clone(), what).hint("add ORDER BY between its parentheses")
    };
    match expr {
        Expr::WindowFunction(window) if window.params.order_by.is_empty() => {
            let name = match &window.fun {
                WindowFunctionDefinition::AggregateUDF(function) => function.name().to_owned(),
                WindowFunctionDefinition::WindowUDF(function) => function.name().to_owned(),
            };
            BY_ORDER.contains(&name.as_str()).then(|| by_order(&name).hint("add ORDER BY to its OVER"))
        }
        Expr::AggregateFunction(aggregate) if aggregate.params.order_by.is_empty() => {
            let name = aggregate.func.name();
            BY_ORDER.contains(&name).then(|| by_order(name))
        }
        Expr::ScalarFunction(call) => match call.func.signature().volatility {
            Volatility::Immutable => None,
            Volatility::Stable => {
                let what = format!("`{}()` is of the moment: each run gives other values", call.name());
                Some(Mistake::new(at.clone(), what).hint("hand the moment in as a parameter, and rows repeat"))
            }
            Volatility::Volatile => {
                let what = format!("`{}()` gives other values each time, in a run that is resumed too", call.name());
                Some(Mistake::new(at.clone(), what).hint("what must repeat is better made of the row: `md5(__id__)`"))
            }
        },
        _ => None,
    }
}

/// Whether rows come in an order that is the same in each run: that of a sort, or the source's, if rows stream in that.
pub(crate) fn has_order(plan: &LogicalPlan, streams: bool) -> bool {
    match plan {
        LogicalPlan::Sort(_) | LogicalPlan::Values(_) | LogicalPlan::EmptyRelation(_) => true,
        LogicalPlan::TableScan(_) => streams,
        LogicalPlan::Aggregate(aggregate) if aggregate.group_expr.is_empty() => true,
        LogicalPlan::Projection(_)
        | LogicalPlan::Filter(_)
        | LogicalPlan::Limit(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Unnest(_)
        | LogicalPlan::Extension(_) => plan.inputs().iter().all(|input| has_order(input, streams)),
        _ => false,
    }
}

/// The plan of a stage below the meter at its output.
fn below_meter(plan: &LogicalPlan) -> Option<&LogicalPlan> {
    let LogicalPlan::Extension(extension) = plan else { return None };
    extension.node.as_any().downcast_ref::<MeterNode>()?;
    extension.node.inputs().first().copied()
}
