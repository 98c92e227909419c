//! The graph that the stages form: every `from` names a stage that gives rows, and nothing goes round in a circle.

use std::collections::HashMap;

use super::{
    dead,
    stage::{Source, WrittenStage},
};
use crate::{
    Mistake, Name,
    form::DEAD,
    mistake::{listed, nearest_or_list},
};

/// Notes what is wrong with the edges, and puts the good ones into the stages. Gives the stages whose dead rows others read.
pub(super) fn connect(stages: &mut [WrittenStage<'_>], found: &mut Vec<Mistake>) -> Vec<Name> {
    let kinds: HashMap<&str, Option<&str>> = stages.iter().map(|stage| (stage.name, stage.verb)).collect();
    let giving = stages.iter().filter(|s| s.verb != Some("write") && !s.name.contains('.'));
    let giving: Vec<&str> = giving.map(|s| s.name).collect();
    for stage in stages.iter() {
        check_count(stage, &giving, found);
        for source in edges(stage) {
            check_source(stage, source, &kinds, &giving, found);
        }
    }
    let routed = dead::routed(stages, found);
    circles(stages, found);
    let names: HashMap<String, Name> =
        stages.iter().filter_map(|s| s.stage.as_ref()).map(|(name, _)| (name.to_string(), name.clone())).collect();
    for stage in stages {
        if let Some((_, read)) = &mut stage.stage {
            // A name that isn't one, or isn't a stage's, has been noted above, and nobody will see this pipeline.
            let named = |name: &str| {
                let whole = || dead::of(name).and_then(|of| names.get(of)).map(|of| of.part(DEAD));
                names.get(name).cloned().or_else(whole).or_else(|| name.parse().ok())
            };
            read.from = stage.from.iter().filter_map(|source| named(&source.name)).collect();
        }
    }
    routed
}

/// The names that a stage reads. A source's `from` is a mistake in itself, whatever it names.
pub(super) fn edges<'a>(stage: &'a WrittenStage<'_>) -> impl Iterator<Item = &'a Source> {
    let from: &[Source] = if stage.verb.is_some_and(is_source) { &[] } else { &stage.from };
    from.iter().chain(&stage.joined)
}

fn is_source(verb: &str) -> bool {
    matches!(verb, "read" | "values" | "input")
}

/// Whether a stage says as many sources as its verb takes.
fn check_count(stage: &WrittenStage<'_>, giving: &[&str], found: &mut Vec<Mistake>) {
    match stage.verb {
        Some(verb) if is_source(verb) && stage.says_from => found.push(
            Mistake::new(stage.at.key("from"), format!("`from` doesn't go with `{verb}`, which makes its own rows"))
                .hint("make two stages of it"),
        ),
        Some(verb) if verb != "sql" && !is_source(verb) && stage.lacks_from => {
            let others: Vec<&str> = giving.iter().copied().filter(|name| *name != stage.name).collect();
            let mistake = Mistake::new(
                stage.at.key("from"),
                format!("stage `{}` doesn't say where its rows come from", stage.name),
            );
            found.push(mistake.hint(match others[..] {
                [] => "add a stage with `read` and name it in `from`".to_owned(),
                [only] => format!("add `from = \"{only}\"`"),
                _ => format!("add `from` with one of {}", listed(&others)),
            }));
        }
        Some("union") => {
            if let [only] = &stage.from[..] {
                let mistake = Mistake::new(stage.at.key("from"), format!("`union` reads only `{}`", only.name));
                found.push(mistake.hint("name at least two stages: `from = [\"a\", \"b\"]`"));
            }
            for (i, source) in stage.from.iter().enumerate() {
                if stage.from[..i].iter().any(|before| before.name == source.name) {
                    let mistake = Mistake::new(source.at.clone(), format!("`from` names `{}` twice", source.name));
                    found.push(mistake.hint("to have its rows twice, read it through a stage with `filter = true`"));
                }
            }
        }
        Some(verb) if verb != "sql" && stage.from.len() > 1 => {
            let message = format!("`{verb}` reads one stage, found {}", stage.from.len());
            let hint = match verb {
                "join" => "`from` is the left side, the right one is `with`",
                _ => "`union` puts the rows of several together, `join` their columns",
            };
            found.push(Mistake::new(stage.at.key("from"), message).hint(hint));
        }
        _ => {}
    }
}

fn check_source(
    stage: &WrittenStage<'_>,
    source: &Source,
    kinds: &HashMap<&str, Option<&str>>,
    giving: &[&str],
    found: &mut Vec<Mistake>,
) {
    let at = || source.at.clone();
    let name = source.name.as_str();
    match kinds.get(name) {
        Some(Some("write")) if name != stage.name => {
            let mistake = Mistake::new(at(), format!("stage `{name}` writes and gives no rows"));
            found.push(mistake.hint("read from the stage that it reads"));
        }
        Some(_) => {}
        None => {
            if dead::of(name).is_none_or(|of| !kinds.contains_key(of)) {
                let others: Vec<&str> = giving.iter().copied().filter(|other| *other != stage.name).collect();
                found.push(Mistake::new(at(), format!("unknown stage `{name}`")).hint(nearest_or_list(
                    "other stage",
                    name,
                    &others,
                )));
            }
        }
    }
}

/// Notes each circle once, at the `from` of its stage that comes first in the file.
fn circles(stages: &[WrittenStage<'_>], found: &mut Vec<Mistake>) {
    let index: HashMap<&str, usize> = stages.iter().enumerate().map(|(i, stage)| (stage.name, i)).collect();
    let next = |i: usize| {
        edges(&stages[i]).filter_map(|source| {
            let name = source.name.as_str();
            index.get(name).or_else(|| index.get(dead::of(name)?)).copied()
        })
    };
    let mut left = vec![false; stages.len()];
    for start in 0..stages.len() {
        // Depth first without recursion, as a file may have thousands of stages in a row: the way from `start`, with
        // how many of each stage's sources have been followed.
        let mut way: Vec<(usize, usize)> = if left[start] { Vec::new() } else { vec![(start, 0)] };
        while let Some((at, followed)) = way.last_mut() {
            let at = *at;
            let Some(to) = next(at).nth(*followed) else {
                left[at] = true;
                way.pop();
                continue;
            };
            *followed += 1;
            if let Some(begin) = way.iter().position(|(i, _)| *i == to) {
                let mut circle: Vec<usize> = way[begin..].iter().map(|(i, _)| *i).collect();
                let first = circle.iter().enumerate().min_by_key(|(_, i)| **i).map_or(0, |(place, _)| place);
                circle.rotate_left(first);
                found.push(circle_mistake(stages, &circle));
            } else if !left[to] {
                way.push((to, 0));
            }
        }
    }
}

fn circle_mistake(stages: &[WrittenStage<'_>], circle: &[usize]) -> Mistake {
    let names: Vec<&str> = circle.iter().chain(circle.first()).map(|i| stages[*i].name).collect();
    let first = &stages[circle[0]];
    let source =
        edges(first).find(|source| Some(dead::of(&source.name).unwrap_or(&source.name)) == names.get(1).copied());
    Mistake::new(
        source.map_or_else(|| first.at.key("from"), |source| source.at.clone()),
        format!("circular `from`: {}", names.join(" → ")),
    )
    .hint("one of these stages must read from outside the circle")
}
