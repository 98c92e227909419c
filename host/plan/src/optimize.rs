//! Our rules beside DataFusion's: what its optimizer doesn't know about our nodes.

use std::{collections::HashSet, sync::Arc};

use datafusion::{
    common::{
        Result,
        config::ConfigOptions,
        tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion},
    },
    logical_expr::{
        Distinct, Expr, Extension, Filter, LogicalPlan,
        utils::{conjunction, split_conjunction_owned},
    },
    optimizer::{ApplyOrder, Optimizer, OptimizerConfig, OptimizerRule, push_down_filter::PushDownFilter},
    physical_optimizer::{PhysicalOptimizerRule, optimizer::PhysicalOptimizer},
    physical_plan::{
        ExecutionPlan,
        limit::{GlobalLimitExec, LocalLimitExec},
        sorts::sort::SortExec,
    },
};
use dflow_operators::{OpenNode, OperatorExec, OperatorNode};

use crate::large_joins::SortLargeJoins;

/// From how many rows on, sorting all and cutting is quicker than keeping the first ones while reading. A study of DataFusion 55.2
/// on TPC-H's lineitem, two partitions, found 0.27 against 0.50 s for 1,000 rows and 1.58 against 0.51 s for 100,000; this
/// number lies between them and was not tuned here.
const LONG: usize = 10_000;

/// DataFusion's rules of the logical plan, and ours.
pub(crate) fn logical_rules() -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    let mut rules = Optimizer::new().rules;
    for rule in &mut rules {
        if rule.name() == PushDownFilter::new().name() {
            *rule = Arc::new(PushDownSteadyFilter(PushDownFilter::new()));
        }
    }
    rules.push(Arc::new(DropUnreadOperator));
    rules
}

/// DataFusion's rules of the physical plan, and ours, for a memory of so many bytes.
pub(crate) fn physical_rules(memory: u64) -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    let mut rules = PhysicalOptimizer::new().rules;
    // When it is known which side a join holds, and before the sides are dealt into partitions and sorted.
    let chosen = rules.iter().position(|rule| rule.name() == "join_selection").map_or(0, |i| i + 1);
    rules.insert(chosen, Arc::new(SortLargeJoins { memory }));
    // Before filters that grow while a sort keeps its first rows are handed down.
    let last = rules.iter().rposition(|rule| rule.name().starts_with("FilterPushdown")).unwrap_or(rules.len());
    rules.insert(last, Arc::new(SortAllOfLongLimits));
    // When limits are where they stay.
    rules.push(Arc::new(WantFew));
    rules
}

/// Filters sink to where their columns come from, but one that is random, or reads no column, stays above our nodes: below an
/// expansion it would choose among parents, not among children.
#[derive(Debug)]
struct PushDownSteadyFilter(PushDownFilter);

impl OptimizerRule for PushDownSteadyFilter {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.0.apply_order()
    }

    fn supports_rewrite(&self) -> bool {
        true
    }

    fn rewrite(&self, plan: LogicalPlan, config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        let LogicalPlan::Filter(filter) = plan else { return self.0.rewrite(plan, config) };
        if !matches!(filter.input.as_ref(), LogicalPlan::Extension(_)) {
            return self.0.rewrite(LogicalPlan::Filter(filter), config);
        }
        let parts = split_conjunction_owned(filter.predicate);
        let (stay, sink): (Vec<Expr>, Vec<Expr>) =
            parts.into_iter().partition(|part| part.is_volatile() || part.column_refs().is_empty());
        let (stay, sink) = (conjunction(stay), conjunction(sink));
        let below = match sink {
            Some(sink) => self.0.rewrite(LogicalPlan::Filter(Filter::try_new(sink, filter.input)?), config)?,
            None => Transformed::no(filter.input.as_ref().clone()),
        };
        match stay {
            Some(stay) => below.map_data(|below| Ok(LogicalPlan::Filter(Filter::try_new(stay, Arc::new(below))?))),
            None => Ok(below),
        }
    }
}

/// A map whose new columns nobody reads isn't run, and its row errors don't happen; of opened files only what is read is fetched. Others always run: they decide about rows.
#[derive(Debug)]
struct DropUnreadOperator;

