//! Paths as the journal holds them: of what is in the project, from the state folder. So a project that is moved or copied keeps what it
//! has made, and a copy leaves the original's files alone.

use std::path::{Path, PathBuf, absolute};

use dflow_io::is_object;
use rusqlite::Row;

use super::open::{Broken, Why};

/// How the identity of a file begins that is known by its path from the root.
const FILE: &str = "file://";

/// The folders that the journal's paths are meant from.
#[derive(Clone, Debug)]
pub(super) struct Base {
    /// The state folder, as it was named.
    state: PathBuf,
    /// The real folder that it is in, which is the project's: sinks' paths are real ones.
    project: PathBuf,
}

impl Base {
    /// Those of the journal in a state folder.
    pub(super) fn of(state: &Path) -> Self {
        let state = absolute(state).unwrap_or_else(|_| state.to_owned());
        let above = state.parent().unwrap_or(&state);
        let project = above.canonicalize().unwrap_or_else(|_| above.to_owned());
        Self { state, project }
    }

    /// A path as the journal holds it: `store/…` in the state folder, `../…` beside it; from the root elsewhere; an object's is its URI.
    ///
    /// # Errors
    /// Text can't say it.
    pub(super) fn text(&self, path: &Path) -> Result<String, Broken> {
        let whole = if is_object(path) { path.to_owned() } else { absolute(path).unwrap_or_else(|_| path.to_owned()) };
        let held = if let Ok(inside) = whole.strip_prefix(&self.state) {
            inside.to_owned()
        } else if let Ok(beside) = whole.strip_prefix(&self.project) {
            Path::new("..").join(beside)
        } else {
            whole
        };
        held.into_os_string().into_string().map_err(|held| Why::Path(held.into()).into())
    }

    /// The path that a column holds, from the root; an object's URI.
    pub(super) fn path(&self, row: &Row<'_>, column: usize) -> rusqlite::Result<PathBuf> {
        Ok(self.whole(Path::new(&row.get::<_, String>(column)?)))
    }

    fn whole(&self, held: &Path) -> PathBuf {
        match held.strip_prefix("..") {
            Ok(beside) => self.project.join(beside),
            Err(_) if is_object(held) => held.to_owned(),
            // One from the root stays as it is.
            Err(_) => self.state.join(held),
        }
    }

    /// A split's identity as the journal holds it: of what a saved stage has stored, `file://` and its path from the state folder.
    pub(super) fn identity_text(&self, identity: &str) -> String {
        let path = identity.strip_prefix(FILE).map(Path::new);
        match path.and_then(|path| path.strip_prefix(&self.state).ok()?.to_str()) {
            Some(stored) => format!("{FILE}{stored}"),
            None => identity.to_owned(),
        }
    }

    /// The identity of a split that a column holds.
    pub(super) fn identity(&self, row: &Row<'_>, column: usize) -> rusqlite::Result<String> {
        let held: String = row.get(column)?;
        Ok(match held.strip_prefix(FILE) {
            Some(stored) if !stored.starts_with('/') => format!("{FILE}{}", self.state.join(stored).display()),
            _ => held,
        })
    }

    /// How paths in the state folder begin, and how those in the project's.
    pub(super) fn beginnings(&self) -> [String; 2] {
        [&self.state, &self.project].map(|folder| folder.join("").display().to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_in_the_project_are_held_from_the_state_folder() {
        let base = |project: &str, state: &str| Base { state: Path::new(project).join(state), project: project.into() };
        let (here, there) = (base("/here", ".dflow"), base("/there", ".state"));
        for (path, held, moved) in [
            ("/here/.dflow/store/s/1f/s-1.parquet", "store/s/1f/s-1.parquet", "/there/.state/store/s/1f/s-1.parquet"),
            ("/here/out/a.csv", "../out/a.csv", "/there/out/a.csv"),
            ("/here/.dflow.old/a:/b", "../.dflow.old/a:/b", "/there/.dflow.old/a:/b"),
            ("/hereafter/a.csv", "/hereafter/a.csv", "/hereafter/a.csv"),
            ("/elsewhere/.dflow/a.csv", "/elsewhere/.dflow/a.csv", "/elsewhere/.dflow/a.csv"),
            ("lake://here/a.csv", "lake://here/a.csv", "lake://here/a.csv"),
        ] {
            assert_eq!(here.text(Path::new(path)).expect("it is UTF-8"), held);
            assert_eq!(here.whole(Path::new(held)), Path::new(path));
            assert_eq!(there.whole(Path::new(held)), Path::new(moved));
        }
    }
}
