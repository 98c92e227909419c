//! Runs a program that is given all rows, and gives those that it makes of them.
//!
//! It is fed beside the reading of its answer, as it may answer before it has read everything. Its input is read to the end even when it
//! stops listening, so that the books of what is below balance.

use std::{fmt, pin::pin, sync::Arc, time::Duration};

use datafusion::{
    arrow::{
        array::{ArrayRef, RecordBatch, RecordBatchOptions},
        datatypes::{FieldRef, Schema, SchemaRef},
    },
    common::{Result, internal_err, runtime::SpawnedTask, tree_node::TreeNodeRecursion},
    execution::{SendableRecordBatchStream, TaskContext},
    physical_expr::{Distribution, EquivalenceProperties, OrderingRequirements, PhysicalExpr},
    physical_plan::{
        DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties,
        execution_plan::{Boundedness, EmissionType},
        stream::RecordBatchStreamAdapter,
    },
};
use dflow_pipeline::Fault;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use tokio::time::{Instant, sleep_until};

use crate::{
    command_messages::Broken,
    command_node::{CommandSpec, shown},
    command_process::{Input, Process},
    error::StepError,
    scope::{StageCounters, StageCounts, TaskScope},
};

/// The physical node.
#[derive(Debug)]
pub struct CommandExec {
    spec: Arc<CommandSpec>,
    reads: Vec<Arc<dyn PhysicalExpr>>,
    input: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
}

impl CommandExec {
    /// Gives a program what it reads of `input`.
    pub fn new(spec: Arc<CommandSpec>, reads: Vec<Arc<dyn PhysicalExpr>>, input: Arc<dyn ExecutionPlan>) -> Self {
        let columns: Vec<FieldRef> = spec.columns.clone();
        let schema = Arc::new(Schema::new_with_metadata(columns, input.schema().metadata().clone()));
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Final,
            Boundedness::Bounded,
        );
        Self { spec, reads, input, properties: Arc::new(properties) }
    }
}

impl DisplayAs for CommandExec {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "CommandExec: {}", shown(&self.spec, &self.reads))
    }
}

impl ExecutionPlan for CommandExec {
    fn name(&self) -> &str {
        "CommandExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn required_input_distribution(&self) -> Vec<Distribution> {
        vec![Distribution::SinglePartition]
    }

    fn required_input_ordering(&self) -> Vec<Option<OrderingRequirements>> {
        // A program may see the order: without this, DataFusion drops a sort that nothing it knows of needs.
        vec![self.input.properties().output_ordering().cloned().map(OrderingRequirements::from)]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        let mut recursion = TreeNodeRecursion::Continue;
        for expr in &self.reads {
            recursion = f(expr)?;
        }
        Ok(recursion)
    }

    fn with_new_children(self: Arc<Self>, mut children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        match children.pop() {
            Some(input) => Ok(Arc::new(Self::new(self.spec.clone(), self.reads.clone(), input))),
            None => internal_err!("a command without input"),
        }
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let Some(scope) = context.session_config().get_extension::<TaskScope>() else {
            return internal_err!("a command runs outside of a task");
        };
        let work = Arc::new(Work {
            counters: scope.counters(&self.spec.program.stage),
            spec: self.spec.clone(),
            reads: self.reads.clone(),
            schema: self.schema(),
        });
        let input = self.input.execute(partition, context)?;
        let batches = stream::once(async move { work.begin(input) }).try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), batches)))
    }
}

/// What a running program works for.
struct Work {
    counters: Arc<StageCounters>,
    spec: Arc<CommandSpec>,
    reads: Vec<Arc<dyn PhysicalExpr>>,
    schema: SchemaRef,
}

/// A program that runs, and who feeds it.
struct Running {
    work: Arc<Work>,
    process: Process,
    /// `None` when all was handed over.
    feeding: Option<SpawnedTask<Result<()>>>,
    /// When its answer must be whole.
    deadline: Option<Instant>,
}

/// What came next.
enum Next {
    Answer(Result<Option<RecordBatch>, Broken>),
    Silence,
}

impl Work {
    /// Starts the program. Gives its answer, batch by batch.
    fn begin(self: Arc<Self>, input: SendableRecordBatchStream) -> Result<impl Stream<Item = Result<RecordBatch>>> {
        let mut process = Process::start(&self.spec.program)?;
        let feeding = match process.take_input() {
            Some(pipe) => Some(SpawnedTask::spawn(feed(self.clone(), input, pipe))),
            None => return internal_err!("a program without input"),
        };
        let rows = (self.spec.batch.rows as usize).max(1);
        let running = Running { work: self, process, feeding, deadline: None };
        let answers = stream::try_unfold(running, Running::next);
        // A program may answer with all rows at once; who goes on with them takes some at a time.
        Ok(answers.flat_map(move |answer| match answer {
            Ok(answer) => {
                let starts = (0..answer.num_rows()).step_by(rows);
                stream::iter(starts.map(move |i| Ok(answer.slice(i, rows.min(answer.num_rows() - i))))).boxed()
            }
            Err(error) => stream::iter([Err(error)]).boxed(),
        }))
    }

