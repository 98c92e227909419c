//! The neutral form of a pipeline. The comments on its keys are their reference text.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{BatchLimits, GuestLimits, Millis, Name};

/// A pipeline: resources and named stages, its parameters put in.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pipeline {
    /// The pipeline's name; the file's name without its ending when left out.
    pub name: String,
    /// The parameters by name, put in where `${name}` stands; in this form their values, for display and for what a run is
    /// identified by.
    #[serde(default)]
    pub param: IndexMap<Name, serde_json::Value>,
    /// Named places.
    #[serde(default)]
    pub volume: IndexMap<Name, Volume>,
    /// Plugins of third parties.
    #[serde(default)]
    pub plugin: IndexMap<Name, Plugin>,
    /// The stages by name, in the order of the file.
    pub stage: IndexMap<Name, Stage>,
    /// How batches are cut in stages that don't say otherwise.
    #[serde(default)]
    pub batch: BatchLimits,
}

/// A named place, so that a job survives when its data moves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Volume {
    /// Where: `file://` and an absolute path, or a path relative to the folder of the file in which it is written; or
    /// `https://host/path`, to be read.
    pub url: String,
    /// On the web: a file that names the volume's files, for globs; a path like that of `read`. A path or a URL a line; or, when
    /// its name ends in `.jsonl`, an object a line with `path`, and `size` and `etag` that the server is then not asked for.
    #[serde(default)]
    pub manifest: Option<String>,
    /// On the web: how long the server may be silent. Default `60s`.
    #[serde(default)]
    pub timeout: Option<Millis>,
}

/// A plugin that doesn't ship with the host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Plugin {
    /// A component's path, relative to the folder of the file in which it is written.
    pub source: String,
    /// What its instances may use.
    #[serde(default)]
    pub limits: GuestLimits,
}

/// One step: where its rows come from, what is done with them (exactly one verb), and how failures are met.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// The stages whose rows it reads: one, or several for `union`. Empty for sources; for `sql` the stages that the query names,
    /// found there; `join` names its other side itself.
    #[serde(default)]
    pub from: Vec<Name>,
    /// What it does.
    pub verb: Verb,
    /// What happens to a row that fails. Default `dead_letter` for what is pinned on one row.
    #[serde(default)]
    pub on_error: OnError,
    /// How many rows of this stage may fail before the run counts as failed (exit 4): a count. Default 0.
    #[serde(default)]
    pub max_failures: u64,
    /// How this stage's batches are cut; what isn't said is as in the pipeline's `batch`.
    #[serde(default)]
    pub batch: Option<BatchLimits>,
    /// The column that identifies a row of this stage from here on (`__id__`), instead of its place or its origin. Two rows with
    /// the same value end the run, and so does one without a value. The values are remembered while the stage runs (about
    /// 30 bytes a row), in one task.
    #[serde(default)]
    pub id: Option<String>,
    /// For people.
    #[serde(default)]
    pub doc: Option<String>,
}

/// What a stage does. Each is a key of the stage; a stage has exactly one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// Rows from files.
    Read(Read),
    /// Rows given inline.
    Values(Values),
    /// Typed rows given by the caller.
    Input(Input),
    /// An operator of a plugin component, `plugin/operator`.
    Use(Use),
    /// A query over the stages it names.
    Sql(Sql),
    /// Columns added (or replaced) by SQL expressions.
    Set(Set),
    /// Keeps the rows for which a SQL condition is true.
    Filter(String),
    /// Keeps, renames and orders columns.
    Select(Select),
    /// The first rows in source order; after `group` or `join`, which have none, those with the smallest ids.
    Limit(Limit),
    /// One row for each item of a list.
    Explode(Explode),
    /// Rows in another order.
    Sort(Sort),
    /// Some of the rows, picked by the hash of their ids: always the same ones.
    Sample(Sample),
    /// The first row of each key in source order; without keys, of each set of equal rows.
    Distinct(Distinct),
    /// The rows of several stages, one after the other, columns matched by name.
    Union(Union),
    /// The rows of `from`, each with those of another stage that have the same keys.
    Join(Join),
    /// One row for each group.
    Group(Group),
    /// Puts rows into files or on stdout.
    Write(Write),
}

