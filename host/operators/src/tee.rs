//! A plan that several others read in one task: it runs once, and each of its batches goes to every reader.
//!
//! The shared plan is driven by tasks of its own, one for each of its partitions, and each reader takes what it gives from
//! a queue. The queues are bounded in bytes: the slowest reader sets the pace. So readers must be driven together, and no two
//! ways may lead from one shared plan to one reader: a join that reads one side to its end before the other would wait for
//! rows that wait for it. Who cuts plans sees to that (`plan::parts`). A reader that has seen enough drops its stream and is
//! waited for no longer; when none is left, the shared plan ends.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt, mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use datafusion::{
    arrow::{array::RecordBatch, datatypes::SchemaRef},
    common::Result,
    error::DataFusionError,
    execution::{
        SendableRecordBatchStream, TaskContext,
        memory_pool::{MemoryConsumer, MemoryLimit, MemoryReservation},
    },
    physical_plan::{ExecutionPlan, ExecutionPlanProperties},
};
use dflow_pipeline::{Fault, Name};
use futures::{StreamExt, future::poll_fn, ready};

use crate::{
    error::StepError,
    scope::{StageCounters, StageCounts, TaskScope},
    split_column::splits_of,
};

/// How many bytes wait for a reader at most before the shared plan waits for it; one batch more may go beyond. Of little memory
/// it is a part, one of so many.
const QUEUE: usize = 8 << 20;
const QUEUES: usize = 64;

/// The shared plans of a task, by the stage whose rows they give: what physical planning of their readers looks them up in.
/// Found in the session's configuration as an extension.
#[derive(Debug, Default)]
pub struct Tees(Mutex<BTreeMap<Name, Arc<Tee>>>);

impl Tees {
    /// Shares a plan among readers that are planned after it.
    pub fn share(&self, stage: &Name, plan: Arc<dyn ExecutionPlan>, context: Arc<TaskContext>) {
        let tee = Arc::new(Tee::new(stage.clone(), plan, context));
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(stage.clone(), tee);
    }

    /// The shared plan of a stage.
    pub fn get(&self, stage: &Name) -> Option<Arc<Tee>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(stage).cloned()
    }
}

/// A plan and what it runs in.
type Planned = (Arc<dyn ExecutionPlan>, Arc<TaskContext>);

/// A plan that several others read.
pub struct Tee {
    stage: Name,
    schema: SchemaRef,
    lanes: Vec<Arc<Lane>>,
    /// What runs when the first reader begins.
    plan: Mutex<Option<Planned>>,
}

impl Tee {
    fn new(stage: Name, plan: Arc<dyn ExecutionPlan>, context: Arc<TaskContext>) -> Self {
        let memory = MemoryConsumer::new(format!("rows of `{stage}` for several readers"));
        let memory = memory.register(context.memory_pool());
        let counters = context.session_config().get_extension::<TaskScope>().map(|scope| scope.counters(&stage));
        let most = match context.memory_pool().memory_limit() {
            MemoryLimit::Finite(bytes) => (bytes / QUEUES).min(QUEUE),
            _ => QUEUE,
        };
        let lane = |_| {
            let (memory, counters) = (memory.new_empty(), counters.clone().unwrap_or_default());
            Arc::new(Lane { memory, most, counters, state: Mutex::default() })
        };
        let lanes = (0..plan.output_partitioning().partition_count()).map(lane).collect();
        Self { schema: plan.schema(), lanes, plan: Mutex::new(Some((plan, context))), stage }
    }

    /// The stage.
    pub fn stage(&self) -> &Name {
        &self.stage
    }

    /// The columns that it gives: those that any of its readers needs.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// How many partitions it has.
    pub fn partitions(&self) -> usize {
        self.lanes.len()
    }

