//! Verbs that make rows: `read`, `values`, `input`; and `open`, which adds what is in files.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Codec, Format};

/// `read = "docs://book/**/*.html"` with `format`, `as`, `schema`, `csv`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Read {
    /// One or several globs: `volume://path`, `file:///path`, or a path relative to the pipeline's folder.
    pub path: Vec<String>,
    /// The format; from the files' names when left out.
    #[serde(default)]
    pub format: Option<Format>,
    /// What a row is, for text and html: a file or a line. Default: `file`.
    #[serde(default, rename = "as")]
    pub row: Option<ReadAs>,
    /// Columns and types of tables, pinned instead of found out: of parquet and arrow from the first file, of csv, json and jsonl
    /// from the first rows. What is in a file and isn't named here isn't read.
    #[serde(default)]
    pub schema: Option<SourceSchema>,
    /// Of csv: what separates values, and whether the first line names the columns.
    #[serde(default)]
    pub csv: CsvOptions,
    /// How the files are compressed; from each file's name when left out (`.csv.gz`), except with `format = "blob"`.
    #[serde(default)]
    pub codec: Option<Codec>,
    /// Of tables: whether folders named `key=value` on a file's path are columns, after those of the file. When left out they are,
    /// if the paths of all files have the same keys; and then their types are `int64`, `date` or `utf8`, as all their values
    /// allow, unless `schema` says others. With `schema`, only those that it names.
    #[serde(default)]
    pub partitions: Option<bool>,
}

/// Columns with the names of their types (`utf8`, `int64`, `float64`, `bool`, `list<utf8>`, …).
pub type SourceSchema = IndexMap<String, String>;

/// What csv files look like.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CsvOptions {
    /// Whether the first line names the columns. Default true.
    pub header: bool,
    /// What separates values, one ASCII character. Default `,`.
    pub delimiter: char,
}

impl Default for CsvOptions {
    fn default() -> Self {
        Self { header: true, delimiter: ',' }
    }
}

/// What a row of a text source is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReadAs {
    /// One row a line: `uri`, `line_number`, `line`.
    Line,
    /// One row a file: `uri`, `size`, `modified`, `etag`, `content`.
    File,
}

/// `values = [ { a = 1, b = "x" }, … ]`: the rows, their types inferred from all of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Values(pub Vec<Row>);

/// A row given inline.
pub type Row = IndexMap<String, Cell>;
/// A value given inline.
pub type Cell = serde_json::Value;

/// `input = { text = "utf8" }`: the columns of the rows that a caller gives.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Input(pub SourceSchema);

/// `open = "url"` with `volume`, `codec`, `out`: the file that each row's URI names, as the columns `content` (text, and bytes where
/// those are taken), `size`, `modified`, `etag` and `media_type`. A URI is `volume://path`, a path from the pipeline's folder (or in
/// `volume`), or a URL in a volume on the web; nothing outside of the volumes and the pipeline's folder is opened. A row without
/// a URI has nulls. Nothing is fetched that nobody reads: then a file that isn't there isn't noticed either.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Open {
    /// The column of URIs; `stage.column` for an ancestor's.
    pub column: String,
    /// The volume that URIs without one are in.
    #[serde(default)]
    pub volume: Option<String>,
    /// How the files are compressed; from each file's name when left out (`a.html.gz`).
    #[serde(default)]
    pub codec: Option<Codec>,
    /// Its column → our name.
    #[serde(default, rename = "out")]
    pub output: IndexMap<String, String>,
}
