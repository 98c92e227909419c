//! Which sinks run together, so that what they share runs once.
//!
//! Sinks whose rows go their way one by one run as many tasks; sinks behind a sort, a join, a group run as one. Those of one
//! kind that share any stage run together. Those of both kinds run together, as one task, when they share an operator of a
//! plugin: to run it twice costs more than the tasks gain. A sink that a limit ends early is left alone by the many tasks
//! of others: it reads a few batches. With little memory sinks that regroup rows run one after the other, unless they share an
//! operator: what each of them holds would leave little for the others.

use std::collections::BTreeSet;

use datafusion::{
    common::{Result, tree_node::TreeNodeRecursion},
    logical_expr::LogicalPlan,
};
use dflow_operators::{CommandNode, UniqueNode};
use dflow_pipeline::Name;

/// How a sink's rows go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// One by one: rows of different splits never meet.
    Single,
    /// One by one until there are enough.
    Limited,
    /// Rows meet: they are sorted, joined, grouped.
    Regrouped,
}

/// What a plan does with rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rows {
    /// Whether rows meet, so that one task must see all of them.
    pub(crate) regroup: bool,
    /// Whether the order in which they come matters to a limit. One behind a sort takes what the sort gives it.
    pub(crate) ordered: bool,
    /// Whether there is a limit, which may end what is below it early.
    pub(crate) limited: bool,
}

impl Rows {
    /// Of a plan that isn't optimised yet.
    pub(crate) fn of(plan: &LogicalPlan) -> Result<Self> {
        let mut rows = Self::default();
        plan.apply_with_subqueries(|node| {
            match node {
                LogicalPlan::Limit(limit) => {
                    rows.limited = true;
                    rows.ordered |= !sorts(&limit.input);
                }
                LogicalPlan::Sort(_)
                | LogicalPlan::Aggregate(_)
                | LogicalPlan::Window(_)
                | LogicalPlan::Distinct(_)
                | LogicalPlan::Join(_)
                | LogicalPlan::Union(_)
                | LogicalPlan::Repartition(_)
                | LogicalPlan::RecursiveQuery(_)
                | LogicalPlan::Subquery(_) => rows.regroup = true,
                // It takes all rows at once, in their order.
                LogicalPlan::Extension(extension) if extension.node.as_any().is::<CommandNode>() => {
                    rows.regroup = true;
                    rows.ordered |= !extension.node.inputs().into_iter().all(sorts);
                }
                // Two rows with one id may be in any two splits.
                LogicalPlan::Extension(extension) => rows.regroup |= extension.node.as_any().is::<UniqueNode>(),
                _ => {}
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(rows)
    }

    pub(crate) fn way(self) -> Way {
        match self {
            Self { regroup: true, .. } => Way::Regrouped,
            Self { ordered: true, .. } => Way::Limited,
            Self { .. } => Way::Single,
        }
    }
}

/// Whether a plan's rows come from a sort.
fn sorts(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Sort(_) => true,
        LogicalPlan::Projection(projection) => sorts(&projection.input),
        LogicalPlan::SubqueryAlias(alias) => sorts(&alias.input),
        _ => false,
    }
}

/// A sink, or the stage that is asked for.
#[derive(Clone, Debug)]
pub(crate) struct End {
    pub(crate) stage: Name,
    pub(crate) plan: LogicalPlan,
    /// It and all that it reads, each after those it reads.
    pub(crate) stages: Vec<Name>,
    pub(crate) way: Way,
}

impl End {
    fn runs_with(&self, other: &Self, operators: &BTreeSet<&Name>, roomy: bool) -> bool {
        let mut shared = self.stages.iter().filter(|stage| other.stages.contains(stage)).peekable();
        let alike = self.way == other.way && (roomy || self.way != Way::Regrouped);
        if shared.peek().is_none() || alike {
            return shared.peek().is_some();
        }
        let apart = [Way::Single, Way::Limited];
        let apart = apart.contains(&self.way) && apart.contains(&other.way);
        !apart && shared.any(|stage| operators.contains(stage))
    }
}

/// Groups of sinks that run together, ordered by their first ones. `operators` are the stages that run one, or open files; `roomy`
/// says whether there is memory for several that regroup rows.
pub(crate) fn together(ends: Vec<End>, operators: &BTreeSet<&Name>, roomy: bool) -> Vec<Vec<End>> {
    let mut groups: Vec<Vec<End>> = Vec::new();
    for end in ends {
        let joins = |group: &Vec<End>| group.iter().any(|other| other.runs_with(&end, operators, roomy));
        let at = groups.iter().position(joins).unwrap_or(groups.len());
        let (with, apart): (Vec<_>, Vec<_>) = groups.into_iter().partition(joins);
        groups = apart;
        groups.insert(at, with.into_iter().flatten().chain([end]).collect());
    }
    groups
}

#[cfg(test)]
mod tests {
    use datafusion::logical_expr::LogicalPlanBuilder;

    use super::*;

    fn name(text: &str) -> Name {
        text.parse().expect("a name")
    }

    /// The groups of sinks, each written as what it reads, its name and how its rows go; `op` runs an operator.
    fn groups(sinks: &[(&str, &str, Way)], roomy: bool) -> Vec<String> {
        let end = |(reads, sink, way): &(&str, &str, Way)| End {
            stage: name(sink),
            plan: LogicalPlanBuilder::empty(false).build().expect("a plan"),
            stages: reads.split(' ').chain([*sink]).map(name).collect(),
            way: *way,
        };
        let operator = name("op");
        let groups = together(sinks.iter().map(end).collect(), &BTreeSet::from([&operator]), roomy);
        groups.iter().map(|group| group.iter().map(|end| end.stage.to_string()).collect::<Vec<_>>().join("+")).collect()
    }

    #[test]
    fn sinks_that_share_a_stage_run_together_unless_that_costs_more() {
        use Way::{Limited, Regrouped, Single};
        assert_eq!(groups(&[("a", "x", Single), ("a", "y", Single), ("b", "z", Single)], true), ["x+y", "z"]);
        assert_eq!(groups(&[("a", "x", Regrouped), ("b", "y", Regrouped), ("a b", "z", Regrouped)], true), ["x+y+z"]);
        assert_eq!(
            groups(&[("a", "x", Regrouped), ("a", "y", Regrouped), ("a op", "z", Regrouped)], false),
            ["x", "y", "z"]
        );
        assert_eq!(groups(&[("op", "x", Regrouped), ("op", "y", Regrouped)], false), ["x+y"]);
        // To read twice is cheaper than to make many tasks one; to run an operator twice isn't.
        assert_eq!(groups(&[("a", "x", Single), ("a", "y", Regrouped)], true), ["x", "y"]);
        assert_eq!(groups(&[("a op", "x", Single), ("a op", "y", Regrouped)], true), ["x+y"]);
        assert_eq!(groups(&[("a op", "x", Single), ("a op", "y", Limited)], true), ["x", "y"]);
        assert_eq!(groups(&[("a op", "x", Single), ("a op", "y", Limited), ("a op", "z", Regrouped)], true), ["x+y+z"]);
    }
}
