//! Splits grouped into tasks. Grouping is scheduling: no result depends on it.

use dflow_io::Splits;
use dflow_operators::deal;

/// Tasks for each worker, so that the last ones to finish don't wait long for each other.
const TASKS_A_WORKER: u64 = 4;
/// The least input that is worth a task and a file of its own.
const LEAST: u64 = 1 << 20;

/// The splits of each task: of at most about `task_bytes`, and enough tasks for all workers. With `cut`, large splits are cut.
pub(crate) fn tasks(splits: &Splits, workers: usize, task_bytes: u64, cut: bool) -> Vec<Splits> {
    let total: u64 = splits.iter().map(|s| s.bytes().max(1)).sum();
    let shared = total.div_ceil(workers as u64 * TASKS_A_WORKER).max(LEAST);
    let size = shared.min(task_bytes.max(1));
    deal(splits, total.div_ceil(size).max(1) as usize, cut)
}

#[cfg(test)]
mod tests {
    use dflow_io::Split;

    use super::*;

    #[test]
    fn every_worker_has_something_to_do() {
        let splits: Vec<_> = (0..100)
            .map(|i| Split {
                volume: String::new(),
                path: i.to_string(),
                size: 1 << 20,
                modified: 0,
                range: None,
                etag: String::new(),
            })
            .collect();
        let splits = Splits::from(splits);
        assert_eq!(tasks(&splits, 2, 64 << 20, false).len(), 8);
        assert_eq!(tasks(&splits, 1, 10 << 20, false).len(), 10);
        assert_eq!(tasks(&splits, 2, 1, false).len(), 100);
        assert_eq!(tasks(&splits.part(0..1), 2, 64 << 20, false).len(), 1);
        assert_eq!(tasks(&Splits::default(), 2, 64 << 20, false), [Splits::default()]);
    }
}
