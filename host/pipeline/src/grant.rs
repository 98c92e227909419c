//! What a plugin may reach beyond its rows: nothing, unless the pipeline says so.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Name;

/// What a plugin is granted. Its description must ask for each of it, too.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Grant {
    /// The origins that it may send requests to, by the host. `http` of the contract.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub http: Vec<HttpGrant>,
    /// The models that it may ask, by the host: names of `[model.NAME]`. `models` of the contract.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<Name>,
}

impl Grant {
    /// Whether it grants nothing.
    pub fn is_nothing(&self) -> bool {
        self.http.is_empty() && self.models.is_empty()
    }
}

/// An origin that a plugin may send requests to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpGrant {
    /// `https://host`, or `https://host:port`. Redirects lead to granted origins alone.
    pub origin: String,
    /// A header that the host adds to requests for this origin; the plugin never sees its value. Goes with `secret_env`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// The environment variable that holds the header's whole value (such as `Bearer …`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_env: Option<String>,
    /// Whether the origin's name may lead to an address that isn't public, as names within a network do. Default false. An address in the
    /// place of a name, and `localhost`, are meant as they are.
    #[serde(default, skip_serializing_if = "is_false")]
    pub private: bool,
}

fn is_false(value: &bool) -> bool {
    !value
}
