//! Paths as the journal holds them: of what is in the project, from the state folder. So a project that is moved or copied keeps what it
//! has made, and a copy leaves the original's files there alone. A state folder that somebody keeps elsewhere may be moved without the
//! outputs beside it, and holds these from the root.

use std::path::{Path, PathBuf, absolute};

use dflow_io::is_object;
use rusqlite::{Connection, Row};

use super::open::{Broken, Why};
use crate::engine::STATE_FOLDER;

/// How the identity of a file begins that is known by its path from the root.
const FILE: &str = "file://";

/// The folders that the journal's paths are meant from.
#[derive(Clone, Debug)]
pub(super) struct Base {
    /// The state folder, as it was named.
    state: PathBuf,
    /// The real folder that it is in: sinks' paths are real ones.
    above: PathBuf,
    /// Whether that is the project's.
    in_project: bool,
}

impl Base {
    /// Those of the journal in a state folder. One of the usual name is in its project.
    pub(super) fn of(state: &Path) -> Self {
        let state = absolute(state).unwrap_or_else(|_| state.to_owned());
        let above = state.parent().unwrap_or(&state);
        let above = above.canonicalize().unwrap_or_else(|_| above.to_owned());
        let in_project = state.file_name().is_some_and(|name| name == STATE_FOLDER);
        Self { state, above, in_project }
    }

    /// As a journal has held paths until now, whatever its folder was called then.
    pub(super) fn of_held(self, db: &Connection) -> Result<Self, Broken> {
        let in_project = self.in_project || db.prepare("SELECT 1 FROM file WHERE path GLOB '../*'")?.exists([])?;
        Ok(Self { in_project, ..self })
    }

    /// A path as the journal holds it: `store/…` in the state folder, `../…` in the project; from the root elsewhere; an object's is its URI.
    ///
    /// # Errors
    /// Text can't say it.
    pub(super) fn text(&self, path: &Path) -> Result<String, Broken> {
        let whole = if is_object(path) { path.to_owned() } else { absolute(path).unwrap_or_else(|_| path.to_owned()) };
        let held = match (whole.strip_prefix(&self.state), whole.strip_prefix(&self.above)) {
            (Ok(inside), _) => inside.to_owned(),
            (Err(_), Ok(beside)) if self.in_project => Path::new("..").join(beside),
            _ => whole,
        };
        held.into_os_string().into_string().map_err(|held| Why::Path(held.into()).into())
    }

    /// The path that a column holds, from the root; an object's URI.
    pub(super) fn path(&self, row: &Row<'_>, column: usize) -> rusqlite::Result<PathBuf> {
        Ok(self.whole(Path::new(&row.get::<_, String>(column)?)))
    }

    fn whole(&self, held: &Path) -> PathBuf {
        match held.strip_prefix("..") {
            Ok(beside) => self.above.join(beside),
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

    /// How paths in the state folder begin, and how those in the project's, if it is in that.
    pub(super) fn beginnings(&self) -> (String, Option<String>) {
        let beginning = |folder: &Path| folder.join("").display().to_string();
        (beginning(&self.state), self.in_project.then(|| beginning(&self.above)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_in_the_project_are_held_from_the_state_folder() {
        let base = |project: &str, state: &str| Base {
            state: Path::new(project).join(state),
            above: project.into(),
            in_project: true,
        };
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

    #[test]
    fn a_state_folder_elsewhere_holds_outputs_from_the_root() {
        let base = Base::of(Path::new("/no-such-folder/state"));
        for (path, held) in [
            ("/no-such-folder/state/store/s/1f/s-1.parquet", "store/s/1f/s-1.parquet"),
            ("/no-such-folder/out/a.csv", "/no-such-folder/out/a.csv"),
        ] {
            assert_eq!(base.text(Path::new(path)).expect("it is UTF-8"), held);
            assert_eq!(base.whole(Path::new(held)), Path::new(path));
        }
        // One that was in its project under another name goes on as it began.
        let db = Connection::open_in_memory().expect("memory is there");
        db.execute_batch("CREATE TABLE file (path TEXT); INSERT INTO file VALUES ('../out/b.csv')").expect("a file");
        let base = base.of_held(&db).expect("it can be read");
        assert_eq!(base.text(Path::new("/no-such-folder/out/a.csv")).expect("it is UTF-8"), "../out/a.csv");
    }
}
