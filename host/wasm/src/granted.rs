//! What the pipeline grants a plugin beyond its rows, and whether it is what the plugin wants.

use std::sync::Arc;

use crate::{
    abi,
    description::{Description, OperatorDescription},
    error::WasmError,
    http::Http,
};

/// What the pipeline grants a plugin.
#[derive(Clone, Debug, Default)]
pub struct Granted {
    /// Who makes its requests, if it may have some made.
    pub http: Option<Arc<dyn Http>>,
    /// Whether it may ask models. Who asks them is a stage's own ([`Within`](crate::Within)).
    pub models: bool,
    /// Whether it is only looked at: what it wants needn't be granted, and doesn't work.
    pub nominally: bool,
}

/// What there is to grant: the interface, the name in `wants`, whether it is granted, what it is, how it is granted.
type Capability = (&'static str, &'static str, bool, &'static str, &'static str);

impl Granted {
    fn capabilities(&self) -> [Capability; 2] {
        let http = "http = [{ origin = \"https://host\" }]";
        [
            (abi::HTTP, "http", self.http.is_some(), "make requests", http),
            (abi::MODELS, "models", self.models, "ask models", "models = [\"writer\"]"),
        ]
    }

    /// That what a component imports is granted.
    pub(crate) fn covers(&self, plugin: &str, imports: &[String]) -> Result<(), WasmError> {
        for (interface, _, granted, what, grant) in self.capabilities() {
            let wanted = imports.iter().find(|import| abi::same(import, interface));
            if let Some(wanted) = wanted.filter(|_| !granted && !self.nominally) {
                return Err(WasmError::pipeline(format!(
                    "plugin `{plugin}` wants to {what} (`{wanted}`), and the pipeline doesn't grant it that"
                ))
                .hint(format!("if it may: `grant = {{ {grant} }}` in `[plugin.{plugin}]`")));
            }
        }
        Ok(())
    }

    /// That what is granted is wanted.
    pub(crate) fn is_wanted(&self, plugin: &str, description: &Description) -> Result<(), WasmError> {
        for (_, name, granted, what, _) in self.capabilities() {
            let wants = |operator: &OperatorDescription| operator.wants(name);
            if granted && !description.operators.iter().any(wants) {
                return Err(WasmError::pipeline(format!(
                    "plugin `{plugin}` is granted to {what}, and none of its operators wants to"
                ))
                .hint(format!("take `{name}` out of the `grant` of `[plugin.{plugin}]`")));
            }
        }
        Ok(())
    }
}
