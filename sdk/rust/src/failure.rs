//! Why an operator could not be opened, or gave up on a batch.

use arrow_schema::ArrowError;

/// Why an operator could not be opened, or gave up on a batch. The text is for people: a lowercase fragment that names the
/// thing in backticks.
///
/// A bad *row* is never a failure: it is told with [`Emitter::error`](crate::Emitter::error). A failure of `process` counts
/// as a trap.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The settings are not what the operator accepts.
    #[error("{0}")]
    Settings(String),
    /// The input schema is not what the operator accepts.
    #[error("{0}")]
    Schema(String),
    /// The data can't be worked on as a whole.
    #[error("{0}")]
    Data(String),
    /// This operator, type or format is not known here.
    #[error("{0}")]
    Unsupported(String),
    /// A capability that the operator needs was not granted.
    #[error("{0}")]
    Denied(String),
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

impl Failure {
    /// The settings are not what the operator accepts: `message` says which and why.
    pub fn settings(message: impl Into<String>) -> Self {
        Self::Settings(message.into())
    }

    /// The input schema is not what the operator accepts: `message` names the column.
    pub fn schema(message: impl Into<String>) -> Self {
        Self::Schema(message.into())
    }

    /// Anything else.
    pub fn other(message: impl Into<String>) -> Self {
        Self::Other(message.into())
    }
}

impl From<ArrowError> for Failure {
    fn from(error: ArrowError) -> Self {
        Self::Other(error.to_string())
    }
}
