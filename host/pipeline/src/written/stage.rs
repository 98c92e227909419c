//! A stage: its keys, its one verb, and where its rows come from.

use super::{
    ask, command, flow, open, operator, regroup, relational, resource, script, sink, source,
    words::{COMMON, LATER_KEYS, LATER_OWN, LATER_VERBS, OWN, VERBS, joined},
};
use crate::{
    At, BatchLimits, Language, Millis, Mistake, Name, OnError, OneOrMany, Stage, Steps, Verb,
    mistake::{listed, nearest},
    node::{Entry, Node, Shape},
    value::{Filled, FromNode, Table, choice},
};

/// A stage as it is written: even one with mistakes is there for others to read from.
pub(super) struct WrittenStage<'a> {
    /// The name as it is written.
    pub(super) name: &'a str,
    pub(super) at: &'a At,
    /// The key of its one verb, if it has one that this version knows.
    pub(super) verb: Option<&'static str>,
    /// Whether it has a `from`, even a wrong one.
    pub(super) says_from: bool,
    /// Whether it has none, nor a slip of one.
    pub(super) lacks_from: bool,
    /// The names in its `from` as they are written.
    pub(super) from: Vec<Source>,
    /// The name in its `join`.
    pub(super) joined: Option<Source>,
    /// The stage, its `from` still empty, if nothing about it was wrong enough to prevent that.
    pub(super) stage: Option<(Name, Stage)>,
}

/// A stage's name in a `from`.
pub(super) struct Source {
    pub(super) name: String,
    pub(super) at: At,
}

/// Reads a stage, which may be a `step` of one. `batch` is what the pipeline says about batches.
pub(super) fn read<'a>(
    entry: &'a Entry,
    step: bool,
    (volumes, models): (&[&str], ask::Models<'_>),
    batch: BatchLimits,
    found: &mut Vec<Mistake>,
) -> WrittenStage<'a> {
    let mut written = WrittenStage {
        name: &entry.key,
        at: &entry.node.at,
        verb: None,
        says_from: false,
        lacks_from: false,
        from: Vec::new(),
        joined: None,
        stage: None,
    };
    // The names of steps are made.
    let name =
        if entry.key.contains('.') && step { Some(Name::made(&entry.key)) } else { resource::name(entry, found) };
    let Some(table) = Table::of(&entry.node, found) else { return written };
    let verb = one_verb(entry, table, found);
    check_keys(table, verb, found);
    written.lacks_from = table.lacks("from");
    if let Some(from) = table.entry("from") {
        written.says_from = true;
        written.from = sources(&from.node, found);
    }
    let verb = verb.and_then(|verb| match verb {
        OneVerb::Known(keyword, node) => {
            written.verb = Some(keyword);
            if keyword == "join" {
                written.joined = regroup::joined(node).map(|(name, at)| Source { name, at });
            }
            read_verb(keyword, node, table, (volumes, models), found)
        }
        OneVerb::Later | OneVerb::Slip => None,
    });

    const ON_ERROR: &[(&str, OnError)] = &[
        ("fail", OnError::Fail),
        ("skip", OnError::Skip),
        ("null", OnError::Null),
        ("dead_letter", OnError::DeadLetter),
    ];
    let on_error = table.entry("on_error").and_then(|e| choice(&e.node, "`on_error`", ON_ERROR, &[], found));
    if let (Some(said), Some(keyword)) = (on_error, written.verb.filter(|keyword| WHOLE.contains(keyword)))
        && said != OnError::Fail
    {
        let message = format!("no row fails by itself at `{keyword}`, so `on_error` has none to drop or to keep");
        let mistake = Mistake::new(table.at.key("on_error"), message);
        found.push(match EXPRESSED.contains(&keyword) {
            true => mistake.hint("an expression that fails ends the run; `try_cast(… AS …)` gives null instead"),
            false => mistake.hint("leave it out"),
        });
    } else if let (Some(OnError::Null), Some(keyword)) =
        (on_error, written.verb.filter(|keyword| !NULLABLE.contains(keyword)))
    {
        let message = format!("`null` goes with {}, not with `{keyword}`", joined(NULLABLE));
        let mistake = Mistake::new(table.at.key("on_error"), message);
        found.push(mistake.hint("`skip` and `dead_letter` drop the row, `fail` ends the run"));
    }
    let max_failures = table.get("max_failures", found).unwrap_or_default();
    let retries = retries(table, written.verb, found);
    let timeout = timeout(table, written.verb, found);
    let batch = table.entry("batch").and_then(|entry| resource::batch(&entry.node, batch, found));
    let id = table.get::<Filled>("id", found).map(|Filled(id)| id);
    if let (Some(_), Some("write")) = (&id, written.verb) {
        let mistake = Mistake::new(table.at.key("id"), "`id` goes with stages that give rows, `write` gives none");
        found.push(mistake.hint("put it into the stage that this one reads"));
    }
    let save = table.get("save", found).unwrap_or_default();
    if let (true, Some("write")) = (save, written.verb) {
        let mistake = Mistake::new(table.at.key("save"), "`save` goes with stages that give rows, `write` gives none");
        found.push(mistake.hint("put it into the stage that this one reads"));
    }
    let doc = table.get("doc", found);
    written.stage = name.zip(verb).map(|(name, verb)| {
        let on_error = on_error.unwrap_or_default();
        (
            name,
            Stage {
                from: Vec::new(),
                verb,
                on_error,
                max_failures,
                retries,
                timeout,
                batch,
                id,
                save,
                doc,
                within: None,
            },
        )
    });
    written
}

