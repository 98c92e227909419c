//! Tasks: begun, done, and what is known of those of earlier runs.

use std::{
    borrow::Borrow,
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use dflow_io::{Prepared, Split};
use dflow_operators::{RowFailure, StageCounts, StepError};
use dflow_pipeline::{Fault, Name};
use rusqlite::{Connection, Row, Transaction, params};
use serde::{Deserialize, Serialize};

use super::{
    base::Base,
    dead::begin_dead,
    open::{Broken, Journal, Why},
    replay::STALE,
    runs::{int, now, uint},
};
use crate::{
    faults::Step,
    fingerprint::Fingerprint,
    task::{SinkFiles, TaskResult, TaskSpec},
};

/// A task in the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct TaskId(pub(super) i64);

impl TaskId {
    /// As a number.
    pub(crate) fn number(self) -> u32 {
        u32::try_from(self.0).unwrap_or_default()
    }
}

/// A task that an earlier run has done.
#[derive(Clone, Debug)]
pub(crate) struct PastTask {
    /// The task.
    pub(crate) id: TaskId,
    /// Whether all outputs of its segment were whole with it, once.
    pub(crate) complete: bool,
    /// What it read of each source, in order.
    pub(crate) splits: BTreeMap<Name, Vec<PastSplit>>,
    /// The rows that it wrote, by sink.
    pub(crate) rows: BTreeMap<Name, u64>,
    /// What came of it. Its files are those that are still published.
    pub(crate) result: TaskResult,
    /// The stage at which the rows had failed that it has tried again, if it has.
    pub(crate) replayed: Option<Name>,
    /// The tasks that have tried rows again that failed in it, or in one of these.
    pub(crate) replays: Vec<Self>,
}

/// A split that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PastSplit {
    /// The file: its volume's name and its path there.
    pub(crate) identity: String,
    /// Of its content.
    pub(crate) version: String,
    /// The bytes that were meant, when it wasn't all of them.
    pub(crate) range: Option<(u64, u64)>,
}

impl PastSplit {
    /// What is remembered of a split.
    pub(crate) fn of(split: &Split) -> Self {
        Self { identity: split.identity(), version: split.etag.clone(), range: split.range }
    }
}

/// What is kept of a result beside its files and failures, which have tables of their own.
#[derive(Serialize, Deserialize)]
pub(super) struct Kept {
    counts: BTreeMap<Name, StageCounts>,
    again: BTreeMap<Name, StageCounts>,
    rows: BTreeMap<Name, u64>,
    elapsed: Duration,
}

impl Journal {
    /// Says that tasks of a segment begin, and under which temporary names they may leave files. `part` says of which sinks they
    /// are parts.
    pub(crate) fn begin_tasks(
        &mut self,
        fingerprint: Option<&str>,
        specs: &[impl Borrow<TaskSpec>],
        part: &dyn Fn(&Name) -> bool,
    ) -> Result<Vec<TaskId>, StepError> {
        let (run, faults, base) = (self.run.clone(), self.faults.clone(), self.base.clone());
        faults.before(Step::Begun);
        let ids = self.with(|db| {
            let begin = db.transaction()?;
            let mut ids = Vec::with_capacity(specs.len());
            {
                let mut task = begin.prepare_cached(
                    "INSERT INTO task (run, segment, fingerprint, number, state, started) VALUES (?, ?, ?, ?, 'begun', ?)",
                )?;
                let mut file = begin.prepare_cached(
                    "INSERT INTO file (run, task, sink, part, state, temporary, path) VALUES (?, ?, ?, ?, 'begun', ?, ?)",
                )?;
                for spec in specs.iter().map(Borrow::borrow) {
                    task.execute(params![run, spec.segment.as_str(), fingerprint, spec.number, int(now())])?;
                    let id = begin.last_insert_rowid();
                    ids.push(TaskId(id));
                    if let Some(dead) = &spec.dead {
                        begin_dead(&begin, &base, &run, id, &spec.segment, dead)?;
                    }
                    for (sink, output) in &spec.outputs {
                        for name in std::iter::once(output.name.clone()).chain(output.kept()) {
                            let staging = output.staging.as_ref().unwrap_or(&output.folder);
                            let temporary = base.text(&staging.join(format!(".{name}.tmp")))?;
                            let path = base.text(&output.folder.join(name))?;
                            file.execute(params![run, id, sink.as_str(), part(sink), temporary, path])?;
                        }
                    }
                }
            }
            begin.commit()?;
            Ok(ids)
        })?;
        faults.after(Step::Begun);
        Ok(ids)
    }

