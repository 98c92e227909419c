//! Live progress on a terminal: a line for each stage, and one for all.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use dflow_run::{Event, Observer, Plan};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::{
    terminal::Terminal,
    watch::{Stages, stages::Now},
    words,
};

/// Live lines.
pub(crate) struct Bars {
    terminal: Arc<Terminal>,
    stages: Stages,
    /// What stands above the stages; held, as a line that nobody holds is no longer drawn.
    _blank: ProgressBar,
    lines: Vec<ProgressBar>,
    all: ProgressBar,
    tasks: Mutex<usize>,
}

impl Bars {
    /// Begins a line for each stage of a plan, and one for all.
    pub(crate) fn new(plan: &Plan, terminal: Arc<Terminal>) -> Self {
        let stages = Stages::of(plan);
        let live: MultiProgress = terminal.begin_live();
        let line = || live.add(ProgressBar::no_length().with_style(style("{wide_msg}")));
        // A terminal echoes Ctrl-C at the end of the last line, which moves all lines by one: the first is left behind then,
        // and nobody sees it when it is blank.
        let blank = line();
        blank.tick();
        let lines = (0..stages.len()).map(|_| line()).collect();
        let all = live.add(ProgressBar::new(0).with_style(style("[{bar:30}] {msg}").progress_chars("=> ")));
        Self { terminal, stages, _blank: blank, lines, all, tasks: Mutex::new(0) }
    }

    fn show(&self, stages: &[Now], tasks_done: usize, seconds: f64) {
        for (line, text) in self.lines.iter().zip(texts(stages)) {
            line.set_message(text);
        }
        let tasks = *self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        self.all.set_length(tasks as u64);
        self.all.set_message(format!(
            "{tasks_done}/{} · {}",
            words::plural(tasks as u64, "task"),
            words::seconds(seconds)
        ));
        self.all.set_position(tasks_done as u64);
    }
}

impl Observer for Bars {
    fn event(&self, event: &Event<'_>) {
        match event {
            Event::Started { tasks, .. } => *self.tasks.lock().unwrap_or_else(PoisonError::into_inner) = *tasks,
            Event::Planned { tasks, .. } => *self.tasks.lock().unwrap_or_else(PoisonError::into_inner) += *tasks,
            Event::Progress { stages, tasks_done, seconds } => {
                self.show(&self.stages.now(stages, *seconds), *tasks_done, *seconds);
            }
            Event::TaskDone { .. } | Event::SinkDone { .. } | Event::Finished { .. } => {}
        }
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        self.terminal.end_live();
    }
}

/// Something that takes a while before there is anything to count.
pub(crate) struct Wait {
    terminal: Arc<Terminal>,
    line: ProgressBar,
}

impl Wait {
    /// Says what is waited for, and shows that it goes on.
    pub(crate) fn new(what: &'static str, terminal: Arc<Terminal>) -> Self {
        let line = terminal.begin_live().add(ProgressBar::new_spinner().with_style(style("{spinner} {msg} {elapsed}")));
        line.set_message(what);
        line.enable_steady_tick(Duration::from_millis(120));
        Self { terminal, line }
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        self.line.finish_and_clear();
        self.terminal.end_live();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the templates here are well-formed")
}

/// A text for each stage, in columns.
fn texts(stages: &[Now]) -> Vec<String> {
    let cells: Vec<[String; 6]> = stages
        .iter()
        .map(|now| {
            let rate = words::rate(now.rows_in, now.seconds);
            [
                now.name.clone(),
                now.what.clone(),
                words::count(now.rows_in),
                words::count(now.rows_out),
                if rate.is_empty() { rate } else { format!("{rate} rows/s") },
                now.more().join(", "),
            ]
        })
        .collect();
    let width = |i: usize| cells.iter().map(|row| row[i].len()).max().unwrap_or_default();
    let (name, what, rows_in, rows_out, rate) = (width(0), width(1), width(2), width(3), width(4));
    let text = |row: &[String; 6]| {
        let [n, w, i, o, r, failed] = row;
        format!("{n:name$}  {w:what$}  {i:>rows_in$} → {o:>rows_out$}  {r:>rate$}  {failed}").trim_end().to_owned()
    };
    cells.iter().map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::stages::tests::{counts, stages};

    #[test]
    fn stages_stand_in_columns() {
        let stages = stages();
        stages.now(&counts(&[("pages", 1, 1, 0), ("long", 1, 0, 0)]), 0.0);
        let now = stages.now(&counts(&[("pages", 2400, 1203, 2), ("long", 1203, 80, 0)]), 2.0);
        assert_eq!(
            texts(&now),
            [
                "pages  read    2,400 → 1,203  1,200 rows/s  2 failed",
                "long   filter  1,203 →    80    602 rows/s",
                "out    write       0 →     0",
            ]
        );
    }
}
