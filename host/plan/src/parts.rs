//! A segment's plan, cut into parts: at each stage that several read, so that it runs once.
//!
//! A part is one plan. It gives the rows of a sink, or those of a shared stage, which the parts above it read through bounded
//! queues. Such queues stand still when two ways lead from one shared stage to one part (a join that reads one side to its
//! end while the other's queue is full), or from two shared stages to two parts. So parts and their readers must form a forest;
//! where they wouldn't, a part runs the stage by itself, as if nobody else read it.

use std::collections::{BTreeMap, BTreeSet};

use datafusion::{
    common::{
        Result,
        tree_node::{Transformed, TreeNodeRecursion},
    },
    execution::session_state::SessionState,
    logical_expr::LogicalPlan,
};
use dflow_operators::{MeterNode, ReadBy};
use dflow_pipeline::Name;
use indexmap::IndexMap;

use crate::{
    tee::{self, Wanted},
    together::Rows,
};

/// One plan of a segment.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    /// The stage whose rows it gives: a sink, the stage that is asked for, or a shared one.
    pub(crate) stage: Name,
    /// The stages that read it, when it is shared.
    pub(crate) readers: Vec<Name>,
    /// Its optimised plan.
    pub(crate) plan: LogicalPlan,
    /// What it does with rows.
    pub(crate) rows: Rows,
    /// Whether it may end before it has seen all rows, or whoever reads it does.
    pub(crate) early: bool,
    /// The stages that run in it, as often as they do.
    pub(crate) stages: Vec<Name>,
    /// Those of them that another part runs too, and tells of.
    pub(crate) told: BTreeSet<Name>,
}

/// A stage that a part runs by itself although it is shared, or read twice there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Again {
    /// The stage that runs again.
    pub stage: Name,
    /// The sink, or the shared stage, for which it does.
    pub reader: Name,
}

/// A plan that was cut off from shared stages.
struct Cut {
    plan: LogicalPlan,
    /// The shared stages that it reads, once for each place where it does, and who reads there.
    reads: Vec<(Name, Option<ReadBy>)>,
}

/// Cuts the plans of `ends` at the stages that several read. `stages` are all stages, each after those it reads; `plans` gives
/// each stage's whole plan. Parts come in the same order.
pub(crate) fn parts(
    state: &SessionState,
    stages: &[Name],
    from: &IndexMap<Name, Vec<Name>>,
    plans: &BTreeMap<&Name, &LogicalPlan>,
    ends: &[&Name],
) -> Result<(Vec<Part>, Vec<Again>)> {
    let mut shared: BTreeSet<&Name> = BTreeSet::new();
    let mut once: BTreeSet<&Name> = BTreeSet::new();
    for read in stages.iter().flat_map(|stage| &from[stage]) {
        if !once.insert(read) {
            shared.insert(read);
        }
    }
    let mut again: BTreeSet<Again> = BTreeSet::new();
    let cuts = loop {
        let roots = stages.iter().filter(|stage| ends.contains(stage) || shared.contains(stage));
        let mut cuts: IndexMap<&Name, Cut> = IndexMap::new();
        for root in roots {
            let alone = |stage: &Name| again.contains(&Again { stage: stage.clone(), reader: root.clone() });
            let at = shared.iter().copied().filter(|stage| *stage != root && !alone(stage)).collect();
            cuts.insert(root, cut(plans[root], &at)?);
        }
        if let Some(second) = second_way(&cuts) {
            again.insert(second);
            continue;
        }
        let readers = |stage: &Name| cuts.values().flat_map(|cut| &cut.reads).filter(|(read, _)| read == stage).count();
        let unshared = shared.iter().copied().find(|stage| !ends.contains(stage) && readers(stage) < 2);
        match unshared {
            Some(stage) => shared.remove(stage),
            None => break cuts,
        };
    };
    let mut readers: BTreeMap<Name, Vec<Name>> = BTreeMap::new();
    for (read, by) in cuts.values().flat_map(|cut| &cut.reads) {
        readers.entry(read.clone()).or_default().extend(by.iter().map(|by| by.stage.clone()));
    }
    let mut parts: Vec<Part> = Vec::new();
    // From the sinks down, since what a shared stage has to give is what its readers turn out to want.
    for (root, cut) in cuts.into_iter().rev() {
        let rows = Rows::of(&cut.plan)?;
        let stages = stages_of(&cut.plan, root)?;
        let (plan, early) = if ends.contains(&root) {
            (cut.plan, rows.limited)
        } else {
            let (mut wanted, mut early) = (Wanted::default(), true);
            for part in &parts {
                if wanted.add(&part.plan, root)? {
                    early &= part.early;
                }
            }
            // The optimizer may have found that nobody needs any of its rows.
            let Some(plan) = wanted.of(cut.plan)? else { continue };
            (plan, early || rows.limited)
        };
        let readers = readers.remove(root).unwrap_or_default();
        let plan = state.optimize(&plan)?;
        parts.push(Part { stage: root.clone(), readers, plan, rows, early, stages, told: BTreeSet::new() });
    }
    parts.reverse();
    tell_once(&mut parts);
    Ok((parts, again.into_iter().collect()))
}

