//! One memory with one limit for all that a process runs, and the folder for what doesn't fit into it.

mod pool;
mod spill;

use std::{path::Path, sync::Arc};

use datafusion::execution::{
    disk_manager::{DiskManagerBuilder, DiskManagerMode},
    memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation},
    runtime_env::{RuntimeEnv, RuntimeEnvBuilder},
};
use dflow_operators::{StepError, gathered_bytes, step_error};
use dflow_pipeline::{BatchLimits, Bytes, Fault};
use dflow_wasm::MemoryAccount;

use self::{pool::Pool, spill::SpillFolder};

/// What threads, compiled plugins, plans and the allocator take before the first row is read, and what they may grow by.
const FIXED: u64 = 24 << 20;
/// What each worker takes beside what it counts: its allocator's pages, its decoders and encoders.
const WORKER: u64 = 8 << 20;
/// The least that must be left for rows and plugins.
const LEAST: u64 = 32 << 20;
/// A worker by default has so much for itself, all counted.
const ROOMY: u64 = 40 << 20;
/// Below this, memory is always short.
const SMALL: u64 = 256 << 20;
/// Of what is left, so many of 100 parts are accounted for; the others are for what nobody counts: batches on their way from one
/// operator to the next, decoders, and the memory that is free but not given back yet.
const COUNTED: u64 = 60;
/// All that is merged at a time may hold this part of what is counted, one of so many.
const MERGED: u64 = 4;
/// A file that is merged holds so many batches: those that are merged, those that are read ahead, and what reading them takes
/// beyond their size.
const FILE: u64 = 10;
/// Footers of Parquet files are kept up to this part of the memory.
const FOOTERS: u64 = 16;

/// The memory of a process: what all of it takes its own from, and what was put on disk instead.
#[derive(Debug)]
pub(crate) struct Memory {
    pool: Arc<Pool>,
    spilled: Arc<SpillFolder>,
    /// What plans of DataFusion's are given.
    pub(crate) runtime: Arc<RuntimeEnv>,
}

impl Memory {
    /// A memory of `limit` bytes, all that isn't counted included. `tight` is called when it is short. What doesn't fit goes into
    /// files in `folder`, which is made when the first one is.
    ///
    /// # Errors
    /// The limit is too small to start (fault `Limit`).
    pub(crate) fn new(limit: u64, workers: usize, tight: fn(), folder: &Path) -> Result<Self, StepError> {
        let fixed = FIXED + WORKER * workers as u64;
        if limit < fixed + LEAST {
            let (limit, least) = (Bytes(limit), Bytes(fixed + LEAST));
            let of = if workers == 1 { "one worker".to_owned() } else { format!("{workers} workers") };
            let what = format!("{limit} of memory are too few to start: {of} can do with {least}");
            let hint = match workers {
                1 => "raise `--memory`, or the limit of the container",
                _ => "raise `--memory`, or the limit of the container, or have fewer `--workers`",
            };
            return Err(StepError::new(Fault::Limit, what).hint(hint));
        }
        if limit < SMALL {
            tight();
        }
        let size = (limit - fixed) / 100 * COUNTED;
        let pool = Arc::new(Pool::new(size as usize, limit, tight));
        let spilled = Arc::new(SpillFolder::new(folder));
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(pool.clone())
            .with_metadata_cache_limit((size / FOOTERS) as usize)
            .with_disk_manager_builder(
                DiskManagerBuilder::default()
                    .with_mode(DiskManagerMode::Custom(spilled.clone()))
                    .with_max_temp_directory_size(u64::MAX)
                    .with_max_spill_merge_fan_in(files_at_a_time(size, workers)),
            )
            .build_arc()
            .map_err(|e| step_error(&e))?;
        Ok(Self { pool, spilled, runtime })
    }

    /// Where guests take theirs from.
    pub(crate) fn guests(&self) -> Arc<dyn MemoryAccount> {
        let pool: Arc<dyn MemoryPool> = self.pool.clone();
        Arc::new(Guests(MemoryConsumer::new("plugins").register(&pool)))
    }

    /// The most that was taken at a time, in bytes.
    pub(crate) fn peak(&self) -> u64 {
        self.pool.peak() as u64
    }

    /// Bytes that were put on disk.
    pub(crate) fn spilled(&self) -> u64 {
        self.spilled.bytes()
    }

    /// Removes what runs left on disk that were ended before they could.
    pub(crate) fn sweep(&self) -> Result<(), StepError> {
        self.spilled.sweep()
    }
}

/// How many workers a limit of memory is enough for, up to `cores`; at least one.
pub fn workers_for(memory: u64, cores: usize) -> usize {
    (memory.saturating_sub(FIXED) / ROOMY).clamp(1, cores.max(1) as u64) as usize
}

/// How many files of a sort are merged at a time: as many as there is memory for, less for others.
fn files_at_a_time(size: u64, workers: usize) -> usize {
    let file = FILE * gathered_bytes(BatchLimits::default().bytes, size);
    ((size / MERGED / workers.max(1) as u64 / file) as usize).clamp(8, 64)
}

/// The part of the memory that guests have.
#[derive(Debug)]
struct Guests(MemoryReservation);

impl MemoryAccount for Guests {
    fn try_take(&self, bytes: u64) -> bool {
        self.0.try_grow(bytes as usize).is_ok()
    }

    fn give_back(&self, bytes: u64) {
        self.0.shrink(bytes as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_is_too_small_is_named() {
        let error = Memory::new(1 << 20, 2, || {}, Path::new("/nowhere")).expect_err("it is too small");
        assert_eq!((error.fault, error.message.contains("1.0 MiB")), (Fault::Limit, true), "{error}");
    }

    #[test]
    fn guests_take_from_the_same_memory_as_all_others() {
        let memory = Memory::new(128 << 20, 2, || {}, Path::new("/nowhere")).expect("it is enough");
        let guests = memory.guests();
        assert!(guests.try_take(30 << 20) && !guests.try_take(30 << 20));
        guests.give_back(30 << 20);
        assert!(guests.try_take(1 << 20));
        assert_eq!((memory.runtime.memory_pool.reserved(), memory.peak()), (1 << 20, 30 << 20));
    }

    #[test]
    fn little_memory_is_for_few_workers() {
        for (memory, workers) in
            [(0, 1), (64 << 20, 1), (96_000_000, 1), (128 << 20, 2), (512_000_000, 11), (8 << 30, 16)]
        {
            assert_eq!(workers_for(memory, 16), workers, "{memory}");
        }
    }
}
