//! Errors of steps, carried through DataFusion and found again on its other side.

use std::{error::Error, fmt};

use datafusion::error::DataFusionError;
use dflow_io::IoError;
use dflow_pipeline::{Fault, Name};
use dflow_wasm::WasmError;

use crate::left_out::LeftOut;

/// What ended a task: whose fault, what, and what to do.
#[derive(Clone, Debug)]
pub struct StepError {
    /// Whose.
    pub fault: Fault,
    /// What happened.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
    /// The row that the task is to leave out when it is done again, where that is what to do.
    pub row: Option<Box<LeftOut>>,
}

impl StepError {
    /// An error without a hint.
    pub fn new(fault: Fault, message: impl Into<String>) -> Self {
        Self { fault, message: message.into(), hint: None, row: None }
    }

    /// What can't be, unless we made a mistake.
    pub fn internal(error: impl fmt::Display) -> Self {
        Self::new(Fault::Internal, error.to_string())
    }

    /// With a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for StepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

impl Error for StepError {}

impl From<WasmError> for StepError {
    fn from(e: WasmError) -> Self {
        Self { fault: e.fault, message: e.message, hint: e.hint, row: None }
    }
}

impl From<StepError> for WasmError {
    fn from(e: StepError) -> Self {
        Self { hint: e.hint, ..Self::new(e.fault, e.message) }
    }
}

impl From<IoError> for StepError {
    fn from(e: IoError) -> Self {
        Self { fault: e.fault, message: e.message.clone(), hint: e.hint.clone(), row: None }
    }
}

impl From<StepError> for DataFusionError {
    fn from(e: StepError) -> Self {
        Self::External(Box::new(e))
    }
}

/// The words with which a refusal of the memory that all share begins.
const NO_MEMORY: &str = "no memory is left for ";
/// What to do then.
const MORE_MEMORY: &str = "raise `--memory`, or do less at a time with `--workers`";

/// The text of an error that says that there is no more memory, for whoever keeps it; [`step_error`] finds it among the words
/// that operators put around it. `what` names who asked, what was asked for, and who holds it.
pub fn no_memory(what: &str) -> String {
    format!("{NO_MEMORY}{what}")
}

/// What is said first of a value for which an expression has no result.
const NO_RESULT: &str = "an expression has no result for a row";

impl StepError {
    /// With the stages whose expression may be the one that has no result, if that is what happened: which of them it was, is not
    /// known any more when they are computed together.
    #[must_use]
    pub fn of_expressions(mut self, stages: &[&Name]) -> Self {
        let named: Vec<_> = stages.iter().map(|stage| format!("`{stage}`")).collect();
        if let Some(what) = self.message.strip_prefix(NO_RESULT).filter(|_| !named.is_empty()) {
            self.message = format!("stage {}: {NO_RESULT}{what}", named.join(" or "));
        }
        self
    }
}

/// The step's error inside one of DataFusion's; one of DataFusion's own is classified by its kind.
pub fn step_error(error: &DataFusionError) -> StepError {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(e) = cause {
        if let Some(step) = e.downcast_ref::<StepError>() {
            return step.clone();
        }
        // Shared and external errors don't hand out what is in them as a source, so look inside.
        cause = match e.downcast_ref::<DataFusionError>() {
            Some(DataFusionError::Shared(inner)) => Some(inner.as_ref()),
            Some(DataFusionError::External(inner)) => Some(inner.as_ref()),
            Some(DataFusionError::Context(_, inner)) => Some(inner.as_ref()),
            Some(DataFusionError::ArrowError(inner, _)) => match inner.as_ref() {
                datafusion::arrow::error::ArrowError::ExternalError(inner) => Some(inner.as_ref()),
                other => Some(other),
            },
            // An error of io's with one of ours in it names only the source of ours.
            None => match e.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
                Some(inner) => Some(inner),
                None => e.source(),
            },
            _ => e.source(),
        };
    }
    let fault = match error.find_root() {
        DataFusionError::ResourcesExhausted(_) => Fault::Limit,
        DataFusionError::ObjectStore(_) | DataFusionError::IoError(_) => Fault::Outside,
        DataFusionError::Internal(_) => Fault::Internal,
        DataFusionError::Plan(_) | DataFusionError::SchemaError(..) | DataFusionError::NotImplemented(_) => {
            Fault::Pipeline
        }
        _ => Fault::Data,
    };
    let text = error.strip_backtrace();
    if let Some(start) = text.find(NO_MEMORY) {
        let text = text[start..].lines().next().unwrap_or_default();
        return StepError::new(Fault::Limit, text).hint(MORE_MEMORY);
    }
    let text = text.lines().next().unwrap_or_default();
    match error.find_root() {
        DataFusionError::ResourcesExhausted(what) => {
            StepError::new(fault, format!("the memory is too small: {what}")).hint(MORE_MEMORY)
        }
        DataFusionError::ArrowError(..) | DataFusionError::Execution(_) => {
            let what = text.trim_start_matches("Arrow error: ").trim_start_matches("Execution error: ");
            StepError::new(fault, format!("{NO_RESULT}: {what}")).hint(
                "`try_cast(x AS int)` gives null where `cast` fails; a `filter` in a stage before keeps such rows away",
            )
        }
        _ => StepError::new(fault, text),
    }
}