    /// Says that all outputs of a segment are whole, and of which tasks: those that were done before for it are gone. With `others`,
    /// those of other fingerprints aren't: their outputs are there as well.
    pub(crate) fn complete(
        &mut self,
        segment: &Name,
        fingerprint: &Fingerprint,
        tasks: &[TaskId],
        others: bool,
    ) -> Result<(), StepError> {
        let (run, faults) = (self.run.clone(), self.faults.clone());
        faults.before(Step::Complete);
        self.with(|db| {
            let complete = db.transaction()?;
            {
                let mut mark = complete.prepare_cached("UPDATE task SET complete = ? WHERE id = ?")?;
                let mut begun = complete.prepare_cached("DELETE FROM file WHERE task = ? AND state = 'begun'")?;
                for task in tasks {
                    mark.execute(params![run, task.0])?;
                    begun.execute([task.0])?;
                }
            }
            complete.execute(
                "UPDATE task SET state = 'gone' WHERE segment = ? AND state = 'done' AND complete IS NOT ?
                 AND (fingerprint IN (?, ?) OR NOT ?)",
                params![segment.as_str(), run, fingerprint.as_str(), STALE, others],
            )?;
            forget_splits(&complete)?;
            complete.commit()?;
            Ok(())
        })?;
        faults.after(Step::Complete);
        Ok(())
    }

    /// Begins these segments anew: nothing that was done for them counts any more. (Its files stay until others take their place.)
    pub(crate) fn forget(&mut self, fingerprints: &[&Fingerprint]) -> Result<(), StepError> {
        self.with(|db| {
            let forget = db.transaction()?;
            for fingerprint in fingerprints {
                let gone = "UPDATE task SET state = 'gone' WHERE state = 'done' AND fingerprint = ?";
                forget.execute(gone, [fingerprint.as_str()])?;
            }
            forget_splits(&forget)?;
            forget.commit()?;
            Ok(())
        })
    }
}

