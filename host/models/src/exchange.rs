//! What is asked of a model and what it answers, whatever the provider.

use std::fmt;

use bytes::Bytes;
use serde_json::{Map, Value};

use crate::money::Usage;

/// A completion that is asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Prompt {
    /// What the model is told before.
    pub system: Option<String>,
    /// What it is asked.
    pub parts: Vec<Part>,
    /// An earlier answer and what was wrong with it, where it is asked once more.
    pub repair: Option<(String, String)>,
    /// Further parameters, as the provider names them.
    pub params: Map<String, Value>,
    /// The most tokens that may come out.
    pub max_tokens: Option<u32>,
    /// The JSON Schema that the answer has to fit, and its name.
    pub schema: Option<(String, Value)>,
    /// How many bytes of the first part others have in common with it; the provider may keep them.
    pub shared: usize,
}

/// Whether a model is asked so that it says the same to the same question, by the parameters of a completion.
pub fn repeats(params: &Map<String, Value>) -> bool {
    params.get("temperature").and_then(Value::as_f64) == Some(0.0)
}

/// A part of what is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Words.
    Text(String),
    /// A picture.
    Image {
        /// `image/png` and its like.
        media_type: String,
        /// The file.
        bytes: Bytes,
    },
}

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// Its text; JSON where a schema was asked for.
    pub text: String,
    /// Why it ends.
    pub finish: Finish,
    /// What it took, if the provider says so.
    pub usage: Option<Usage>,
}

/// Why an answer ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finish {
    /// It is complete.
    Stop,
    /// It has as many tokens as it may have.
    Length,
    /// The provider withholds it.
    Refused,
    /// As the provider says.
    Other(String),
}

impl Finish {
    /// What was written as its text.
    pub fn of(text: &str) -> Self {
        match text {
            "stop" => Self::Stop,
            "length" => Self::Length,
            "refused" => Self::Refused,
            other => Self::Other(other.to_owned()),
        }
    }
}

impl fmt::Display for Finish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::Refused => "refused",
            Self::Other(other) => other,
        })
    }
}

/// Vectors of some texts, in their order.
#[derive(Clone, Debug, PartialEq)]
pub struct Vectors {
    /// One for each text, all of one length.
    pub vectors: Vec<Vec<f32>>,
    /// What they took, if the provider says so.
    pub usage: Option<Usage>,
}
