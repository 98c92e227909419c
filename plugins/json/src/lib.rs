//! The plugin `json`: typed columns out of JSON, and checks against JSON Schemas.
//!
//! | operator | question | home |
//! | --- | --- | --- |
//! | [`extract`](mod@extract) | which values does a JSON text hold? | `path` finds them, `cell` makes columns of them |
//! | [`validate`](mod@validate) | is each row what a JSON Schema says? | `value` makes JSON of columns |

mod cell;
mod extract;
mod path;
mod validate;
mod value;

pub use extract::Extract;
pub use validate::{Errors, Settings, Validate};

dflow_plugin::export!(
    plugin = "json",
    version = env!("CARGO_PKG_VERSION"),
    summary = "typed columns out of JSON, and checks against JSON Schemas",
    operators = [Extract, Validate]
);

#[cfg(test)]
dflow_plugin::testing::cases!(crate::PLUGIN);
