//! From a checked pipeline to a plan, with every mistake on the way.

mod plugins;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
};

use datafusion::{
    execution::{memory_pool::MemoryLimit, session_state::SessionState},
    logical_expr::LogicalPlan,
};
use dflow_models::Models;
use dflow_operators::{ReadBy, is_split};
use dflow_pipeline::{At, BatchLimits, Draft, Mistake, Mistakes, Name, Pipeline, Stage, Verb};
use dflow_wasm::{Plugin, RowShape, shipped};
use futures::future::join;
use indexmap::IndexMap;

use crate::{
    Environment,
    columns::Columns,
    edges::Edges,
    open::left_open,
    problems::of_sql,
    query::{self, Query},
    replay::Replay,
    routed,
    saved::KEY_COLUMN,
    segment::{Segment, SegmentSource},
    sink::same_places,
    source::{self, Listed, Source},
    steps::{Opening, Planned, Step},
    together::{End, Rows, together},
    verbs,
};

/// From so many bytes of memory on, sinks that regroup rows run together when they share a stage.
const ROOMY: usize = 128 << 20;

/// A planned pipeline.
#[derive(Clone)]
pub struct Plan {
    /// The pipeline.
    pub pipeline: Pipeline,
    /// Each stage's rows, by name, in the order of the file.
    pub stages: IndexMap<Name, StagePlan>,
    /// Segments that end in all saved stages and all sinks, each after those whose rows it reads; or the one for the stage that
    /// was asked for.
    pub segments: Vec<Segment>,
    /// The saved stages, and the names in the plan of the columns that are stored of each.
    pub saved: BTreeMap<Name, Vec<String>>,
    /// The saved stages whose dead rows others read, and the names in the plan of the columns that they read of them.
    pub routed: BTreeMap<Name, Vec<String>>,
    /// The plugins that are used, by the name that the pipeline gives them.
    pub plugins: BTreeMap<String, Arc<Plugin>>,
    /// For stages that run an operator or a program: how many rows come of one.
    pub shapes: BTreeMap<Name, RowShape>,
    /// For stages that run a program: the files that its command line names, as they are written there, and where they are.
    pub programs: BTreeMap<Name, Vec<(String, PathBuf)>>,
    /// The sources whose files aren't here, and why, where what they gave was taken in from elsewhere.
    pub absent: BTreeMap<Name, String>,
    /// The models that stages ask.
    pub models: Arc<Models>,
    /// What is no mistake but may surprise: rows that may differ from run to run.
    pub warnings: Option<Mistakes>,
}

impl Plan {
    /// Whether a segment stores a saved stage, and doesn't end in sinks.
    pub fn saves(&self, segment: &Segment) -> bool {
        segment.ends.iter().any(|end| self.saved.contains_key(end))
    }
}

/// A stage that is planned.
#[derive(Clone, Debug)]
pub struct StagePlan {
    /// The stages it reads.
    pub from: Vec<Name>,
    /// What its rows look like.
    pub columns: Columns,
}

/// Plans a pipeline: for all of its sinks, or for one stage. Of one with mistakes what is sound is planned, to find the rest.
///
/// # Errors
/// All mistakes at once; one that follows from another isn't among them.
pub async fn plan(environment: &Environment, draft: &Draft, target: Option<&Name>) -> Result<Plan, Mistakes> {
    let pipeline = &draft.pipeline;
    let mut planning = Planning {
        environment,
        pipeline,
        flawed: &draft.flawed,
        state: environment.session(),
        mistakes: draft.mistakes.clone(),
        plugins: BTreeMap::new(),
        broken: BTreeSet::new(),
        queries: BTreeMap::new(),
        from: IndexMap::new(),
        listed: BTreeMap::new(),
        sources: BTreeMap::new(),
        saves: environment.saves && target.is_none(),
        saved: IndexMap::new(),
        steps: BTreeMap::new(),
        shapes: BTreeMap::new(),
        programs: BTreeMap::new(),
        absent: BTreeMap::new(),
        warnings: Vec::new(),
    };
    planning.edges();
    planning.sourceless();
    planning.mistakes.extend(same_places(planning.pipeline, planning.flawed, &planning.environment.stores));
    planning.mistakes.extend(verbs::ask::wrong_keys(pipeline, environment));
    let order = planning.order();
    // Files are listed elsewhere, while plugins are loaded here.
    let listing = source::listed(environment, pipeline, &order);
    let (listed, ()) = join(listing, planning.load_shipped(&order)).await;
    planning.listed = listed;
    for name in order {
        planning.stage(&name).await;
    }
    if let Some(replay) = &environment.replay {
        planning.cut_off(replay);
    }
    let (segments, saved, routed) = planning.segments(target);
    let Planning { mistakes, plugins, from, steps, shapes, programs, absent, warnings, .. } = planning;
    if let Some(mistakes) = Mistakes::collect(draft.text.clone(), mistakes) {
        return Err(mistakes);
    }
    let stages = pipeline.stage.keys().filter_map(|name| {
        let columns = steps.get(name)?.columns.clone();
        Some((name.clone(), StagePlan { from: from.get(name).cloned().unwrap_or_default(), columns }))
    });
    let stages = stages.collect();
    let warnings = Mistakes::collect(draft.text.clone(), warnings);
    Ok(Plan {
        pipeline: pipeline.clone(),
        stages,
        segments,
        saved,
        routed,
        plugins,
        shapes,
        programs,
        absent,
        models: environment.models.clone(),
        warnings,
    })
}