    /// The columns that go in.
    fn ports(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let rows = batch.num_rows();
        let program = &self.spec.program;
        let ports =
            self.reads.iter().map(|read| read.evaluate(batch)?.into_array(rows)).collect::<Result<Vec<ArrayRef>>>()?;
        let fields = program.input.fields().iter().zip(&ports);
        let fields: Vec<FieldRef> = fields
            .map(|(field, port)| Arc::new(field.as_ref().clone().with_data_type(port.data_type().clone())))
            .collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let ports = RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), ports, &options)?;
        Ok(program.plain(&ports)?)
    }
}

/// Hands all rows to the program.
async fn feed(work: Arc<Work>, mut rows: SendableRecordBatchStream, mut input: Input) -> Result<()> {
    let limit = work.spec.program.timeout.map(|limit| limit.duration());
    let mut listens = true;
    while let Some(batch) = rows.next().await {
        let batch = batch?;
        work.counters.add(&StageCounts { rows_in: batch.num_rows() as u64, ..StageCounts::default() });
        if listens {
            let bytes = input.encoded(&work.ports(&batch)?).map_err(StepError::internal)?;
            listens = written(&mut input, &bytes, limit).await;
        }
    }
    if listens {
        let bytes = input.finished().map_err(StepError::internal)?;
        written(&mut input, &bytes, limit).await;
    }
    Ok(())
}

/// Writes bytes, for as long as it may take; `false` when they aren't read.
async fn written(input: &mut Input, bytes: &[u8], limit: Option<Duration>) -> bool {
    match limit {
        None => input.write(bytes).await,
        Some(limit) => tokio::time::timeout(limit, input.write(bytes)).await.unwrap_or(false),
    }
}

impl Running {
    /// The next batch of the answer.
    async fn next(mut self) -> Result<Option<(RecordBatch, Self)>> {
        let program = self.work.spec.program.clone();
        let limit = program.timeout;
        let next = {
            // It is the same one in every turn: what it has read of a message is in it.
            let mut answer = pin!(self.process.answers.next());
            loop {
                let deadline = self.deadline;
                let fed = async {
                    match &mut self.feeding {
                        Some(feeding) => feeding.await,
                        None => std::future::pending().await,
                    }
                };
                let late = async {
                    match deadline {
                        Some(deadline) => sleep_until(deadline).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    biased;
                    answer = &mut answer => break Next::Answer(answer),
                    fed = fed => {
                        self.feeding = None;
                        self.deadline = limit.map(|limit| Instant::now() + limit.duration());
                        fed.map_err(|e| StepError::new(Fault::Internal, format!("a task ended: {e}")))??;
                    }
                    () = late => break Next::Silence,
                }
            }
        };
        let answer = match next {
            Next::Answer(Ok(Some(answer))) => answer,
            Next::Answer(Ok(None)) => return self.finished().await,
            Next::Answer(Err(broken)) => {
                // What failed below ends the program, too, and is what is to be told.
                self.fed().await?;
                return Err(program.broken(self.process, &broken).await.into());
            }
            Next::Silence => {
                let Some(limit) = limit else { return internal_err!("a limit that isn't there") };
                return Err(program.silent(self.process, limit).await.into());
            }
        };
        match program.expected().columns(&answer) {
            Ok(columns) => {
                let options = RecordBatchOptions::new().with_row_count(Some(columns.num_rows()));
                let schema = self.work.schema.clone();
                let rows = RecordBatch::try_new_with_options(schema, columns.columns().to_vec(), &options)?;
                let rows_made = rows.num_rows() as u64;
                self.work.counters.add(&StageCounts { rows_made, ..StageCounts::default() });
                Ok(Some((rows, self)))
            }
            Err(what) => Err(program.wrong(self.process, &format!("answered {what}")).await.into()),
        }
    }

    /// Waits until its input is read to the end, or until that failed.
    async fn fed(&mut self) -> Result<()> {
        match self.feeding.take() {
            Some(feeding) => {
                feeding.await.map_err(|e| StepError::new(Fault::Internal, format!("a task ended: {e}")))?
            }
            None => Ok(()),
        }
    }

    /// Its answer is whole: all that is left is that it ends well.
    async fn finished(mut self) -> Result<Option<(RecordBatch, Self)>> {
        self.fed().await?;
        let program = self.work.spec.program.clone();
        let ending = self.process.end(program.timeout.map(|limit| limit.duration())).await;
        if ending.is_good() {
            return Ok(None);
        }
        if let (false, Some(limit)) = (ending.is_known(), program.timeout) {
            return Err(program.lingers(&ending, limit).into());
        }
        Err(program.ended(&ending, "after its answer").into())
    }
}