/// Says what came of a task, as a part of what is committed.
pub(super) fn record(
    commit: &Transaction<'_>,
    base: &Base,
    run: &str,
    id: TaskId,
    spec: &TaskSpec,
    result: &TaskResult,
    state: &str,
) -> Result<(), Broken> {
    let rows = result.files.iter().map(|(sink, made)| (sink.clone(), made.rows())).collect();
    let kept = Kept { counts: result.counts.clone(), again: result.again.clone(), rows, elapsed: result.elapsed };
    let by_split = result.by_split.as_ref().filter(|_| spec.first.is_none()).map(serde_json::to_string).transpose()?;
    commit.execute(
        "UPDATE task SET state = ?, ended = ?, result = ?, by_split = ? WHERE id = ?",
        params![state, int(now()), serde_json::to_string(&kept)?, by_split, id.0],
    )?;
    // From what was cut to its first rows nobody goes on.
    if spec.first.is_none() {
        let mut insert = commit.prepare_cached("INSERT INTO split VALUES (?, ?, ?, ?, ?, ?, ?)")?;
        for (stage, splits) in &spec.splits {
            let unread = unread(result, stage);
            for (place, split) in splits.iter().enumerate() {
                let (from, to) = split.range.map_or((None, None), |(from, to)| (Some(int(from)), Some(int(to))));
                let unread = unread.as_ref().is_some_and(|uris| uris.is_empty() || uris.contains(&split.uri()));
                let split = PastSplit::of(split);
                let version = if unread { "" } else { split.version.as_str() };
                let identity = base.identity_text(&split.identity);
                insert.execute(params![id.0, stage.as_str(), place as i64, identity, version, from, to])?;
            }
        }
    }
    let mut insert = commit.prepare_cached(
        "INSERT INTO dead (run, task, stage, row, uri, fault, kind, message, attempts, at, split)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )?;
    for RowFailure { stage, id: row, uri, split, fault, kind, message, attempts } in &result.failures {
        let fault = fault.as_str();
        let stage = stage.as_str();
        insert.execute(params![run, id.0, stage, row, uri, fault, kind, message, attempts, int(now()), split])?;
    }
    Ok(())
}

/// The files of a source that could not be read for a reason outside, such as a server's: no version of them was read, so that the
/// next run tries them again. None are named where not all failures are described.
fn unread(result: &TaskResult, stage: &Name) -> Option<BTreeSet<String>> {
    let described: Vec<&RowFailure> = result.failures.iter().filter(|failure| failure.stage == *stage).collect();
    let outside = described.iter().filter(|failure| failure.fault == Fault::Outside);
    let uris: BTreeSet<String> = outside.filter_map(|failure| failure.uri.clone()).collect();
    let failed = result.counts.get(stage).map_or(0, |counts| counts.failed + counts.skipped);
    let all = described.len() as u64 >= failed;
    (!uris.is_empty()).then(|| if all { uris } else { BTreeSet::new() })
}

/// What those that are gone have read is of no use.
pub(super) fn forget_splits(change: &Transaction<'_>) -> Result<(), Broken> {
    change.execute("DELETE FROM split WHERE task IN (SELECT id FROM task WHERE state = 'gone')", [])?;
    Ok(())
}

pub(super) fn past_task(
    db: &Connection,
    base: &Base,
    id: i64,
    complete: bool,
    result: &str,
) -> Result<PastTask, Broken> {
    let kept: Kept = serde_json::from_str(result)?;
    let mut splits: BTreeMap<Name, Vec<PastSplit>> = BTreeMap::new();
    let mut read = db.prepare_cached(
        "SELECT stage, identity, version, range_from, range_to FROM split WHERE task = ? ORDER BY stage, place",
    )?;
    let mut rows = read.query([id])?;
    while let Some(row) = rows.next()? {
        let range = match (row.get::<_, Option<i64>>(3)?, row.get::<_, Option<i64>>(4)?) {
            (Some(from), Some(to)) => Some((uint(from), uint(to))),
            _ => None,
        };
        let split = PastSplit { identity: base.identity(row, 1)?, version: row.get(2)?, range };
        splits.entry(name(row, 0)?).or_default().push(split);
    }
    let mut files: BTreeMap<Name, SinkFiles> =
        kept.rows.keys().map(|sink| (sink.clone(), SinkFiles::default())).collect();
    let mut read =
        db.prepare_cached("SELECT sink, path, bytes, rows, row FROM file WHERE task = ? AND state = 'published' AND part <> 2 ORDER BY id")?;
    let mut rows = read.query([id])?;
    while let Some(row) = rows.next()? {
        let path = base.path(row, 1)?;
        let (bytes, of_rows) = (uint(row.get(2)?), uint(row.get(3)?));
        let file =
            Prepared { temporary: path.clone(), path, bytes, rows: of_rows, row: row.get(4)?, splits: Vec::new() };
        files.entry(name(row, 0)?).or_default().files.push(file);
    }
    let mut failures = Vec::new();
    let mut read = db.prepare_cached(
        "SELECT stage, row, uri, fault, kind, message, attempts, split FROM dead WHERE task = ? ORDER BY id",
    )?;
    let mut rows = read.query([id])?;
    while let Some(row) = rows.next()? {
        let fault: String = row.get(3)?;
        let fault: Fault = serde_json::from_value(fault.into())?;
        let (id, uri, kind, message) = (row.get(1)?, row.get(2)?, row.get(4)?, row.get(5)?);
        let (attempts, split) = (row.get(6)?, row.get(7)?);
        failures.push(RowFailure { stage: name(row, 0)?, id, uri, split, fault, kind, message, attempts });
    }
    let Kept { counts, again, rows, elapsed } = kept;
    Ok(PastTask {
        id: TaskId(id),
        complete,
        splits,
        rows,
        result: TaskResult { files, counts, again, by_split: None, failures, dead: Vec::new(), elapsed },
        replayed: None,
        replays: Vec::new(),
    })
}

/// A stage's name.
pub(super) fn name(row: &Row<'_>, column: usize) -> Result<Name, Broken> {
    let text: String = row.get(column)?;
    Name::whole(&text).map_err(|_| Why::Content(format!("`{text}` is no stage's name")).into())
}
