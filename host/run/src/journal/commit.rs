//! What tasks made appears, all of it or nothing, also when the process dies in the middle.
//!
//! `prepared` names all files in one transaction; they get their names; `done` says so in another. Whoever finds `prepared`
//! without `done` goes on from there: to publish twice does nothing.

use std::path::PathBuf;

use dflow_io::{Prepared, is_object};
use dflow_operators::StepError;
use dflow_pipeline::Name;
use rusqlite::{Transaction, params};

use super::{
    base::Base,
    dead::prepared_dead,
    files::remove,
    open::{Broken, Journal},
    replay::replayed,
    runs::int,
    tasks::{TaskId, record},
};
use crate::{
    faults::Step,
    task::{SinkFiles, TaskResult, TaskSpec},
};

/// Files of a sink that are about to be published.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Made<'a> {
    /// The task that made them; `None` of what was put together from the parts of all.
    pub(crate) task: Option<TaskId>,
    /// The sink.
    pub(crate) sink: &'a Name,
    /// Whether they are parts of a single file, or of what goes to stdout.
    pub(crate) part: bool,
    /// The files, and those that they replace.
    pub(crate) files: &'a SinkFiles,
}

/// What is on its way: rows of the table `file` and what they name.
#[derive(Debug, Default)]
pub(super) struct OnTheWay {
    pub(super) tasks: Vec<TaskId>,
    pub(super) files: Vec<(i64, Prepared)>,
    pub(super) leaving: Vec<(i64, PathBuf)>,
}

impl Journal {
    /// Publishes what tasks made, removes what that replaces, and says that the tasks are done. What isn't published yet when this
    /// fails can be published later.
    ///
    /// # Errors
    /// What would prevent the files from being published is found out before the first of them is; then all are removed.
    pub(crate) fn commit(
        &mut self,
        tasks: &[(TaskId, &TaskSpec, &TaskResult)],
        made: &[Made<'_>],
    ) -> Result<(), StepError> {
        for of_sink in made {
            if let Err(e) = Prepared::make_room(&of_sink.files.files) {
                made.iter().for_each(|made| made.files.discard());
                tasks.iter().for_each(|(.., result)| Prepared::discard_all(&result.dead_files()));
                return Err(e.into());
            }
        }
        let nothing = made.iter().all(|made| made.files.files.is_empty() && made.files.replaced.is_empty())
            && tasks.iter().all(|(.., result)| result.dead.is_empty());
        let (run, faults, base) = (self.run.clone(), self.faults.clone(), self.base.clone());
        let step = if nothing { Step::Done } else { Step::Prepared };
        faults.before(step);
        let on_the_way = self.with(|db| {
            let prepare = db.transaction()?;
            let mut on_the_way = prepared(&prepare, &base, &run, made)?;
            for (id, spec, result) in tasks {
                on_the_way.files.extend(prepared_dead(&prepare, &base, &run, *id, &result.dead)?);
                record(&prepare, &base, &run, *id, spec, result, if nothing { "done" } else { "prepared" })?;
                replayed(&prepare, *id)?;
            }
            prepare.commit()?;
            Ok(on_the_way)
        })?;
        faults.after(step);
        if nothing {
            return Ok(());
        }
        self.publish(&OnTheWay { tasks: tasks.iter().map(|(id, ..)| *id).collect(), ..on_the_way })
    }

    fn publish_files(&self, files: &[Prepared]) -> Result<(), StepError> {
        match &self.stores {
            Some(stores) => stores.publish_all(files)?,
            None => Prepared::publish_all(files)?,
        }
        Ok(())
    }

    /// Publishes what is prepared, or what is left of it, and says that it is done.
    pub(super) fn publish(&mut self, on_the_way: &OnTheWay) -> Result<(), StepError> {
        let (faults, base) = (self.faults.clone(), self.base.clone());
        let files: Vec<Prepared> = on_the_way.files.iter().map(|(_, file)| file.clone()).collect();
        faults.before(Step::Published);
        if faults.expects_amid(Step::Published) {
            // What they are staged in goes with the last of them.
            for file in &files[..files.len().div_ceil(2)] {
                match is_object(&file.path) {
                    true => self.publish_files(std::slice::from_ref(file))?,
                    false => file.publish()?,
                }
            }
            faults.amid(Step::Published);
        }
        self.publish_files(&files)?;
        for (_, path) in &on_the_way.leaving {
            remove(path)?;
        }
        faults.after(Step::Published);
        faults.before(Step::Done);
        // Who doesn't find this publishes once more, which does nothing. Then it is still the run that prepared it that replaces files.
        self.lazily(|db| {
            let done = db.transaction()?;
            {
                let mut older = done.prepare_cached(
                    "UPDATE file SET state = 'removed', replaced = (SELECT own.run FROM file AS own WHERE own.id = ?2)
                     WHERE path = ?1 AND state = 'published' AND id <> ?2",
                )?;
                let mut published = done.prepare_cached("UPDATE file SET state = 'published' WHERE id = ?")?;
                for (id, file) in &on_the_way.files {
                    older.execute(params![base.text(&file.path)?, id])?;
                    published.execute([id])?;
                }
                let mut removed = done.prepare_cached(
                    "UPDATE file SET state = 'removed', replaced = (SELECT own.run FROM file AS own WHERE own.id = ?2)
                     WHERE path = ?1 AND state IN ('published', 'leaving')",
                )?;
                for (id, path) in &on_the_way.leaving {
                    removed.execute(params![base.text(path)?, id])?;
                }
                let mut task = done.prepare_cached("UPDATE task SET state = 'done' WHERE id = ?")?;
                for id in &on_the_way.tasks {
                    task.execute([id.0])?;
                }
            }
            done.commit()?;
            Ok(())
        })?;
        faults.after(Step::Done);
        Ok(())
    }
}

/// Names all files in the place of those that were begun.
fn prepared(prepare: &Transaction<'_>, base: &Base, run: &str, made: &[Made<'_>]) -> Result<OnTheWay, Broken> {
    let mut on_the_way = OnTheWay::default();
    let mut begun = prepare.prepare_cached("DELETE FROM file WHERE task = ? AND sink = ? AND state = 'begun'")?;
    let mut file = prepare.prepare_cached(
        "INSERT INTO file (run, task, sink, part, state, temporary, path, bytes, rows, row, splits)
         VALUES (?, ?, ?, ?, 'prepared', ?, ?, ?, ?, ?, ?)",
    )?;
    let mut leaving = prepare
        .prepare_cached("INSERT INTO file (run, task, sink, part, state, path) VALUES (?, ?, ?, 0, 'leaving', ?)")?;
    for Made { task, sink, part, files } in made {
        let task = task.map(|task| task.0);
        begun.execute(params![task, sink.as_str()])?;
        for one in &files.files {
            let (temporary, path) = (base.text(&one.temporary)?, base.text(&one.path)?);
            let (bytes, rows) = (int(one.bytes), int(one.rows));
            let splits = (!one.splits.is_empty()).then(|| serde_json::to_string(&one.splits)).transpose()?;
            file.execute(params![run, task, sink.as_str(), part, temporary, path, bytes, rows, one.row, splits])?;
            on_the_way.files.push((prepare.last_insert_rowid(), one.clone()));
        }
        for path in &files.replaced {
            leaving.execute(params![run, task, sink.as_str(), base.text(path)?])?;
            on_the_way.leaving.push((prepare.last_insert_rowid(), path.clone()));
        }
    }
    Ok(on_the_way)
}
