//! After a crash: what was prepared is published, what was merely begun is swept.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use dflow_io::{Prepared, is_object};
use dflow_operators::StepError;

use super::{
    commit::OnTheWay,
    open::Journal,
    runs::uint,
    tasks::{TaskId, forget_splits},
};

/// A file that was prepared and that somebody has removed since: rows of `file` and of `task`.
struct Lost {
    file: i64,
    task: Option<i64>,
}

impl Journal {
    /// Finishes what runs before this one had prepared, and sweeps the rest. Doing it again does nothing.
    pub(crate) fn recover(&mut self) -> Result<(), StepError> {
        if self.stores.is_none() && self.in_buckets()? {
            // Only a run knows where they are: it recovers when it begins.
            return Ok(());
        }
        let (on_the_way, lost) = self.on_the_way()?;
        if !on_the_way.files.is_empty() || !on_the_way.leaving.is_empty() || !on_the_way.tasks.is_empty() {
            self.publish(&on_the_way)?;
        }
        let state = self.path.parent().and_then(|state| std::path::absolute(state).ok()).unwrap_or_default();
        let begun = self.begun()?;
        for temporary in &begun {
            // It is gone when its task cleaned up after itself.
            drop(fs::remove_file(temporary));
            drop(fs::remove_dir_all(temporary));
            // Of a part its folder goes, too, when nothing else waits there.
            if temporary.starts_with(&state) {
                drop_empty_folders(temporary);
            }
        }
        // What they have uploaded is in nobody's manifest. Where it can't be reached any more it stays.
        let uploaded = self.uploaded()?;
        self.remove(&uploaded)?;
        // All that was prepared is uploaded now; what else is staged there is of use to nobody.
        drop(fs::remove_dir_all(state.join("uploads")));
        let parts = self.parts_of_the_complete()?;
        for part in &parts {
            drop(fs::remove_file(part));
            drop_empty_folders(part);
        }
        self.with(|db| {
            let sweep = db.transaction()?;
            for Lost { file, task } in &lost {
                sweep.execute("UPDATE file SET state = 'removed' WHERE id = ?", [file])?;
                // Rows that it has tried again are dead letters no more: the task where they failed is done anew, too.
                sweep.execute(
                    "WITH RECURSIVE kin (id) AS (
                         SELECT ?1 UNION SELECT task.replays FROM task JOIN kin ON task.id = kin.id WHERE task.replays IS NOT NULL
                     )
                     UPDATE task SET state = 'gone' WHERE id IN (SELECT id FROM kin)",
                    [task],
                )?;
            }
            sweep.execute("DELETE FROM file WHERE state = 'begun'", [])?;
            sweep.execute("UPDATE task SET state = 'gone' WHERE state = 'begun'", [])?;
            sweep.execute(
                "UPDATE file SET state = 'removed' WHERE part = 1 AND state = 'published'
                 AND task IN (SELECT id FROM task WHERE complete IS NOT NULL)",
                [],
            )?;
            forget_splits(&sweep)?;
            sweep.commit()?;
            Ok(())
        })?;
        self.sweep_dead()
    }

    /// What is prepared and not published; and what of it is under neither name.
    fn on_the_way(&mut self) -> Result<(OnTheWay, Vec<Lost>), StepError> {
        let base = self.base.clone();
        let (mut on_the_way, prepared) = self.with(|db| {
            let mut on_the_way = OnTheWay::default();
            let mut prepared = Vec::new();
            let mut read = db.prepare(
                "SELECT id, task, temporary, path, bytes, rows, row,
                 EXISTS (SELECT 1 FROM file AS own WHERE own.path = file.path AND own.state = 'published')
                 FROM file WHERE state = 'prepared' ORDER BY id",
            )?;
            let mut rows = read.query([])?;
            while let Some(row) = rows.next()? {
                let (temporary, path) = (base.path(row, 2)?, base.path(row, 3)?);
                let (bytes, of_rows) = (uint(row.get(4)?), uint(row.get(5)?));
                let file = Prepared { temporary, path, bytes, rows: of_rows, row: row.get(6)?, splits: Vec::new() };
                let of = Lost { file: row.get(0)?, task: row.get(1)? };
                let replaces_own: bool = row.get(7)?;
                prepared.push((file, of, replaces_own));
            }
            let mut read = db.prepare("SELECT id, path FROM file WHERE state = 'leaving' ORDER BY id")?;
            let leaving = read.query_map([], |row| Ok((row.get(0)?, base.path(row, 1)?)))?;
            on_the_way.leaving = leaving.collect::<Result<_, _>>()?;
            let mut read = db.prepare("SELECT id FROM task WHERE state = 'prepared'")?;
            let tasks = read.query_map([], |row| Ok(TaskId(row.get(0)?)))?;
            on_the_way.tasks = tasks.collect::<Result<_, _>>()?;
            Ok((on_the_way, prepared))
        })?;
        let mut lost = Vec::new();
        for (file, of, replaces_own) in prepared {
            if self.can_be_published(&file, replaces_own)? {
                on_the_way.files.push((of.file, file));
            } else {
                drop(fs::remove_file(&file.temporary));
                lost.push(of);
            }
        }
        Ok((on_the_way, lost))
    }

    /// Whether a file that was prepared is there under one of its names. An object's upload is done again, unless another has written
    /// one of its name since.
    fn can_be_published(&self, file: &Prepared, replaces_own: bool) -> Result<bool, StepError> {
        if !is_object(&file.path) {
            return Ok(file.temporary.exists() || file.path.exists());
        }
        let Some(stores) = self.stores.as_ref().filter(|stores| stores.reaches(&file.path)) else { return Ok(false) };
        let there = stores.size_of(&file.path)?;
        let ours = there == Some(file.bytes);
        Ok(ours || (file.temporary.exists() && (there.is_none() || replaces_own)))
    }

    /// Whether something in buckets waits to be recovered.
    fn in_buckets(&mut self) -> Result<bool, StepError> {
        let base = self.base.clone();
        let paths: Vec<PathBuf> = self.with(|db| {
            let mut read = db.prepare("SELECT path FROM file WHERE state IN ('begun', 'prepared')")?;
            let paths = read.query_map([], |row| base.path(row, 0))?;
            Ok(paths.collect::<Result<_, _>>()?)
        })?;
        Ok(paths.iter().any(|path| is_object(path)))
    }

    /// The objects that tasks that weren't done may have uploaded.
    fn uploaded(&mut self) -> Result<Vec<PathBuf>, StepError> {
        let base = self.base.clone();
        let paths: BTreeSet<PathBuf> = self.with(|db| {
            let mut read = db.prepare("SELECT path FROM file WHERE state = 'begun'")?;
            let begun = read.query_map([], |row| base.path(row, 0))?;
            Ok(begun.collect::<Result<_, _>>()?)
        })?;
        let reached = |path: &PathBuf| self.stores.as_ref().is_some_and(|stores| stores.reaches(path));
        Ok(paths.into_iter().filter(|path| is_object(path) && reached(path)).collect())
    }

    /// The temporary names under which tasks that weren't done may have left files.
    fn begun(&mut self) -> Result<BTreeSet<PathBuf>, StepError> {
        let base = self.base.clone();
        self.with(|db| {
            let mut read = db.prepare("SELECT temporary FROM file WHERE state = 'begun' AND temporary IS NOT NULL")?;
            let begun = read.query_map([], |row| base.path(row, 0))?;
            let begun: BTreeSet<PathBuf> = begun.collect::<Result<_, _>>()?;
            Ok(begun.into_iter().filter(|path| is_temporary(path)).collect())
        })
    }

    /// The parts of outputs that are whole: they were to be removed.
    fn parts_of_the_complete(&mut self) -> Result<Vec<PathBuf>, StepError> {
        let base = self.base.clone();
        self.with(|db| {
            let mut read = db.prepare(
                "SELECT path FROM file WHERE part = 1 AND state = 'published'
                 AND task IN (SELECT id FROM task WHERE complete IS NOT NULL)",
            )?;
            let parts = read.query_map([], |row| base.path(row, 0))?;
            Ok(parts.collect::<Result<_, _>>()?)
        })
    }
}

/// Removes the folders in which a part was, `parts/RUN/SINK/`, as far as they are empty: one that isn't can't be removed.
pub(crate) fn drop_empty_folders(part: &Path) {
    part.ancestors().skip(1).take(3).for_each(|folder| drop(fs::remove_dir(folder)));
}

/// Whether it is a name that nothing but a file in the making has: what a journal says is removed only then.
fn is_temporary(path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with('.') && name.ends_with(".tmp"))
}
