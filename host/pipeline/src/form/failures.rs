//! What becomes of rows that fail.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// What happens to a row that fails in a stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnError {
    /// The run fails.
    Fail,
    /// The row is dropped and counted.
    Skip,
    /// The row stays, the stage's new columns null (map stages).
    Null,
    /// The row is dropped, kept as a dead letter, and counts as failed.
    #[default]
    DeadLetter,
}

/// How many rows of a stage may fail: a count, or a share of the rows that go in.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum MaxFailures {
    /// So many.
    Count(u64),
    /// So many of a hundred.
    #[serde(with = "percent")]
    Share(f64),
}

impl MaxFailures {
    /// Whether so many of the rows may fail.
    pub fn allows(self, failed: u64, rows: u64) -> bool {
        match self {
            Self::Count(count) => failed <= count,
            Self::Share(percent) => failed as f64 * 100.0 <= percent * rows as f64,
        }
    }
}

impl Default for MaxFailures {
    fn default() -> Self {
        Self::Count(0)
    }
}

impl JsonSchema for MaxFailures {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "MaxFailures".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["integer", "string"], "minimum": 0 })
    }
}

/// A share as it is written, `1%`.
pub(crate) mod percent {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// Reads `1%` or `0.5 %`.
    pub(crate) fn parse(text: &str) -> Option<f64> {
        let percent: f64 = text.trim().strip_suffix('%')?.trim_end().parse().ok()?;
        (0.0..=100.0).contains(&percent).then_some(percent)
    }

    pub(super) fn serialize<S: Serializer>(percent: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{percent}%"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse(&text).ok_or_else(|| D::Error::custom("not a share such as `1%`"))
    }
}
