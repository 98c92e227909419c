//! Where rows end: `write`.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Codec, Format};

/// `write = "lake://chunks/"` with `format`, `codec`, `mode`, `columns`, `partition_by`; or files named by their rows:
/// `write = "lake://documents/{{ __id__ }}.html"` with `column`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Write {
    /// A folder (ending in `/`), a file, or `-` for stdout; as `volume://path`, `file:///path` or relative to the pipeline's folder.
    /// With `{{ … }}` in it, each row is a file of this name: a Jinja template over the stage's columns, and its ancestors' as
    /// `{{ stage.column }}`. What a value puts into a name is percent-escaped where a path would read it otherwise (`/`, `%`, `:`,
    /// a dot at the start, control characters), and cut at 180 bytes with a hash behind it. Two rows with one name end the run.
    pub path: String,
    /// The format; from the file's name when left out; `jsonl` on stdout.
    #[serde(default)]
    pub format: Option<Format>,
    /// How csv, json and jsonl files are compressed; from the file's name when left out (`.csv.gz`), else not at all.
    #[serde(default)]
    pub codec: Option<Codec>,
    /// What happens to what others left at this place. Default `error`.
    #[serde(default)]
    pub mode: Mode,
    /// With `mode = "merge"`: the written columns by which rows are the same. A row without a value in them is the same as no other.
    #[serde(default)]
    pub key: Vec<String>,
    /// Written name → SQL expression (mostly a column, or `stage.column` of an ancestor). All visible columns when left out. `"*"`
    /// stands for one column with all the rest, the visible columns that no other name here takes as they are, as a JSON object.
    #[serde(default)]
    pub columns: Option<IndexMap<String, String>>,
    /// Written columns of text, whole numbers, booleans or dates whose values become folders, `lang=de/year=2024/`, and aren't in the
    /// files. Null is `__HIVE_DEFAULT_PARTITION__`.
    #[serde(default)]
    pub partition_by: Vec<String>,
    /// Of files named by their rows: the column that is their content, text or bytes.
    #[serde(default)]
    pub column: Option<String>,
}

/// What a sink does about what others left at its place. Its own earlier output is updated in any mode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Refuse to run when something is there.
    #[default]
    Error,
    /// Add to it.
    Append,
    /// Remove it, once all of the new output is there.
    Replace,
    /// Keep its rows, and of the sink's own earlier ones, except those whose `key` a new row has. Of files named by their rows: keep
    /// those that no row names.
    Merge,
}
