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
    /// The sink whose tasks are being done, and what is done of them.
    sink: Option<Done>,
}

struct Done {
    name: String,
    tasks: u64,
    rows: u64,
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
            Event::TaskDone { sink, rows, .. } => {
                if state.sink.as_ref().is_some_and(|done| done.name != sink.as_str()) {
                    ended(state.sink.take(), &self.terminal);
                }
                let done = state.sink.get_or_insert_with(|| Done { name: sink.to_string(), tasks: 0, rows: 0 });
                done.tasks += 1;
                done.rows += rows;
            }
            Event::Finished { .. } => ended(state.sink.take(), &self.terminal),
        }
    }
}

/// Sinks run one after the other: the next one's first task, or the end of the run, is the end of this one.
fn ended(sink: Option<Done>, terminal: &Terminal) {
    if let Some(Done { name, tasks, rows }) = sink {
        let (rows, tasks) = (words::plural(rows, "row"), words::plural(tasks, "task"));
        terminal.say(&format!("sink `{name}` is done: {rows} in {tasks}"));
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
