//! One memory with one limit for all that a process runs, and the folder for what doesn't fit into it.

mod pool;
mod spill;

use std::{path::Path, sync::Arc};

use datafusion::execution::{
    disk_manager::{DiskManagerBuilder, DiskManagerMode},
    memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation},
    runtime_env::{RuntimeEnv, RuntimeEnvBuilder},
};
use dflow_operators::{StepError, step_error};
use dflow_pipeline::{Bytes, Fault};
use dflow_wasm::MemoryAccount;

use self::{pool::Pool, spill::SpillFolder};

/// What threads, compiled plugins, plans and the allocator take before the first row is read, and what they may grow by.
const FIXED: u64 = 24 << 20;
/// The least with which anything can be run.
const LEAST: u64 = 64 << 20;
/// Below this, memory is always short.
const SMALL: u64 = 256 << 20;
/// Of what is left, so many of 100 parts are accounted for; the others are for what nobody counts: batches on their way from one
/// operator to the next, decoders, and the memory that is free but not given back yet.
const COUNTED: u64 = 70;
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
    pub(crate) fn new(limit: u64, tight: fn(), folder: &Path) -> Result<Self, StepError> {
        if limit < LEAST {
            let what = format!("{} of memory are too few to start: the least is {}", Bytes(limit), Bytes(LEAST));
            return Err(StepError::new(Fault::Limit, what).hint("raise `--memory`, or the limit of the container"));
        }
        if limit < SMALL {
            tight();
        }
        let size = (limit - FIXED) / 100 * COUNTED;
        let pool = Arc::new(Pool::new(size as usize, limit, tight));
        let spilled = Arc::new(SpillFolder::new(folder));
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(pool.clone())
            .with_metadata_cache_limit((size / FOOTERS) as usize)
            .with_disk_manager_builder(
                DiskManagerBuilder::default()
                    .with_mode(DiskManagerMode::Custom(spilled.clone()))
                    .with_max_temp_directory_size(u64::MAX),
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
        let error = Memory::new(1 << 20, || {}, Path::new("/nowhere")).expect_err("it is too small");
        assert_eq!((error.fault, error.message.contains("1.0 MiB")), (Fault::Limit, true), "{error}");
    }

    #[test]
    fn guests_take_from_the_same_memory_as_all_others() {
        let memory = Memory::new(128 << 20, || {}, Path::new("/nowhere")).expect("it is enough");
        let guests = memory.guests();
        assert!(guests.try_take(40 << 20) && !guests.try_take(40 << 20));
        guests.give_back(40 << 20);
        assert!(guests.try_take(1 << 20));
        assert_eq!((memory.runtime.memory_pool.reserved(), memory.peak()), (1 << 20, 40 << 20));
    }
}
