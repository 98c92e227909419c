//! The neutral form of a pipeline. The comments on its keys are their reference text.

use std::borrow::Cow;

use indexmap::IndexMap;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::{
    Asking, BatchLimits, Classify, Codec, Embed, Format, Grant, GuestLimits, Millis, Model, Name, Prompt, Test,
};

/// What stands behind a stage's name, and a dot, for the rows that failed at it.
pub const DEAD: &str = "dead";

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
    /// Models.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub model: IndexMap<Name, Model>,
    /// The model that is meant where a stage names none. Default: the only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_model: Option<Name>,
    /// What a run may spend on all models, in dollars. No request is sent that could pass it; then the run ends with exit 7, and goes on
    /// from there with a higher one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_usd: Option<f64>,
    /// Plugins of third parties.
    #[serde(default)]
    pub plugin: IndexMap<Name, Plugin>,
    /// The stages by name, in the order of the file.
    pub stage: IndexMap<Name, Stage>,
    /// Tests, which `dflow-host test` runs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub test: Vec<Test>,
    /// How batches are cut in stages that don't say otherwise.
    #[serde(default)]
    pub batch: BatchLimits,
}

impl Pipeline {
    /// The models that a stage may ask: its own, or those that its plugin is granted.
    pub fn asked<'a>(&'a self, stage: &'a Stage) -> &'a [Name] {
        match &stage.verb {
            Verb::Use(operator) => {
                self.plugin.get(operator.plugin.as_str()).map_or(&[], |plugin| plugin.grant.models.as_slice())
            }
            verb => verb.asking().map_or(&[], |asking| std::slice::from_ref(&asking.model)),
        }
    }

    /// The stage that gives the rows that fail at a stage, if another reads them.
    pub fn dead_of(&self, stage: &Name) -> Option<&Name> {
        let (name, dead) = self.stage.get_key_value(stage.part(DEAD).as_str())?;
        matches!(&dead.verb, Verb::Dead(of) if of == stage).then_some(name)
    }
}

/// A named place, so that a job survives when its data moves.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Volume {
    /// Where: `file://` and an absolute path, or a path relative to the folder of the file in which it is written; or
    /// `https://host/path`, to be read; or `s3://bucket/path`, a bucket of S3 or of a store that speaks like it.
    pub url: String,
    /// On the web: a file that names the volume's files, for globs; a path like that of `read`. A path or a URL a line; or, when
    /// its name ends in `.jsonl`, an object a line with `path`, and `size` and `etag` that the server is then not asked for.
    #[serde(default)]
    pub manifest: Option<String>,
    /// On the web and of a bucket: how long the server may be silent. Default `60s`.
    #[serde(default)]
    pub timeout: Option<Millis>,
    /// Of a bucket: its region. Default: what `AWS_REGION` or `AWS_DEFAULT_REGION` says, else `us-east-1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Of a bucket: the server's URL, where it isn't Amazon's. Default: what `AWS_ENDPOINT_URL` says, if that is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Of a bucket: the environment variable with the id of the key. Default `AWS_ACCESS_KEY_ID`, and then with what
    /// `AWS_SESSION_TOKEN` says, if that is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_env: Option<String>,
    /// Of a bucket: the environment variable with the secret of the key. Default `AWS_SECRET_ACCESS_KEY`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_env: Option<String>,
    /// Of a bucket: whether anybody may use it, and requests go without a key.
    #[serde(default, skip_serializing_if = "is_false")]
    pub anonymous: bool,
    /// Of a bucket: whether `endpoint` may be `http://`, where everybody on the way can read along.
    #[serde(default, skip_serializing_if = "is_false")]
    pub allow_http: bool,
}

fn is_false(value: &bool) -> bool {
    !value
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
    /// What it may reach beyond its rows. Default: nothing.
    #[serde(default, skip_serializing_if = "Grant::is_nothing")]
    pub grant: Grant,
}