impl Verb {
    /// The key that stands for it in a pipeline file.
    pub fn keyword(&self) -> &'static str {
        match self {
            Self::Read(_) => "read",
            Self::Values(_) => "values",
            Self::Input(_) => "input",
            Self::Use(_) => "use",
            Self::Sql(_) => "sql",
            Self::Set(_) => "set",
            Self::Filter(_) => "filter",
            Self::Select(_) => "select",
            Self::Limit(_) => "limit",
            Self::Explode(_) => "explode",
            Self::Sort(_) => "sort",
            Self::Sample(_) => "sample",
            Self::Distinct(_) => "distinct",
            Self::Union(_) => "union",
            Self::Join(_) => "join",
            Self::Group(_) => "group",
            Self::Write(_) => "write",
        }
    }

    /// Whether it makes rows out of nothing but itself.
    pub fn is_source(&self) -> bool {
        matches!(self, Self::Read(_) | Self::Values(_) | Self::Input(_))
    }
}

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
    /// Columns and types, pinned instead of inferred from the first rows (csv, jsonl).
    #[serde(default)]
    pub schema: Option<SourceSchema>,
    /// How csv is written.
    #[serde(default)]
    pub csv: CsvOptions,
    /// How the files are compressed; from each file's name when left out (`.csv.gz`), except with `format = "blob"`.
    #[serde(default)]
    pub codec: Option<Codec>,
}

/// Columns with the names of their types (`utf8`, `int64`, `float64`, `bool`, `list<utf8>`, …).
pub type SourceSchema = IndexMap<String, String>;

/// How csv is written.
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

/// A file format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Apache Parquet.
    Parquet,
    /// Comma-separated values.
    Csv,
    /// One JSON object a line.
    Jsonl,
    /// Plain text, UTF-8.
    Text,
    /// HTML pages, one row a file.
    Html,
    /// Files of any kind, one row a file: their bytes.
    Blob,
}

impl Format {
    /// Every format, with the endings of file names that mean it.
    pub const ALL: &'static [(Self, &'static str, &'static [&'static str])] = &[
        (Self::Parquet, "parquet", &["parquet"]),
        (Self::Csv, "csv", &["csv"]),
        (Self::Jsonl, "jsonl", &["jsonl", "ndjson"]),
        (Self::Text, "text", &["txt", "text", "md", "log"]),
        (Self::Html, "html", &["html", "htm"]),
        (Self::Blob, "blob", &[]),
    ];

    /// Its name in a pipeline file.
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|f| f.0 == self).map_or("", |f| f.1)
    }

    /// The format that a file's name means, a codec's ending aside: `a.csv.gz` is csv.
    pub fn of_name(name: &str) -> Option<Self> {
        let (stem, _) = Codec::split_name(name);
        let (_, ending) = stem.rsplit_once('.')?;
        Self::ALL.iter().find(|f| f.2.contains(&ending.to_ascii_lowercase().as_str())).map(|f| f.0)
    }
}

/// How a file is compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Codec {
    /// Not at all.
    #[default]
    None,
    /// gzip, of one or several members.
    Gzip,
    /// Zstandard, of one or several frames.
    Zstd,
    /// bzip2, of one or several streams.
    Bzip2,
    /// xz, of one or several streams.
    Xz,
}

