//! Reads `[model.NAME]`.

use super::grant::{is_here, names};
use crate::{
    Millis, Mistake, Model, ModelLimits, ModelPrice, Name, Provider,
    node::{Entry, Node, Shape},
    value::{Filled, FromNode, Table, choice},
};

const KEYS: &[&str] = &[
    "provider",
    "endpoint",
    "model",
    "key_env",
    "limits",
    "price",
    "max_usd",
    "timeout",
    "retries",
    "tokenizer",
    "window",
    "dimensions",
    "texts",
    "fallback",
];

/// The most that a request may be sent again.
const MOST_RETRIES: u32 = 100;

/// Reads a model. `models` are the names of all.
pub(super) fn model(entry: &Entry, models: &[&str], found: &mut Vec<Mistake>) -> Option<Model> {
    const PROVIDERS: &[(&str, Provider)] = &[("openai", Provider::Openai), ("anthropic", Provider::Anthropic)];
    let table = Table::only(&entry.node, KEYS, &["weights"], found)?;
    let provider = table.required("provider", "\"openai\"", found);
    let provider = provider.and_then(|node| choice(node, "provider", PROVIDERS, &["local"], found));
    let name = table.required("model", "\"the model's name at the provider\"", found);
    let name = name.and_then(|node| Filled::from_node(node, found));
    let mut text = |key| table.get::<Filled>(key, found).map(|Filled(text)| text);
    let (endpoint, key_env, tokenizer) = (text("endpoint"), text("key_env"), text("tokenizer"));
    let limits = table.get("limits", found).unwrap_or_default();
    let price = table.get("price", found);
    let max_usd = table.entry("max_usd").and_then(|entry| usd(&entry.node, found));
    if max_usd.is_some() && table.lacks("price") {
        let mistake =
            Mistake::new(table.at.key("max_usd"), "`max_usd` without a `price`: nobody knows what a request costs");
        found.push(mistake.hint("add `price = { input = 0.15, output = 0.60 }`, in dollars for a million tokens"));
    }
    let timeout = table.get::<Millis>("timeout", found);
    let mut number = |key| table.get::<u32>(key, found);
    let (retries, dimensions, texts) = (number("retries"), number("dimensions"), number("texts"));
    let window = table.get::<u64>("window", found);
    let zeros = [
        ("timeout", timeout == Some(Millis(0))),
        ("dimensions", dimensions == Some(0)),
        ("texts", texts == Some(0)),
        ("window", window == Some(0)),
    ];
    for (key, _) in zeros.into_iter().filter(|(_, zero)| *zero) {
        found.push(Mistake::new(table.at.key(key), format!("`{key}` must be more than 0")));
    }
    if let Some(retries) = retries.filter(|retries| *retries > MOST_RETRIES) {
        found.push(Mistake::new(
            table.at.key("retries"),
            format!("`retries` can be at most {MOST_RETRIES}, found {retries}"),
        ));
    }
    if let Some(endpoint) = &endpoint {
        address(&table, endpoint, key_env.is_some(), found);
    }
    let mut fallback: Vec<Name> = Vec::new();
    if let Some(entry) = table.entry("fallback") {
        fallback = names(&entry.node, models, found).unwrap_or_default();
        let own = table.at.parts().last().map_or("", String::as_str);
        if fallback.iter().any(|other| other.as_str() == own) {
            found.push(Mistake::new(entry.node.at.clone(), format!("`{own}` can't take its own place")));
        }
    }
    let Filled(model) = name?;
    let provider = provider?;
    Some(Model {
        provider,
        endpoint,
        model,
        key_env,
        limits,
        price,
        max_usd,
        timeout,
        retries,
        tokenizer,
        window,
        dimensions,
        texts,
        fallback,
    })
}

