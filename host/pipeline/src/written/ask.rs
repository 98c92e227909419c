//! The verbs that ask models: `prompt`, `embed`, `classify`.

use indexmap::IndexMap;

use super::json_schema::rooted;
use crate::{
    AnswerSchema, Asking, Classify, ClassifyBy, Embed, HOSTS_PARAMS, Mistake, Name, OneOrMany, Prompt, SourceSchema,
    mistake::nearest_or_list,
    node::{Entry, Node, Shape},
    value::{Filled, FromNode, Table, choice},
};

/// The models that stages can name.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Models<'a> {
    /// Their names.
    pub(super) names: &'a [&'a str],
    /// The one that is meant when none is named.
    pub(super) default: Option<&'a str>,
}

/// Reads the keys of a `prompt` stage.
pub(super) fn prompt(node: &Node, stage: Table<'_>, models: Models<'_>, found: &mut Vec<Mistake>) -> Option<Prompt> {
    let text = Filled::from_node(node, found);
    let system = stage.get::<Filled>("system", found).map(|Filled(text)| text);
    let images = stage.get::<OneOrMany<String>>("images", found).map_or_else(Vec::new, |OneOrMany(columns)| columns);
    let schema = stage.entry("schema").and_then(|entry| schema(&entry.node, found));
    let asking = asking(stage, models, found);
    if let (Some(_), Some(entry)) = (&schema, stage.entry("into")) {
        let mistake = Mistake::new(
            entry.node.at.clone(),
            "with `schema` the columns have the names of its fields, and `into` names nothing",
        );
        found.push(mistake.hint("leave one of them out"));
    }
    let Filled(text) = text?;
    Some(Prompt { text, system, images, schema, asking: asking? })
}

/// Reads the keys of an `embed` stage.
pub(super) fn embed(node: &Node, stage: Table<'_>, models: Models<'_>, found: &mut Vec<Mistake>) -> Option<Embed> {
    let text = Filled::from_node(node, found);
    let dimensions = stage.get::<u32>("dimensions", found);
    if dimensions == Some(0) {
        found.push(Mistake::new(stage.at.key("dimensions"), "`dimensions` must be more than 0"));
    }
    let normalize = stage.get("normalize", found).unwrap_or_default();
    let asking = asking(stage, models, found);
    let Filled(text) = text?;
    Some(Embed { text, dimensions, normalize, asking: asking? })
}

/// Reads the keys of a `classify` stage.
pub(super) fn classify(
    node: &Node,
    stage: Table<'_>,
    models: Models<'_>,
    found: &mut Vec<Mistake>,
) -> Option<Classify> {
    const BY: &[(&str, ClassifyBy)] = &[("prompt", ClassifyBy::Prompt), ("embedding", ClassifyBy::Embedding)];
    let text = Filled::from_node(node, found);
    let labels = stage.required("labels", "[\"good\", \"bad\"]", found).and_then(|node| labels(node, found));
    let by = stage.entry("by").and_then(|entry| choice(&entry.node, "`by`", BY, &[], found)).unwrap_or_default();
    let system = stage.get::<Filled>("system", found).map(|Filled(text)| text);
    if let (ClassifyBy::Embedding, Some(entry)) =
        (by, ["system", "params", "max_tokens"].iter().find_map(|key| stage.entry(key)))
    {
        let message = format!("`{}` goes with `by = \"prompt\"`, not with vectors", entry.key);
        found.push(Mistake::new(entry.node.at.clone(), message).on(entry.span.clone()));
    }
    let asking = asking(stage, models, found);
    let Filled(text) = text?;
    Some(Classify { text, labels: labels?, by, system, asking: asking? })
}

/// Reads labels: a list of them, or a table with what each means.
fn labels(node: &Node, found: &mut Vec<Mistake>) -> Option<IndexMap<String, String>> {
    let labels: IndexMap<String, String> = match &node.shape {
        Shape::Table(_) => IndexMap::from_node(node, found)?,
        _ => {
            let OneOrMany(names) = OneOrMany::<String>::from_node(node, found)?;
            for (i, name) in names.iter().enumerate().filter(|(i, name)| names[..*i].contains(name)) {
                found.push(Mistake::new(node.at.key(i), format!("`{name}` is there twice")));
            }
            names.into_iter().map(|name| (name, String::new())).collect()
        }
    };
    if labels.keys().any(|label| label.trim().is_empty()) {
        found.push(Mistake::new(node.at.clone(), "a label is empty"));
    } else if labels.len() < 2 {
        let what = if labels.is_empty() {
            "there are no labels to choose from"
        } else {
            "there is only one label: nothing is to be chosen"
        };
        found.push(Mistake::new(node.at.clone(), what).hint("write `labels = [\"good\", \"bad\"]`"));
    }
    Some(labels)
}

