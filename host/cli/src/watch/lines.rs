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
            Event::Started { tasks, reused, bytes, later, .. } => {
                state.tasks = *tasks;
                if *tasks > 0 || *later == 0 {
                    self.terminal.say(&started(*tasks, *reused, dflow_pipeline::Bytes(*bytes)));
                }
            }
            Event::Planned { tasks, reused, bytes, .. } => {
                state.tasks += *tasks;
                if *tasks > 0 {
                    self.terminal.say(&started(*tasks, *reused, dflow_pipeline::Bytes(*bytes)));
                }
            }
            Event::Progress { stages, tasks_done, seconds } => {
                let now = self.stages.now(stages, *seconds);
                if seconds - state.told >= EVERY {
                    state.told = *seconds;
                    self.terminal.say(&progress(&now, *tasks_done, state.tasks, *seconds));
                }
            }
            Event::SinkDone { sink, saved, tasks, reused, rows } => {
                let (rows, all) = (words::plural(*rows, "row"), words::plural(*tasks as u64, "task"));
                let before = if *reused == 0 {
                    String::new()
                } else {
                    format!(", {} of them before", words::count(*reused as u64))
                };
                let what = if *saved { "saved stage" } else { "sink" };
                self.terminal.say(&format!("{what} `{sink}` is done: {rows} in {all}{before}"));
            }
            Event::TaskDone { .. } | Event::Finished { .. } => {}
        }
    }
}

fn started(tasks: usize, reused: usize, bytes: dflow_pipeline::Bytes) -> String {
    let done = || words::plural(reused as u64, "task");
    match (tasks, reused) {
        (_, 0) => format!("running {} over {bytes}", words::plural(tasks as u64, "task")),
        (0, _) => format!(
            "nothing to run: {} done already",
            if reused == 1 { "1 task is".to_owned() } else { format!("{} are", done()) }
        ),
        _ => format!("running {} over {bytes}, beside {} done already", words::plural(tasks as u64, "task"), done()),
    }
}

fn progress(stages: &[Now], tasks_done: usize, tasks: usize, seconds: f64) -> String {
    let stage = |now: &Now| {
        let more = now.more().join(", ");
        let more = if more.is_empty() { more } else { format!(" ({more})") };
        format!("{} {} → {}{more}", now.name, words::count(now.rows_in), words::count(now.rows_out))
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
    fn what_is_done_already_is_told() {
        let bytes = dflow_pipeline::Bytes(7);
        for (tasks, reused, line) in [
            (2, 0, "running 2 tasks over 7 B"),
            (1, 3, "running 1 task over 7 B, beside 3 tasks done already"),
            (0, 1, "nothing to run: 1 task is done already"),
            (0, 3, "nothing to run: 3 tasks are done already"),
        ] {
            assert_eq!(started(tasks, reused, bytes), line);
        }
    }

    #[test]
    fn a_line_says_how_far_each_stage_is() {
        let now = stages().now(&counts(&[("pages", 2400, 1203, 2), ("long", 1203, 80, 0), ("out", 70, 70, 0)]), 5.0);
        assert_eq!(
            progress(&now, 3, 12, 5.0),
            "5.0 s: 3/12 tasks; pages 2,400 → 1,203 (2 failed); long 1,203 → 80; out 70 → 70"
        );
    }
}
