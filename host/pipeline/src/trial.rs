//! Tests of a pipeline, `[[test]]`. The comments on keys are their reference text.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Name, Row};

/// A test: rows in, and what is to come out. `dflow-host test` runs it, with the answers of models that are recorded beside the pipeline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Test {
    /// What it shows, for people. Default: the stage's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The stage whose rows are looked at.
    pub stage: Name,
    /// Stage → rows that it gives instead of its own. Stages that aren't named read what they always do.
    #[serde(default, rename = "in")]
    pub input: IndexMap<Name, Vec<Row>>,
    /// The rows that are to come out, in their order; of each only the columns that are named here are compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<Vec<Row>>,
    /// How many rows are to come out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// SQL conditions that are to be true of each row.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub every: Vec<String>,
    /// How many rows are to fail on the way. Default 0.
    #[serde(default)]
    pub failed: u64,
}
