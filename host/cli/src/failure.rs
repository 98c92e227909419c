//! What ends a command, how it is shown, and which exit code it is.

use dflow_pipeline::{Fault, Mistakes, exit, render, render_warnings};
use dflow_run::{NoCost, Plan, RunError, StepError};

use crate::{terminal::Terminal, words};

/// How wide mistakes are laid out where nobody's window says.
const WIDTH: usize = 100;

/// What ended a command.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Mistakes in the pipeline, all of them.
    Mistakes(Mistakes),
    /// One error.
    Error {
        /// A lowercase phrase.
        message: String,
        /// What to do.
        hint: Option<String>,
        /// Whose fault; `None` for the command line's.
        fault: Option<Fault>,
    },
    /// The user.
    Interrupted {
        /// Whether the same once more goes on where this one stopped.
        goes_on: bool,
    },
}

impl Failure {
    /// An error in what was typed.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::Error { message: message.into(), hint: None, fault: None }
    }

    /// An error of the pipeline's.
    pub(crate) fn pipeline(message: impl Into<String>) -> Self {
        Self::Error { message: message.into(), hint: None, fault: Some(Fault::Pipeline) }
    }

    /// An error of the outside world's.
    pub(crate) fn outside(message: impl Into<String>) -> Self {
        Self::Error { message: message.into(), hint: None, fault: Some(Fault::Outside) }
    }

    /// With a hint.
    #[must_use]
    pub(crate) fn hint(mut self, text: impl Into<String>) -> Self {
        if let Self::Error { hint, .. } = &mut self {
            *hint = Some(text.into());
        }
        self
    }

    /// The exit code.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Mistakes(mistakes) => mistakes.exit_code(),
            Self::Error { fault: Some(fault), .. } => fault.exit_code(),
            Self::Error { fault: None, .. } => exit::USAGE,
            Self::Interrupted { .. } => exit::INTERRUPTED,
        }
    }

    /// What a person is told, for a terminal of `width` columns, if it is one.
    pub(crate) fn shown(&self, colour: bool, width: Option<usize>) -> String {
        match self {
            Self::Mistakes(mistakes) => render(mistakes, colour, width.unwrap_or(WIDTH)),
            Self::Error { message, hint, .. } => {
                let error = if colour { "\x1b[1;31merror:\x1b[0m" } else { "error:" };
                let hint = hint.as_ref().map(|hint| format!("\nhint: {hint}")).unwrap_or_default();
                format!("{error} {message}{hint}\n")
            }
            Self::Interrupted { goes_on: false } => "interrupted\n".to_owned(),
            Self::Interrupted { goes_on: true } => {
                "interrupted\nhint: what is done is kept; run it again to go on from there\n".to_owned()
            }
        }
    }
}

/// Says what in a plan is no mistake but may surprise.
pub(crate) fn warn(plan: &Plan, terminal: &Terminal) {
    if let Some(warnings) = &plan.warnings {
        let width = terminal.stderr_width().unwrap_or(WIDTH);
        terminal.say(&format!("{}\n", render_warnings(warnings, terminal.colour(), width)));
    }
}

impl From<Mistakes> for Failure {
    fn from(mistakes: Mistakes) -> Self {
        Self::Mistakes(mistakes)
    }
}

impl From<NoCost> for Failure {
    fn from(why: NoCost) -> Self {
        match why {
            NoCost::Mistakes(mistakes) => mistakes.into(),
            NoCost::Failed(error) => error.into(),
        }
    }
}

impl From<StepError> for Failure {
    fn from(error: StepError) -> Self {
        Self::Error { message: error.message, hint: error.hint, fault: Some(error.fault) }
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        if error.interrupted {
            return Self::Interrupted { goes_on: true };
        }
        let mut message = error.error.message;
        for other in &error.beside.others {
            message.push_str("\nerror: ");
            message.push_str(&other.message);
        }
        let became = [(&error.beside.done, "done"), (&error.beside.not_reached, "not reached")];
        let became = became.iter().filter(|(stages, _)| !stages.is_empty());
        let became: Vec<String> = became.map(|(stages, what)| format!("{what}: {}", words::names(stages))).collect();
        if !became.is_empty() {
            message.push_str("\nnote: ");
            message.push_str(&became.join("; "));
        }
        Self::Error { message, hint: error.error.hint, fault: Some(error.error.fault) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whose_fault_it_is_says_which_exit_code() {
        for (failure, code) in [
            (Failure::usage("x"), 2),
            (Failure::pipeline("x"), 3),
            (Failure::outside("x"), 6),
            (StepError::new(Fault::Plugin, "x").into(), 5),
            (StepError::new(Fault::Limit, "x").into(), 7),
            (StepError::new(Fault::Internal, "x").into(), 1),
            (Failure::Interrupted { goes_on: false }, 130),
            (RunError { interrupted: true, ..StepError::new(Fault::Outside, "interrupted").into() }.into(), 130),
        ] {
            assert_eq!(failure.exit_code(), code, "{failure:?}");
        }
    }

    #[test]
    fn colour_carries_no_meaning() {
        let failure = Failure::usage("no such thing").hint("another one");
        assert_eq!(failure.shown(false, None), "error: no such thing\nhint: another one\n");
        assert_eq!(console::strip_ansi_codes(&failure.shown(true, None)), failure.shown(false, None));
    }
}