/// One step: where its rows come from, what is done with them (exactly one verb), and how failures are met.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// The stages whose rows it reads: one, or several for `union`. Empty for sources; for `sql` the stages that the query names,
    /// found there; `join` names its other side itself. `"name.dead"` are the rows that failed at the stage `name` (a `read`, `open`, `use`, `prompt`,
    /// `embed`, `classify` or `command`), after their last retry: with the columns that it reads (of a `read` the file's `uri`), and `error_kind`,
    /// `error_message` and `error_attempts`. They are no failures of the run then, and that stage is saved.
    #[serde(default)]
    pub from: Vec<Name>,
    /// What it does.
    pub verb: Verb,
    /// What happens to a row that fails. Default `dead_letter` for what is pinned on one row.
    #[serde(default)]
    pub on_error: OnError,
    /// How many rows of this stage may fail before the run counts as failed (exit 4): a count, or a share of the rows that go in,
    /// such as `"1%"`. Default 0.
    #[serde(default)]
    pub max_failures: MaxFailures,
    /// How often something is tried again that may pass, with growing pauses: of `use` a row at which the plugin broke (not one that
    /// it refuses), of `open` a file that could not be fetched. Default 0.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub retries: u32,
    /// How long a plugin may compute for one batch, such as `10s`, instead of what its `limits` say; and how long a `command` may take
    /// for one answer, such as `2h`: from a batch that it was given, or, where its rows are `whole`, from the end of its input. Then it
    /// is killed. Default for a `command`: for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Millis>,
    /// How this stage's batches are cut; what isn't said is as in the pipeline's `batch`.
    #[serde(default)]
    pub batch: Option<BatchLimits>,
    /// The column that identifies a row of this stage from here on (`__id__`), instead of its place or its origin. Two rows with
    /// the same value end the run, and so does one without a value. The values are remembered while the stage runs (about
    /// 30 bytes a row), in one task.
    #[serde(default)]
    pub id: Option<String>,
    /// Whether its rows are kept, and read from there while nothing that they depend on changes. Nothing is pushed through such a
    /// stage into what it reads. Default `false`.
    #[serde(default)]
    pub save: bool,
    /// For people.
    #[serde(default)]
    pub doc: Option<String>,
    /// The flow that it is a part of, whose names of stages it uses. Not written by anybody: it follows from `flow`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(skip)]
    pub within: Option<Name>,
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
    /// The files that a column of URIs names.
    Open(Open),
    /// An operator of a plugin component, `plugin/operator`.
    Use(Use),
    /// A model's answer to each row.
    Prompt(Prompt),
    /// A vector for each row.
    Embed(Embed),
    /// One of some labels for each row.
    Classify(Classify),
    /// Calls a function in Python in the sandbox.
    Python(Script),
    /// Calls a function in JavaScript in the sandbox.
    Js(Script),
    /// A native program, unsandboxed: `run` needs `--allow-commands`.
    Command(Command),
    /// Another pipeline file, between its `input` stage and its output.
    Flow(Flow),
    /// The rows that a flow is given, in the place of its `input` stage: no verb that anybody writes.
    #[schemars(skip)]
    Given(Given),
    /// The rows that failed at a stage, `name.dead` in a `from`: no verb that anybody writes.
    #[schemars(skip)]
    Dead(Name),
    /// Several verbs, one after the other.
    Steps(Steps),
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
            Self::Open(_) => "open",
            Self::Use(_) => "use",
            Self::Prompt(_) => "prompt",
            Self::Embed(_) => "embed",
            Self::Classify(_) => "classify",
            Self::Python(_) => Language::Python.keyword(),
            Self::Js(_) => Language::Js.keyword(),
            Self::Command(_) => "command",
            Self::Flow(_) => "flow",
            Self::Given(_) => "input",
            Self::Dead(_) => "dead",
            Self::Steps(_) => "steps",
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

    /// What it says about the model that it asks, if it asks one.
    pub fn asking(&self) -> Option<&Asking> {
        match self {
            Self::Prompt(Prompt { asking, .. })
            | Self::Embed(Embed { asking, .. })
            | Self::Classify(Classify { asking, .. }) => Some(asking),
            _ => None,
        }
    }

    /// The language and the function that it calls, if it calls one.
    pub fn script(&self) -> Option<(Language, &Script)> {
        match self {
            Self::Python(script) => Some((Language::Python, script)),
            Self::Js(script) => Some((Language::Js, script)),
            _ => None,
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
    /// Columns and types of tables, pinned instead of found out: of parquet and arrow from the first file, of csv, json and jsonl
    /// from the first rows. What is in a file and isn't named here isn't read.
    #[serde(default)]
    pub schema: Option<SourceSchema>,
    /// How csv is written.
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

    /// What a person calls it: the file and the function.
    pub fn text(&self) -> String {
        let function = self.function.as_ref().map_or_else(String::new, |function| format!(":{function}"));
        if self.is_inline() { "text".to_owned() } else { format!("{}{function}", self.source) }
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

fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// One value or a list of them, as written in a pipeline file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OneOrMany<T>(pub Vec<T>);
