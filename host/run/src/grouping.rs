//! Splits grouped into tasks. Grouping is scheduling: no result depends on it.

use std::ops::Range;

use dflow_io::Split;
use dflow_operators::deal;

/// Tasks for each worker, so that the last ones to finish don't wait long for each other.
const TASKS_A_WORKER: u64 = 4;
/// The least input that is worth a task and a file of its own.
const LEAST: u64 = 1 << 20;

/// Consecutive ranges of splits, one for each task: of at most about `task_bytes`, and enough of them for all workers.
pub(crate) fn tasks(splits: &[Split], workers: usize, task_bytes: u64) -> Vec<Range<usize>> {
    let total: u64 = splits.iter().map(|s| s.size.max(1)).sum();
    let shared = total.div_ceil(workers as u64 * TASKS_A_WORKER).max(LEAST);
    let size = shared.min(task_bytes.max(1));
    let parts = total.div_ceil(size).clamp(1, splits.len().max(1) as u64);
    deal(splits, parts as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_worker_has_something_to_do() {
        let splits: Vec<_> = (0..100)
            .map(|i| Split {
                volume: String::new(),
                path: i.to_string(),
                size: 1 << 20,
                modified: 0,
                etag: String::new(),
            })
            .collect();
        assert_eq!(tasks(&splits, 2, 64 << 20).len(), 8);
        assert_eq!(tasks(&splits, 1, 10 << 20).len(), 10);
        assert_eq!(tasks(&splits, 2, 1).len(), 100);
        assert_eq!(tasks(&splits[..1], 2, 64 << 20).len(), 1);
        assert_eq!(tasks(&[], 2, 64 << 20), vec![0..0]);
    }
}
