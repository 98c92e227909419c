//! The words of a pipeline file: those that this version knows, and those that are designed but come later.

/// The verbs.
pub(super) const VERBS: &[&str] = &[
    "read", "values", "input", "open", "use", "prompt", "embed", "classify", "python", "js", "command", "flow",
    "steps", "sql", "set", "filter", "select", "explode", "limit", "sort", "sample", "distinct", "union", "join",
    "group", "write",
];

/// Verbs of later versions, and how this one does the same.
pub(super) const LATER_VERBS: &[(&str, Option<&str>)] =
    &[("nearest", None), ("kmeans", None), ("near_duplicates", None)];

/// Keys that any stage may have.
pub(super) const COMMON: &[&str] =
    &["from", "on_error", "max_failures", "retries", "timeout", "batch", "id", "save", "doc"];

/// Keys that belong to verbs, and to which.
pub(super) const OWN: &[(&str, &[&str])] = &[
    ("format", &["read", "write"]),
    ("as", &["read"]),
    ("schema", &["read", "prompt"]),
    ("csv", &["read"]),
    ("codec", &["read", "open", "write"]),
    ("partitions", &["read"]),
    ("volume", &["open"]),
    ("in", &["use", "python", "js", "command", "flow"]),
    ("out", &["open", "use", "flow"]),
    ("with", &["use", "python", "js", "command", "flow"]),
    ("output", &["flow"]),
    ("returns", &["python", "js", "command"]),
    ("rows", &["python", "js", "command"]),
    ("model", &["prompt", "embed", "classify"]),
    ("into", &["prompt", "embed", "classify"]),
    ("system", &["prompt", "classify"]),
    ("images", &["prompt"]),
    ("params", &["prompt", "classify"]),
    ("max_tokens", &["prompt", "classify"]),
    ("dimensions", &["embed"]),
    ("normalize", &["embed"]),
    ("labels", &["classify"]),
    ("by", &["classify"]),
    ("truncate", &["prompt", "embed", "classify"]),
    ("share", &["prompt", "embed", "classify"]),
    ("cache_ttl", &["prompt", "embed", "classify"]),
    ("usage", &["prompt", "embed", "classify"]),
    ("mode", &["write"]),
    ("columns", &["write"]),
    ("key", &["write"]),
    ("partition_by", &["write"]),
    ("column", &["write"]),
];

/// Keys of stages of later versions, whatever the verb.
pub(super) const LATER_KEYS: &[&str] = &["resources", "tags"];

/// Keys of later versions that belong to a verb: not worth a word beside a verb that isn't in this version either.
pub(super) const LATER_OWN: &[&str] = &[];

/// Keys of the pipeline itself.
pub(super) const TOP: &[&str] =
    &["name", "param", "volume", "model", "default_model", "max_usd", "plugin", "stage", "test", "batch"];

/// Resources of later versions.
pub(super) const LATER_RESOURCES: &[&str] = &["table", "tokenizer", "validator", "server"];

/// Other keys of the pipeline of later versions.
pub(super) const LATER_TOP: &[&str] = &[];

/// Formats of later versions.
pub(super) const LATER_FORMATS: &[&str] = &["image", "audio", "pdf", "warc", "delta", "iceberg"];

/// Schemes of places of later versions.
pub(super) const LATER_SCHEMES: &[&str] = &["gs", "az", "http", "https", "hf", "oci"];

/// Words with commas and an "and".
pub(super) fn joined(words: &[&str]) -> String {
    let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    match words.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, before)) => format!("{} and {last}", before.join(", ")),
        None => String::new(),
    }
}
