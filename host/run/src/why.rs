//! What makes an output stale: what differs between the stages that it was made by and those of now.

use std::collections::{BTreeMap, BTreeSet};

use dflow_operators::StepError;
use dflow_pipeline::Name;
use dflow_plan::{Plan, Segment};
use serde::Serialize;
use serde_json::Value;

use crate::{
    fingerprint::{Fingerprint, Fingerprints},
    journal::{Known, PastOutput},
};

/// Something that has changed.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum Change {
    /// A parameter of the pipeline.
    Parameter {
        /// Its name.
        name: String,
        /// Its value then.
        old: Value,
        /// Its value now.
        new: Value,
    },
    /// What a stage does.
    Stage {
        /// The stage.
        stage: Name,
        /// Which of its keys, such as `with.size`.
        key: String,
        /// What it said then.
        old: Value,
        /// What it says now.
        new: Value,
    },
    /// A stage that wasn't read then.
    Added {
        /// The stage.
        stage: Name,
    },
    /// A stage that isn't read any more.
    Removed {
        /// The stage.
        stage: Name,
    },
    /// What there is to read of a source.
    Data {
        /// The source.
        stage: Name,
        /// Files that weren't there.
        added: Vec<String>,
        /// Files whose content has changed.
        changed: Vec<String>,
        /// Files that aren't there any more.
        removed: Vec<String>,
    },
    /// Rows that failed are to be tried again, as a replay has left to the next run.
    Replay,
    /// Its files aren't as they were left: removed, cut off, or without columns that are read now.
    Files,
    /// It is made of the same rows as what goes to standard output, each time.
    Printed {
        /// The sink that goes there.
        stage: Name,
    },
}

/// What was read of a source, and what there is: files and their versions.
#[derive(Clone, Debug, Default)]
pub(crate) struct Inputs {
    pub(crate) then: BTreeMap<String, String>,
    pub(crate) now: BTreeMap<String, String>,
}

/// What has changed since a segment was whole in what it is made of.
pub(crate) fn changes(
    plan: &Plan,
    now: &Fingerprints,
    segment: &Segment,
    last: &PastOutput,
    inputs: &BTreeMap<Name, Inputs>,
    known: Known<'_>,
) -> Result<Vec<Change>, StepError> {
    let mut changes = Vec::new();
    for (name, new) in &plan.pipeline.param {
        match last.parameters.get(name.as_str()) {
            Some(old) if old == new => {}
            old => changes.push(Change::Parameter {
                name: name.to_string(),
                old: old.cloned().unwrap_or_default(),
                new: new.clone(),
            }),
        }
    }
    let then = then(last, known)?;
    let stages = reached(plan, segment);
    for stage in &stages {
        match (then.get(stage), now.stages.get(stage)) {
            (Some(old), Some(new)) => differences("", old, &new.form, &mut |key, old, new| {
                let key = readable(&key);
                changes.push(Change::Stage { stage: stage.clone(), key, old: old.clone(), new: new.clone() });
            }),
            (None, _) => changes.push(Change::Added { stage: stage.clone() }),
            _ => {}
        }
    }
    changes.extend(then.into_keys().filter(|stage| !stages.contains(stage)).map(|stage| Change::Removed { stage }));
    for (stage, Inputs { then, now }) in inputs {
        let (mut added, mut changed) = (Vec::new(), Vec::new());
        for (file, version) in now {
            match then.get(file) {
                None => added.push(file.clone()),
                Some(old) if old != version => changed.push(file.clone()),
                Some(_) => {}
            }
        }
        let removed: Vec<String> = then.keys().filter(|file| !now.contains_key(*file)).cloned().collect();
        if !(added.is_empty() && changed.is_empty() && removed.is_empty()) {
            changes.push(Change::Data { stage: stage.clone(), added, changed, removed });
        }
    }
    // A parameter that no stage has in what has changed says nothing.
    let texts: Vec<String> = changes.iter().filter_map(Change::texts).collect();
    let told =
        |old: &Value, new: &Value| texts.iter().any(|text| text.contains(&bare(old)) || text.contains(&bare(new)));
    changes.retain(|change| match change {
        Change::Parameter { old, new, .. } => told(old, new),
        _ => true,
    });
    Ok(changes)
}