/// Segments, what is stored of saved stages, and what is read of the rows that fail at them.
type Segments = (Vec<Segment>, BTreeMap<Name, Vec<String>>, BTreeMap<Name, Vec<String>>);

/// A saved stage.
struct Saved {
    /// What is stored.
    step: Step,
    /// The stage as a source of those who read it.
    source: SegmentSource,
}

/// The state of planning.
struct Planning<'a> {
    environment: &'a Environment,
    pipeline: &'a Pipeline,
    /// Stages about which nothing more is said.
    flawed: &'a BTreeSet<String>,
    state: SessionState,
    mistakes: Vec<Mistake>,
    plugins: BTreeMap<String, Arc<Plugin>>,
    /// Plugins that could not be loaded; each is reported once.
    broken: BTreeSet<String>,
    queries: BTreeMap<Name, Query>,
    from: IndexMap<Name, Vec<Name>>,
    /// The files of sources that aren't planned yet.
    listed: Listed,
    sources: BTreeMap<Name, SegmentSource>,
    /// Whether saved stages are stored.
    saves: bool,
    /// What saved stages store, each after those that it reads; in `steps` they are read back.
    saved: IndexMap<Name, Saved>,
    steps: BTreeMap<Name, Step>,
    shapes: BTreeMap<Name, RowShape>,
    absent: BTreeMap<Name, String>,
    programs: BTreeMap<Name, Vec<(String, PathBuf)>>,
    warnings: Vec<Mistake>,
}

