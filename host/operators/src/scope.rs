//! The task that operators work for: its splits, its counters, its failed rows.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use datafusion::arrow::array::RecordBatch;
use dflow_io::Split;
use dflow_pipeline::{BatchLimits, Fault, Name, OnError};
use dflow_wasm::Cancel;
use serde::{Deserialize, Serialize};

use crate::{
    by_split::{BySplit, SplitCounts},
    dead_letters::DeadLetters,
    error::StepError,
    first_rows::FirstRows,
    left_out::LeftOut,
    recall::Recall,
};

/// How many failed rows of a stage one task describes; all are counted.
const DESCRIBED: usize = 100;

/// What a task's operators share. Found in the session's configuration as an extension.
#[derive(Debug)]
pub struct TaskScope {
    /// The splits that each source stage reads.
    pub splits: BTreeMap<Name, Arc<[Split]>>,
    /// Into how many partitions a source's splits are dealt.
    pub partitions: usize,
    /// How many batches an operator works on at a time.
    pub parallel: usize,
    /// With `--first N`: how many rows each source gives.
    pub first: Option<u64>,
    /// How batches are cut.
    pub batch: BatchLimits,
    /// Ends the task when raised.
    pub cancel: Cancel,
    /// Where rows that failed are kept; nowhere when nothing is written.
    pub dead: Option<Arc<DeadLetters>>,
    /// What became of the first rows of each stage of the run; of no matter when it is `None`.
    pub first_rows: Option<Arc<FirstRows>>,
    /// Rows that are dead, since the task has failed at them.
    pub left_out: Arc<[LeftOut]>,
    /// What stages gave before for the same content.
    pub recalls: BTreeMap<Name, Arc<Recall>>,
    books: Arc<Books>,
    /// Stages that another plan of the task runs too, and tells of.
    told: BTreeSet<Name>,
}

/// What is counted and told of a task's stages.
#[derive(Debug, Default)]
struct Books {
    counters: Mutex<BTreeMap<Name, Arc<StageCounters>>>,
    /// Of stages where they run once more.
    again: Mutex<BTreeMap<Name, Arc<StageCounters>>>,
    failures: Mutex<BTreeMap<Name, Vec<RowFailure>>>,
}

/// A row that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowFailure {
    /// The stage in which it failed.
    pub stage: Name,
    /// Its `__id__`, where the stage's rows have one.
    pub id: Option<String>,
    /// The URI of the file it comes from, where it comes from one as a whole or as a line.
    pub uri: Option<String>,
    /// The place among the task's splits of the one that it comes from, where that is followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<u32>,
    /// Whose fault.
    pub fault: Fault,
    /// A short name for grouping.
    pub kind: String,
    /// What is wrong.
    pub message: String,
    /// How often it was tried.
    #[serde(default = "once")]
    pub attempts: u32,
}

fn once() -> u32 {
    1
}

/// Rows of one batch of a stage that failed.
#[derive(Debug, Default)]
pub struct Failed {
    /// What happened to each.
    pub failures: Vec<RowFailure>,
    /// Their columns, where they have some.
    pub rows: Option<RecordBatch>,
    /// How many of the batch's rows before the first that came through failed, from its first on.
    pub leading: usize,
    /// How many rows the batch had.
    pub of: usize,
}

/// Live counters of one stage in one task.
#[derive(Debug, Default)]
pub struct StageCounters {
    rows_in: AtomicU64,
    rows_made: AtomicU64,
    rows_out: AtomicU64,
    repeated: AtomicU64,
    unread: AtomicU64,
    filtered: AtomicU64,
    skipped: AtomicU64,
    failed: AtomicU64,
    recalled: AtomicU64,
    calls: AtomicU64,
    input_tokens: AtomicU64,
    cached_tokens: AtomicU64,
    output_tokens: AtomicU64,
    usd: AtomicU64,
    bytes: AtomicU64,
    nanos: AtomicU64,
    aside: AtomicU64,
    /// Of the rows those of each of the task's splits, as far as they are told apart.
    splits: Mutex<SplitCounts>,
}

/// What was counted of one stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageCounts {
    /// Rows that went in.
    pub rows_in: u64,
    /// Rows that a source or an operator made; those that a later stage's filter dropped at once don't come out.
    pub rows_made: u64,
    /// Rows that came out.
    pub rows_out: u64,
    /// Rows that came out once and went to several stages: how often they were read beyond once.
    pub repeated: u64,
    /// Rows that came out for a stage that had seen enough by then.
    pub unread: u64,
    /// Rows that a filter dropped.
    pub filtered: u64,
    /// Failed rows that were dropped because the stage says so.
    pub skipped: u64,
    /// Failed rows.
    pub failed: u64,
    /// Rows in that had failed in an earlier task, and are counted there as rows in and as failed.
    #[serde(default)]
    pub replayed: u64,
    /// Rows in whose results were known from earlier runs.
    #[serde(default)]
    pub recalled: u64,
    /// Requests that were sent to models.
    #[serde(default)]
    pub calls: u64,
    /// Tokens that went into models, those in providers' caches included.
    #[serde(default)]
    pub input_tokens: u64,
    /// Tokens that went into models and were in providers' caches.
    #[serde(default)]
    pub cached_tokens: u64,
    /// Tokens that came out of models.
    #[serde(default)]
    pub output_tokens: u64,
    /// What models cost, in billionths of a dollar.
    #[serde(default)]
    pub usd: u64,
    /// Bytes read (sources).
    pub bytes: u64,
    /// Time, that of the stages below included, in nanoseconds.
    pub nanos: u64,
    /// Time of its own that isn't within `nanos`, as it was spent on other cores meanwhile, in nanoseconds.
    pub aside: u64,
}

