//! The time that the host waits for others on a guest's behalf: it isn't the guest's.

use std::{
    future::Future,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::time::timeout;

/// What was waited during one call of a guest.
#[derive(Clone, Debug, Default)]
pub(crate) struct Waiting(Arc<Mutex<Waited>>);

#[derive(Debug, Default)]
struct Waited {
    /// Since when the guest's time counts.
    started: Option<Instant>,
    before: Duration,
    /// Since when it waits now.
    since: Option<Instant>,
}

/// Waits for as long as it lives.
pub(crate) struct Waits(Waiting);

impl Waiting {
    /// Begins to wait.
    pub(crate) fn begin(&self) -> Waits {
        self.waited().since = Some(Instant::now());
        Waits(self.clone())
    }

    /// The guest has its whole time again.
    pub(crate) fn restart(&self) {
        *self.waited() = Waited { started: Some(Instant::now()), ..Waited::default() };
    }

    /// What comes of a call that takes at most so long, what was waited left out; `None` when it takes longer.
    pub(crate) async fn within<T>(&self, most: Duration, call: impl Future<Output = T>) -> Option<T> {
        self.restart();
        let mut call = pin!(call);
        let mut left = most;
        loop {
            if let Ok(done) = timeout(left, &mut call).await {
                return Some(done);
            }
            left = most.checked_sub(self.own()).filter(|left| !left.is_zero())?;
        }
    }

    /// The time that was not waited.
    fn own(&self) -> Duration {
        let waited = self.waited();
        let elapsed = |since: Option<Instant>| since.map_or(Duration::ZERO, |since| since.elapsed());
        elapsed(waited.started).saturating_sub(waited.before + elapsed(waited.since))
    }

    fn waited(&self) -> MutexGuard<'_, Waited> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        let mut waited = self.0.waited();
        let since = waited.since.take();
        waited.before += since.map_or(Duration::ZERO, |since| since.elapsed());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_waited_does_not_count() {
        let waiting = Waiting::default();
        let most = Duration::from_millis(40);
        let slow = waiting.within(most, async {
            let _waits = waiting.begin();
            tokio::time::sleep(most * 3).await;
        });
        assert!(slow.await.is_some());
        assert!(waiting.within(most, tokio::time::sleep(most * 3)).await.is_none());
        let begun_again = waiting.within(most, async {
            for _ in 0..6 {
                tokio::time::sleep(most / 2).await;
                waiting.restart();
            }
        });
        assert!(begun_again.await.is_some());
    }
}