/// Leaves it to one part to tell of a stage that several run: to the one that shares it, or else that runs it the least.
fn tell_once(parts: &mut [Part]) {
    let mut least: BTreeMap<Name, (usize, usize)> = BTreeMap::new();
    for (i, part) in parts.iter().enumerate() {
        for stage in &part.stages {
            let times = part.stages.iter().filter(|s| *s == stage).count();
            let told = if part.stage == *stage { 0 } else { times };
            let best = least.entry(stage.clone()).or_insert((told, i));
            *best = (told, i).min(*best);
        }
    }
    for (i, part) in parts.iter_mut().enumerate() {
        part.told = part.stages.iter().filter(|stage| least[*stage].1 != i).cloned().collect();
    }
}

/// Replaces shared stages in a plan.
fn cut(plan: &LogicalPlan, at: &BTreeSet<&Name>) -> Result<Cut> {
    let mut reads = Vec::new();
    let plan = plan.clone().transform_down_with_subqueries(|node| {
        let Some(meter) = meter(&node).filter(|meter| at.contains(&meter.stage)) else {
            return Ok(Transformed::no(node));
        };
        reads.push((meter.stage.clone(), meter.reader.clone()));
        let read = tee::read(&meter.stage, meter.reader.clone(), node.schema())?;
        Ok(Transformed::new(read, true, TreeNodeRecursion::Jump))
    })?;
    Ok(Cut { plan: plan.data, reads })
}

/// A part to which a second way leads from something that it reads.
fn second_way(cuts: &IndexMap<&Name, Cut>) -> Option<Again> {
    // Parts that are linked have the same root.
    let mut roots: Vec<usize> = (0..cuts.len()).collect();
    fn root(roots: &[usize], mut part: usize) -> usize {
        while roots[part] != part {
            part = roots[part];
        }
        part
    }
    for (reader, (name, cut)) in cuts.iter().enumerate() {
        for (read, _) in &cut.reads {
            let below = cuts.get_index_of(read)?;
            let (a, b) = (root(&roots, reader), root(&roots, below));
            if a == b {
                return Some(Again { stage: read.clone(), reader: (*name).clone() });
            }
            roots[a] = b;
        }
    }
    None
}

fn meter(node: &LogicalPlan) -> Option<&MeterNode> {
    let LogicalPlan::Extension(extension) = node else { return None };
    extension.node.as_any().downcast_ref::<MeterNode>()
}

/// The stages that run in a plan, and the one whose rows it gives.
fn stages_of(plan: &LogicalPlan, root: &Name) -> Result<Vec<Name>> {
    let mut stages = Vec::new();
    plan.apply_with_subqueries(|node| {
        stages.extend(meter(node).map(|meter| meter.stage.clone()));
        Ok(TreeNodeRecursion::Continue)
    })?;
    // A sink has no meter.
    if !stages.contains(root) {
        stages.push(root.clone());
    }
    Ok(stages)
}
