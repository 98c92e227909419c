//! What the host and its guests log: warnings by default, on one line each, above what is live; all that `DFLOW_LOG` asks for.

use std::{
    collections::BTreeSet,
    fmt::{self, Write as _},
    io,
    sync::{Arc, Mutex, PoisonError},
};

use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
    span,
};
use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

use crate::{failure::Failure, outside::Outside, terminal::Terminal};

/// How many different warnings are shown unless `DFLOW_LOG` is set: a guest may log a line for every row.
const SHOWN: usize = 20;

/// What is told without being a warning.
const TOLD: [&str; 2] = ["dflow_wasm::sandbox", "dflow_operators::command_process"];

/// Starts logging.
///
/// # Errors
/// `DFLOW_LOG` can't be read.
pub(crate) fn start(outside: &Outside, terminal: &Arc<Terminal>) -> Result<(), Failure> {
    let terminal = Lines(terminal.clone());
    let set = match outside.env("DFLOW_LOG") {
        None => tracing::subscriber::set_global_default(Warnings { terminal, said: Mutex::default() }),
        Some(directives) => {
            let filter = EnvFilter::try_new(&directives).map_err(|e| {
                Failure::usage(format!("`DFLOW_LOG={directives}` can't be read: {e}"))
                    .hint("a level (`warn`, `info`, `debug`, `trace`), or levels of parts: `warn,dflow_wasm=debug`")
            })?;
            let colour = terminal.0.colour();
            let subscriber =
                tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colour).with_writer(terminal).finish();
            tracing::subscriber::set_global_default(subscriber)
        }
    };
    set.map_err(|e| Failure::outside(format!("logging was started already: {e}")))
}

/// Writes logged lines where people read.
struct Lines(Arc<Terminal>);

impl io::Write for &Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.say(&String::from_utf8_lossy(line));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> &'a Self {
        self
    }
}

/// Shows warnings, each once and the first few of them, and what took long enough that somebody may wonder.
struct Warnings {
    terminal: Lines,
    said: Mutex<Said>,
}

/// What was said already.
#[derive(Debug, Default)]
struct Said {
    lines: BTreeSet<String>,
    /// Whether it was said that not everything is.
    more: bool,
}

impl Said {
    /// What is to be said of a line: the line, when it is new; once, that there is more; then nothing.
    fn next(&mut self, line: String) -> Option<String> {
        if self.lines.len() < SHOWN && self.lines.insert(line.clone()) {
            return Some(line);
        }
        let first = !std::mem::replace(&mut self.more, true);
        first.then(|| "warn: there are more such lines; `DFLOW_LOG=warn` shows all of them".to_owned())
    }
}

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let target = metadata.target();
        let level = *metadata.level();
        metadata.is_event()
            && target.starts_with("dflow")
            // A component is compiled once, and that takes seconds; what programs say is for people.
            && (level <= Level::WARN || (level == Level::INFO && TOLD.contains(&target)))
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::INFO)
    }

    fn new_span(&self, _span: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _span: &span::Id, _values: &span::Record<'_>) {}

    fn record_follows_from(&self, _span: &span::Id, _follows: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let level = *event.metadata().level();
        let mut line = Line::default();
        event.record(&mut line);
        if level > Level::WARN {
            return self.terminal.0.say(&line.message);
        }
        let line = line.shown(if level == Level::ERROR { "error" } else { "warn" });
        let next = self.said.lock().unwrap_or_else(PoisonError::into_inner).next(line);
        if let Some(line) = next {
            self.terminal.0.say(&line);
        }
    }

    fn enter(&self, _span: &span::Id) {}

    fn exit(&self, _span: &span::Id) {}
}

/// What of an event is shown.
#[derive(Debug, Default)]
struct Line {
    stage: String,
    message: String,
}

impl Line {
    /// `warn stage `clean`: `acme/clean@1.2.0` (…): the message`.
    fn shown(&self, level: &str) -> String {
        let at = if self.stage.is_empty() { String::new() } else { format!(" {}", self.stage) };
        format!("{level}{at}: {}", self.message)
    }
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "stage" {
            self.stage = value.to_owned();
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            // Writing to a string can't fail.
            let _ = write!(self.message, "{value:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_name_their_stage_where_there_is_one() {
        let line = Line { stage: "stage `clean`: `acme/clean@1.2.0`".to_owned(), message: "odd".to_owned() };
        assert_eq!(line.shown("warn"), "warn stage `clean`: `acme/clean@1.2.0`: odd");
        assert_eq!(Line { stage: String::new(), ..line }.shown("warn"), "warn: odd");
    }

    #[test]
    fn lines_are_said_once_and_not_without_end() {
        let mut said = Said::default();
        assert_eq!(said.next("a".to_owned()).as_deref(), Some("a"));
        assert!(said.next("a".to_owned()).is_some_and(|line| line.contains("DFLOW_LOG=warn")));
        assert_eq!(said.next("a".to_owned()), None);
        let shown = (0..100).filter_map(|i| said.next(format!("b{i}"))).count();
        assert_eq!(shown, SHOWN - 1);
    }
}
