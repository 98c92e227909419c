//! Mistakes that are found while planning, and how DataFusion's words become ours.

use datafusion::{common::SchemaError, error::DataFusionError};
use dflow_io::IoError;
use dflow_operators::StepError;
use dflow_pipeline::{At, Mistake, Within};
use dflow_wasm::WasmError;

/// A mistake at a key, from a reader's or a writer's error.
pub(crate) fn of_io(at: At, error: &IoError) -> Mistake {
    with_hint(Mistake::new(at, error.message.clone()).fault(error.fault), error.hint.as_deref())
}

/// A mistake at a key, from a plugin's error.
pub(crate) fn of_wasm(at: At, error: &WasmError) -> Mistake {
    with_hint(Mistake::new(at, error.message.clone()).fault(error.fault), error.hint.as_deref())
}

fn with_hint(mistake: Mistake, hint: Option<&str>) -> Mistake {
    match hint {
        Some(hint) => mistake.hint(hint),
        None => mistake,
    }
}

/// A mistake at a key, from DataFusion's error about an expression or a query.
pub(crate) fn of_sql(at: At, error: &DataFusionError) -> Mistake {
    if let DataFusionError::SchemaError(schema, _) = error.find_root()
        && let SchemaError::FieldNotFound { field, valid_fields } = schema.as_ref()
    {
        let known: Vec<&str> = valid_fields.iter().map(|f| f.name.as_str()).collect();
        return Mistake::unknown(at, "column", &field.name, &known);
    }
    if let DataFusionError::External(inner) = error.find_root()
        && let Some(step) = inner.downcast_ref::<StepError>()
    {
        return with_hint(Mistake::new(at, step.message.clone()).fault(step.fault), step.hint.as_deref());
    }
    let text = error.find_root().strip_backtrace();
    let text = text.split("\n\nBacktrace").next().unwrap_or(&text);
    // DataFusion's own prefixes say which of its parts complained, which helps nobody here.
    let mut text = text.trim();
    for prefix in [
        "Error during planning: ",
        "SQL error: ",
        "ParserError(\"",
        "Schema error: ",
        "This feature is not implemented: ",
        "Execution error: ",
        "TokenizerError(\"",
        "Internal error: ",
    ] {
        text = text.strip_prefix(prefix).unwrap_or(text);
    }
    let text = text.trim_end_matches("\")");
    if let Some(name) = text.strip_prefix("Invalid function '").and_then(|rest| rest.split('\'').next()) {
        let near = text.lines().find_map(|line| line.strip_prefix("Did you mean '")?.split('\'').next());
        let mistake = Mistake::new(at, format!("unknown function `{name}`")).within(Within::Word(name.to_owned()));
        return with_hint(mistake, near.map(|near| format!("did you mean `{near}`?")).as_deref());
    }
    if let Some(rest) = text.strip_prefix("Projections require unique expression names but the expression \"") {
        let name = rest.split('"').next().unwrap_or_default();
        let name = name.rsplit_once('.').map_or(name, |(_, name)| name);
        let mistake = Mistake::new(at, format!("two columns of this query are named `{name}`"));
        return mistake.hint("name one of them with AS");
    }
    if let Some((name, wanted)) =
        text.strip_prefix("Function '").and_then(|rest| rest.split_once("' failed to match any signature, errors: "))
    {
        let kinds = wanted.split(" requires ").skip(1).filter_map(|rest| rest.split_once(", but received "));
        let (takes, given): (Vec<_>, Vec<_>) = kinds.unzip();
        let given = given.first().and_then(|rest| rest.split(' ').next()).unwrap_or("something else");
        let what = format!("`{name}` takes {}, and is given {given}", takes.join(" or "));
        return Mistake::new(at, what).hint("CAST(… AS …) makes one type of another");
    }
    let first = text.lines().next().unwrap_or_default();
    let (first, place) = match first.rsplit_once(" at Line: ") {
        Some((what, place)) => (what, place_in_text(place)),
        None => (first, None),
    };
    let mut chars = first.chars();
    let lower = match (chars.next(), chars.clone().next()) {
        // Not words that are all capitals.
        (Some(head), second) if !second.is_some_and(char::is_uppercase) => head.to_lowercase().chain(chars).collect(),
        _ => first.to_owned(),
    };
    let mistake = Mistake::new(at, lower.trim_end_matches('.').replace("\\\"", "\""));
    match place {
        Some(place) => mistake.within(place),
        None => mistake,
    }
}

/// The parser's `2, Column: 7`.
fn place_in_text(text: &str) -> Option<Within> {
    let (line, column) = text.split_once(", Column: ")?;
    Some(Within::Place(line.parse().ok()?, column.parse().ok()?))
}
