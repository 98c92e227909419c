//! Waiting to a tenth of a millisecond. The runtime's own timer goes by whole milliseconds and rounds up: answers of 100 ms took 101.3.

use std::{
    cmp::Ordering,
    collections::BinaryHeap,
    sync::{Condvar, LazyLock, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

static TIMER: LazyLock<&'static Timer> = LazyLock::new(|| {
    let timer: &'static Timer = Box::leak(Box::default());
    thread::spawn(|| timer.run());
    timer
});

#[derive(Default)]
struct Timer {
    waiting: Mutex<BinaryHeap<Waiting>>,
    earlier: Condvar,
}

/// Who waits, and until when.
struct Waiting(Instant, oneshot::Sender<()>);

/// Waits so long.
pub async fn sleep(time: Duration) {
    let (sender, over) = oneshot::channel();
    TIMER.add(Waiting(Instant::now() + time, sender));
    drop(over.await);
}

impl Timer {
    fn waiting(&self) -> MutexGuard<'_, BinaryHeap<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, one: Waiting) {
        let mut waiting = self.waiting();
        let earliest = waiting.peek().is_none_or(|first| one.0 < first.0);
        waiting.push(one);
        if earliest {
            self.earlier.notify_one();
        }
    }

    fn run(&self) {
        let mut waiting = self.waiting();
        loop {
            let now = Instant::now();
            while waiting.peek().is_some_and(|first| first.0 <= now) {
                if let Some(Waiting(_, sender)) = waiting.pop() {
                    // Who waited may have gone.
                    let _ = sender.send(());
                }
            }
            let pause = waiting.peek().map_or(Duration::from_secs(3600), |first| first.0 - now);
            waiting = self.earlier.wait_timeout(waiting, pause).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

// The earliest is the greatest.
impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> Ordering {
        other.0.cmp(&self.0)
    }
}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for Waiting {}
