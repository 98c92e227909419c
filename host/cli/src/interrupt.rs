//! Ctrl-C: the first one ends what runs, in order; the second one ends the process.

use std::{sync::Arc, thread};

use dflow_pipeline::exit;
use dflow_run::Cancel;

use crate::{failure::Failure, terminal::Terminal};

/// Watches for Ctrl-C (and for being told to end) from now on, in a thread of its own, which nothing that computes can delay.
///
/// # Errors
/// The thread can't be started.
pub(crate) fn watch(cancel: Cancel, terminal: Arc<Terminal>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
    let runtime = runtime.map_err(|e| Failure::outside(format!("can't watch for signals: {e}")))?;
    let watching = move || {
        runtime.block_on(async {
            let Some(mut signals) = Signals::new() else { return };
            signals.next().await;
            cancel.raise();
            terminal.say("interrupted: ending running tasks; press again to end at once");
            signals.next().await;
            // No lock is taken here: whoever holds one may be what hangs.
            std::process::exit(i32::from(exit::INTERRUPTED));
        });
    };
    thread::Builder::new()
        .name("dflow-signals".to_owned())
        .spawn(watching)
        .map(drop)
        .map_err(|e| Failure::outside(format!("can't watch for signals: {e}")))
}

/// What came of planning, unless it was interrupted.
pub(crate) fn unless_raised<T, E: Into<Failure>>(cancel: &Cancel, planned: Result<T, E>) -> Result<T, Failure> {
    match cancel.is_raised() {
        true => Err(Failure::Interrupted { goes_on: false }),
        false => planned.map_err(Into::into),
    }
}

/// The signals that ask a process to end.
#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    /// Catches them from now on. `None` where they can't be caught.
    fn new() -> Option<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Some(Self {
            interrupt: signal(SignalKind::interrupt()).ok()?,
            terminate: signal(SignalKind::terminate()).ok()?,
        })
    }

    /// Waits for the next one.
    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Ctrl-C.
#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> Option<Self> {
        Some(Self)
    }

    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
