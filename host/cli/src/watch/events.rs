//! A run as JSON on stdout, one event a line. The first one has the version of the format.

use std::sync::{Arc, Mutex, PoisonError};

use dflow_run::{Event, Observer, SCHEMA_VERSION};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{failure::Failure, terminal::Terminal};

/// Seconds between two reports of progress.
const EVERY: f64 = 1.0;

/// Events as JSON.
pub(crate) struct Events {
    terminal: Arc<Terminal>,
    told: Mutex<f64>,
}

impl Events {
    /// Nothing told yet.
    pub(crate) fn new(terminal: Arc<Terminal>) -> Self {
        Self { terminal, told: Mutex::new(0.0) }
    }
}

impl Observer for Events {
    fn event(&self, event: &Event<'_>) {
        if let Event::Progress { seconds, .. } = event {
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            if seconds - *told < EVERY {
                return;
            }
            *told = *seconds;
        }
        print(&self.terminal, event);
    }
}

/// Tells that there is no more to come, and why. It has the version too, as it may be the first event.
pub(crate) fn failed(failure: &Failure, terminal: &Terminal) {
    print(terminal, &document(failure));
}

fn document(failure: &Failure) -> Value {
    let exit = failure.exit_code();
    match failure {
        Failure::Mistakes(mistakes) => {
            let mistake = |mistake: &dflow_pipeline::Mistake| {
                let place = mistakes.source.as_ref().and_then(|sources| sources.place(mistake));
                let place = place.and_then(|(text, span)| {
                    let before = text.text.get(..span.start)?;
                    let line = before.matches('\n').count() + 1;
                    let column = before.rsplit('\n').next().unwrap_or(before).chars().count() + 1;
                    Some(json!({ "file": text.name, "line": line, "column": column, "bytes": [span.start, span.end] }))
                });
                json!({
                    "at": mistake.at.to_string(), "place": place, "fault": mistake.fault,
                    "message": mistake.message, "hint": mistake.hint,
                })
            };
            let list: Vec<_> = mistakes.list.iter().map(mistake).collect();
            json!({ "event": "failed", "schema_version": SCHEMA_VERSION, "exit": exit, "mistakes": list })
        }
        Failure::Error { message, hint, fault } => json!({
            "event": "failed", "schema_version": SCHEMA_VERSION, "exit": exit,
            "fault": fault.map_or("usage", |fault| fault.as_str()), "message": message, "hint": hint,
        }),
        Failure::Interrupted { .. } => {
            json!({ "event": "interrupted", "schema_version": SCHEMA_VERSION, "exit": exit })
        }
    }
}

fn print(terminal: &Terminal, event: &impl Serialize) {
    if let Ok(mut line) = serde_json::to_vec(event) {
        line.push(b'\n');
        // A run doesn't end because nobody can be told how it goes.
        drop(terminal.print(&line));
    }
}

#[cfg(test)]
mod tests {
    use dflow_pipeline::written;

    use super::*;

    #[test]
    fn mistakes_have_places() {
        let text = "[stage.pages]\nread = \"*.html\"\nlimmit = 3\n";
        let mistakes = written::read("p.toml", text, &[], &|_| None).whole().expect_err("there are mistakes");
        let document = document(&Failure::Mistakes(mistakes));
        assert_eq!(document["exit"], 3);
        let unknown = document["mistakes"].as_array().expect("a list").iter().find(|m| m["place"]["line"] == 3);
        let unknown = unknown.expect("the key in line 3 is a mistake");
        assert_eq!(unknown["place"]["column"], 1);
        assert!(unknown["message"].as_str().is_some_and(|m| m.contains("limmit")), "{unknown}");
    }

    #[test]
    fn an_error_says_whose_it_is() {
        let document = document(&Failure::usage("not so").hint("but so"));
        assert_eq!(
            document.to_string(),
            r#"{"event":"failed","schema_version":1,"exit":2,"fault":"usage","message":"not so","hint":"but so"}"#
        );
    }
}