/// The verbs that compute expressions, ...
const EXPRESSED: &[&str] = &["sql", "set", "filter", "select", "sort", "group"];

/// ... and all at which no row fails without the others.
const WHOLE: &[&str] =
    &["sql", "set", "filter", "select", "sort", "group", "explode", "limit", "sample", "distinct", "union", "join"];

/// The verbs whose failed rows can stay, with nulls.
pub(super) const NULLABLE: &[&str] = &["use", "python", "js", "command", "open", "prompt", "embed", "classify"];

/// The most that something may be tried again.
const MOST_RETRIES: u32 = 100;

/// Reads how often something is tried again.
fn retries(table: Table<'_>, verb: Option<&str>, found: &mut Vec<Mistake>) -> u32 {
    let Some(entry) = table.entry("retries") else { return 0 };
    if let Some(keyword) = verb.filter(|keyword| !["use", "python", "js", "open"].contains(keyword)) {
        let message = format!("`retries` goes with `use`, `python`, `js` and `open`, not with `{keyword}`");
        let mistake = Mistake::new(entry.node.at.clone(), message).on(entry.span.clone());
        found.push(mistake.hint(match keyword {
            "prompt" | "embed" | "classify" => "`retries` of the model says how often a request is sent again",
            _ => "what else there is gives the same again",
        }));
    }
    let retries = u32::from_node(&entry.node, found).unwrap_or_default();
    if retries > MOST_RETRIES {
        let message = format!("`retries` can be at most {MOST_RETRIES}, found {retries}");
        found.push(Mistake::new(entry.node.at.clone(), message));
    }
    retries
}

/// Reads how long a batch may take.
fn timeout(table: Table<'_>, verb: Option<&str>, found: &mut Vec<Mistake>) -> Option<Millis> {
    let entry = table.entry("timeout")?;
    if let Some(keyword) = verb.filter(|keyword| !["use", "python", "js", "command"].contains(keyword)) {
        let message = format!("`timeout` goes with `use`, `python`, `js` and `command`, not with `{keyword}`");
        found.push(Mistake::new(entry.node.at.clone(), message).on(entry.span.clone()));
    }
    let timeout = Millis::from_node(&entry.node, found)?;
    if timeout.0 == 0 {
        found.push(Mistake::new(entry.node.at.clone(), "`timeout` must be more than 0"));
    }
    Some(timeout)
}

