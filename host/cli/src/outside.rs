//! What is asked of the machine and the environment, in one place, so that everything else can be told something else.

use std::{
    io::IsTerminal,
    path::{Path, PathBuf},
};

use crate::machine;

/// Looks something up by its name.
type Lookup = dyn Fn(&str) -> Option<String>;

/// What lies outside of the arguments.
pub(crate) struct Outside {
    /// Looks up an environment variable.
    pub(crate) env: Box<Lookup>,
    /// The folder in which the command was typed.
    pub(crate) folder: PathBuf,
    /// How many cores there are.
    pub(crate) cores: usize,
    /// How many bytes of memory there are for this process.
    pub(crate) memory: u64,
    /// Whether a person types what comes on stdin.
    pub(crate) stdin_is_terminal: bool,
    /// Whether a person sees what goes to stdout.
    pub(crate) stdout_is_terminal: bool,
    /// Whether a person sees what goes to stderr.
    pub(crate) stderr_is_terminal: bool,
}

/// An environment variable of this process.
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

impl Outside {
    /// This process's.
    pub(crate) fn real() -> Self {
        Self {
            env: Box::new(variable),
            folder: std::env::current_dir().unwrap_or_default(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory: machine::memory(Path::new("/")),
            stdin_is_terminal: std::io::stdin().is_terminal(),
            stdout_is_terminal: std::io::stdout().is_terminal(),
            stderr_is_terminal: std::io::stderr().is_terminal(),
        }
    }

    /// An environment variable that isn't empty.
    pub(crate) fn env(&self, name: &str) -> Option<String> {
        (self.env)(name).filter(|value| !value.is_empty())
    }

    /// The folder for what can be made again: `$DFLOW_CACHE_DIR`, else `dflow` in `$XDG_CACHE_HOME`, else in `~/.cache`.
    pub(crate) fn cache(&self) -> Option<PathBuf> {
        let own = self.env("DFLOW_CACHE_DIR").map(PathBuf::from);
        let shared = || self.env("XDG_CACHE_HOME").map(|folder| PathBuf::from(folder).join("dflow"));
        let home = || self.env("HOME").map(|folder| PathBuf::from(folder).join(".cache/dflow"));
        own.or_else(shared).or_else(home).map(|folder| self.folder.join(folder))
    }

    /// Whether colours are wanted on stderr: a terminal, and nothing that speaks against it (<https://no-color.org>).
    pub(crate) fn colour(&self) -> bool {
        self.stderr_is_terminal && self.env("NO_COLOR").is_none() && self.env("TERM").is_none_or(|term| term != "dumb")
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A machine of four cores at which nobody sits, in the folder `/here`.
    pub(crate) fn outside(env: &'static [(&'static str, &'static str)]) -> Outside {
        let of = |name: &str| env.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
        Outside {
            env: Box::new(of),
            folder: PathBuf::from("/here"),
            cores: 4,
            memory: 8 << 30,
            stdin_is_terminal: false,
            stdout_is_terminal: false,
            stderr_is_terminal: false,
        }
    }

    #[test]
    fn the_cache_is_where_it_is_told_to_be() {
        for (env, folder) in [
            (&[("DFLOW_CACHE_DIR", "/c"), ("HOME", "/h")][..], Some("/c")),
            (&[("DFLOW_CACHE_DIR", "c")], Some("/here/c")),
            (&[("XDG_CACHE_HOME", "/x"), ("HOME", "/h")], Some("/x/dflow")),
            (&[("XDG_CACHE_HOME", ""), ("HOME", "/h")], Some("/h/.cache/dflow")),
            (&[], None),
        ] {
            assert_eq!(outside(env).cache().as_deref(), folder.map(Path::new), "{env:?}");
        }
    }

    #[test]
    fn colours_are_for_terminals_that_want_them() {
        for (terminal, env, colour) in [
            (true, &[("TERM", "xterm")][..], true),
            (true, &[("NO_COLOR", "1")], false),
            (true, &[("TERM", "dumb")], false),
            (false, &[], false),
        ] {
            assert_eq!(Outside { stderr_is_terminal: terminal, ..outside(env) }.colour(), colour, "{env:?}");
        }
    }
}
