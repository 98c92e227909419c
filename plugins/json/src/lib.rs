//! The plugin `json`: checks rows against JSON Schemas.

mod validate;
mod value;

pub use validate::{Errors, Settings, Validate};

dflow_plugin::export!(
    plugin = "json",
    version = env!("CARGO_PKG_VERSION"),
    summary = "checks rows against JSON Schemas",
    operators = [Validate]
);

#[cfg(test)]
dflow_plugin::testing::cases!(crate::PLUGIN);
