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
    physical_expr::{PhysicalSortExpr, expressions::Column},
    physical_optimizer::{PhysicalOptimizerRule, optimizer::PhysicalOptimizer},
    physical_plan::{
        ChildrenPropertiesMode, ExecutionPlan, ReplaceChildrenOptions,
        limit::{GlobalLimitExec, LocalLimitExec},
        projection::ProjectionExec,
        sorts::{sort::SortExec, sort_preserving_merge::SortPreservingMergeExec},
    },
};
use dflow_operators::{CutoffExec, MeterNode, OpenNode, OperatorExec, OperatorNode};

use crate::{
    large_joins::SortLargeJoins,
    steady::{can_fail, fails_often, steady},
};

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
    rules.insert(last, Arc::new(SortByAllKeys));
    // When limits are where they stay.
    rules.push(Arc::new(WantFew));
    rules
}

/// Filters sink to where their columns come from, but one that is random, or reads no column, stays above our nodes: below an
/// expansion it would choose among parents, not among children. One that fails for some values stays above what keeps them away.
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
        let moves = match filter.input.as_ref() {
            LogicalPlan::Projection(_) | LogicalPlan::SubqueryAlias(_) => true,
            LogicalPlan::Extension(extension) => extension.node.as_any().is::<MeterNode>(),
            _ => false,
        };
        let ours = matches!(filter.input.as_ref(), LogicalPlan::Extension(_));
        let at_source = matches!(filter.input.as_ref(), LogicalPlan::TableScan(_));
        let stays = |part: &Expr| {
            let schema = filter.input.schema();
            (ours && (part.is_volatile() || part.column_refs().is_empty()))
                || (!moves && if at_source { fails_often(part, schema) } else { can_fail(part, schema) })
        };
        let (stay, sink): (Vec<Expr>, Vec<Expr>) =
            split_conjunction_owned(filter.predicate).into_iter().partition(stays);
        let marked = stay.iter().any(|part| can_fail(part, filter.input.schema()) && !part.is_volatile());
        let mark = |part: Expr| if can_fail(&part, filter.input.schema()) { steady(part) } else { part };
        let stay = conjunction(stay.into_iter().map(mark));
        let below = match conjunction(sink) {
            Some(sink) => self.0.rewrite(LogicalPlan::Filter(Filter::try_new(sink, filter.input)?), config)?,
            None => Transformed::no(filter.input.as_ref().clone()),
        };
        let Some(stay) = stay else { return Ok(below) };
        let mut whole = below.map_data(|below| Ok(LogicalPlan::Filter(Filter::try_new(stay, Arc::new(below))?)))?;
        whole.transformed |= marked;
        Ok(whole)
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
                Some(told) => {
                    let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Keep);
                    node.replace_children(vec![told], options).map(Transformed::yes)
                }
                None => Ok(Transformed::no(node)),
            }
        })
        .data()
    }
}

/// A sort with a long limit sorts everything that comes before a moving cutoff, and cuts. Partitions share the cutoff where they are merged by the same key.
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
            if let Some(merge) = node.downcast_ref::<SortPreservingMergeExec>()
                && merge.fetch().is_some_and(|rows| rows >= LONG)
            {
                let first = merge.expr().first().clone();
                return Ok(match with_cutoff(merge.input(), &first)? {
                    Some(input) => {
                        let merge = SortPreservingMergeExec::new(merge.expr().clone(), input).with_fetch(merge.fetch());
                        Transformed::yes(Arc::new(merge) as Arc<dyn ExecutionPlan>)
                    }
                    None => Transformed::no(node),
                });
            }
            let Some(sort) = node.downcast_ref::<SortExec>() else { return Ok(Transformed::no(node)) };
            let Some(rows) = sort.fetch().filter(|rows| *rows >= LONG) else { return Ok(Transformed::no(node)) };
            let all = SortExec::new(sort.expr().clone(), sort.input().clone())
                .with_preserve_partitioning(sort.preserve_partitioning());
            let all = Arc::new(LocalLimitExec::new(Arc::new(all), rows)) as Arc<dyn ExecutionPlan>;
            let alone = sort.input().properties().output_partitioning().partition_count() == 1;
            let cut = if alone { with_cutoff(&all, sort.expr().first())? } else { None };
            Ok(Transformed::yes(cut.unwrap_or(all)))
        })
        .data()
    }
}

/// The same plan with a cutoff below its sort and limit, if they are there and the sort's first key is this one.
fn with_cutoff(plan: &Arc<dyn ExecutionPlan>, key: &PhysicalSortExpr) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let input = if let Some(projection) = plan.downcast_ref::<ProjectionExec>() {
        let Some(column) = key.expr.downcast_ref::<Column>() else { return Ok(None) };
        let Some(projected) = projection.expr().get(column.index()) else { return Ok(None) };
        with_cutoff(projection.input(), &PhysicalSortExpr::new(projected.expr.clone(), key.options))?
    } else if let Some(limit) = plan.downcast_ref::<LocalLimitExec>() {
        let Some(sort) = limit.input().downcast_ref::<SortExec>().filter(|sort| sort.expr().first() == key) else {
            return Ok(None);
        };
        let cutoff = CutoffExec::try_new(sort.input().clone(), key.clone(), limit.fetch());
        let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Keep);
        let cut = |cutoff| limit.input().clone().replace_children(vec![Arc::new(cutoff)], options);
        cutoff.map(cut).transpose()?
    } else {
        None
    };
    let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Keep);
    input.map(|input| plan.clone().replace_children(vec![input], options)).transpose()
}

/// The first rows of partitions that are merged are found by all keys of the merge. DataFusion leaves out those that are constant in each
/// partition, even if they differ between them, while all partitions share the value beyond which rows are left out (seen in 55.2): rows of
/// the partition that comes first are lost then.
#[derive(Debug)]
struct SortByAllKeys;

impl PhysicalOptimizerRule for SortByAllKeys {
    fn name(&self) -> &str {
        "sort_by_all_keys"
    }

    fn schema_check(&self) -> bool {
        true
    }

    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| {
            let sort = node.children().first().and_then(|input| input.downcast_ref::<SortExec>());
            let (Some(merge), Some(sort)) = (node.downcast_ref::<SortPreservingMergeExec>(), sort) else {
                return Ok(Transformed::no(node));
            };
            if sort.fetch().is_none() || sort.expr() == merge.expr() {
                return Ok(Transformed::no(node));
            }
            let all = SortExec::new(merge.expr().clone(), sort.input().clone())
                .with_fetch(sort.fetch())
                .with_preserve_partitioning(sort.preserve_partitioning());
            let merge = SortPreservingMergeExec::new(merge.expr().clone(), Arc::new(all)).with_fetch(merge.fetch());
            Ok(Transformed::yes(Arc::new(merge) as Arc<dyn ExecutionPlan>))
        })
        .data()
    }
}
