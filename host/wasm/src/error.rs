//! What can go wrong with foreign code, and whose fault it is.

use std::fmt;

use dflow_pipeline::Fault;

/// [`WasmError::of_a_row`] of what used up its time.
pub const TIME: &str = "time";

/// An error of a plugin, of its limits, or of what it was given.
#[derive(Clone, Debug)]
pub struct WasmError {
    /// Whose.
    pub fault: Fault,
    /// What happened; names the operator or the component.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
    /// For what a batch met that may be the matter of one of its rows, a trap or a limit: a short name.
    pub of_a_row: Option<&'static str>,
}

impl WasmError {
    /// An error of the plugin's.
    pub(crate) fn plugin(message: impl Into<String>) -> Self {
        Self { fault: Fault::Plugin, message: message.into(), hint: None, of_a_row: None }
    }

    /// An error of the pipeline's: settings or columns that the operator doesn't take.
    pub(crate) fn pipeline(message: impl Into<String>) -> Self {
        Self { fault: Fault::Pipeline, message: message.into(), hint: None, of_a_row: None }
    }

    /// A limit that was met.
    pub(crate) fn limit(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { fault: Fault::Limit, message: message.into(), hint: Some(hint.into()), of_a_row: None }
    }

    /// Something outside: a file, a disk.
    pub(crate) fn outside(message: impl Into<String>) -> Self {
        Self { fault: Fault::Outside, message: message.into(), hint: None, of_a_row: None }
    }

    /// Our own mistake.
    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self {
            fault: Fault::Internal,
            message: message.into(),
            hint: Some("this is a mistake of dflow's; please report it".to_owned()),
            of_a_row: None,
        }
    }

    /// What one row of a batch may have caused.
    #[must_use]
    pub(crate) fn of_a_row(mut self, kind: &'static str) -> Self {
        self.of_a_row = Some(kind);
        self
    }

    /// With a hint.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for WasmError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for WasmError {}
