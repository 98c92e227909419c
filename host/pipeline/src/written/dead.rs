//! `from = "name.dead"`: the rows that failed at a stage, as a stage of their own.

use std::collections::HashMap;

use super::stage::{Source, WrittenStage};
use crate::{CommandRows, MaxFailures, Mistake, Name, OnError, Pipeline, Stage, Verb, form::DEAD};

/// The verbs at which rows fail.
const FAIL: [&str; 9] = ["read", "open", "use", "prompt", "embed", "classify", "python", "js", "command"];

/// The stage whose dead rows are meant.
pub(super) fn of(source: &str) -> Option<&str> {
    source.strip_suffix(DEAD)?.strip_suffix('.')
}

/// The stages whose dead rows others read. Notes those that have none.
pub(super) fn routed(stages: &[WrittenStage<'_>], found: &mut Vec<Mistake>) -> Vec<Name> {
    let by_name: HashMap<&str, &WrittenStage<'_>> = stages.iter().map(|stage| (stage.name, stage)).collect();
    let mut routed: Vec<Name> = Vec::new();
    for source in stages.iter().flat_map(super::graph::edges) {
        if by_name.contains_key(source.name.as_str()) {
            continue;
        }
        let Some(stage) = of(&source.name).and_then(|name| by_name.get(name)) else { continue };
        // What is wrong with one that has no verb has been noted.
        let (Some(verb), Some((name, form))) = (stage.verb, &stage.stage) else { continue };
        if let Some(mistake) = refused(source, (stage.name, verb), form) {
            found.push(mistake);
        } else if !routed.contains(name) {
            let on_error = match form.on_error {
                OnError::DeadLetter => None,
                OnError::Fail => Some(("fail", "ends the run at the first row that fails")),
                OnError::Skip => Some(("skip", "drops the rows that fail")),
                OnError::Null => Some(("null", "lets the rows that fail pass")),
            };
            if let Some((word, does)) = on_error {
                let what = format!("`{word}` {does}, so that none reach `{}`", source.name);
                let mistake = Mistake::new(stage.at.key("on_error"), what);
                found.push(mistake.hint("leave `on_error` out, or let nobody read the dead rows of this stage"));
            }
            routed.push(name.clone());
        }
    }
    routed
}

/// Why a stage has no dead rows.
fn refused(source: &Source, (name, verb): (&str, &str), form: &Stage) -> Option<Mistake> {
    let no = |what: String| Mistake::new(source.at.clone(), what);
    match &form.verb {
        Verb::Write(_) => Some(
            no(format!("stage `{name}` writes and gives no rows, nor dead ones"))
                .hint("`dflow-host dead export` writes the rows that could not be written"),
        ),
        Verb::Command(command) if command.rows == CommandRows::Whole => Some(
            no(format!("the program of `{name}` takes all rows at once, so that none of them fails alone"))
                .hint("with `rows = \"map\"`, \"filter\" or \"expand\" it is given batches"),
        ),
        Verb::Flow(_) | Verb::Steps(_) => Some(
            no(format!("`{verb}` isn't what rows fail at, but the stages in it"))
                .hint("read the dead rows of such a stage where it has a name of its own"),
        ),
        _ if !FAIL.contains(&verb) => Some(
            no(format!("no row fails at `{verb}`, so stage `{name}` has no dead rows"))
                .hint("rows fail at `read`, `open`, `use` and `command`"),
        ),
        _ => None,
    }
}

/// Puts the stage that gives the dead rows behind the one at which they fail; that one is saved, since those who read either begin
/// when it is whole.
pub(super) fn insert(pipeline: &mut Pipeline, of: &Name, dead: Name) {
    let Some((at, _, failing)) = pipeline.stage.get_full_mut(of.as_str()) else { return };
    failing.save = true;
    let stage = Stage {
        from: vec![of.clone()],
        verb: Verb::Dead(of.clone()),
        on_error: OnError::default(),
        max_failures: MaxFailures::default(),
        retries: 0,
        timeout: None,
        batch: failing.batch,
        id: None,
        save: false,
        doc: None,
        within: None,
    };
    pipeline.stage.shift_insert(at + 1, dead, stage);
}