/// What is different in the stages that a segment's outputs are made by, in words: `then` is what they did elsewhere.
pub(crate) fn differences_of(
    plan: &Plan,
    now: &Fingerprints,
    segment: &Segment,
    then: BTreeMap<Name, Value>,
) -> Vec<String> {
    let mut lines = Vec::new();
    let stages = reached(plan, segment);
    for stage in &stages {
        match (then.get(stage), now.stages.get(stage)) {
            (Some(old), Some(new)) => differences("", old, &new.form, &mut |key, old, new| {
                lines.push(format!("stage `{stage}`, {} is {old} there, {new} here", readable(&key)));
            }),
            (None, _) => lines.push(format!("stage `{stage}` isn't there")),
            _ => {}
        }
    }
    lines.extend(
        then.into_keys().filter(|stage| !stages.contains(stage)).map(|stage| format!("stage `{stage}` isn't here")),
    );
    lines
}

impl Change {
    /// What a stage said and says, as text.
    fn texts(&self) -> Option<String> {
        match self {
            Self::Stage { old, new, .. } => Some(format!("{old}\n{new}")),
            _ => None,
        }
    }
}

/// A value as it stands in a text: without quotes.
fn bare(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The stages that a segment's outputs are made by, those behind saved stages included.
fn reached(plan: &Plan, segment: &Segment) -> BTreeSet<Name> {
    let (mut reached, mut left) = (BTreeSet::new(), segment.ends.clone());
    while let Some(stage) = left.pop() {
        left.extend(plan.stages.get(&stage).into_iter().flat_map(|stage| stage.from.clone()));
        reached.insert(stage);
    }
    reached
}

/// What the stages did then.
fn then(last: &PastOutput, known: Known<'_>) -> Result<BTreeMap<Name, Value>, StepError> {
    let (mut then, mut seen) = (BTreeMap::new(), BTreeSet::new());
    let mut left: Vec<Fingerprint> = vec![last.fingerprint.clone()];
    while let Some(fingerprint) = left.pop() {
        if !seen.insert(fingerprint.clone()) {
            continue;
        }
        if let Some((stage, printed)) = known.printed(&fingerprint)? {
            left.extend(printed.reads);
            if !printed.form.is_null() {
                then.insert(stage, printed.form);
            }
        }
    }
    Ok(then)
}

/// Calls back for each place where two documents differ, with its keys.
fn differences(at: &str, old: &Value, new: &Value, found: &mut dyn FnMut(String, &Value, &Value)) {
    let within = |key: &str| if at.is_empty() { key.to_owned() } else { format!("{at}.{key}") };
    match (old, new) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for key in keys {
                let (old, new) = (a.get(key).unwrap_or(&Value::Null), b.get(key).unwrap_or(&Value::Null));
                differences(&within(key), old, new, found);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            a.iter()
                .zip(b)
                .enumerate()
                .for_each(|(i, (old, new))| differences(&within(&i.to_string()), old, new, found));
        }
        _ if old != new => found(at.to_owned(), old, new),
        _ => {}
    }
}

/// A key of a stage's form as its file writes it: `verb.use.with.size` is `with.size`.
fn readable(key: &str) -> String {
    match key.strip_prefix("verb.").map(|rest| rest.split_once('.').unwrap_or((rest, ""))) {
        Some((verb, "")) => verb.to_owned(),
        Some((_, rest)) => rest.to_owned(),
        None => match key.split_once('.') {
            Some(("code", "0")) => "the plugin's version or digest".to_owned(),
            Some(("code", _)) => "the plugin's limits".to_owned(),
            Some(("columns", _)) => "the columns of its first file".to_owned(),
            _ if key == "columns" => "the columns of its first file".to_owned(),
            _ => key.to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn differences_have_the_names_of_keys() {
        let old =
            json!({"verb": {"use": {"with": {"size": 100, "unit": "words"}}}, "code": ["1", {}], "on_error": "fail"});
        let new = json!({"verb": {"use": {"with": {"size": 200, "unit": "words"}}}, "code": ["2", {}]});
        let mut found = Vec::new();
        differences("", &old, &new, &mut |key, old, new| found.push((readable(&key), old.clone(), new.clone())));
        assert_eq!(
            found,
            [
                ("the plugin's version or digest".to_owned(), json!("1"), json!("2")),
                ("on_error".to_owned(), json!("fail"), Value::Null),
                ("with.size".to_owned(), json!(100), json!(200)),
            ]
        );
    }
}
