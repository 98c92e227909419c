//! One task: a segment over some splits.
//!
//! A task is described completely by its [`TaskSpec`], which can be written down and sent elsewhere; whoever runs it plans the
//! pipeline in it and answers with a [`TaskResult`].

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use datafusion::{
    arrow::{array::RecordBatch, datatypes::SchemaRef},
    execution::{SendableRecordBatchStream, memory_pool::MemoryLimit},
    physical_plan::execute_stream,
};
use dflow_io::{Prepared, Splits, Stores, is_object};
use dflow_operators::{
    BySplit, DeadFile, DeadLetters, DeadPlace, FirstRows, Held, LeftOut, Recall, RowFailure, StageCounts, StepError,
    StoredRows, TaskScope, split_column, splits_of, step_error,
};
use dflow_pipeline::{BatchLimits, Fault, Name, OnError, Pipeline, Verb};
use dflow_plan::{EndPlan, Plan, Segment};
use dflow_wasm::Cancel;
use futures::{StreamExt, future::try_join_all};
use serde::{Deserialize, Serialize};

use crate::{
    cut::Cut,
    faults::{Faults, Step},
    merge::Keys,
    writer::{SinkWriter, TaskOutput},
};

/// All that a task needs to know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskSpec {
    /// The version of this description.
    pub version: u32,
    /// The run it is of.
    pub run: String,
    /// Its number in its segment.
    pub number: u32,
    /// The pipeline, its parameters put in.
    pub pipeline: Pipeline,
    /// The digests that its plugins must have.
    pub pins: BTreeMap<String, String>,
    /// The segment: the name of its first end.
    pub segment: Name,
    /// The splits that each source reads.
    pub splits: BTreeMap<Name, Splits>,
    /// Into how many partitions the rows are dealt.
    pub partitions: usize,
    /// How many batches an operator works on at a time.
    pub parallel: usize,
    /// With `--first N`: the rows that each source gives.
    pub first: Option<u64>,
    /// What each sink writes, and where.
    pub outputs: BTreeMap<Name, TaskOutput>,
    /// Where rows that fail are kept.
    #[serde(default)]
    pub dead: Option<DeadPlace>,
    /// Of a saved stage: rows that may hold results for the same content.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stored: Vec<StoredRows>,
    /// Of an earlier task what stays: then it is copied, and nothing else is done.
    #[serde(default)]
    pub cut: Option<Cut>,
    /// Rows that are dead, since earlier attempts have failed at them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<LeftOut>,
}

/// What came of a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskResult {
    /// Each sink's files.
    pub files: BTreeMap<Name, SinkFiles>,
    /// What was counted, by stage.
    pub counts: BTreeMap<Name, StageCounts>,
    /// What was counted of stages where they ran once more.
    pub again: BTreeMap<Name, StageCounts>,
    /// The same split by split, until it is written down. `None` when rows of different splits meet.
    #[serde(default)]
    pub by_split: Option<BySplit>,
    /// Failed rows, described up to a number; all are counted.
    pub failures: Vec<RowFailure>,
    /// The rows that failed, with their content.
    #[serde(default)]
    pub dead: Vec<DeadFile>,
    /// How long it took.
    pub elapsed: Duration,
}

/// What a task made for a sink.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SinkFiles {
    /// The files, under their temporary names; of one file of parts, in their order.
    pub files: Vec<Prepared>,
    /// Files that were there and that these replace.
    pub replaced: Vec<PathBuf>,
}

impl TaskResult {
    /// Removes all that it made; nobody has seen it yet.
    pub fn discard(&self) {
        self.files.values().for_each(SinkFiles::discard);
        Prepared::discard_all(&self.dead_files());
    }

    /// The files of rows that failed.
    pub(crate) fn dead_files(&self) -> Vec<Prepared> {
        self.dead.iter().map(|dead| dead.file.clone()).collect()
    }
}

impl SinkFiles {
    /// The rows that were written.
    pub fn rows(&self) -> u64 {
        self.files.iter().map(|file| file.rows).sum()
    }

    /// Removes them; nobody has seen them yet.
    pub fn discard(&self) {
        Prepared::discard_all(&self.files);
    }
}