impl OptimizerRule for DropUnreadOperator {
    fn name(&self) -> &str {
        "drop_unread_operator"
    }

    fn supports_rewrite(&self) -> bool {
        true
    }

    fn rewrite(&self, plan: LogicalPlan, _config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        let read = read_names(&plan)?;
        plan.transform_up_with_subqueries(|node| {
            let LogicalPlan::Extension(Extension { node: extension }) = &node else { return Ok(Transformed::no(node)) };
            if let Some(open) = extension.as_any().downcast_ref::<OpenNode>() {
                let unread = open.parts.iter().any(|(_, field)| !read.contains(field.name()));
                return Ok(match open.only(|name| read.contains(name))? {
                    _ if !unread => Transformed::no(node),
                    Some(less) => Transformed::yes(LogicalPlan::Extension(Extension { node: Arc::new(less) })),
                    None => Transformed::yes(extension.inputs()[0].clone()),
                });
            }
            let Some(operator) = extension.as_any().downcast_ref::<OperatorNode>() else {
                return Ok(Transformed::no(node));
            };
            let unread = operator.spec.new_fields().iter().all(|field| !read.contains(field.name()));
            match extension.inputs().first() {
                Some(input) if operator.spec.only_adds_columns() && unread => Ok(Transformed::yes((*input).clone())),
                _ => Ok(Transformed::no(node)),
            }
        })
    }
}

/// The names of all columns that any part of a plan reads, or that come out of it. In our plans a name means one column.
fn read_names(plan: &LogicalPlan) -> Result<HashSet<String>> {
    let mut read: HashSet<String> = plan.schema().fields().iter().map(|field| field.name().clone()).collect();
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            read.extend(expr.column_refs().iter().map(|column| column.name.clone()));
            Ok(TreeNodeRecursion::Continue)
        })?;
        // These look at whole rows.
        let whole = matches!(
            node,
            LogicalPlan::Distinct(Distinct::All(_)) | LogicalPlan::Union(_) | LogicalPlan::RecursiveQuery(_)
        );
        if whole {
            let fields = node.inputs().into_iter().flat_map(|input| input.schema().fields().iter());
            read.extend(fields.map(|field| field.name().clone()));
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(read)
}

/// What a limit reads directly is told how much of it is enough: rows that a model is asked about cost money.
#[derive(Debug)]
struct WantFew;

impl PhysicalOptimizerRule for WantFew {
    fn name(&self) -> &str {
        "want_few"
    }

    fn schema_check(&self) -> bool {
        true
    }

    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| {
            let global = node.downcast_ref::<GlobalLimitExec>();
            let global = global.and_then(|limit| Some((limit.input(), limit.skip().saturating_add(limit.fetch()?))));
            let local = node.downcast_ref::<LocalLimitExec>().map(|limit| (limit.input(), limit.fetch()));
            let told = global.or(local).and_then(|(input, rows)| {
                let operator = input.downcast_ref::<OperatorExec>()?;
                Some(Arc::new(operator.wanting(rows)) as Arc<dyn ExecutionPlan>)
            });
            match told {
                Some(told) => node.with_new_children(vec![told]).map(Transformed::yes),
                None => Ok(Transformed::no(node)),
            }
        })
        .data()
    }
}

/// A sort with a long limit sorts everything and cuts.
#[derive(Debug)]
struct SortAllOfLongLimits;

impl PhysicalOptimizerRule for SortAllOfLongLimits {
    fn name(&self) -> &str {
        "sort_all_of_long_limits"
    }

    fn schema_check(&self) -> bool {
        true
    }

    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| {
            let Some(sort) = node.downcast_ref::<SortExec>() else { return Ok(Transformed::no(node)) };
            let Some(rows) = sort.fetch().filter(|rows| *rows >= LONG) else { return Ok(Transformed::no(node)) };
            let all = SortExec::new(sort.expr().clone(), sort.input().clone())
                .with_preserve_partitioning(sort.preserve_partitioning());
            Ok(Transformed::yes(Arc::new(LocalLimitExec::new(Arc::new(all), rows))))
        })
        .data()
    }
}