/// The verb of a stage that has one.
#[derive(Clone, Copy)]
enum OneVerb<'a> {
    /// One that this version knows, with its value.
    Known(&'static str, &'a Node),
    /// One of a later version: what belongs to it can't be judged.
    Later,
    /// One that nobody knows.
    Slip,
}

/// Finds the one verb of a stage. `None` when there is none or several.
fn one_verb<'a>(entry: &Entry, table: Table<'a>, found: &mut Vec<Mistake>) -> Option<OneVerb<'a>> {
    let later = |key: &str| LATER_VERBS.iter().find(|(verb, _)| *verb == key);
    let verbs: Vec<&Entry> =
        table.entries.iter().filter(|e| VERBS.contains(&e.key.as_str()) || later(&e.key).is_some()).collect();
    match verbs[..] {
        [] => {
            // A slip of a verb is reported as a key that isn't known.
            let slip = table
                .entries
                .iter()
                .filter(|e| !is_known(&e.key))
                .any(|e| nearest(&e.key, &all_keys()).is_none_or(|near| VERBS.contains(&near)));
            if slip {
                return Some(OneVerb::Slip);
            }
            found.push(
                Mistake::new(table.at.clone(), format!("stage `{}` has no verb", entry.key))
                    .hint(format!("give it one of {}", listed(VERBS)))
                    .on(entry.span.clone()),
            );
            None
        }
        [verb] => {
            if let Some((_, hint)) = later(&verb.key) {
                let mistake = Mistake::later(verb.node.at.clone(), format!("the verb `{}`", verb.key));
                let mistake = mistake.on(verb.span.clone());
                found.push(match hint {
                    Some(hint) => mistake.hint(*hint),
                    None => mistake,
                });
                return Some(OneVerb::Later);
            }
            VERBS.iter().find(|keyword| **keyword == verb.key).map(|keyword| OneVerb::Known(keyword, &verb.node))
        }
        [_, second, ..] => {
            let keys: Vec<&str> = verbs.iter().map(|verb| verb.key.as_str()).collect();
            let count = if keys.len() == 2 { "two".to_owned() } else { keys.len().to_string() };
            found.push(
                Mistake::new(
                    second.node.at.clone(),
                    format!("stage `{}` has {count} verbs, {}", entry.key, joined(&keys)),
                )
                .hint(format!("make `{}` a stage of its own with `from = \"{}\"`", second.key, entry.key))
                .on(second.span.clone()),
            );
            verbs.iter().any(|verb| later(&verb.key).is_some()).then_some(OneVerb::Later)
        }
    }
}

/// Every key of a stage in this version.
fn all_keys() -> Vec<&'static str> {
    VERBS.iter().chain(COMMON).copied().chain(OWN.iter().map(|(key, _)| *key)).collect()
}

/// Whether a key is a word of a stage, in this version or a later one.
fn is_known(key: &str) -> bool {
    all_keys().contains(&key)
        || LATER_KEYS.contains(&key)
        || LATER_OWN.contains(&key)
        || LATER_VERBS.iter().any(|(verb, _)| *verb == key)
}