    /// One reader more. All that it gives waits for this one from now on.
    ///
    /// Fails when the shared plan runs already: this reader would miss what the others have got.
    pub(crate) fn reader(self: &Arc<Self>) -> Result<Reader> {
        let plan = self.plan.lock().unwrap_or_else(PoisonError::into_inner);
        if plan.is_none() {
            let what = format!("a reader of `{}` came when its rows were read already", self.stage);
            let error = StepError::new(Fault::Internal, what).hint("this is a mistake of dflow's; please report it");
            return Err(error.into());
        }
        let mut number = 0;
        for lane in &self.lanes {
            let mut state = lane.state();
            number = state.queues.len();
            state.queues.push(Queue { open: true, ..Queue::default() });
        }
        drop(plan);
        Ok(Reader { tee: self.clone(), number })
    }

    /// Begins to run the shared plan, unless it was begun before.
    fn begin(&self) -> Result<()> {
        let Some((plan, context)) = self.plan.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return Ok(());
        };
        // All streams are made before the first one is driven: if one can't be made, none runs.
        let streams = (0..self.lanes.len()).map(|partition| plan.execute(partition, context.clone()));
        let streams = streams.collect::<Result<Vec<_>>>()?;
        for (lane, stream) in self.lanes.iter().zip(streams) {
            let mut pump = Pump { lane: lane.clone(), stream: Some(stream) };
            // It ends by itself when it has no reader left, and each of those ends when the task does.
            drop(tokio::spawn(poll_fn(move |context| pump.poll(context))));
        }
        Ok(())
    }
}

impl fmt::Debug for Tee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tee").field("stage", &self.stage).field("partitions", &self.lanes.len()).finish_non_exhaustive()
    }
}

/// One partition's rows on their way to all readers.
struct Lane {
    memory: MemoryReservation,
    /// How many bytes may wait for a reader.
    most: usize,
    counters: Arc<StageCounters>,
    state: Mutex<LaneState>,
}

#[derive(Default)]
struct LaneState {
    /// One for each reader.
    queues: Vec<Queue>,
    pump: Option<Waker>,
}

/// What waits for one reader.
#[derive(Default)]
struct Queue {
    /// Whether anybody will read it.
    open: bool,
    /// Whether nothing comes after what is in it.
    ended: bool,
    batches: VecDeque<Result<Arc<Held>>>,
    bytes: usize,
    reader: Option<Waker>,
}

/// A batch that waits for some readers; its memory is accounted once.
struct Held {
    batch: RecordBatch,
    bytes: usize,
    _memory: MemoryReservation,
}

/// What is asked before the next batch is made.
enum Room {
    /// Every reader has room.
    Free,
    /// Some reader has none.
    Full,
    /// There is no reader any more.
    Nobody,
}

impl Lane {
    fn state(&self) -> MutexGuard<'_, LaneState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is room; who asks is woken when that changes.
    fn room(&self, context: &Context<'_>) -> Room {
        let mut state = self.state();
        state.pump = Some(context.waker().clone());
        // The fullest queue of those that somebody reads.
        match state.queues.iter().filter(|queue| queue.open).map(|queue| queue.bytes).max() {
            None => Room::Nobody,
            Some(bytes) if bytes <= self.most => Room::Free,
            Some(_) => Room::Full,
        }
    }

    /// Gives a batch to all readers.
    fn push(&self, batch: RecordBatch) {
        let bytes = batch.get_array_memory_size();
        let memory = self.memory.new_empty();
        // It is there already: that it is counted may make others spill, but it can't be refused.
        memory.grow(bytes);
        let held = Arc::new(Held { batch, bytes, _memory: memory });
        let mut given = 0;
        for queue in self.state().queues.iter_mut().filter(|queue| queue.open) {
            given += 1;
            queue.bytes += bytes;
            queue.push(Ok(held.clone()));
        }
        let each = match given {
            // The last reader left while the batch was made.
            0 => StageCounts { unread: 1, ..StageCounts::default() },
            _ => StageCounts { repeated: given - 1, ..StageCounts::default() },
        };
        self.counters.add_each(&each, held.batch.num_rows(), splits_of(&held.batch));
    }

