//! Rows that a task leaves out: at each of them an operator that streams has failed when a part of what came of it was gone already.

use dflow_pipeline::{Fault, Name};
use serde::{Deserialize, Serialize};

/// A row at which its stage's operator failed in an earlier attempt of the task. It is dead, and the others are done without it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// The stage.
    pub stage: Name,
    /// Its `__id__`, or its place among the stage's rows where they have none.
    pub row: String,
    /// Whether that is its place. It holds as long as no more rows are left out above.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub placed: bool,
    /// Whose fault.
    pub fault: Fault,
    /// A short name for grouping.
    pub kind: String,
    /// What is wrong.
    pub message: String,
}