impl StageCounts {
    /// As many times what was counted of one row.
    fn times(&self, rows: u64) -> Self {
        Self {
            rows_in: self.rows_in * rows,
            rows_made: self.rows_made * rows,
            rows_out: self.rows_out * rows,
            repeated: self.repeated * rows,
            unread: self.unread * rows,
            filtered: self.filtered * rows,
            skipped: self.skipped * rows,
            failed: self.failed * rows,
            replayed: self.replayed * rows,
            bytes: self.bytes * rows,
            ..Self::default()
        }
    }

    /// Adds another task's.
    pub fn add(&mut self, other: &Self) {
        self.rows_in += other.rows_in;
        self.rows_made += other.rows_made;
        self.rows_out += other.rows_out;
        self.repeated += other.repeated;
        self.unread += other.unread;
        self.filtered += other.filtered;
        self.skipped += other.skipped;
        self.failed += other.failed;
        self.replayed += other.replayed;
        self.recalled += other.recalled;
        self.calls += other.calls;
        self.input_tokens += other.input_tokens;
        self.cached_tokens += other.cached_tokens;
        self.output_tokens += other.output_tokens;
        self.usd += other.usd;
        self.bytes += other.bytes;
        self.nanos += other.nanos;
        self.aside += other.aside;
    }
}

impl StageCounters {
    /// Counts what is given.
    pub fn add(&self, counts: &StageCounts) {
        self.rows_in.fetch_add(counts.rows_in, Relaxed);
        self.rows_made.fetch_add(counts.rows_made, Relaxed);
        self.rows_out.fetch_add(counts.rows_out, Relaxed);
        self.repeated.fetch_add(counts.repeated, Relaxed);
        self.unread.fetch_add(counts.unread, Relaxed);
        self.filtered.fetch_add(counts.filtered, Relaxed);
        self.skipped.fetch_add(counts.skipped, Relaxed);
        self.failed.fetch_add(counts.failed, Relaxed);
        self.recalled.fetch_add(counts.recalled, Relaxed);
        self.calls.fetch_add(counts.calls, Relaxed);
        self.input_tokens.fetch_add(counts.input_tokens, Relaxed);
        self.cached_tokens.fetch_add(counts.cached_tokens, Relaxed);
        self.output_tokens.fetch_add(counts.output_tokens, Relaxed);
        self.usd.fetch_add(counts.usd, Relaxed);
        self.bytes.fetch_add(counts.bytes, Relaxed);
        self.nanos.fetch_add(counts.nanos, Relaxed);
        self.aside.fetch_add(counts.aside, Relaxed);
    }

    /// Counts rows of one of the task's splits.
    pub fn add_to(&self, split: u32, counts: &StageCounts) {
        self.add(counts);
        self.splits.lock().unwrap_or_else(PoisonError::into_inner).add(split, counts);
    }

    /// Counts rows by what is counted of each; `splits` says which of the task's splits each comes from, where that is followed.
    pub fn add_each(&self, one: &StageCounts, rows: usize, splits: Option<&[u32]>) {
        self.add(&one.times(rows as u64));
        let Some(splits) = splits.filter(|splits| !splits.is_empty()) else { return };
        let mut counted = self.splits.lock().unwrap_or_else(PoisonError::into_inner);
        for run in splits.chunk_by(|a, b| a == b) {
            counted.add(run[0], &one.times(run.len() as u64));
        }
    }

    /// The rows of each of the task's splits, if all are told apart. They are given once: nothing more is to be counted.
    fn by_split(&self) -> Option<SplitCounts> {
        let splits = mem::take(&mut *self.splits.lock().unwrap_or_else(PoisonError::into_inner));
        // Of the bytes only those are told apart that were read.
        let rows = |counts: StageCounts| StageCounts { bytes: 0, ..counts.times(1) };
        (rows(splits.sum()) == rows(self.counts())).then_some(splits)
    }

