//! Verbs whose code is a user's: `use`, `command`, `python`, `js`.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::SourceSchema;

/// `use = "text/chunk"` with `in`, `out`, `with`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Use {
    /// The plugin: one that ships with the host, or one of `[plugin.NAME]`.
    pub plugin: String,
    /// The operator in it.
    pub operator: String,
    /// Input port ← our column (or `stage.column` of an ancestor). Same names need no entry.
    #[serde(default, rename = "in")]
    pub input: IndexMap<String, String>,
    /// Output column → our name.
    #[serde(default, rename = "out")]
    pub output: IndexMap<String, String>,
    /// The operator's settings.
    #[serde(default)]
    pub with: serde_json::Map<String, serde_json::Value>,
}

/// `command = ["python3", "train.py"]` with `returns`, `rows`, `in`, `with`: a program that is given rows as an Arrow IPC stream on its
/// standard input and answers with another on its standard output. It is run in the folder of the file in which it is written,
/// with the environment of the host, and kept for further batches. A program that is changed is noticed where it, or an argument, is a
/// file below that folder; what it reads besides isn't.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Command {
    /// The program and its arguments. One without `/` is looked for in `PATH`, others are seen from the folder.
    pub line: Vec<String>,
    /// The columns that it answers with, and their types, as those of `schema`.
    #[serde(default)]
    pub returns: SourceSchema,
    /// How its rows come from those that it is given. Default: `map`.
    #[serde(default)]
    pub rows: CommandRows,
    /// Its input column ← our column (or `stage.column` of an ancestor). All visible columns when left out.
    #[serde(default, rename = "in")]
    pub input: IndexMap<String, String>,
    /// Settings that it is handed as JSON.
    #[serde(default)]
    pub with: serde_json::Map<String, serde_json::Value>,
    /// Where it runs, as seen from the pipeline's folder. Not written by anybody: it follows from where the stage is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(skip)]
    pub folder: String,
}

/// How a program's rows come from those that it is given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CommandRows {
    /// One for each, in order; they keep their columns.
    #[default]
    Map,
    /// At most one for each, named by its place in the batch (`__parent__`); they keep their columns.
    Filter,
    /// Any number for each, named by its place in the batch (`__parent__`); they keep their columns.
    Expand,
    /// Rows anew, once all have been read.
    Whole,
}

impl Command {
    /// The command line as a person would write it.
    pub fn text(&self) -> String {
        self.line.join(" ")
    }
}

/// `python = "clean.py:clean"` with `returns`, `rows`, `in`, `with`: a function in a source text, called in the sandbox.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Script {
    /// The file, as seen from the folder of the file in which the stage is written; or, of more than one line, the text itself.
    pub source: String,
    /// The function; the only public one when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function: Option<String>,
    /// The columns that it gives, and their types, as those of `schema`. What the function says of itself when left out.
    #[serde(default)]
    pub returns: Option<SourceSchema>,
    /// How many rows come of one. What the function says of itself when left out.
    #[serde(default)]
    pub rows: Option<ScriptRows>,
    /// Its parameter ← our column (or `stage.column` of an ancestor). Columns of the same name need no entry.
    #[serde(default, rename = "in")]
    pub input: IndexMap<String, String>,
    /// Values of parameters that aren't columns.
    #[serde(default)]
    pub with: serde_json::Map<String, serde_json::Value>,
    /// The folder of the file in which the stage is written, as seen from the pipeline's. Not written by anybody.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(skip)]
    pub folder: String,
}

impl Script {
    /// Whether the source is the text itself.
    pub fn is_inline(&self) -> bool {
        self.source.contains('\n')
    }

    /// What a person calls it: the file and the function. A source that is the text itself has no name.
    pub fn named(&self) -> Option<String> {
        let function = self.function.as_ref().map_or_else(String::new, |function| format!(":{function}"));
        (!self.is_inline()).then(|| format!("{}{function}", self.source))
    }
}

/// How many rows a function gives for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ScriptRows {
    /// One.
    Map,
    /// One or none. Without columns of its own, it says yes or no.
    Filter,
    /// Any number.
    Expand,
}

impl ScriptRows {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Map => "map",
            Self::Filter => "filter",
            Self::Expand => "expand",
        }
    }
}

/// A language in which functions are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// Python.
    Python,
    /// JavaScript.
    Js,
}

impl Language {
    /// The verb, and the plugin that interprets it.
    pub fn keyword(self) -> &'static str {
        match self {
            Self::Python => "python",
            Self::Js => "js",
        }
    }

    /// How names of its files end.
    pub fn endings(self) -> &'static [&'static str] {
        match self {
            Self::Python => &[".py"],
            Self::Js => &[".js", ".mjs"],
        }
    }
}
