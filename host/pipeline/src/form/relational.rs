//! Verbs of relational algebra: `sql`, `set`, `select`, `limit`, `explode`, `sort`, `sample`, `distinct`, `union`, `join`, `group`.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Name;

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
