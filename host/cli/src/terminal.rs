//! stdout is for data, stderr is for people. Nothing else here writes to either.

use std::{
    io::{self, ErrorKind, Write},
    sync::{Mutex, PoisonError},
};

use console::Term;
use indicatif::{MultiProgress, ProgressDrawTarget};

use crate::{failure::Failure, outside::Outside};

/// What a person sits at, or not.
pub(crate) struct Terminal {
    stdout_is_terminal: bool,
    stderr_is_terminal: bool,
    colour: bool,
    /// The live lines at the bottom of the screen, while there are any: what is said meanwhile goes above them.
    live: Mutex<Option<MultiProgress>>,
}

impl Terminal {
    /// The terminal that stdout and stderr lead to, if they do.
    pub(crate) fn new(outside: &Outside) -> Self {
        Self {
            stdout_is_terminal: outside.stdout_is_terminal,
            stderr_is_terminal: outside.stderr_is_terminal,
            colour: outside.colour(),
            live: Mutex::new(None),
        }
    }

    /// Whether a person sees stdout.
    pub(crate) fn stdout_is_terminal(&self) -> bool {
        self.stdout_is_terminal
    }

    /// Whether a person sees stderr.
    pub(crate) fn stderr_is_terminal(&self) -> bool {
        self.stderr_is_terminal
    }

    /// Whether stderr takes colours.
    pub(crate) fn colour(&self) -> bool {
        self.colour
    }

    /// Columns of text for a person who reads stderr; `None` when what is said goes to a log.
    pub(crate) fn stderr_width(&self) -> Option<usize> {
        self.stderr_is_terminal.then(|| columns(&Term::stderr()))
    }

    /// Columns of text for a person who reads stdout; `None` when it is a program that reads, for which no line is broken.
    pub(crate) fn stdout_width(&self) -> Option<usize> {
        self.stdout_is_terminal.then(|| columns(&Term::stdout()))
    }

    /// Writes data. A reader who has gone away has seen enough, and is no error.
    ///
    /// # Errors
    /// stdout can't be written to, such as when it is a file on a disk that is full.
    pub(crate) fn print(&self, data: &[u8]) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        match stdout.write_all(data).and_then(|()| stdout.flush()) {
            Err(e) if e.kind() != ErrorKind::BrokenPipe => Err(Failure::outside(format!("can't write to stdout: {e}"))),
            _ => Ok(()),
        }
    }

    /// Says something to a person; a line feed is added where it has none at its end. Where nobody can be told, nobody is.
    pub(crate) fn say(&self, text: &str) {
        let tell = || {
            let mut stderr = io::stderr().lock();
            let end = if text.ends_with('\n') { "" } else { "\n" };
            drop(stderr.write_all(text.as_bytes()).and_then(|()| stderr.write_all(end.as_bytes())));
        };
        match &*self.live.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(live) => live.suspend(tell),
            None => tell(),
        }
    }

    /// Begins live lines at the bottom of the screen.
    pub(crate) fn begin_live(&self) -> MultiProgress {
        let live = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(15));
        *self.live.lock().unwrap_or_else(PoisonError::into_inner) = Some(live.clone());
        live
    }

    /// Removes the live lines.
    pub(crate) fn end_live(&self) {
        if let Some(live) = self.live.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // A terminal that can't be cleared still shows what comes after.
            drop(live.clear());
        }
    }
}

/// A terminal's columns, but enough for a table to be one.
fn columns(term: &Term) -> usize {
    term.size_checked().map_or(80, |(_, columns)| usize::from(columns).max(40))
}
