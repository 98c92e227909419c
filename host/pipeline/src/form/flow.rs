//! Verbs that are pipelines themselves: `flow`, `steps`.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Name, SourceSchema};

/// `flow = "clean.toml"` with `in`, `out`, `with`, `output`: the rows go into the `input` stage of another pipeline file, and what
/// comes out of it is added to them; a column that comes out under the name under which it went in takes its place. Its paths, volumes and plugins are those of its own folder, the `dflow.toml` is that of this
/// pipeline. Where it makes rows of its own (`group`, `join`, some queries), only its columns are left.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Flow {
    /// The file, seen from the pipeline's folder.
    pub path: String,
    /// The stage whose rows go in.
    #[schemars(skip)]
    pub rows: Name,
    /// Its input column ← our column (or `stage.column` of an ancestor). Same names need no entry.
    #[serde(default, rename = "in")]
    pub input: IndexMap<String, String>,
    /// Its column → our name.
    #[serde(default, rename = "out")]
    pub output: IndexMap<String, String>,
    /// Values of its parameters.
    #[serde(default)]
    pub with: serde_json::Map<String, serde_json::Value>,
    /// The stage of it whose rows come out; the one that no other reads when left out.
    #[serde(default, rename = "output")]
    pub end: Option<String>,
}

/// The rows that a flow is given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Given {
    /// The stage with `flow`.
    pub flow: Name,
    /// The columns of the `input` stage and their types.
    pub columns: SourceSchema,
    /// Its column ← the caller's.
    pub input: IndexMap<String, String>,
}

/// `steps = ["html/extract", { filter = "…" }, "flow:clean.toml"]`: what stages of one verb each would do, one after the other. A step
/// is an operator, a flow (`flow:` and its file), or a table with a verb and its keys. Its name is its number, or its `name`, behind
/// that of the stage: `clean.1`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Steps(pub Vec<Name>);
