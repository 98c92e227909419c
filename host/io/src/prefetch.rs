//! Reading ahead: jobs on the IO runtime's blocking pool whose results come in order, within a bound of bytes.
//!
//! What is read ahead lies in memory until it is asked for. Where reading is quicker than what is done with it, a job or two are enough;
//! how many are needed elsewhere is found out by waiting for one.

use std::collections::VecDeque;

use futures::{Stream, stream};
use tokio::{runtime::Handle, task::JoinHandle};

use crate::IoError;

/// Bytes that may be read ahead of what was asked for, at most.
pub(crate) const AHEAD_BYTES: u64 = 8 << 20;
/// Jobs that may be under way at once, at most, for those that have few bytes.
const AHEAD_JOBS: usize = 8;

/// A job that isn't begun any more once nobody waits for it.
pub(crate) struct Job<T>(pub(crate) JoinHandle<T>);

impl<T> Drop for Job<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl<T> Job<T> {
    pub(crate) async fn result(mut self) -> Result<T, IoError> {
        (&mut self.0).await.map_err(IoError::lost)
    }
}

/// Runs independent jobs, each given with its bytes, several at once; their results in the jobs' order. They are two at first, and
/// twice as many whenever a result is asked for that isn't there yet.
pub(crate) fn ordered<T, J, F>(io: Handle, jobs: J) -> impl Stream<Item = Result<T, IoError>> + Send
where
    T: Send + 'static,
    J: Iterator<Item = (u64, F)> + Send,
    F: FnOnce() -> T + Send + 'static,
{
    let running = VecDeque::<(u64, Job<T>)>::new();
    // The first result is never there yet.
    let at_once = 1usize;
    stream::unfold((io, jobs, running, 0, at_once), |(io, mut jobs, mut running, mut ahead, mut at_once)| async move {
        // Of large jobs there may be none under way.
        if running.front().is_none_or(|(_, job)| !job.0.is_finished()) {
            at_once = AHEAD_JOBS.min(at_once * 2);
        }
        let most = AHEAD_BYTES * at_once as u64 / AHEAD_JOBS as u64;
        while running.is_empty() || (ahead < most && running.len() < at_once) {
            let Some((bytes, job)) = jobs.next() else { break };
            ahead += bytes;
            running.push_back((bytes, Job(io.spawn_blocking(job))));
        }
        let (bytes, job) = running.pop_front()?;
        let result = job.result().await;
        Some((result, (io, jobs, running, ahead - bytes, at_once)))
    })
}

/// Repeats a step that carries a state on; while its results are taken, the next step runs. A step that gives nothing is the
/// last.
pub(crate) fn chained<T, S>(
    io: Handle,
    state: S,
    step: fn(&mut S) -> Vec<T>,
) -> impl Stream<Item = Result<T, IoError>> + Send
where
    T: Send + 'static,
    S: Send + 'static,
{
    let begin = move |io: &Handle, mut state: S| {
        Job(io.spawn_blocking(move || {
            let results = step(&mut state);
            (state, results)
        }))
    };
    // The first step begins with the stream, not with its first poll.
    let first = begin(&io, state);
    stream::unfold((io, Some(first), Vec::new().into_iter()), move |(io, mut running, mut ready)| async move {
        loop {
            if let Some(result) = ready.next() {
                return Some((Ok(result), (io, running, ready)));
            }
            match running.take()?.result().await {
                Err(error) => return Some((Err(error), (io, None, ready))),
                Ok((_, results)) if results.is_empty() => return None,
                Ok((state, results)) => {
                    running = Some(begin(&io, state));
                    ready = results.into_iter();
                }
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use std::{
        pin::pin,
        sync::{
            atomic::{AtomicU64, Ordering::Relaxed},
            mpsc::sync_channel,
        },
    };

    use futures::{StreamExt, poll};

    use super::*;
    use crate::testing::{Ground, block_on};

    #[test]
    fn results_come_in_order_and_a_lost_job_is_an_error() {
        let ground = Ground::new();
        let jobs = (0..100u64).map(|i| {
            let job = move || {
                std::thread::sleep(std::time::Duration::from_millis((100 - i) % 3));
                i
            };
            (i << 18, job)
        });
        let results: Vec<_> = block_on(ordered(ground.io(), jobs).map(Result::unwrap).collect());
        assert_eq!(results, (0..100).collect::<Vec<_>>());
        let count = |n: &mut u32| {
            *n += 1;
            if *n < 5 { vec![*n; *n as usize] } else { vec![] }
        };
        let results: Vec<_> = block_on(chained(ground.io(), 0, count).map(Result::unwrap).collect());
        assert_eq!(results, [1, 2, 2, 3, 3, 3, 4, 4, 4, 4]);
        let mut lost = ordered(ground.io(), [(1, || assert!(std::hint::black_box(false)))].into_iter()).boxed();
        assert_eq!(block_on(lost.next()).unwrap().unwrap_err().fault, dflow_pipeline::Fault::Internal);
    }

    #[test]
    fn who_never_waits_has_little_read_ahead() {
        // Its one thread does one job after the other: when a later one is done, so are those before it.
        let one = tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).build().unwrap();
        // Of jobs that are larger than what may be read ahead at first, one is begun before the first is asked for, too.
        for (bytes, first) in [(0, 2), (1 << 20, 2), (3 << 20, 1)] {
            let begun = AtomicU64::new(0);
            let jobs = (0..20u64).map(|i| {
                begun.fetch_add(1, Relaxed);
                (bytes, move || i)
            });
            let mut results = pin!(ordered(one.handle().clone(), jobs));
            for i in 0..20u64 {
                assert_eq!(block_on(results.next()).unwrap().unwrap(), i);
                let expected = if i == 0 { first } else { (i + 2).min(20) };
                assert_eq!(begun.load(Relaxed), expected, "of {bytes} bytes, at {i}");
                block_on(one.spawn_blocking(|| {})).unwrap();
            }
        }
    }

    #[test]
    fn who_waits_has_more_read_ahead() {
        let ground = Ground::new();
        let (gates, closed): (Vec<_>, Vec<_>) = (0..12).map(|_| sync_channel(1)).unzip();
        let begun = AtomicU64::new(0);
        let jobs = closed.into_iter().map(|gate| {
            begun.fetch_add(1, Relaxed);
            (1 << 10, move || gate.recv().unwrap())
        });
        let mut results = pin!(ordered(ground.io(), jobs));
        let under_way = block_on(async {
            let mut under_way = Vec::new();
            for (i, gate) in (0u64..).zip(&gates) {
                let mut next = results.next();
                assert!(poll!(&mut next).is_pending(), "it can't be there yet");
                under_way.push(begun.load(Relaxed) - i);
                gate.send(i).unwrap();
                assert_eq!(next.await.unwrap().unwrap(), i);
            }
            under_way
        });
        assert_eq!(under_way, [2, 4, 8, 8, 8, 7, 6, 5, 4, 3, 2, 1]);
    }
}
