//! Reading ahead: jobs on the IO runtime's blocking pool whose results come in order, within a bound of bytes.

use std::collections::VecDeque;

use futures::{Stream, stream};
use tokio::{runtime::Handle, task::JoinHandle};

use crate::IoError;

/// Bytes that may be read ahead of what was asked for.
pub(crate) const AHEAD_BYTES: u64 = 8 << 20;
/// Jobs that may be under way at once, for those that have few bytes.
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

/// Runs independent jobs, each given with its bytes, several at once; their results in the jobs' order.
pub(crate) fn ordered<T, J, F>(io: Handle, jobs: J) -> impl Stream<Item = Result<T, IoError>> + Send
where
    T: Send + 'static,
    J: Iterator<Item = (u64, F)> + Send,
    F: FnOnce() -> T + Send + 'static,
{
    let running = VecDeque::<(u64, Job<T>)>::new();
    stream::unfold((io, jobs, running, 0), |(io, mut jobs, mut running, mut ahead)| async move {
        while running.is_empty() || (ahead < AHEAD_BYTES && running.len() < AHEAD_JOBS) {
            let Some((bytes, job)) = jobs.next() else { break };
            ahead += bytes;
            running.push_back((bytes, Job(io.spawn_blocking(job))));
        }
        let (bytes, job) = running.pop_front()?;
        let result = job.result().await;
        Some((result, (io, jobs, running, ahead - bytes)))
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
    use futures::StreamExt;

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
}
