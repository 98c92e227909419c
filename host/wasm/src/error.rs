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
    /// Of a refusal of its settings, what the plugin itself says.
    pub refusal: Option<String>,
}

impl WasmError {
    /// An error without more.
    pub fn new(fault: Fault, message: impl Into<String>) -> Self {
        Self { fault, message: message.into(), hint: None, of_a_row: None, refusal: None }
    }

    /// An error of the plugin's.
    pub(crate) fn plugin(message: impl Into<String>) -> Self {
        Self::new(Fault::Plugin, message)
    }

    /// An error of the pipeline's: settings or columns that the operator doesn't take.
    pub(crate) fn pipeline(message: impl Into<String>) -> Self {
        Self::new(Fault::Pipeline, message)
    }

    /// A limit that was met.
    pub(crate) fn limit(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(Fault::Limit, message).hint(hint)
    }

    /// Something outside: a file, a disk.
    pub(crate) fn outside(message: impl Into<String>) -> Self {
        Self::new(Fault::Outside, message)
    }

    /// Our own mistake.
    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(Fault::Internal, message).hint("this is a mistake of dflow's; please report it")
    }

    /// What one row of a batch may have caused.
    #[must_use]
    pub(crate) fn of_a_row(mut self, kind: &'static str) -> Self {
        self.of_a_row = Some(kind);
        self
    }

    /// What it says of a row that it costs: all of it, on one line.
    pub fn of_lost_row(self) -> String {
        match self.hint {
            Some(hint) => format!("{}; {hint}", self.message),
            None => self.message,
        }
    }

    /// With a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
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
