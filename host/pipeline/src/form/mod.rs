//! The neutral form of a pipeline. The comments on its keys are their reference text.

mod authored;
mod failures;
mod flow;
mod relational;
mod sink;
mod source;

use std::borrow::Cow;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Asking, BatchLimits, Classify, Embed, Grant, GuestLimits, Millis, Model, Name, Prompt, Test};

pub use authored::{Command, CommandRows, Language, Script, ScriptRows, Use};
pub(crate) use failures::percent;
pub use failures::{MaxFailures, OnError};
pub use flow::{Flow, Given, Steps};
pub use relational::{
    Distinct, Explode, Group, How, Join, Limit, Missing, Nulls, Sample, SampleSize, Select, Set, Sort, Sql, Union,
};
pub use sink::{Mode, Write};
pub use source::{Cell, CsvOptions, Input, Open, Read, ReadAs, Row, SourceSchema, Values};

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

    /// The models that a stage may ask, and those that take their place.
    pub fn may_ask<'a>(&'a self, stage: &'a Stage) -> impl Iterator<Item = &'a Name> {
        self.asked(stage).iter().flat_map(move |name| {
            let fallback = self.model.get(name).map_or(&[][..], |model| &model.fallback);
            [name].into_iter().chain(fallback)
        })
    }

    /// The name of the plugin that a stage calls: of its operator, or of what interprets its function. A flow's file may say the
    /// limits of that one for its own stages.
    pub fn plugin_of<'a>(&self, stage: &'a Stage) -> Option<Cow<'a, str>> {
        match &stage.verb {
            Verb::Use(operator) => Some(Cow::Borrowed(&operator.plugin)),
            verb => {
                let (language, _) = verb.script()?;
                let own = stage.within.as_ref().map(|within| within.part(language.keyword()).to_string());
                let own = own.filter(|own| self.plugin.contains_key(own.as_str()));
                Some(own.map_or(Cow::Borrowed(language.keyword()), Cow::Owned))
            }
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

/// A plugin that doesn't ship with the host; or, without `source`, the limits of one that does, of `python` and `js` too.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Plugin {
    /// A component's path, relative to the folder of the file in which it is written. None of what ships with the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
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
    /// The rows of several stages, in no given order, columns matched by name.
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

/// One value or a list of them, as written in a pipeline file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OneOrMany<T>(pub Vec<T>);

fn is_false(value: &bool) -> bool {
    !value
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}