impl From<Vec<Prepared>> for SinkFiles {
    fn from(files: Vec<Prepared>) -> Self {
        Self { files, replaced: Vec::new() }
    }
}

impl TaskSpec {
    /// The version of the description that this host writes and reads.
    pub const VERSION: u32 = 4;

    /// What the task's operators share. `first_rows` is what all tasks of a run share.
    pub fn scope(&self, cancel: Cancel, first_rows: Option<Arc<FirstRows>>) -> Arc<TaskScope> {
        let splits = self.splits.iter().map(|(stage, splits)| (stage.clone(), splits.alone()));
        let batch: BatchLimits = self.pipeline.batch;
        let mut scope = TaskScope::new(splits.collect(), self.partitions, self.parallel, self.first, batch, cancel);
        scope.dead = self.dead.clone().map(|place| Arc::new(DeadLetters::new(place)));
        scope.first_rows = first_rows;
        scope.left_out = Arc::from(self.left_out.as_slice());
        if !self.stored.is_empty() {
            scope.recalls.insert(self.segment.clone(), Arc::new(Recall::new(self.stored.clone())));
        }
        Arc::new(scope)
    }

    /// The segment of a plan that this task is of. The plan must have been made of the same pipeline and plugins.
    pub fn segment<'a>(&self, plan: &'a Plan) -> Result<&'a Segment, StepError> {
        if self.version != Self::VERSION {
            return Err(StepError::new(
                Fault::Internal,
                format!("a task of version {}, this host runs version {}", self.version, Self::VERSION),
            ));
        }
        for (name, digest) in &self.pins {
            match plan.plugins.get(name) {
                Some(plugin) if plugin.digest() == digest => {}
                Some(plugin) => {
                    let what = format!("plugin `{name}` is {} here, the task needs {digest}", plugin.digest());
                    return Err(StepError::new(Fault::Plugin, what));
                }
                None => {
                    return Err(StepError::new(
                        Fault::Plugin,
                        format!("plugin `{name}` of the task isn't in the plan"),
                    ));
                }
            }
        }
        let segment = plan.segments.iter().find(|s| s.ends.first() == Some(&self.segment));
        segment.ok_or_else(|| StepError::new(Fault::Internal, format!("no segment ends in `{}`", self.segment)))
    }
}

/// The stages of a segment that compute expressions.
pub(crate) fn computing<'a>(pipeline: &Pipeline, segment: Option<&'a Segment>) -> Vec<&'a Name> {
    let computes = |name: &&Name| {
        let verb = pipeline.stage.get(*name).map(|stage| &stage.verb);
        matches!(
            verb,
            Some(Verb::Sql(_) | Verb::Set(_) | Verb::Filter(_) | Verb::Select(_) | Verb::Group(_) | Verb::Sort(_))
        )
    };
    segment.into_iter().flat_map(|segment| &segment.stages).filter(computes).collect()
}

/// An output holds at most this part of the memory before it is written: one of so many.
const ENCODED: usize = 16;

/// How often a task that gives nothing looks whether it is to end.
pub(crate) const LOOK: Duration = Duration::from_millis(50);

/// The next rows of a plan. Guests and sources end by themselves when the run is cancelled; what only regroups rows is left, and
/// what gives rows for ever.
pub(crate) async fn next(
    stream: &mut SendableRecordBatchStream,
    cancel: &Cancel,
) -> Result<Option<RecordBatch>, StepError> {
    while !cancel.is_raised() {
        tokio::select! {
            batch = stream.next() => return batch.transpose().map_err(|e| step_error(&e)),
            () = tokio::time::sleep(LOOK) => {}
        }
    }
    Err(StepError::new(Fault::Outside, "interrupted"))
}