impl Codec {
    /// Every codec, with its name in a pipeline file and the endings of file names that mean it (its other names).
    pub const ALL: &'static [(Self, &'static str, &'static [&'static str])] = &[
        (Self::None, "none", &[]),
        (Self::Gzip, "gzip", &["gz", "gzip"]),
        (Self::Zstd, "zstd", &["zst", "zstd"]),
        (Self::Bzip2, "bzip2", &["bz2"]),
        (Self::Xz, "xz", &["xz"]),
    ];

    /// Its name in a pipeline file.
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|c| c.0 == self).map_or("", |c| c.1)
    }

    /// Every name that one has in a pipeline file.
    pub(crate) fn names() -> impl Iterator<Item = &'static str> {
        Self::ALL.iter().flat_map(|(_, name, others)| {
            std::iter::once(*name).chain(others.iter().copied().filter(move |other| other != name))
        })
    }

    /// The codec that a file's name means: [`Codec::None`] when its ending is none of a codec.
    pub fn of_name(name: &str) -> Self {
        Self::split_name(name).1
    }

    /// A file's name without its codec's ending, and the codec.
    fn split_name(name: &str) -> (&str, Self) {
        let found = name.rsplit_once('.').and_then(|(stem, ending)| {
            let ending = ending.to_ascii_lowercase();
            Self::ALL.iter().find(|c| c.2.contains(&ending.as_str())).map(|c| (stem, c.0))
        });
        found.unwrap_or((name, Self::None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_format_and_codec() {
        for (name, format, codec) in [
            ("a/pages.html.gz", Some(Format::Html), Codec::Gzip),
            ("log.TXT.ZST", Some(Format::Text), Codec::Zstd),
            ("x.jsonl.gzip", Some(Format::Jsonl), Codec::Gzip),
            ("x.csv.zstd", Some(Format::Csv), Codec::Zstd),
            ("x.log.bz2", Some(Format::Text), Codec::Bzip2),
            ("x.md.xz", Some(Format::Text), Codec::Xz),
            ("x.csv", Some(Format::Csv), Codec::None),
            ("x.gz", None, Codec::Gzip),
            ("gz", None, Codec::None),
            ("x.tar.gz.txt", Some(Format::Text), Codec::None),
        ] {
            assert_eq!((Format::of_name(name), Codec::of_name(name)), (format, codec), "{name}");
        }
        for (codec, name, others) in Codec::ALL {
            assert_eq!(codec.as_str(), *name);
            assert!(others.iter().all(|other| Codec::of_name(&format!("x.{other}")) == *codec));
        }
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

/// `sql = "SELECT … FROM stage"`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Sql(pub String);

/// `set = { words = "length(text)" }`: name → SQL expression over the stage's columns and its ancestors' (`article.title`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Set(pub IndexMap<String, String>);

/// `select = ["a", "b"]` or `select = { new = "expression" }`: name → SQL expression, in order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Select(pub IndexMap<String, String>);

/// `limit = 10`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Limit(pub u64);

/// `explode = "tags"` or `explode = { column = "tags", as = "tag", keep_empty = true }`: one row for each item of a list. The item
/// takes the list's place; an item that is a struct stays one. The new rows are children: they get `__id__`, `__parent_id__` and
/// `__index__` (the item's place, from 0), and see the list as their parent's (`stage.tags`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Explode {
    /// The column of lists; `stage.column` for an ancestor's.
    pub column: String,
    /// The item's name. Default: the list's.
    #[serde(default, rename = "as")]
    pub name: Option<String>,
    /// Whether a row whose list is empty or null gives one row, its item null. Default: it gives none.
    #[serde(default)]
    pub keep_empty: bool,
}

/// `sort = ["-score", "title"]` or `sort = { by = ["-score"], nulls = "first" }`. Rows that compare equal keep their order; ids and
/// ancestors are kept too. It holds what it sorts in memory, or on disk beyond the limit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sort {
    /// Columns or SQL expressions, the most important one first. A `-` before the name of a column sorts downwards, and so does one
    /// before an expression in brackets: `-(price * count)`.
    pub by: Vec<String>,
    /// Where rows without a value go. Default: last, whatever the direction.
    #[serde(default)]
    pub nulls: Nulls,
}

/// Where rows without a value are sorted to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Nulls {
    /// Before all others.
    First,
    /// After all others.
    #[default]
    Last,
}

/// `sample = 0.1`, `sample = { fraction = 0.1, seed = 7 }` or `sample = { rows = 1000 }`. A row is in the sample or not because of its id
/// (and the seed) alone, so the same rows come again, however they are cut into batches and tasks. Rows need ids.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sample {
    /// How many rows.
    pub size: SampleSize,
    /// Another seed is another sample. Default 0.
    #[serde(default)]
    pub seed: u64,
}

