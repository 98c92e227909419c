//! Models, and the verbs that ask them. The comments on keys are their reference text.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Millis, Name, SourceSchema};

/// A model behind an endpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// Who speaks there: `openai` is any endpoint that speaks like OpenAI's (chat completions, embeddings), `anthropic` one that speaks
    /// like Anthropic's (messages).
    pub provider: Provider,
    /// The address below which the provider's paths are; mostly it ends in `/v1`. Default: the provider's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// What the provider calls the model.
    pub model: String,
    /// The environment variable that holds the key. Its value is in no message, journal or report. Without it no key is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_env: Option<String>,
    /// What the endpoint allows to ask of this model. Those with the same endpoint, key and `model` share it: the stricter of each limit holds.
    #[serde(default)]
    pub limits: ModelLimits,
    /// What tokens cost. Needed for `max_usd` and for estimates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<ModelPrice>,
    /// What a run may spend on this model, in dollars. No request is sent that could pass it; then the run ends with exit 7, and goes
    /// on from there with a higher one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_usd: Option<f64>,
    /// The longest that one request may take. Default `120s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Millis>,
    /// How often a request is sent again that failed, with growing pauses. One that was refused (429) is sent again at the pace of the endpoint,
    /// and isn't counted. Default 5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retries: Option<u32>,
    /// What counts its tokens: `o200k_base`, `cl100k_base`, or the path of a `tokenizer.json`. Without it they are estimated, four letters for
    /// one, and corrected by what the endpoint reports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<String>,
    /// The most tokens that it takes, those that come out included. A longer prompt fails before it is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<u64>,
    /// Of a model that embeds: the length of its vectors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dimensions: Option<u32>,
    /// Of a model that embeds: the most texts of one request. Default 128.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub texts: Option<u32>,
    /// Models that are asked in its place when its endpoint fails, or its filter turns a row away, one after the other.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fallback: Vec<Name>,
}

impl Model {
    /// The address below which the provider's paths are.
    pub fn address(&self) -> &str {
        self.endpoint.as_deref().unwrap_or(match self.provider {
            Provider::Openai => "https://api.openai.com/v1",
            Provider::Anthropic => "https://api.anthropic.com/v1",
        })
    }

    /// The length of its vectors, where it is said or known of the name.
    pub fn vector(&self) -> Option<u32> {
        self.dimensions.or(match self.model.as_str() {
            "text-embedding-3-small" | "text-embedding-ada-002" => Some(1536),
            "text-embedding-3-large" => Some(3072),
            _ => None,
        })
    }
}

/// Who speaks at an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Provider {
    /// OpenAI, and whoever speaks like it.
    Openai,
    /// Anthropic.
    Anthropic,
}

/// What an endpoint allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ModelLimits {
    /// Requests in any minute. Default: what the endpoint says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<u64>,
    /// Tokens in any minute, those that come out included. Default: what the endpoint says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_per_minute: Option<u64>,
    /// The most requests under way at a time. Fewer are while the endpoint is overloaded. Default 16.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_flight: Option<u32>,
}

/// What tokens cost, in dollars for a million.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelPrice {
    /// Of those that go in.
    pub input: f64,
    /// Of those that go in and are in the provider's cache. Default: as the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached_input: Option<f64>,
    /// Of those that come out. Default 0, for models that embed.
    #[serde(default)]
    pub output: f64,
}

/// `prompt = "Describe {{ text }}"` with `model`, `into`, `system`, `images`, `schema`, `params`, `max_tokens`, `truncate`, `share`, `cache_ttl`, `usage`: the answer of a
/// model to each row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Prompt {
    /// What is asked: a Jinja template over the stage's columns, and its ancestors' as `{{ stage.column }}`.
    pub text: String,
    /// What the model is told before; a template, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// Columns with pictures (bytes of png, jpeg, gif or webp, or a file's content) that are asked about.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<String>,
    /// What the answer holds: columns and their types, such as `{ topic = "utf8", score = "float64" }`, or a JSON Schema of an object, in which
    /// what may be any object or list is JSON in a text. They become columns of the stage. An answer that doesn't fit is asked for once more, and then the row fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<AnswerSchema>,
    /// What is common to the verbs that ask.
    #[serde(flatten)]
    pub asking: Asking,
}