/// Reads what an answer holds.
fn schema(node: &Node, found: &mut Vec<Mistake>) -> Option<AnswerSchema> {
    let table = Table::of(node, found)?;
    let is_json = |entry: &Entry| match entry.key.as_str() {
        "properties" => matches!(entry.node.shape, Shape::Table(_)),
        "allOf" => matches!(entry.node.shape, Shape::List(_)),
        key => key == "$ref",
    };
    if table.entries.iter().any(is_json) {
        let entries = table.entries.iter().map(|entry| (entry.key.clone(), entry.node.json(found))).collect();
        return rooted(entries, &node.at).map_err(|mistake| found.push(mistake)).ok().map(AnswerSchema::Json);
    }
    let columns = SourceSchema::from_node(node, found)?;
    if columns.is_empty() {
        let mistake = Mistake::new(node.at.clone(), "`schema` names no column");
        found.push(mistake.hint("write `schema = { topic = \"utf8\", score = \"float64\" }`"));
    }
    Some(AnswerSchema::Columns(columns))
}

/// Reads what is common to the verbs that ask.
fn asking(stage: Table<'_>, models: Models<'_>, found: &mut Vec<Mistake>) -> Option<Asking> {
    let model = model(stage, models, found);
    let into = stage.get::<Filled>("into", found).map(|Filled(into)| into);
    let max_tokens = stage.get::<u32>("max_tokens", found);
    if max_tokens == Some(0) {
        found.push(Mistake::new(stage.at.key("max_tokens"), "`max_tokens` must be more than 0"));
    }
    let params = match stage.entry("params").and_then(|entry| Table::of(&entry.node, found)) {
        Some(table) => table.entries.iter().map(|entry| (entry.key.clone(), entry.node.json(found))).collect(),
        None => serde_json::Map::new(),
    };
    for (key, instead) in HOSTS_PARAMS.iter().filter(|(key, _)| params.contains_key(*key)) {
        let mistake = Mistake::new(stage.at.key("params").key(key), format!("`{key}` is the host's to say"));
        found.push(mistake.hint(format!("it is {instead}")));
    }
    let truncate = stage.get("truncate", found).unwrap_or_default();
    let share = stage.get("share", found);
    let cache_ttl = stage.get("cache_ttl", found);
    let usage = stage.get("usage", found).unwrap_or_default();
    Some(Asking { model: model?, into, max_tokens, params, truncate, share, cache_ttl, usage })
}

/// The model that is asked.
fn model(stage: Table<'_>, models: Models<'_>, found: &mut Vec<Mistake>) -> Option<Name> {
    if stage.lacks("model") {
        let default = models.default.and_then(|name| name.parse().ok());
        if default.is_none() {
            let name = stage.at.parts().last().map_or("the stage", String::as_str);
            let mistake = Mistake::new(stage.at.key("model"), format!("`{name}` doesn't say which model is asked"));
            found.push(match models.names {
                [] => mistake.hint(
                    "add `[model.writer]` with its `provider`, `endpoint` and `model`, and `model = \"writer\"` here",
                ),
                names => {
                    mistake.hint(format!("add `model = \"{}\"`, or `default_model` at the top of the file", names[0]))
                }
            });
        }
        return default;
    }
    let entry = stage.entry("model")?;
    let Filled(name) = Filled::from_node(&entry.node, found)?;
    if models.names.contains(&name.as_str()) {
        return name.parse().ok();
    }
    let mistake = Mistake::new(entry.node.at.clone(), format!("unknown model `{name}`"));
    found.push(match models.names {
        [] => mistake.hint(format!("add `[model.{name}]` with its `provider`, `endpoint` and `model`")),
        names => mistake.hint(nearest_or_list("model", &name, names)),
    });
    None
}
