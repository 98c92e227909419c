//! Tests of plans that several others read.

use std::{
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
    time::Duration,
};

use datafusion::{
    arrow::{
        array::{ArrayRef, UInt64Array},
        datatypes::{DataType, Field, Schema},
    },
    common::internal_err,
    physical_plan::{
        stream::RecordBatchStreamAdapter,
        streaming::{PartitionStream, StreamingTableExec},
    },
    prelude::SessionConfig,
};
use dflow_pipeline::BatchLimits;
use dflow_wasm::Cancel;
use futures::stream::{self, BoxStream};

use super::*;
use crate::TeeExec;

/// Rows of a batch: 256 KiB.
const ROWS: usize = 32 << 10;

/// A plan of one partition that gives batches, and knows how many it has made.
#[derive(Debug)]
struct Numbers {
    schema: SchemaRef,
    batches: usize,
    then: Then,
    made: Arc<AtomicUsize>,
    /// How many streams of it there are.
    alive: Arc<()>,
}

/// What comes after the last batch.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Then {
    Ends,
    Fails,
    Panics,
}

impl PartitionStream for Numbers {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let (schema, made, alive) = (self.schema.clone(), self.made.clone(), self.alive.clone());
        let (batches, then) = (self.batches, self.then);
        let stream = stream::iter(0..=batches).map(move |i| {
            let _alive = &alive;
            if i == batches {
                assert!(then != Then::Panics, "the shared plan panics");
                return if then == Then::Fails {
                    internal_err!("broken")
                } else {
                    Ok(RecordBatch::new_empty(schema.clone()))
                };
            }
            made.fetch_add(1, SeqCst);
            let numbers = UInt64Array::from_iter_values((0..ROWS as u64).map(|row| i as u64 * ROWS as u64 + row));
            Ok(RecordBatch::try_new(schema.clone(), vec![Arc::new(numbers) as ArrayRef])?)
        });
        Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), stream))
    }
}

type Batches = BoxStream<'static, Result<RecordBatch>>;

struct Shared {
    tee: Arc<Tee>,
    made: Arc<AtomicUsize>,
    alive: Arc<()>,
    context: Arc<TaskContext>,
    scope: Arc<TaskScope>,
    stage: Name,
}

fn shared(batches: usize, then: Then) -> Shared {
    let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::UInt64, false)]));
    let (made, alive) = (Arc::default(), Arc::default());
    let numbers = |_| -> Arc<dyn PartitionStream> {
        Arc::new(Numbers { schema: schema.clone(), batches, then, made: Arc::clone(&made), alive: Arc::clone(&alive) })
    };
    let plan = StreamingTableExec::try_new(schema.clone(), (0..2).map(numbers).collect(), None, [], false, None);
    let plan = Arc::new(plan.expect("a plan"));
    let scope = Arc::new(TaskScope::new(BTreeMap::new(), 2, 1, None, BatchLimits::default(), Cancel::new()));
    let config = SessionConfig::new().with_extension(scope.clone());
    let context = Arc::new(TaskContext::default().with_session_config(config));
    let stage: Name = "numbers".parse().expect("a name");
    let tees = Tees::default();
    tees.share(&stage, plan, context.clone());
    Shared { tee: tees.get(&stage).expect("it is shared"), made, alive, context, scope, stage }
}

impl Shared {
    /// A reader whose rows nobody has asked for yet.
    fn planned(&self, fetch: Option<usize>) -> Result<TeeExec> {
        TeeExec::new(&self.tee, None, vec![0], None, fetch)
    }

    /// Both partitions for each of some readers, which are driven only while they are read. All are there before the first
    /// runs.
    fn readers<const N: usize>(&self, fetches: [Option<usize>; N]) -> [Batches; N] {
        fetches.map(|fetch| self.planned(fetch).expect("a reader")).map(|exec| {
            stream::select_all((0..2).map(|i| exec.execute(i, self.context.clone()).expect("it runs"))).boxed()
        })
    }

    fn made(&self) -> usize {
        self.made.load(SeqCst)
    }

    /// Waits until nobody drives the shared plan any more.
    async fn ended(self) {
        drop(self.tee);
        while Arc::strong_count(&self.alive) > 1 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// The rows of a reader.
async fn rows(mut reader: Batches) -> Result<usize> {
    let mut rows = 0;
    while let Some(batch) = reader.next().await {
        rows += batch?.num_rows();
    }
    Ok(rows)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_reader_gets_everything_and_the_plan_runs_once() {
    let shared = shared(100, Then::Ends);
    let [a, b, c] = shared.readers([None; 3]);
    let (a, b, c) = tokio::join!(rows(a), rows(b), rows(c));
    assert_eq!([a.ok(), b.ok(), c.ok()], [Some(200 * ROWS); 3]);
    assert_eq!(shared.made(), 200);
    let counts = shared.scope.counters(&shared.stage).counts();
    assert_eq!((counts.repeated, counts.unread), (2 * 200 * ROWS as u64, 0));
    shared.ended().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_slowest_reader_sets_the_pace_until_it_leaves() {
    let shared = shared(100, Then::Ends);
    let [mut quick, slow] = shared.readers([None; 2]);
    let mut read = 0;
    while let Ok(Some(batch)) = tokio::time::timeout(Duration::from_millis(200), quick.next()).await {
        read += batch.expect("a batch").num_rows();
    }
    // In each of two partitions: what fits into a queue, and one batch beyond it.
    let most = 2 * (QUEUE / (8 * ROWS) + 1);
    assert!(shared.made() <= most, "{} batches were made for a reader that has read none", shared.made());
    assert_eq!(read, shared.made() * ROWS, "the quick one got all of them");
    drop(slow);
    assert_eq!(read + rows(quick).await.expect("all rows"), 200 * ROWS);
    let counts = shared.scope.counters(&shared.stage).counts();
    assert_eq!(counts.repeated, counts.unread, "all that was for the slow one was left unread");
    shared.ended().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_without_readers_ends() {
    let shared = shared(usize::MAX - 1, Then::Ends);
    // A reader that never begins, as one whose rows turn out not to be needed.
    let idle = shared.planned(None).expect("a reader");
    let [few, mut other] = shared.readers([Some(10), None]);
    let few = rows(few).await.expect("the first rows");
    assert!((10..=20).contains(&few), "10 of each partition, if it was that quick: {few}");
    assert!(other.next().await.expect("a batch").is_ok());
    drop(idle);
    drop(other);
    shared.ended().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_and_panics_reach_every_reader() {
    for (then, message) in [(Then::Fails, "broken"), (Then::Panics, "ended before their end")] {
        let shared = shared(1, then);
        let [a, b] = shared.readers([None; 2]);
        let (a, b) = tokio::join!(rows(a), rows(b));
        for result in [a, b] {
            let error = result.expect_err("it broke").to_string();
            assert!(error.contains(message), "{error}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_too_late_is_refused() {
    let shared = shared(1, Then::Ends);
    let [a] = shared.readers([None]);
    let error = shared.planned(None).expect_err("rows may be gone already").to_string();
    assert!(error.contains("a reader of `numbers` came when its rows were read already"), "{error}");
    assert_eq!(rows(a).await.expect("all rows"), 2 * ROWS);
}