/// `embed = "{{ title }}\n{{ text }}"` with `model`, `into`, `dimensions`, `normalize`, `truncate`, `share`, `cache_ttl`, `usage`: a vector for each row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Embed {
    /// What is embedded: a Jinja template, as that of `prompt`.
    pub text: String,
    /// The length that vectors are asked for, where the model can give several. Default: its own, which `dimensions` of the model says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dimensions: Option<u32>,
    /// Whether vectors are made ones of length 1. Default: they stay as they are.
    #[serde(default, skip_serializing_if = "is_false")]
    pub normalize: bool,
    /// What is common to the verbs that ask.
    #[serde(flatten)]
    pub asking: Asking,
}

/// `classify = "{{ text }}"` with `labels`, `by`, `model`, `into`, `system`, `params`, `truncate`, `share`, `cache_ttl`, `usage`: one of some labels for each row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Classify {
    /// What is classified: a Jinja template, as that of `prompt`.
    pub text: String,
    /// The labels, at least two; or a table of labels with what each means.
    pub labels: IndexMap<String, String>,
    /// How: a chat model is asked (`prompt`), or the label is taken whose vector is closest to the text's (`embedding`). Default `prompt`.
    #[serde(default)]
    pub by: ClassifyBy,
    /// What the model is told before; a template, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// What is common to the verbs that ask.
    #[serde(flatten)]
    pub asking: Asking,
}

/// How rows are classified.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClassifyBy {
    /// A chat model is asked.
    #[default]
    Prompt,
    /// By the vectors of text and labels.
    Embedding,
}

/// Parameters of a request that are the host's to say, and what says them in a stage: pace, money and answers are counted by them.
pub const HOSTS_PARAMS: [(&str, &str); 8] = [
    ("model", "`model` of the stage"),
    ("messages", "the text of the stage"),
    ("system", "`system` of the stage"),
    ("max_tokens", "`max_tokens` of the stage"),
    ("max_completion_tokens", "`max_tokens` of the stage"),
    ("response_format", "`schema` of the stage"),
    ("stream", "not needed: nobody sees an answer before it is whole"),
    ("n", "not needed: a row has one answer"),
];

/// What is common to the verbs that ask a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Asking {
    /// The model's name. Default: `default_model` of the pipeline, or its only one.
    pub model: Name,
    /// The new column's name. Default `answer`, `embedding` and `label`. With `schema` there is a column for each field, and none of this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub into: Option<String>,
    /// The most tokens that may come out. Needed where a budget is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
    /// Further parameters, as the provider calls them: `{ temperature = 0 }`.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub params: Map<String, Value>,
    /// Whether a text that is too long for the model (`window`) is cut at its end. Default: the row fails.
    #[serde(default, skip_serializing_if = "is_false")]
    pub truncate: bool,
    /// Whether an answer counts for every row with the same question, in this and later runs. Default: it does for vectors and with `temperature = 0`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<bool>,
    /// How old a shared answer may be. Default: any age.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_ttl: Option<Millis>,
    /// Whether there is a column that says what each answer took, `INTO_usage` (with `schema` `STAGE_usage`): a struct of `input_tokens`, `cached_tokens`, `output_tokens`, `usd`, `seconds`, `attempts`, `finish`,
    /// `model` and `from`.
    #[serde(default, skip_serializing_if = "is_false")]
    pub usage: bool,
}

/// What an answer holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum AnswerSchema {
    /// Columns and their types.
    Columns(SourceSchema),
    /// A JSON Schema, whose root has `properties`, whatever it referred to.
    Json(Map<String, Value>),
}

fn is_false(value: &bool) -> bool {
    !value
}
