//! Files that this pipeline has written, and what becomes of them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use dflow_io::is_object;
use dflow_operators::StepError;
use dflow_pipeline::{Fault, Name};
use rusqlite::params;

use super::{
    open::Journal,
    tasks::{TaskId, forget_splits},
};
use crate::faults::Step;

impl Journal {
    /// Says that files were removed. Tasks that made them are gone, but those of `current`.
    pub(crate) fn removed(&mut self, paths: &[PathBuf], current: &[TaskId]) -> Result<(), StepError> {
        let (run, faults, base) = (self.run.clone(), self.faults.clone(), self.base.clone());
        faults.before(Step::Removed);
        self.with(|db| {
            let removed = db.transaction()?;
            {
                let mut tasks =
                    removed.prepare_cached("SELECT task FROM file WHERE path = ? AND state = 'published'")?;
                let mut file = removed.prepare_cached(
                    // Who only forgets is no run.
                    "UPDATE file SET state = 'removed', replaced = (SELECT id FROM run WHERE id = ?)
                     WHERE path = ? AND state = 'published'",
                )?;
                let mut gone = removed.prepare_cached("UPDATE task SET state = 'gone' WHERE id = ?")?;
                for path in paths {
                    let path = base.text(path)?;
                    let of = tasks.query_map([&path], |row| row.get::<_, Option<i64>>(0))?;
                    for task in of.collect::<Result<Vec<_>, _>>()?.into_iter().flatten() {
                        if !current.contains(&TaskId(task)) {
                            gone.execute([task])?;
                        }
                    }
                    file.execute(params![run, path])?;
                }
            }
            forget_splits(&removed)?;
            removed.commit()?;
            Ok(())
        })?;
        faults.after(Step::Removed);
        Ok(())
    }

    /// Removes files, here or in buckets, as far as they are there.
    pub(crate) fn remove(&self, paths: &[PathBuf]) -> Result<(), StepError> {
        let (objects, here): (Vec<_>, Vec<_>) = paths.iter().map(PathBuf::as_path).partition(|path| is_object(path));
        here.into_iter().try_for_each(remove)?;
        if let Some(stores) = &self.stores {
            stores.remove_objects(objects)?;
        }
        Ok(())
    }

    /// The parts that wait for the single files of these sinks, or to be written to stdout, whoever made them.
    pub(crate) fn parts(&mut self, sinks: &[&Name]) -> Result<Vec<PathBuf>, StepError> {
        let base = self.base.clone();
        self.with(|db| {
            let mut parts = Vec::new();
            let mut read =
                db.prepare_cached("SELECT path FROM file WHERE sink = ? AND part = 1 AND state = 'published'")?;
            for sink in sinks {
                let paths = read.query_map([sink.as_str()], |row| base.path(row, 0))?;
                parts.extend(paths.collect::<Result<Vec<_>, _>>()?);
            }
            Ok(parts)
        })
    }
}

/// Removes a file, if it is there.
pub(crate) fn remove(path: &Path) -> Result<(), StepError> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            let what = format!("can't remove `{}`, which was replaced: {e}", path.display());
            Err(StepError::new(Fault::Outside, what))
        }
        _ => Ok(()),
    }
}