impl Planning<'_> {
    /// Finds out which stages each stage reads.
    fn edges(&mut self) {
        let edges = Edges::of(self.pipeline, self.flawed, &self.state);
        (self.from, self.queries) = (edges.from, edges.queries);
        self.mistakes.extend(edges.mistakes);
    }

    /// The stages, each after those it reads. A circle (which a query may close) is a mistake, its stages are left out.
    fn order(&mut self) -> Vec<Name> {
        let mut order: Vec<Name> = Vec::new();
        let mut left: Vec<Name> = self.from.keys().cloned().collect();
        while !left.is_empty() {
            let ready =
                |name: &Name| self.from[name].iter().all(|from| order.contains(from) || !self.from.contains_key(from));
            let (now, later): (Vec<_>, Vec<_>) = left.into_iter().partition(ready);
            if now.is_empty() {
                let mut path = vec![later[0].clone()];
                while let Some(next) =
                    self.from[path.last().expect("it begins with one")].iter().find(|f| later.contains(f))
                {
                    let closed = path.iter().position(|p| p == next);
                    path.push(next.clone());
                    if let Some(start) = closed {
                        let circle: Vec<_> = path[start..].iter().map(Name::as_str).collect();
                        self.mistakes.push(Mistake::new(
                            At::stage(&path[start]),
                            format!("circular `from`: {}", circle.join(" ← ")),
                        ));
                        break;
                    }
                }
                break;
            }
            order.extend(now);
            left = later;
        }
        order
    }

    /// Plans one stage; if one that it reads could not be planned, neither can it, and nothing more is said.
    async fn stage(&mut self, name: &Name) {
        let Some(stage) = self.pipeline.stage.get(name) else { return };
        if !self.from[name].iter().all(|from| self.steps.contains_key(from)) {
            return;
        }
        let planned = self.step(name, stage).await.and_then(|step| {
            match step.columns.visible.keys().find(|column| is_split(column)) {
                Some(column) => {
                    let what = format!("`{column}` is a name that dflow gives itself");
                    let at = At::stage(name).key(stage.verb.keyword());
                    Err(vec![Mistake::new(at, what).hint("choose another")])
                }
                None => Ok(step),
            }
        });
        let step = match planned {
            // A sink gives no rows to count, nor to know by an id.
            Ok(step) if matches!(stage.verb, Verb::Write(_)) => Ok(step),
            Ok(step) => match &stage.id {
                Some(id) => step.identified(name, id, stage.verb.is_source()).and_then(Step::metered),
                None => step.metered(),
            },
            Err(mistakes) => Err(mistakes),
        };
        match step {
            Ok(step) => {
                let at = At::stage(name).key(stage.verb.keyword());
                self.warnings.extend(left_open(&at, &step.plan));
                let step = match self.saves && stage.save {
                    true => step.stored(&self.environment.stores, self.batch(stage)).map(|(stored, source)| {
                        self.saved.insert(name.clone(), Saved { step, source });
                        stored
                    }),
                    false => Ok(step),
                };
                match step {
                    Ok(step) => drop(self.steps.insert(name.clone(), step)),
                    Err(mistakes) => self.mistakes.extend(mistakes),
                }
            }
            Err(mistakes) => self.mistakes.extend(mistakes),
        }
    }

    fn batch(&self, stage: &Stage) -> BatchLimits {
        stage.batch.unwrap_or(self.pipeline.batch)
    }

    async fn step(&mut self, name: &Name, stage: &Stage) -> Result<Step, Vec<Mistake>> {
        let state = self.state.clone();
        // Operators and sinks count what goes in by themselves.
        let counts = stage.verb.asking().is_some()
            || matches!(
                stage.verb,
                Verb::Open(_) | Verb::Use(_) | Verb::Python(_) | Verb::Js(_) | Verb::Command(_) | Verb::Write(_)
            );
        let reader = ReadBy { stage: name.clone(), counts };
        let inputs = self.from[name].iter().filter_map(|from| self.steps.get_key_value(from));
        // In a flow's file stages go by their own names.
        let inputs: Vec<(Name, Step)> = inputs
            .map(|(from, step)| {
                let mut step = step.read_by(&reader);
                step.columns.within = stage.within.clone();
                let own = stage.within.as_ref().and_then(|within| within.own(from.as_str())?.parse().ok());
                (own.unwrap_or_else(|| from.clone()), step)
            })
            .collect();
        let mut inputs: Vec<(&Name, Step)> = inputs.iter().map(|(from, step)| (from, step.clone())).collect();
        if let (Some(replay), Some((_, input))) =
            (self.environment.replay.as_ref().filter(|replay| replay.stage == *name), inputs.first_mut())
        {
            *input = input.replayed(replay, self.batch(stage))?;
            self.steps.insert(replay.source(), input.clone());
        }
        let input = inputs.first().map(|(_, step)| step);
        let input = input.ok_or_else(|| vec![Mistake::new(At::stage(name), format!("stage `{name}` reads nothing"))]);
        match &stage.verb {
            Verb::Read(read) => {
                let source = match self.listed.remove(name).unwrap_or_else(|| Err(Vec::new())) {
                    Ok(splits) => source::read(self.environment, name, read, splits, self.batch(stage).max_row).await,
                    Err(mistakes) => Err(mistakes),
                };
                let source = match source {
                    Ok(source) => source,
                    Err(mistakes) => {
                        let Some(source) = source::absent(self.environment, name, read).await else {
                            return Err(mistakes);
                        };
                        let why = mistakes.first().map(|mistake| mistake.message.clone()).unwrap_or_default();
                        self.absent.insert(name.clone(), why);
                        source
                    }
                };
                self.source(name, stage, source)
            }
            Verb::Values(values) => self.source(name, stage, source::values(name, &values.0)?),
            Verb::Input(input) => self.source(name, stage, source::input(self.environment, name, &input.0)?),
            Verb::Use(written) => {
                let input = input?.clone();
                let plugin = match self.plugin(name, &written.plugin).await {
                    Ok(plugin) => plugin,
                    Err(mistake) => return Err(mistake.into_iter().collect()),
                };
                let recalls = self.saves && stage.save && shipped(plugins::own(&written.plugin)).is_some();
                let (batch, stores) = (self.batch(stage), &self.environment.stores);
                let models = self.granted_models(name, &written.plugin)?;
                let opening = Opening { batch, recalls, models, ..Opening::new(&plugin, stores) };
                let (step, shape) = input.operator(name, stage, written, opening).await?;
                self.shapes.insert(name.clone(), shape);
                Ok(step)
            }
            Verb::Python(_) | Verb::Js(_) => {
                let input = input?.clone();
                let Some(script) = stage.verb.script() else { return Err(Vec::new()) };
                let plugin =
                    self.interpreter(name, stage).await.map_err(|mistake| mistake.into_iter().collect::<Vec<_>>())?;
                let (batch, stores) = (self.batch(stage), &self.environment.stores);
                let opening = Opening { batch, ..Opening::new(&plugin, stores) };
                let (step, shape, files) = input.script(name, stage, script, self.environment, opening).await?;
                self.programs.insert(name.clone(), files);
                self.shapes.insert(name.clone(), shape);
                Ok(step)
            }
            Verb::Command(written) => {
                let (step, shape) = input?.command(name, stage, written, self.environment, self.batch(stage))?;
                self.programs.insert(name.clone(), verbs::command::files(self.environment, written));
                self.shapes.extend(shape.map(|shape| (name.clone(), shape)));
                Ok(step)
            }
            Verb::Prompt(_) | Verb::Embed(_) | Verb::Classify(_) => {
                let step = input?.ask(name, stage, self.pipeline, self.environment, self.batch(stage))?;
                self.shapes.insert(name.clone(), RowShape::Map);
                Ok(step)
            }
            Verb::Open(written) => input?.open(name, stage, written, &self.environment.stores, self.batch(stage)),
            Verb::Given(given) => {
                let file = match self.pipeline.stage.get(&given.flow).map(|caller| &caller.verb) {
                    Some(Verb::Flow(flow)) => flow.path.as_str(),
                    _ => "the flow",
                };
                input?.given(name, given, file)
            }
            Verb::Flow(flow) => {
                let inputs = self.pipeline.stage.values().find_map(|stage| match &stage.verb {
                    Verb::Given(given) if given.flow == *name => Some(&given.columns),
                    _ => None,
                });
                match (self.steps.get(&flow.rows), inputs) {
                    (Some(before), Some(inputs)) => input?.flow(name, flow, &before.columns, inputs),
                    _ => Err(Vec::new()),
                }
            }
            Verb::Dead(of) => self.dead(name, of, stage),
            Verb::Steps(_) => Ok(input?.last_step(name)),
            Verb::Sql(_) => match self.queries.remove(name) {
                Some(query) => query::plan(&state, name, query, &inputs).await,
                None => Err(Vec::new()),
            },
            Verb::Set(set) => input?.set(&state, name, &set.0),
            Verb::Filter(condition) => input?.filter(&state, name, condition),
            Verb::Select(select) => input?.select(&state, name, &select.0),
            Verb::Limit(limit) => input?.limit(name, limit.0),
            Verb::Explode(explode) => input?.explode(name, explode),
            Verb::Sort(sort) => input?.sort(&state, name, sort),
            Verb::Sample(sample) => input?.sample(name, sample),
            Verb::Distinct(distinct) => input?.distinct(name, distinct),
            Verb::Union(written) => verbs::union(name, *written, &inputs),
            Verb::Join(written) => match inputs.as_slice() {
                [(_, left), (_, right)] => verbs::join(name, written, left, right),
                _ => Err(Vec::new()),
            },
            Verb::Group(group) => input?.group(&state, name, group),
            Verb::Write(write) => {
                crate::sink::fits(&self.environment.stores, name, write)?;
                input?.sink(&state, name, Some(write))
            }
        }
    }

    fn source(&mut self, name: &Name, stage: &Stage, source: Source) -> Result<Step, Vec<Mistake>> {
        let spec = source::spec(name, stage, self.batch(stage), &source)?;
        let cut = source.reader.cuts();
        let splits: Arc<[_]> = Arc::from(source.splits);
        let source = SegmentSource { stage: name.clone(), kept: splits.clone(), splits, cut, saved: None };
        self.sources.insert(name.clone(), source);
        Step::source(spec)
    }

    /// `from = "of.dead"`
    fn dead(&mut self, name: &Name, of: &Name, stage: &Stage) -> Planned {
        let input = self.from[of].first().and_then(|from| self.steps.get(from));
        let around = (&self.environment.stores, self.batch(stage));
        let (step, source) = routed::dead(name, of, input, self.saves, around)?;
        self.sources.insert(name.clone(), source);
        if !self.saves && self.environment.replay.is_none() {
            let what = format!("no rows come from `{name}` with `--first`, nor in `eval`");
            self.warnings.push(Mistake::new(At::stage(name), what));
        }
        Ok(step)
    }

    /// Makes rows that failed a source of the stage at which they did, in the place of all that it reads.
    fn cut_off(&mut self, replay: &Replay) {
        let (stage, splits) = (replay.source(), Arc::<[_]>::from([]));
        self.from.insert(replay.stage.clone(), vec![stage.clone()]);
        self.from.insert(stage.clone(), Vec::new());
        self.sources
            .insert(stage.clone(), SegmentSource { stage, kept: splits.clone(), splits, cut: false, saved: None });
    }

    /// Segments for all sinks, those that run together in one, or for the stage asked for.
    fn segments(&mut self, target: Option<&Name>) -> Segments {
        let ends: Vec<Name> = match target {
            Some(name) if self.pipeline.stage.contains_key(name) => vec![name.clone()],
            // Without the whole pipeline nobody knows whether there is such a stage.
            Some(_) if !self.mistakes.is_empty() => return Default::default(),
            Some(name) => {
                let known = self.pipeline.stage.keys().map(Name::as_str).filter(|name| !name.contains('.'));
                let known: Vec<_> = known.collect();
                self.mistakes.push(Mistake::unknown(At::default(), "stage", name.as_str(), &known));
                return Default::default();
            }
            None => self
                .pipeline
                .stage
                .iter()
                .filter(|(name, s)| matches!(s.verb, Verb::Write(_)) && self.environment.makes(name))
                .map(|(n, _)| n.clone())
                .collect(),
        };
        let mut found = Vec::new();
        for end in ends {
            // A stage that isn't a sink shows its visible columns.
            let step = match self.steps.get(&end) {
                Some(step) if matches!(self.pipeline.stage[&end].verb, Verb::Write(_)) => Ok(step.clone()),
                Some(step) => step.sink(&self.state, &end, None),
                None => continue,
            };
            let mut stages = Vec::new();
            self.reach(&end, &mut stages);
            let planned = step.and_then(|step| {
                let way = Rows::of(&step.plan).map_err(|e| vec![of_sql(At::stage(&end), &e)])?.way();
                Ok(End { stage: end, plan: step.plan, stages, way })
            });
            match planned {
                Ok(end) => found.push(end),
                Err(mistakes) => self.mistakes.extend(mistakes),
            }
        }
        // To run them twice costs more than to read twice.
        let opens =
            self.pipeline.stage.iter().filter(|(_, stage)| matches!(stage.verb, Verb::Open(_) | Verb::Command(_)));
        let operators = self.shapes.keys().chain(opens.map(|(name, _)| name)).collect();
        let roomy = match self.state.runtime_env().memory_pool.memory_limit() {
            MemoryLimit::Finite(bytes) => bytes >= ROOMY,
            _ => true,
        };
        let mut segments = Vec::new();
        for mut group in together(found, &operators, roomy) {
            group.sort_by_key(|end| self.pipeline.stage.get_index_of(&end.stage));
            match self.segment(&group) {
                Ok(segment) => segments.push(segment),
                Err(e) => self.mistakes.push(of_sql(At::stage(&group[0].stage), &e)),
            }
        }
        self.stored(segments)
    }

    /// Puts the segments that store saved stages before those of the sinks, and says what each stores: also what others read.
    fn stored(&mut self, sinks: Vec<Segment>) -> Segments {
        let (mut segments, mut stored, mut mistakes) = (sinks, BTreeMap::new(), Vec::new());
        let mut routed: BTreeMap<Name, Vec<String>> = BTreeMap::new();
        // From the sinks up: what a stage stores of its ancestors is what those below it read.
        for (name, Saved { step, .. }) in self.saved.iter().rev() {
            let wanted = segments.iter().map(|segment| segment.wanted(name));
            let planned =
                wanted.collect::<datafusion::common::Result<Vec<_>>>().map_err(|e| vec![of_sql(At::stage(name), &e)]);
            let planned = planned.and_then(|wanted| {
                let step = match self.pipeline.dead_of(name) {
                    Some(dead) => {
                        let read = self.read_of_dead(name, dead, &segments)?;
                        let keeping = step.keeping(&read)?;
                        routed.insert(name.clone(), read.into_iter().collect());
                        keeping
                    }
                    None => step.clone(),
                };
                let step = step.store(&wanted.into_iter().flatten().collect())?;
                let failed = |e| vec![of_sql(At::stage(name), &e)];
                let mut stages = Vec::new();
                self.reach(name, &mut stages);
                let way = Rows::of(&step.plan).map_err(failed)?.way();
                let names = step.plan.schema().fields().iter().map(|field| field.name());
                let columns = names.filter(|name| !is_split(name) && !name.ends_with(KEY_COLUMN)).cloned().collect();
                let end = End { stage: name.clone(), plan: step.plan, stages, way };
                Ok((self.segment(&[end]).map_err(failed)?, columns))
            });
            match planned {
                Ok((segment, columns)) => {
                    segments.insert(0, segment);
                    stored.insert(name.clone(), columns);
                }
                Err(more) => mistakes.extend(more),
            }
        }
        self.mistakes.extend(mistakes);
        (segments, stored, routed)
    }

    /// The columns of what goes into a stage that segments read of the rows that fail at it.
    fn read_of_dead(&self, of: &Name, dead: &Name, segments: &[Segment]) -> Result<BTreeSet<String>, Vec<Mistake>> {
        let Some(input) = self.from[of].first().and_then(|from| self.steps.get(from)) else {
            return Ok(BTreeSet::new());
        };
        let mut read = BTreeSet::new();
        for segment in segments {
            read.extend(segment.wanted(dead).map_err(|e| vec![of_sql(At::stage(dead), &e)])?);
        }
        read.retain(|name| input.plan.schema().has_column_with_unqualified_name(name));
        Ok(read)
    }

    /// The segment of some ends.
    fn segment(&self, group: &[End]) -> datafusion::common::Result<Segment> {
        let ends = |name: &Name| group.iter().any(|end| end.stage == *name);
        let mut plans: BTreeMap<&Name, &LogicalPlan> = self.steps.iter().map(|(n, s)| (n, &s.plan)).collect();
        plans.extend(group.iter().map(|end| (&end.stage, &end.plan)));
        // What is saved is a source, but for the segment that stores it.
        let (mut from, mut sources) = (self.from.clone(), self.sources.clone());
        for (name, saved) in self.saved.iter().filter(|(name, _)| !ends(name)) {
            from.insert(name.clone(), Vec::new());
            sources.insert(name.clone(), saved.source.clone());
        }
        from.iter_mut().filter(|(name, _)| self.is_dead(name)).for_each(|(_, from)| from.clear());
        Segment::new(group, &from, &plans, &sources, self.state.clone())
    }

    /// Whether a stage gives the rows that failed at another.
    fn is_dead(&self, name: &Name) -> bool {
        self.pipeline.stage.get(name).is_some_and(|stage| matches!(stage.verb, Verb::Dead(_)))
    }

    /// A stage and all that it reads, sources first; of a saved stage no more than the stage itself.
    fn reach(&self, name: &Name, stages: &mut Vec<Name>) {
        for from in &self.from[name] {
            if stages.contains(from) || self.is_dead(name) {
                continue;
            }
            match self.saved.contains_key(from) || self.is_dead(from) {
                true => stages.push(from.clone()),
                false => self.reach(from, stages),
            }
        }
        if !stages.contains(name) {
            stages.push(name.clone());
        }
    }
}