/// How many rows a sample has.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SampleSize {
    /// About this share of them, between 0 and 1.
    Fraction(f64),
    /// This many, or all if there are fewer.
    Rows(u64),
}

/// `distinct = true` or `distinct = ["url"]`: of the rows with the same values in these columns (all visible ones for `true`) the first
/// one in source order, with its id and its ancestors. Nulls are equal to each other. It sorts all rows, on disk beyond the limit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Distinct {
    /// The columns that are compared, or `stage.column` of an ancestor; all visible ones when there are none.
    #[serde(default)]
    pub by: Vec<String>,
}

/// `union = true` or `union = { missing = "null" }` with `from = ["a", "b"]`: the rows of several stages. Columns are matched by their
/// names, in the order of the first stage; types that differ become a common one. Nothing is removed: `distinct` does that.
/// A row's id is made of its old one and the stage it comes from, so that rows with the same id on both sides stay apart;
/// `__parent_id__` is the old one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Union {
    /// What happens to a column that not all of the stages have. Default: it is a mistake.
    #[serde(default)]
    pub missing: Missing,
}

/// What happens to a column that not all stages of a union have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Missing {
    /// It is a mistake.
    #[default]
    Error,
    /// It is null in the rows of the others.
    Null,
}

/// `join = { with = "people", on = ["id"], how = "left" }`: each row of `from` with each row of another stage that has the same keys. Its
/// columns are those of `from`, then the other's. A row's id is made of both ids; both stages' columns, and their ancestors'
/// where only one side has them, can be read by stage name. Null keys match nothing. The rows of `with` are held in memory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Join {
    /// The other stage, the right side.
    pub with: Name,
    /// The keys: columns of the left side → columns of the right side. A key of the same name on both sides becomes one column.
    pub on: IndexMap<String, String>,
    /// Which rows there are. Default: `inner`.
    #[serde(default)]
    pub how: How,
    /// What is put behind the names of those columns of the right side that the left side has, too. Without it they are a mistake.
    #[serde(default)]
    pub suffix: Option<String>,
}

/// Which rows a join gives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// Each pair of rows that match.
    #[default]
    Inner,
    /// Those, and the left rows that match nothing.
    Left,
    /// Those, and the right rows that match nothing.
    Right,
    /// Those, and the rows of both sides that match nothing.
    Full,
    /// The left rows that match something, each once, with their own columns only.
    Semi,
    /// The left rows that match nothing, with their own columns only.
    Anti,
}

/// `group = { by = ["site"], set = { pages = "count(*)", words = "sum(words)" } }`: one row for each group. Its columns are the keys and
/// those that are set; its id is made of the keys. Functions that depend on the order of rows (`array_agg`, `first_value`) see
/// them in source order unless they say `ORDER BY`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Name → column or SQL expression; a list of names stands for columns under their own names. Without any, all rows are one group.
    #[serde(default)]
    pub by: IndexMap<String, String>,
    /// Name → SQL expression of aggregate functions and keys.
    #[serde(default)]
    pub set: IndexMap<String, String>,
}

/// `write = "lake://chunks/"` with `format`, `mode`, `columns`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Write {
    /// A folder (ending in `/`), a file, or `-` for stdout; as `volume://path`, `file:///path` or relative to the pipeline's folder.
    pub path: String,
    /// The format; from the file's name when left out; `jsonl` on stdout.
    #[serde(default)]
    pub format: Option<Format>,
    /// What happens to what others left at this place. Default `error`.
    #[serde(default)]
    pub mode: Mode,
    /// Written name → SQL expression (mostly a column, or `stage.column` of an ancestor). All visible columns when left out.
    #[serde(default)]
    pub columns: Option<IndexMap<String, String>>,
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
}

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

/// One value or a list of them, as written in a pipeline file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OneOrMany<T>(pub Vec<T>);
