//! Progress in plain lines, for logs: one every few seconds, and one at the end of each sink.

use std::sync::{Arc, Mutex, PoisonError};

use dflow_run::{Event, Observer, Plan};

use crate::{
    terminal::Terminal,
    watch::{Stages, stages::Now},
    words,
};

/// Seconds between two lines.
const EVERY: f64 = 5.0;

/// Plain lines.
pub(crate) struct Lines {
    terminal: Arc<Terminal>,
    stages: Stages,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// When the last line was told.
    told: f64,
    tasks: usize,
}

impl Lines {
    /// Nothing told yet.
    pub(crate) fn new(plan: &Plan, terminal: Arc<Terminal>) -> Self {
        Self { terminal, stages: Stages::of(plan), state: Mutex::default() }
    }
}

impl Observer for Lines {
    fn event(&self, event: &Event<'_>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Started { tasks, bytes, .. } => {
                state.tasks = *tasks;
                let bytes = dflow_pipeline::Bytes(*bytes);
                self.terminal.say(&format!("running {} over {bytes}", words::plural(*tasks as u64, "task")));
            }
            Event::Progress { stages, tasks_done, seconds } => {
                let now = self.stages.now(stages, *seconds);
                if seconds - state.told >= EVERY {
                    state.told = *seconds;
                    self.terminal.say(&progress(&now, *tasks_done, state.tasks, *seconds));
                }
            }
            Event::SinkDone { sink, tasks, rows } => {
                let (rows, tasks) = (words::plural(*rows, "row"), words::plural(*tasks as u64, "task"));
                self.terminal.say(&format!("sink `{sink}` is done: {rows} in {tasks}"));
            }
            Event::TaskDone { .. } | Event::Finished { .. } => {}
        }
    }
}

fn progress(stages: &[Now], tasks_done: usize, tasks: usize, seconds: f64) -> String {
    let stage = |now: &Now| {
        let failed = if now.failed == 0 { String::new() } else { format!(" ({} failed)", words::count(now.failed)) };
        format!("{} {} → {}{failed}", now.name, words::count(now.rows_in), words::count(now.rows_out))
    };
    let stages: Vec<_> = stages.iter().map(stage).collect();
    let tasks = words::plural(tasks as u64, "task");
    format!("{}: {tasks_done}/{tasks}; {}", words::seconds(seconds), stages.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::stages::tests::{counts, stages};

    #[test]
    fn a_line_says_how_far_each_stage_is() {
        let now = stages().now(&counts(&[("pages", 2400, 1203, 2), ("long", 1203, 80, 0), ("out", 70, 70, 0)]), 5.0);
        assert_eq!(
            progress(&now, 3, 12, 5.0),
            "5.0 s: 3/12 tasks; pages 2,400 → 1,203 (2 failed); long 1,203 → 80; out 70 → 70"
        );
    }
}
