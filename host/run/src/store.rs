//! All that is kept of a pipeline's stages, in whichever state they were: to be forgotten, or collected.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use dflow_operators::StepError;
use dflow_pipeline::{Fault, Name};

use crate::{
    driver::run_id,
    faults::Faults,
    fingerprint::Fingerprint,
    journal::{History, Journal, remove},
};

/// What is kept of a saved stage or a sink in one of its states.
#[derive(Clone, Debug)]
pub struct StoredOutput {
    /// The stage; of sinks that run together the first.
    pub stage: Name,
    /// Of the state.
    pub fingerprint: Fingerprint,
    /// When the last run that used it began.
    pub used: SystemTime,
    /// The same, as `2026-11-25T20:48:14Z`.
    pub started: String,
    /// Whether it is a saved stage's, whose files are in the state folder.
    pub saved: bool,
    /// Its files.
    pub files: Vec<PathBuf>,
    /// Their rows.
    pub rows: u64,
    /// Their size in bytes.
    pub bytes: u64,
}

/// All that is kept of a pipeline's stages: by stage, what was used last first. Nothing, where nothing was run.
///
/// # Errors
/// The journal can't be read.
pub fn stored(state: &Path) -> Result<Vec<StoredOutput>, StepError> {
    let Some(history) = History::open(state)? else { return Ok(Vec::new()) };
    let store = state.join("store");
    let store = std::path::absolute(&store).unwrap_or(store);
    let mut stored = history.known().stored()?;
    stored.iter_mut().for_each(|output| output.saved = output.files.iter().any(|file| file.starts_with(&store)));
    Ok(stored)
}

/// Of outputs those that may go: of each saved stage what is beyond the last `keep`, or what no run has used for so long. The last
/// one of a stage stays.
pub fn collectable(outputs: Vec<StoredOutput>, keep: Option<usize>, unused: Option<Duration>) -> Vec<StoredOutput> {
    let mut seen: BTreeMap<Name, usize> = BTreeMap::new();
    let now = SystemTime::now();
    let mut old = outputs;
    old.retain(|output| {
        let place = seen.entry(output.stage.clone()).or_default();
        *place += 1;
        let beyond = keep.is_some_and(|keep| *place > keep.max(1));
        let unused = unused.is_some_and(|least| now.duration_since(output.used).is_ok_and(|time| time >= least));
        output.saved && *place > 1 && (beyond || unused)
    });
    old
}

/// Forgets outputs, so that the next run that needs them makes them anew. Files of saved stages are removed, those of sinks stay where
/// they are until others take their place.
///
/// # Errors
/// A run is going on; the journal can't be written, a file can't be removed.
pub fn forget(state: &Path, outputs: &[StoredOutput]) -> Result<(), StepError> {
    if outputs.is_empty() {
        return Ok(());
    }
    let mut journal = Journal::open(state, &run_id(), &Faults::default())?;
    journal.recover()?;
    let removed: Vec<PathBuf> = outputs.iter().filter(|o| o.saved).flat_map(|o| o.files.iter().cloned()).collect();
    // Where files aren't there any more nothing stands, so that it doesn't matter when this ends in between.
    for file in &removed {
        remove(file)?;
        // One that isn't empty can't be removed.
        file.ancestors().skip(1).take(2).for_each(|folder| drop(fs::remove_dir(folder)));
    }
    journal.removed(&removed, &[])?;
    journal.forget(&outputs.iter().map(|output| &output.fingerprint).collect::<Vec<_>>())
}

/// Forgets answers of models: those that are older than so long (of a stage, or of all), and those that no row has any more. Gives how many, and
/// the bytes of what they said.
///
/// # Errors
/// A run is going on; the journal can't be written.
pub fn collect_answers(state: &Path, older: Option<Duration>, stage: Option<&str>) -> Result<(u64, u64), StepError> {
    let mut journal = Journal::open(state, &run_id(), &Faults::default())?;
    journal.recover()?;
    journal.collect_answers(older, stage)
}

/// The outputs of these stages.
///
/// # Errors
/// Nothing is kept of one of them (fault `Pipeline`).
pub fn of_stages(outputs: Vec<StoredOutput>, stages: &[String]) -> Result<Vec<StoredOutput>, StepError> {
    for stage in stages {
        if !outputs.iter().any(|output| output.stage.as_str() == stage) {
            let mut known: Vec<String> = outputs.iter().map(|output| format!("`{}`", output.stage)).collect();
            known.dedup();
            let hint = match known.is_empty() {
                true => "nothing was run yet, or elsewhere (`--state`)".to_owned(),
                false => format!("something is kept of {}", known.join(", ")),
            };
            return Err(StepError::new(Fault::Pipeline, format!("nothing is kept of a stage `{stage}`")).hint(hint));
        }
    }
    Ok(outputs.into_iter().filter(|output| stages.iter().any(|stage| stage == output.stage.as_str())).collect())
}

/// A moment, given in milliseconds since 1970.
pub(crate) fn time(millis: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(millis)
}
