//! A segment: stages that stream without storing, from sources to one or several sinks.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use datafusion::{
    common::{Result, tree_node::TreeNodeRecursion},
    execution::{SessionStateBuilder, TaskContext, memory_pool::MemoryLimit, session_state::SessionState},
    logical_expr::LogicalPlan,
    physical_plan::{ExecutionPlan, displayable},
};
use dflow_io::Split;
use dflow_operators::{CommandNode, OpenNode, OperatorNode, TaskScope, Tees, sized};
use dflow_pipeline::Name;
use indexmap::IndexMap;
use serde::Serialize;

use crate::{
    open::has_order,
    parts::{Again, Part, parts},
    prune, saved, tee,
    together::{End, Way},
};

/// The part of the memory that sorts keep for merging: one of so many.
const MERGES: usize = 16;

/// A source of a segment, with all that there is to read.
#[derive(Clone, Debug)]
pub struct SegmentSource {
    /// The stage.
    pub stage: Name,
    /// Its splits, in source order.
    pub splits: Arc<[Split]>,
    /// Those of them that filters may let rows of through, as far as that is known before they are read.
    pub kept: Arc<[Split]>,
    /// Whether a task may read a piece of a split.
    pub cut: bool,
    /// The saved stage whose rows these are, or those that failed at it: the splits are known when it is stored.
    pub saved: Option<Name>,
}

impl SegmentSource {
    /// The splits to read. The first rows are those of the source, not the first that a filter lets through: with `--first` it
    /// is all of them.
    pub fn to_read(&self, first: Option<u64>) -> &Arc<[Split]> {
        if first.is_some() { &self.splits } else { &self.kept }
    }
}

/// Stages that stream without storing, from sources to one sink, or to several that share some of them.
#[derive(Clone)]
pub struct Segment {
    /// The stages at its ends, in the order of the file: sinks, the stage that is asked for, or one that is saved.
    pub ends: Vec<Name>,
    /// Its stages, each after those it reads.
    pub stages: Vec<Name>,
    /// Its sources.
    pub sources: Vec<SegmentSource>,
    /// The stages whose operators run, or that open files: a map whose columns nobody reads doesn't.
    pub operators: Vec<Name>,
    /// Whether rows regroup (sort, limit, join, group, …), so that one task must see them all.
    pub global: bool,
    /// Whether the order of rows matters, to a limit or to a sink that would get them in order by itself, so that a global task
    /// may not deal them into partitions.
    pub ordered: bool,
    /// The ends whose rows come in an order that is the same in each run.
    pub in_order: BTreeSet<Name>,
    /// The stages that run once and are read by several.
    pub shared: Vec<Name>,
    /// The stages that several read and that run for some by themselves nevertheless, since branches meet again there.
    pub again: Vec<Again>,
    /// The stages whose rows may be on their way when a limit ends the reading.
    pub early: BTreeSet<Name>,
    parts: Vec<Part>,
    state: SessionState,
    /// What it was made of, where it has several ends.
    group: Option<Arc<Group>>,
}

/// Sinks that run together, and what is known of their stages.
struct Group {
    ends: Vec<End>,
    from: IndexMap<Name, Vec<Name>>,
    plans: BTreeMap<Name, LogicalPlan>,
    sources: BTreeMap<Name, SegmentSource>,
}

/// A plan of a segment as text.
#[derive(Clone, Debug, Serialize)]
pub struct PartText {
    /// The stage whose rows it gives.
    pub stage: Name,
    /// The stages that read it, when it is shared.
    pub readers: Vec<Name>,
    /// The optimised logical plan.
    pub logical: String,
    /// The physical plan of one task.
    pub physical: String,
}

/// What a task drives: the plan of one end.
pub struct EndPlan {
    /// The sink, or the stage that is asked for.
    pub stage: Name,
    /// The plan that gives its rows.
    pub plan: Arc<dyn ExecutionPlan>,
    /// What the plan runs in.
    pub context: Arc<TaskContext>,
}