    /// Tells all readers that there is no more, and why.
    fn end(&self, error: Option<DataFusionError>) {
        let error = error.map(Arc::new);
        for queue in self.state().queues.iter_mut().filter(|queue| queue.open) {
            queue.ended = true;
            if let Some(error) = &error {
                queue.push(Err(DataFusionError::Shared(error.clone())));
            } else if let Some(reader) = queue.reader.take() {
                reader.wake();
            }
        }
    }
}

impl Queue {
    fn push(&mut self, batch: Result<Arc<Held>>) {
        self.batches.push_back(batch);
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

/// Drives one partition of the shared plan.
struct Pump {
    lane: Arc<Lane>,
    /// `None` when it has ended.
    stream: Option<SendableRecordBatchStream>,
}

impl Pump {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while let Some(stream) = &mut self.stream {
            let ended = match self.lane.room(context) {
                Room::Full => return Poll::Pending,
                Room::Nobody => None,
                Room::Free => match ready!(stream.poll_next_unpin(context)) {
                    Some(Ok(batch)) => {
                        self.lane.push(batch);
                        continue;
                    }
                    Some(Err(error)) => Some(error),
                    None => None,
                },
            };
            // What the shared plan holds goes before its readers hear of its end.
            self.stream = None;
            self.lane.end(ended);
        }
        Poll::Ready(())
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        // A panic, or a runtime that shuts down: readers must not wait for ever.
        if self.stream.take().is_some() {
            let what = "the rows that several stages read ended before their end";
            let error = StepError::new(Fault::Internal, what).hint("this is a mistake of dflow's; please report it");
            self.lane.end(Some(error.into()));
        }
    }
}

/// One of the readers. When it is dropped, nothing waits for it any more.
#[derive(Debug)]
pub(crate) struct Reader {
    tee: Arc<Tee>,
    number: usize,
}

impl Reader {
    pub(crate) fn tee(&self) -> &Arc<Tee> {
        &self.tee
    }

    /// The batches of one partition.
    pub(crate) fn read(self: &Arc<Self>, partition: usize) -> Result<Batches> {
        self.tee.begin()?;
        Ok(Batches { reader: self.clone(), partition })
    }

    fn leave(&self, partition: usize) {
        let lane = &self.tee.lanes[partition];
        let mut state = lane.state();
        let left = mem::take(&mut state.queues[self.number]);
        if let Some(pump) = state.pump.take() {
            pump.wake();
        }
        drop(state);
        for held in left.batches.iter().flatten() {
            let unread = StageCounts { unread: 1, ..StageCounts::default() };
            lane.counters.add_each(&unread, held.batch.num_rows(), splits_of(&held.batch));
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        (0..self.tee.lanes.len()).for_each(|partition| self.leave(partition));
    }
}

/// The batches of one partition for one reader, in order.
pub(crate) struct Batches {
    reader: Arc<Reader>,
    partition: usize,
}

impl Batches {
    pub(crate) fn poll_next(&self, context: &Context<'_>) -> Poll<Option<Result<RecordBatch>>> {
        let mut state = self.reader.tee.lanes[self.partition].state();
        let queue = &mut state.queues[self.reader.number];
        let held = match queue.batches.pop_front() {
            Some(Ok(held)) => held,
            Some(Err(error)) => return Poll::Ready(Some(Err(error))),
            None if queue.ended || !queue.open => return Poll::Ready(None),
            None => {
                queue.reader = Some(context.waker().clone());
                return Poll::Pending;
            }
        };
        queue.bytes -= held.bytes;
        let pump = state.pump.take();
        drop(state);
        if let Some(pump) = pump {
            pump.wake();
        }
        Poll::Ready(Some(Ok(held.batch.clone())))
    }
}

impl Drop for Batches {
    fn drop(&mut self) {
        self.reader.leave(self.partition);
    }
}

#[cfg(test)]
mod tests;
