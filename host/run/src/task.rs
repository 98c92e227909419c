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

use datafusion::{arrow::array::RecordBatch, execution::SendableRecordBatchStream, physical_plan::execute_stream};
use dflow_io::{Prepared, Split};
use dflow_operators::{RowFailure, StageCounts, StepError, TaskScope, step_error};
use dflow_pipeline::{BatchLimits, Fault, Name, OnError, Pipeline};
use dflow_plan::{Plan, Segment};
use dflow_wasm::Cancel;
use futures::StreamExt;
use serde::{Deserialize, Serialize};

use crate::{
    merge::{Keys, Merged},
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
    /// The segment: the name of the stage at its end.
    pub segment: Name,
    /// The splits that each source reads.
    pub splits: BTreeMap<Name, Vec<Split>>,
    /// Into how many partitions the rows are dealt.
    pub partitions: usize,
    /// How many batches an operator works on at a time.
    pub parallel: usize,
    /// With `--first N`: the rows that each source gives.
    pub first: Option<u64>,
    /// What it writes, and where.
    pub output: TaskOutput,
}

/// What came of a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskResult {
    /// The files, under their temporary names; of one file of parts, in their order.
    pub files: Vec<Prepared>,
    /// Files that were there and that these replace.
    pub replaced: Vec<PathBuf>,
    /// What was counted, by stage.
    pub counts: BTreeMap<Name, StageCounts>,
    /// Failed rows, described up to a number; all are counted.
    pub failures: Vec<RowFailure>,
    /// How long it took.
    pub elapsed: Duration,
}

impl TaskResult {
    /// The rows that were written.
    pub fn rows(&self) -> u64 {
        self.files.iter().map(|file| file.rows).sum()
    }
}

impl TaskSpec {
    /// The version of the description that this host writes and reads.
    pub const VERSION: u32 = 1;

    /// What the task's operators share.
    pub fn scope(&self, cancel: Cancel) -> Arc<TaskScope> {
        let splits = self.splits.iter().map(|(stage, splits)| (stage.clone(), Arc::from(splits.as_slice())));
        let batch: BatchLimits = self.pipeline.batch;
        Arc::new(TaskScope::new(splits.collect(), self.partitions, self.parallel, self.first, batch, cancel))
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
        let segment = plan.segments.iter().find(|s| s.stage == self.segment);
        segment.ok_or_else(|| StepError::new(Fault::Internal, format!("no segment ends in `{}`", self.segment)))
    }
}

/// How often a task that gives nothing looks whether it is to end.
const LOOK: Duration = Duration::from_millis(50);

/// The next rows of a plan. Guests and sources end by themselves when the run is cancelled; what only regroups rows is left.
pub(crate) async fn next(
    stream: &mut SendableRecordBatchStream,
    cancel: &Cancel,
) -> Result<Option<RecordBatch>, StepError> {
    loop {
        tokio::select! {
            batch = stream.next() => return batch.transpose().map_err(|e| step_error(&e)),
            () = tokio::time::sleep(LOOK) => {}
        }
        if cancel.is_raised() {
            return Err(StepError::new(Fault::Outside, "interrupted"));
        }
    }
}

/// Runs a task: its rows go to a file under a temporary name. On an error nothing is left behind.
pub async fn run_task(spec: &TaskSpec, plan: &Plan, scope: Arc<TaskScope>) -> Result<TaskResult, StepError> {
    let started = Instant::now();
    let segment = spec.segment(plan)?;
    let (physical, context) = segment.physical(scope.clone()).await.map_err(|e| step_error(&e))?;
    let schema = physical.schema();
    let mut writer = SinkWriter::create(&spec.segment, &spec.output, schema.clone())?;
    let merge = spec.output.merge.as_ref();
    let mut keys = merge.map(|merge| Keys::new(&spec.segment, &merge.key, &schema)).transpose()?;
    let mut stream = execute_stream(physical, context).map_err(|e| step_error(&e))?;
    let written = scope.counters(&spec.segment);
    let on_error = spec.pipeline.stage.get(&spec.segment).map(|stage| stage.on_error).unwrap_or_default();
    while let Some(batch) = next(&mut stream, &scope.cancel).await? {
        if let Some(keys) = &mut keys {
            keys.add(&batch)?;
        }
        let failures = writer.write(&batch)?;
        let lost = failures.len() as u64;
        if let (OnError::Fail, Some(first)) = (on_error, failures.first()) {
            let what = format!("stage `{}`: {}", first.stage, first.message);
            return Err(StepError::new(first.fault, what));
        }
        failures.into_iter().for_each(|failure| scope.fail(failure));
        let (skipped, failed) = if on_error == OnError::Skip { (lost, 0) } else { (0, lost) };
        let rows_in = batch.num_rows() as u64;
        written.add(&StageCounts { rows_in, rows_out: rows_in - lost, skipped, failed, ..StageCounts::default() });
    }
    // A source that was told to stop ends its stream early and in order; such rows are not all that there are.
    if scope.cancel.is_raised() {
        return Err(StepError::new(Fault::Outside, "interrupted"));
    }
    let new = writer.finish()?;
    let merged = match (&keys, merge) {
        (Some(keys), Some(merge)) => {
            keys.merge(&spec.output, merge, &schema).inspect_err(|_| Prepared::discard_all(&new))?
        }
        _ => Merged::default(),
    };
    let files: Vec<Prepared> = merged.files.into_iter().chain(new).collect();
    let elapsed = started.elapsed();
    let bytes = files.iter().map(|file| file.bytes).sum();
    written.add(&StageCounts { nanos: elapsed.as_nanos() as u64, bytes, ..StageCounts::default() });
    Ok(TaskResult { files, replaced: merged.replaced, counts: scope.counts(), failures: scope.failures(), elapsed })
}
