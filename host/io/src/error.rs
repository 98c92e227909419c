//! What went wrong with bytes: whose fault, what, and what to do about it.

use std::{error::Error, fmt, io, path::Path, sync::Arc};

use dflow_pipeline::Fault;

/// An error of reading or writing. It prints as a lowercase phrase that names the path, and a `hint:` line if there is one.
#[derive(Clone, Debug)]
pub struct IoError {
    /// Whose it is.
    pub fault: Fault,
    /// What, as a lowercase phrase that names the path and, where there are any, has the operating system's words.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
    /// The error below, for who looks at its kind. Its words are in `message`, so it isn't given out as
    /// [`Error::source`]: a printed chain would say them twice.
    pub source: Option<Arc<dyn Error + Send + Sync>>,
}

impl IoError {
    /// An error with a message.
    pub fn new(fault: Fault, message: impl Into<String>) -> Self {
        Self { fault, message: message.into(), hint: None, source: None }
    }

    /// With a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// With the error below, whose words are in the message already.
    #[must_use]
    pub fn because(mut self, source: impl Error + Send + Sync + 'static) -> Self {
        self.source = Some(Arc::new(source));
        self
    }

    /// What the operating system said about something done (`read`, `write`, …) to a path.
    pub fn os(action: &str, path: &Path, error: io::Error) -> Self {
        Self::os_named(action, &path.display().to_string(), error)
    }

    /// What the operating system said about something done to what the user knows by this name.
    pub(crate) fn os_named(action: &str, name: &str, error: io::Error) -> Self {
        let hint = match error.kind() {
            io::ErrorKind::NotADirectory => Some("a part of this path is a file, not a folder"),
            io::ErrorKind::AlreadyExists | io::ErrorKind::IsADirectory => {
                Some("something else has this name; remove or rename it")
            }
            io::ErrorKind::PermissionDenied => Some("look at who owns it and what its permissions are"),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Some("free some space there, or write elsewhere")
            }
            io::ErrorKind::ReadOnlyFilesystem => Some("write to a volume on another file system"),
            _ => None,
        };
        let message = format!("can't {action} `{name}`: {error}");
        Self { fault: Fault::Outside, message, hint: hint.map(str::to_owned), source: Some(Arc::new(error)) }
    }

    /// Something that can't happen.
    pub(crate) fn internal(message: impl fmt::Display) -> Self {
        Self::new(Fault::Internal, message.to_string()).hint("this is a bug in dflow: please report it")
    }

    /// A job of the IO runtime that ended without an answer: it panicked, or the runtime is shutting down.
    pub(crate) fn lost(error: tokio::task::JoinError) -> Self {
        Self::internal(format!("a job of the io runtime was lost: {error}")).because(error)
    }

    /// What kind of error the operating system gave, if it was one of its.
    pub fn io_kind(&self) -> Option<io::ErrorKind> {
        self.source.as_deref()?.downcast_ref::<io::Error>().map(io::Error::kind)
    }
}

impl fmt::Display for IoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\n  hint: {hint}"),
            None => Ok(()),
        }
    }
}

impl Error for IoError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_path_and_has_a_hint() {
        let error = IoError::os("write", Path::new("/a/b"), io::Error::from_raw_os_error(20));
        assert_eq!(
            error.to_string(),
            "can't write `/a/b`: Not a directory (os error 20)\n  hint: a part of this path is a file, not a folder"
        );
        assert_eq!((error.fault, error.io_kind()), (Fault::Outside, Some(io::ErrorKind::NotADirectory)));
    }
}