/// Looks at an endpoint's address.
fn address(table: &Table<'_>, endpoint: &str, has_key: bool, found: &mut Vec<Mistake>) {
    let at = table.at.key("endpoint");
    let Some(rest) = endpoint.strip_prefix("https://").or_else(|| endpoint.strip_prefix("http://")) else {
        let mistake = Mistake::new(at, format!("`{endpoint}` is no URL of a server"));
        found.push(mistake.hint("write it as `https://host/v1`"));
        return;
    };
    let host = rest.split('/').next().unwrap_or_default();
    if host.is_empty() || endpoint.contains(char::is_whitespace) {
        let mistake = Mistake::new(at, format!("`{endpoint}` names no server"));
        found.push(mistake.hint("write it as `https://host/v1`"));
    } else if host.contains('@') || endpoint.contains(['?', '#']) {
        let mistake = Mistake::new(at, "the `endpoint` of this model has a name, a query or a fragment in it");
        found.push(mistake.hint("the key is in the environment variable that `key_env` names"));
    } else if endpoint.starts_with("http://") && has_key && !is_here(without_port(host)) {
        let mistake = Mistake::new(at, format!("the key would go to `{endpoint}` for everybody on the way to read"));
        found.push(mistake.hint("write `https://`"));
    }
}

/// `[::1]:8080` is `[::1]`.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => name,
        _ => host,
    }
}

/// Reads an amount of dollars.
pub(super) fn usd(node: &Node, found: &mut Vec<Mistake>) -> Option<f64> {
    let usd = number(node, "an amount of dollars", found)?;
    if usd <= 0.0 {
        found.push(Mistake::new(node.at.clone(), format!("{} must be more than 0, found {usd}", node.subject())));
    }
    Some(usd)
}

fn number(node: &Node, expected: &str, found: &mut Vec<Mistake>) -> Option<f64> {
    let number = match &node.shape {
        Shape::Whole(number) => *number as f64,
        Shape::Float(number) if number.is_finite() => *number,
        // A parameter that is given on the command line is text.
        Shape::Text(text) if node.param.is_some() => match text.trim().parse::<f64>() {
            Ok(number) if number.is_finite() => number,
            _ => return node.wrong(expected, found),
        },
        _ => return node.wrong(expected, found),
    };
    if number < 0.0 {
        found.push(Mistake::new(node.at.clone(), format!("{} can't be negative, found {number}", node.subject())));
    }
    Some(number)
}

impl FromNode for ModelLimits {
    fn from_node(node: &Node, found: &mut Vec<Mistake>) -> Option<Self> {
        let table = Table::only(node, &["requests_per_minute", "tokens_per_minute", "in_flight"], &[], found)?;
        let requests_per_minute = table.get::<u64>("requests_per_minute", found);
        let tokens_per_minute = table.get::<u64>("tokens_per_minute", found);
        let in_flight = table.get::<u32>("in_flight", found);
        let zeros = [
            ("requests_per_minute", requests_per_minute == Some(0)),
            ("tokens_per_minute", tokens_per_minute == Some(0)),
            ("in_flight", in_flight == Some(0)),
        ];
        for (key, _) in zeros.into_iter().filter(|(_, zero)| *zero) {
            found.push(Mistake::new(table.at.key(key), format!("`{key}` must be more than 0")));
        }
        Some(Self { requests_per_minute, tokens_per_minute, in_flight })
    }
}

impl FromNode for ModelPrice {
    fn from_node(node: &Node, found: &mut Vec<Mistake>) -> Option<Self> {
        let table = Table::only(node, &["input", "cached_input", "output"], &[], found)?;
        let input = table.required("input", "0.15", found).and_then(|node| number(node, "a price in dollars", found));
        let mut other = |key| table.entry(key).and_then(|entry| number(&entry.node, "a price in dollars", found));
        let (cached_input, output) = (other("cached_input"), other("output").unwrap_or_default());
        let input = input?;
        if input == 0.0 && output == 0.0 {
            let mistake =
                Mistake::new(node.at.clone(), "a price of nothing: a model that costs nothing needs no `price`");
            found.push(mistake.hint("leave it out, or say what a million tokens cost"));
        }
        Some(Self { input, cached_input, output })
    }
}