/// Notes keys that aren't known, aren't known yet, or belong to another verb than the stage's.
fn check_keys(table: Table<'_>, verb: Option<OneVerb<'_>>, found: &mut Vec<Mistake>) {
    for entry in table.entries {
        let key = entry.key.as_str();
        let own = OWN.iter().find(|(own, _)| *own == key);
        match verb {
            _ if VERBS.contains(&key) || COMMON.contains(&key) || LATER_VERBS.iter().any(|(verb, _)| *verb == key) => {}
            _ if LATER_KEYS.contains(&key) => found.push(entry.unknown(&[], LATER_KEYS)),
            Some(OneVerb::Later) if nearest(key, COMMON).is_none() => {}
            Some(OneVerb::Known(keyword, _)) if own.is_some_and(|(_, verbs)| !verbs.contains(&keyword)) => {
                let verbs = own.map_or(&[][..], |(_, verbs)| verbs);
                let message = format!("`{key}` belongs to {}, not to `{keyword}`", joined(verbs));
                found.push(Mistake::new(entry.node.at.clone(), message).on(entry.span.clone()));
            }
            _ if own.is_some() => {}
            _ => {
                let mistake = entry.unknown(&all_keys(), LATER_OWN);
                let listing = nearest(key, &all_keys()).is_none() && !LATER_OWN.contains(&key);
                found.push(match verb {
                    Some(OneVerb::Known(keyword, _)) if listing => {
                        let own = OWN.iter().filter(|(_, verbs)| verbs.contains(&keyword)).map(|(own, _)| *own);
                        let keys: Vec<&str> = own.chain(COMMON.iter().copied()).collect();
                        mistake.hint(format!("beside `{keyword}` there is: {}", listed(&keys)))
                    }
                    Some(OneVerb::Slip) if listing => mistake.hint(format!("the verbs are: {}", listed(VERBS))),
                    _ => mistake,
                });
            }
        }
    }
}

/// Reads the names of a `from`.
fn sources(node: &Node, found: &mut Vec<Mistake>) -> Vec<Source> {
    let Some(OneOrMany(names)) = OneOrMany::<(String, At)>::from_node(node, found) else { return Vec::new() };
    if names.is_empty() {
        found.push(Mistake::new(node.at.clone(), "`from` names no stage"));
    }
    names.into_iter().map(|(name, at)| Source { name, at }).collect()
}

impl FromNode for (String, At) {
    fn from_node(node: &Node, found: &mut Vec<Mistake>) -> Option<Self> {
        match &node.shape {
            Shape::Text(name) => Some((name.clone(), node.at.clone())),
            _ => node.wrong("a stage's name", found),
        }
    }
}

fn read_verb(
    keyword: &str,
    node: &Node,
    stage: Table<'_>,
    (volumes, models): (&[&str], ask::Models<'_>),
    found: &mut Vec<Mistake>,
) -> Option<Verb> {
    match keyword {
        "read" => source::read(node, stage, volumes, found).map(Verb::Read),
        "values" => source::values(node, found).map(Verb::Values),
        "input" => source::input(node, found).map(Verb::Input),
        "open" => open::open(node, stage, volumes, found).map(Verb::Open),
        "flow" => flow::flow(node, stage, found).map(Verb::Flow),
        "steps" => match &node.shape {
            Shape::List(names) => Some(Verb::Steps(Steps(
                names.iter().filter_map(|name| Some(Name::made(&name.shape.literal()?))).collect(),
            ))),
            _ => None,
        },
        "use" => operator::operator(node, stage, found).map(Verb::Use),
        "prompt" => ask::prompt(node, stage, models, found).map(Verb::Prompt),
        "embed" => ask::embed(node, stage, models, found).map(Verb::Embed),
        "classify" => ask::classify(node, stage, models, found).map(Verb::Classify),
        "python" => script::script(node, Language::Python, stage, found).map(Verb::Python),
        "js" => script::script(node, Language::Js, stage, found).map(Verb::Js),
        "command" => command::command(node, stage, found).map(Verb::Command),
        "sql" => relational::sql(node, found).map(Verb::Sql),
        "set" => relational::set(node, found).map(Verb::Set),
        "filter" => relational::filter(node, found).map(Verb::Filter),
        "select" => relational::select(node, found).map(Verb::Select),
        "limit" => relational::limit(node, found).map(Verb::Limit),
        "explode" => regroup::explode(node, found).map(Verb::Explode),
        "sort" => regroup::sort(node, found).map(Verb::Sort),
        "sample" => regroup::sample(node, found).map(Verb::Sample),
        "distinct" => regroup::distinct(node, found).map(Verb::Distinct),
        "union" => regroup::union(node, found).map(Verb::Union),
        "join" => regroup::join(node, found).map(Verb::Join),
        "group" => regroup::group(node, found).map(Verb::Group),
        "write" => sink::write(node, stage, volumes, found).map(Verb::Write),
        _ => None,
    }
}