    /// The counts at this moment.
    pub fn counts(&self) -> StageCounts {
        StageCounts {
            rows_in: self.rows_in.load(Relaxed),
            rows_made: self.rows_made.load(Relaxed),
            rows_out: self.rows_out.load(Relaxed),
            repeated: self.repeated.load(Relaxed),
            unread: self.unread.load(Relaxed),
            filtered: self.filtered.load(Relaxed),
            skipped: self.skipped.load(Relaxed),
            failed: self.failed.load(Relaxed),
            replayed: 0,
            recalled: self.recalled.load(Relaxed),
            calls: self.calls.load(Relaxed),
            input_tokens: self.input_tokens.load(Relaxed),
            cached_tokens: self.cached_tokens.load(Relaxed),
            output_tokens: self.output_tokens.load(Relaxed),
            usd: self.usd.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            nanos: self.nanos.load(Relaxed),
            aside: self.aside.load(Relaxed),
        }
    }
}

impl TaskScope {
    /// A task's scope, nothing counted yet.
    pub fn new(
        splits: BTreeMap<Name, Arc<[Split]>>,
        partitions: usize,
        parallel: usize,
        first: Option<u64>,
        batch: BatchLimits,
        cancel: Cancel,
    ) -> Self {
        let (books, told) = (Arc::default(), BTreeSet::new());
        let (recalls, left_out) = (BTreeMap::new(), Arc::from([]));
        Self {
            splits,
            partitions,
            parallel,
            first,
            batch,
            cancel,
            dead: None,
            first_rows: None,
            left_out,
            recalls,
            books,
            told,
        }
    }

    /// The same for a plan that runs stages which another plan of the task runs too: what happens in them here is told there.
    #[must_use]
    pub fn again(&self, told: BTreeSet<Name>) -> Self {
        Self {
            splits: self.splits.clone(),
            cancel: self.cancel.clone(),
            dead: self.dead.clone(),
            first_rows: self.first_rows.clone(),
            left_out: self.left_out.clone(),
            recalls: self.recalls.clone(),
            books: self.books.clone(),
            told,
            partitions: self.partitions,
            parallel: self.parallel,
            first: self.first,
            batch: self.batch,
        }
    }

    /// A stage's counters.
    pub fn counters(&self, stage: &Name) -> Arc<StageCounters> {
        let books = if self.told.contains(stage) { &self.books.again } else { &self.books.counters };
        let mut counters = books.lock().unwrap_or_else(PoisonError::into_inner);
        counters.entry(stage.clone()).or_default().clone()
    }

    /// All that was counted until now, of each stage once.
    pub fn counts(&self) -> BTreeMap<Name, StageCounts> {
        counted(&self.books.counters)
    }

    /// What was counted of stages where they run once more.
    pub fn counts_again(&self) -> BTreeMap<Name, StageCounts> {
        counted(&self.books.again)
    }

    /// The rows of each stage by the task's splits, those included that ran once more. `None` when not all of them are told apart.
    pub fn by_split(&self) -> Option<BySplit> {
        let of = |counters: &Mutex<BTreeMap<Name, Arc<StageCounters>>>| {
            let counters = counters.lock().unwrap_or_else(PoisonError::into_inner);
            let counted = counters.iter().map(|(name, counters)| Some((name.clone(), counters.by_split()?)));
            counted.collect::<Option<BTreeMap<_, _>>>()
        };
        Some(BySplit { counts: of(&self.books.counters)?, again: of(&self.books.again)? })
    }

    /// Takes in what became of a batch of a stage: describes the rows that failed (they are counted apart), and keeps them as dead letters
    /// where the stage says so. `code` is the digest of what they failed in.
    ///
    /// # Errors
    /// The first rows of the stage all failed; dead letters can't be written.
    pub fn met(&self, stage: &Name, on_error: OnError, code: Option<&str>, failed: &Failed) -> Result<(), StepError> {
        if self.told.contains(stage) {
            return Ok(());
        }
        if !failed.failures.is_empty() {
            let mut books = self.books.failures.lock().unwrap_or_else(PoisonError::into_inner);
            let described = books.entry(stage.clone()).or_default();
            let room = DESCRIBED.saturating_sub(described.len());
            described.extend(failed.failures.iter().take(room).cloned());
        }
        if let (OnError::DeadLetter, Some(dead)) = (on_error, &self.dead) {
            dead.write(&failed.failures, failed.rows.as_ref(), code)?;
        }
        if let (Some(first), false) = (&self.first_rows, on_error == OnError::Skip) {
            first.failed(&failed.failures[..failed.leading.min(failed.failures.len())])?;
            if failed.leading < failed.of {
                first.through(stage);
            }
        }
        Ok(())
    }

    /// The failed rows that were described.
    pub fn failures(&self) -> Vec<RowFailure> {
        let failures = self.books.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.values().flatten().cloned().collect()
    }
}

fn counted(counters: &Mutex<BTreeMap<Name, Arc<StageCounters>>>) -> BTreeMap<Name, StageCounts> {
    let counters = counters.lock().unwrap_or_else(PoisonError::into_inner);
    counters.iter().map(|(name, counters)| (name.clone(), counters.counts())).collect()
}