/// Runs a task as often as it fails at a row that it can do without: the next attempt leaves it out. `begun` is told of each attempt's scope.
pub(crate) async fn run_attempts(
    spec: &mut TaskSpec,
    plan: &Plan,
    faults: &Faults,
    begun: impl Fn(&TaskSpec) -> Arc<TaskScope>,
) -> Result<TaskResult, StepError> {
    loop {
        let scope = begun(spec);
        match run_task(spec, plan, scope, faults).await {
            Err(StepError { row: Some(row), .. }) if !spec.left_out.contains(&row) => {
                tracing::warn!(
                    "stage `{}`: the task is done again without row `{}`, which failed late: {}",
                    row.stage,
                    row.row,
                    row.message
                );
                // Without it rows of later stages come to other places. What is known by its place fails once more, and is left out by the new one.
                let moved = |other: &LeftOut| other.stage != row.stage && reads(plan, &other.stage, &row.stage);
                spec.left_out.retain(|other| !(other.placed && moved(other)));
                spec.left_out.push(*row);
            }
            ended => return ended,
        }
    }
}

/// Whether a stage's rows come from another.
pub(crate) fn reads(plan: &Plan, stage: &Name, from: &Name) -> bool {
    stage == from || plan.stages.get(stage).is_some_and(|stage| stage.from.iter().any(|stage| reads(plan, stage, from)))
}

/// Runs a task: its rows go to a file for each sink, under temporary names. On an error nothing is left behind.
pub async fn run_task(
    spec: &TaskSpec,
    plan: &Plan,
    scope: Arc<TaskScope>,
    faults: &Faults,
) -> Result<TaskResult, StepError> {
    if let Some(cut) = &spec.cut {
        faults.before(Step::Synced);
        let copied = cut.run(&spec.outputs, spec.dead.as_ref(), &scope.cancel);
        faults.after(Step::Synced);
        return copied;
    }
    let result = all_of(spec, plan, scope.clone(), faults).await;
    if let (Err(_), Some(dead)) = (&result, &scope.dead) {
        dead.discard();
    }
    result
}

async fn all_of(spec: &TaskSpec, plan: &Plan, scope: Arc<TaskScope>, faults: &Faults) -> Result<TaskResult, StepError> {
    let started = Instant::now();
    let ends = spec.segment(plan)?.physical(scope.clone()).await.map_err(|e| step_error(&e))?;
    // What they share waits for the slowest, so all go on together. The first error drops them all.
    let written = try_join_all(ends.into_iter().map(|end| write(spec, end, &scope))).await;
    let written = written.map_err(|e| e.of_expressions(&computing(&spec.pipeline, spec.segment(plan).ok())))?;
    // A source that was told to stop ends its stream early and in order; such rows are not all that there are.
    if scope.cancel.is_raised() {
        return Err(StepError::new(Fault::Outside, "interrupted"));
    }
    let mut files: BTreeMap<Name, SinkFiles> = BTreeMap::new();
    faults.before(Step::Synced);
    for end in written {
        let sink = end.sink.clone();
        match end.finish(spec, &scope) {
            Ok(made) => files.insert(sink, made),
            Err(e) => {
                files.values().for_each(SinkFiles::discard);
                return Err(e);
            }
        };
    }
    let dead = scope.dead.as_ref().map_or_else(|| Ok(Vec::new()), |dead| dead.finish());
    let dead = dead.inspect_err(|_| files.values().for_each(SinkFiles::discard))?;
    faults.after(Step::Synced);
    let (counts, again) = (scope.counts(), scope.counts_again());
    let by_split = scope.by_split().filter(|_| spec.splits.len() == 1 && spec.first.is_none());
    Ok(TaskResult { files, counts, again, by_split, failures: scope.failures(), dead, elapsed: started.elapsed() })
}

/// Uploads what a task made for buckets. Files without rows aren't: they may not be wanted.
pub(crate) async fn upload(result: &TaskResult, stores: &Stores, faults: &Faults) -> Result<(), StepError> {
    let made = result.files.values().filter(|made| made.rows() > 0).flat_map(|made| &made.files);
    let files: Vec<Prepared> = made.filter(|file| is_object(&file.path)).cloned().collect();
    if files.is_empty() {
        return Ok(());
    }
    faults.before(Step::Uploaded);
    // What is uploaded already is swept by the next run: the journal knows its names.
    stores.upload(&files).await.inspect_err(|_| result.discard())?;
    faults.after(Step::Uploaded);
    Ok(())
}

