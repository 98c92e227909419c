//! What can go wrong, and whose fault it is.

use dflow_pipeline::Fault;
use dflow_wasm::WasmError;

/// An error of a plugin, of its project, or of the machine on which it is built.
#[derive(Clone, Debug)]
pub struct KitError {
    /// Whose.
    pub fault: Fault,
    /// What happened.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

impl KitError {
    /// An error of a plugin's, or of its project's.
    pub(crate) fn plugin(message: impl Into<String>) -> Self {
        Self { fault: Fault::Plugin, message: message.into(), hint: None }
    }

    /// Something outside: a file, a program that isn't there.
    pub(crate) fn outside(message: impl Into<String>) -> Self {
        Self { fault: Fault::Outside, message: message.into(), hint: None }
    }

    /// With a hint.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl From<WasmError> for KitError {
    fn from(error: WasmError) -> Self {
        Self { fault: error.fault, message: error.message, hint: error.hint }
    }
}

impl std::fmt::Display for KitError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)?;
        self.hint.iter().try_for_each(|hint| write!(f, "\nhint: {hint}"))
    }
}

impl std::error::Error for KitError {}