impl Segment {
    /// Of sinks that run together. `plans` gives each stage's whole plan.
    pub(crate) fn new(
        group: &[End],
        from: &IndexMap<Name, Vec<Name>>,
        plans: &BTreeMap<&Name, &LogicalPlan>,
        sources: &BTreeMap<Name, SegmentSource>,
        state: SessionState,
    ) -> Result<Self> {
        let mut stages: Vec<Name> = Vec::new();
        for stage in group.iter().flat_map(|end| &end.stages) {
            if !stages.contains(stage) {
                stages.push(stage.clone());
            }
        }
        let ends: Vec<&Name> = group.iter().map(|end| &end.stage).collect();
        let (parts, again) = parts(&state, &stages, from, plans, &ends)?;
        let own = |name: &Name| stages.contains(name);
        let of_group = || Group {
            ends: group.to_vec(),
            from: from.iter().filter(|(name, _)| own(name)).map(|(name, from)| (name.clone(), from.clone())).collect(),
            plans: plans
                .iter()
                .filter(|(name, _)| own(name))
                .map(|(name, plan)| ((*name).clone(), (*plan).clone()))
                .collect(),
            sources: sources
                .iter()
                .filter(|(name, _)| own(name))
                .map(|(name, of)| (name.clone(), of.clone()))
                .collect(),
        };
        let made_of = (group.len() > 1).then(|| Arc::new(of_group()));
        let (mut scans, mut operators) = (0, Vec::new());
        for part in &parts {
            scans += count_sources(&part.plan)?;
            operators.extend(operators_of(&part.plan)?);
        }
        let mut sources: Vec<SegmentSource> = stages.iter().filter_map(|stage| sources.get(stage).cloned()).collect();
        for source in &mut sources {
            source.kept = prune::kept(&state, parts.iter().map(|part| &part.plan), &source.stage, &source.splits)?;
        }
        let limited = parts.iter().any(|part| part.rows.ordered);
        let global = scans != 1 || limited || parts.iter().any(|part| part.rows.regroup);
        let ordered = limited || (global && group.len() > 1 && group.iter().any(|end| end.way == Way::Single));
        let in_order = group.iter().filter(|end| has_order(&end.plan, !global || ordered));
        Ok(Self {
            ends: ends.into_iter().cloned().collect(),
            sources,
            stages,
            operators,
            global,
            ordered,
            in_order: in_order.map(|end| end.stage.clone()).collect(),
            shared: parts.iter().filter(|part| !part.readers.is_empty()).map(|part| part.stage.clone()).collect(),
            again,
            early: parts.iter().filter(|part| part.early).flat_map(|part| part.stages.iter().cloned()).collect(),
            parts,
            state,
            group: made_of,
        })
    }

    /// The segment of some of its ends alone, with no more than they read.
    ///
    /// # Errors
    /// It can't be planned.
    pub fn ending_in(&self, ends: &[&Name]) -> Result<Self> {
        let Some(group) = self.group.as_ref().filter(|group| group.ends.iter().any(|end| !ends.contains(&&end.stage)))
        else {
            return Ok(self.clone());
        };
        let kept: Vec<End> = group.ends.iter().filter(|end| ends.contains(&&end.stage)).cloned().collect();
        Self::new(&kept, &group.from, &group.plans.iter().collect(), &group.sources, self.state.clone())
    }

    /// Makes the plan physical for a task, whose splits are in its scope: a plan for each end. They must be driven together.
    pub async fn physical(&self, scope: Arc<TaskScope>) -> Result<Vec<EndPlan>> {
        let mut plans = self.physical_parts(scope).await?;
        plans.retain(|plan| self.ends.contains(&plan.stage));
        Ok(plans)
    }