/// One end whose rows are written.
struct Written {
    sink: Name,
    schema: SchemaRef,
    writer: SinkWriter,
    /// With `mode = "merge"`, the keys of the rows.
    keys: Option<Keys>,
}

/// Writes the rows of one end.
async fn write(
    spec: &TaskSpec,
    EndPlan { stage, plan, context }: EndPlan,
    scope: &TaskScope,
) -> Result<Written, StepError> {
    let Some(output) = spec.outputs.get(&stage) else {
        return Err(StepError::new(Fault::Internal, format!("the task has no place for what `{stage}` writes")));
    };
    // Which split rows come from is followed, and not written.
    let all = plan.schema();
    let kept: Vec<usize> = (0..all.fields().len()).filter(|i| split_column(&all) != Some(*i)).collect();
    let schema: SchemaRef = Arc::new(all.project(&kept).map_err(StepError::internal)?);
    let mut writer = SinkWriter::create(&stage, output, schema.clone())?;
    let merge = output.merge.as_ref();
    let mut keys = merge.map(|merge| Keys::new(&stage, &merge.key, &schema, output.format)).transpose()?;
    let held = Held::new(context.memory_pool(), "the output");
    let most = match context.memory_pool().memory_limit() {
        MemoryLimit::Finite(bytes) => bytes / ENCODED,
        _ => usize::MAX,
    };
    let mut stream = execute_stream(plan, context).map_err(|e| step_error(&e))?;
    let written = scope.counters(&stage);
    let form = spec.pipeline.stage.get(&stage);
    let sink = form.is_some_and(|stage| matches!(stage.verb, Verb::Write(_)));
    let on_error = form.map(|stage| stage.on_error).unwrap_or_default();
    while let Some(whole) = next(&mut stream, &scope.cancel).await? {
        let started = Instant::now();
        let (batch, splits) = (whole.project(&kept).map_err(StepError::internal)?, splits_of(&whole));
        if let Some(keys) = &mut keys {
            keys.add(&batch)?;
        }
        let failed = writer.write(&batch, splits)?;
        if held.set(writer.buffered_bytes()).is_err() || writer.buffered_bytes() > most {
            writer.spill()?;
            held.take(writer.buffered_bytes());
        }
        let lost = failed.failures.len();
        if let (OnError::Fail, Some(first)) = (on_error, failed.failures.first()) {
            let what = format!("stage `{}`: {}", first.stage, first.message);
            return Err(StepError::new(first.fault, what));
        }
        scope.met(&stage, on_error, None, &failed)?;
        let aside = started.elapsed().as_nanos() as u64;
        written.add(&StageCounts { aside, ..StageCounts::default() });
        // A saved stage's rows were counted where they came out of it.
        if sink {
            let through = StageCounts { rows_in: 1, rows_out: 1, ..StageCounts::default() };
            written.add_each(&through, batch.num_rows() - lost, splits.filter(|_| lost == 0));
            let (skipped, failed) = if on_error == OnError::Skip { (1, 0) } else { (0, 1) };
            written.add_each(&StageCounts { rows_in: 1, skipped, failed, ..StageCounts::default() }, lost, None);
        }
    }
    Ok(Written { sink: stage, schema, writer, keys })
}

impl Written {
    /// Makes the files whole.
    fn finish(self, spec: &TaskSpec, scope: &TaskScope) -> Result<SinkFiles, StepError> {
        let started = Instant::now();
        let mut files = self.writer.finish()?;
        let mut replaced = Vec::new();
        if let (Some(keys), Some(output)) = (&self.keys, spec.outputs.get(&self.sink))
            && let Some(merge) = &output.merge
        {
            let merged = keys.merge(output, merge, &self.schema).inspect_err(|_| Prepared::discard_all(&files))?;
            files.splice(0..0, merged.files);
            replaced = merged.replaced;
        }
        let (aside, bytes) = (started.elapsed().as_nanos() as u64, files.iter().map(|file| file.bytes).sum());
        scope.counters(&self.sink).add(&StageCounts { aside, bytes, ..StageCounts::default() });
        Ok(SinkFiles { files, replaced })
    }
}