    /// A plan for each part.
    async fn physical_parts(&self, scope: Arc<TaskScope>) -> Result<Vec<EndPlan>> {
        let config = self.state.config().clone().with_batch_size((scope.batch.rows as usize).max(1));
        // Only planning looks shared plans up. Who runs them mustn't hold them: a shared plan ends when its readers do.
        let tees = Arc::new(Tees::default());
        let limited = self.parts.iter().any(|part| part.rows.ordered);
        let mut planned = Vec::new();
        for part in &self.parts {
            // In a task of one partition, what only regroups rows may still use all cores, unless a limit needs them in order.
            let alone = part.rows.ordered || scope.first.is_some() || (limited && !part.readers.is_empty());
            let partitions = match part.rows.regroup && !alone {
                true => scope.partitions * scope.parallel,
                false => scope.partitions,
            };
            let scope = if part.told.is_empty() { scope.clone() } else { Arc::new(scope.again(part.told.clone())) };
            let mut config = config.clone().with_target_partitions(partitions.max(1)).with_extension(scope);
            if let MemoryLimit::Finite(bytes) = self.state.runtime_env().memory_pool.memory_limit() {
                // What a sort keeps for merging what it holds is for each partition; of little memory it would be most.
                let kept = &mut config.options_mut().execution.sort_spill_reservation_bytes;
                *kept = (*kept).min(bytes / MERGES / partitions.max(1));
            }
            let session =
                |config| SessionStateBuilder::new_from_existing(self.state.clone()).with_config(config).build();
            let context = Arc::new(TaskContext::from(&session(config.clone())));
            let planning = session(config.with_extension(tees.clone()));
            let plan = sized(planning.query_planner().create_physical_plan(&part.plan, &planning).await?)?;
            if !part.readers.is_empty() {
                tees.share(&part.stage, plan.clone(), context.clone());
            }
            planned.push(EndPlan { stage: part.stage.clone(), plan, context });
        }
        Ok(planned)
    }

    /// The same segment, which reads these files of a saved stage, or of the rows that failed at it.
    #[must_use]
    pub fn reading(mut self, stage: &Name, files: &[Split]) -> Self {
        for source in self.sources.iter_mut().filter(|source| source.saved.is_some() && source.stage == *stage) {
            (source.splits, source.kept) = (Arc::from(files), Arc::from(files));
        }
        self
    }

    /// The saved stages that it reads, or whose dead rows.
    pub fn reads_saved(&self) -> impl Iterator<Item = &Name> {
        self.sources.iter().filter_map(|source| source.saved.as_ref())
    }

    /// Its stages without those whose saved rows it reads.
    pub fn running(&self) -> impl Iterator<Item = &Name> {
        let saved =
            move |stage: &Name| self.sources.iter().any(|source| source.saved.is_some() && source.stage == *stage);
        self.stages.iter().filter(move |stage| !saved(stage))
    }

    /// The names of the columns that it reads of a saved stage.
    pub(crate) fn wanted(&self, stage: &Name) -> Result<BTreeSet<String>> {
        saved::wanted(self.parts.iter().map(|part| &part.plan), stage)
    }

    /// Its plans as text: those of shared stages before those that read them.
    pub async fn explain(&self, scope: Arc<TaskScope>) -> Result<Vec<PartText>> {
        let text = |(part, plan): (&Part, EndPlan)| PartText {
            stage: part.stage.clone(),
            readers: part.readers.clone(),
            logical: part.plan.display_indent().to_string(),
            physical: displayable(plan.plan.as_ref()).indent(false).to_string(),
        };
        let plans = self.physical_parts(scope).await?;
        Ok(self.parts.iter().zip(plans).map(text).collect())
    }
}

/// The stages whose operators are part of a plan.
fn operators_of(plan: &LogicalPlan) -> Result<Vec<Name>> {
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
        if let LogicalPlan::Extension(extension) = node
            && let Some(command) = extension.node.as_any().downcast_ref::<CommandNode>()
        {
            stages.push(command.spec.program.stage.clone());
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(stages)
}

/// How many sources a plan reads, one twice if it does.
fn count_sources(plan: &LogicalPlan) -> Result<usize> {
    let mut scans = 0;
    plan.apply_with_subqueries(|node| {
        scans += usize::from(tee::is_source(node));
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(scans)
}
