//! Handing saved stages over: `export` packs those that are complete, `import` takes a pack in.
//!
//! Who takes one in has the rows and needn't have the inputs. Where inputs are here, they are told to be the same by their content:
//! times and inodes don't survive a copy.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use dflow_io::{Split, Stores};
use dflow_operators::StepError;
use dflow_pipeline::{Fault, Name};
use dflow_plan::{Plan, Segment};
use indexmap::IndexMap;
use serde_json::Value;

use crate::{
    driver::{fingerprints, run_id},
    engine::Engine,
    faults::Faults,
    fingerprint::{Fingerprint, Fingerprints},
    journal::{Journal, Known, PackedFile, PackedPrint, PackedSplit, PackedTask, TakenIn, remove},
    outputs::Status,
    pack::{Manifest, PackedStage, Staging, digest_of, manifest_of, unpack},
    saved,
    select::{no_saved_stage, unknown},
    why::differences_of,
};

/// A stage that was packed, or taken in.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Handed {
    /// The stage.
    pub stage: Name,
    /// Its rows.
    pub rows: u64,
    /// Its files.
    pub files: u64,
    /// Their size.
    pub bytes: u64,
    /// Of an import: whether it was here already.
    pub known: bool,
    /// Of an import: whether it is of another state than what the pipeline makes now.
    pub stale: bool,
}

impl Handed {
    fn of(stage: &PackedStage) -> Self {
        let files = || stage.files().filter(|file| !file.dead);
        Self {
            stage: stage.stage.clone(),
            rows: files().map(|file| file.rows).sum(),
            files: files().count() as u64,
            bytes: files().map(|file| file.bytes).sum(),
            known: false,
            stale: false,
        }
    }
}

impl Engine {
    /// Packs saved stages that are complete, with those that they read: these ones, or all. Gives what it packed, and the pack's size.
    ///
    /// # Errors
    /// One of them isn't complete, or isn't saved (fault `Pipeline`); a file can't be read, the pack can't be written.
    pub fn export(&self, plan: &Plan, stages: &[String], out: &Path) -> Result<(Vec<Handed>, u64), StepError> {
        let (all, fingerprints, history) = self.look(plan)?;
        let complete = |found: &crate::outputs::Found| {
            plan.saves(&found.segment) && found.outputs.iter().all(|output| output.status == Status::Complete)
        };
        let mut chosen: BTreeSet<Name> = BTreeSet::new();
        for stage in stages {
            let found = all.iter().find(|found| found.segment.ends.iter().any(|end| end.as_str() == stage));
            let found = found.ok_or_else(|| unknown(plan, stage))?;
            if !plan.saves(&found.segment) {
                return Err(no_saved_stage(stage).hint("a pack holds saved stages"));
            }
            if !complete(found) {
                let status = found.outputs.first().map_or("PENDING", |output| output.status.as_str());
                return Err(StepError::new(Fault::Pipeline, format!("`{stage}` is {status}, not COMPLETE"))
                    .hint(format!("`dflow-host run --select +{stage}` makes it")));
            }
            chosen.extend(found.segment.ends.iter().cloned());
        }
        if stages.is_empty() {
            chosen.extend(all.iter().filter(|found| complete(found)).flat_map(|found| found.segment.ends.clone()));
        }
        let (Some(history), false) = (history, chosen.is_empty()) else {
            return Err(StepError::new(Fault::Pipeline, "no saved stage is complete, so there is nothing to pack")
                .hint("`dflow-host show` says what is kept; `save = true` in a stage keeps its rows"));
        };
        // What they read is how it is known that they are complete.
        for found in all.iter().rev() {
            if found.segment.ends.iter().any(|end| chosen.contains(end)) {
                chosen.extend(found.segment.reads_saved().cloned());
            }
        }
        let known = history.known();
        let stores = self.stores(&plan.pipeline)?;
        let mut digests: BTreeMap<String, Option<String>> = BTreeMap::new();
        let mut packed = Vec::new();
        let mut prints: IndexMap<String, PackedPrint> = IndexMap::new();
        for found in all.iter().filter(|found| found.segment.ends.iter().any(|end| chosen.contains(end))) {
            let fingerprint = fingerprints.of_segment(&found.segment);
            let mut tasks = in_source_order(known.pack(&fingerprint)?, &found.segment);
            for file in tasks.iter_mut().flat_map(|task| &mut task.files) {
                file.digest = digest_of(&file.path, &self.cancel)?;
            }
            let listed = listed(&found.segment);
            for split in tasks.iter_mut().flat_map(|task| &mut task.splits) {
                let now = listed.get(&(split.stage.clone(), split.identity.clone()));
                let Some(now) = now.filter(|now| now.etag == split.version) else { continue };
                split.digest = match digests.get(&split.identity) {
                    Some(digest) => digest.clone(),
                    None => {
                        let path = stores.local_path(now);
                        let digest = path.map(|path| digest_of(&path, &self.cancel)).transpose()?;
                        digests.insert(split.identity.clone(), digest.clone());
                        digest
                    }
                };
            }
            let parameters = found.past.iter().find(|past| past.fingerprint == fingerprint);
            let parameters = parameters.map(|past| past.parameters.clone()).unwrap_or_default();
            printed(&fingerprint, known, &mut prints)?;
            let (stage, fingerprint) = (found.segment.ends[0].clone(), fingerprint.as_str().to_owned());
            packed.push(PackedStage { stage, fingerprint, parameters, tasks });
        }
        let handed = packed.iter().map(Handed::of).collect();
        let prints = prints.into_values().collect();
        let bytes = Manifest::new(&plan.pipeline.name, packed, prints).write(out, &self.cancel)?;
        Ok((handed, bytes))
    }

    /// The columns of the sources of what a pack holds: with them a pipeline is planned whose inputs aren't here.
    ///
    /// # Errors
    /// It is no pack, damaged, or of a newer version.
    pub fn packed_sources(&self, pack: &Path) -> Result<BTreeMap<Name, IndexMap<String, String>>, StepError> {
        Ok(sources(&manifest_of(pack)?))
    }

    /// Takes in a pack. With `stale` also what isn't of the state that this pipeline makes now.
    ///
    /// # Errors
    /// The pack is damaged, of a newer version, or of another pipeline; a run is going on; it can't be written.
    pub fn import(&self, plan: &Plan, pack: &Path, stale: bool) -> Result<Vec<Handed>, StepError> {
        let run = run_id();
        let mut journal = Journal::open(&self.settings.state, &run, &Faults::default())?;
        journal.recover()?;
        let staging = Staging::new(&self.settings.state)?;
        let now = fingerprints(plan, journal.known())?;
        let mut other = BTreeMap::new();
        let mut look = |manifest: &Manifest| -> Result<(), StepError> {
            other = others(plan, &now, manifest)?;
            match other.first_key_value() {
                Some((_, why)) if !stale => Err(why.clone()),
                _ => Ok(()),
            }
        };
        let mut manifest = unpack(pack, &mut look, &staging.0, &self.cancel)?;
        let stores = self.stores(&plan.pipeline)?;
        let state = std::path::absolute(&self.settings.state).unwrap_or_else(|_| self.settings.state.clone());
        let folders: BTreeMap<Name, PathBuf> = manifest
            .stages
            .iter()
            .map(|of| {
                (of.stage.clone(), saved::store(&state, &of.stage, &Fingerprint::written(of.fingerprint.clone())))
            })
            .collect();
        let place = |stage: &Name, file: &PackedFile| match file.dead {
            // Of rows that failed beside those of this pipeline's own tasks, whatever their names.
            true => {
                let folder = folders[stage].file_name().unwrap_or_default();
                state.join("dead").join(stage.as_str()).join(folder).join(&file.name)
            }
            false => folders[stage].join(&file.name),
        };
        let mut handed: Vec<Handed> = manifest.stages.iter().map(Handed::of).collect();
        // What this pipeline has made itself stays.
        let (here, ..) = self.look(plan)?;
        let complete = |of: &PackedStage| {
            let outputs = here.iter().flat_map(|found| &found.outputs);
            outputs.filter(|output| output.stage == of.stage).any(|output| output.status == Status::Complete)
        };
        let all_here = other.is_empty() && manifest.stages.iter().all(complete);
        for (of, handed) in manifest.stages.iter().zip(&mut handed) {
            let paths: Vec<PathBuf> = of.files().filter(|file| !file.dead).map(|file| place(&of.stage, file)).collect();
            handed.known = all_here || journal.has(&Fingerprint::written(of.fingerprint.clone()), &paths)?;
            handed.stale = other.contains_key(&of.stage);
        }
        // Files that no journal names are nobody's: when this ends in between, the next import replaces them.
        let mut number = 0;
        for (of, handed) in manifest.stages.iter().zip(&handed) {
            for file in of.files() {
                let (from, to) = (staging.0.join(number.to_string()), place(&of.stage, file));
                number += 1;
                if !handed.known {
                    put(&from, &to)?;
                }
            }
        }
        for (of, handed) in manifest.stages.iter_mut().zip(&handed) {
            let segment = plan.segments.iter().find(|segment| segment.ends.contains(&of.stage));
            let listed = segment.map(listed).unwrap_or_default();
            let mut same = Vec::new();
            for split in of.tasks.iter_mut().flat_map(|task| &mut task.splits) {
                if !all_here && self.seen_here(split, &listed, &folders, &stores)? {
                    same.push(split.clone());
                }
            }
            if handed.known {
                journal.same_content(&Fingerprint::written(of.fingerprint.clone()), &same)?;
            }
        }
        let new: Vec<(&PackedStage, Fingerprint)> = manifest
            .stages
            .iter()
            .zip(&handed)
            .filter(|(_, handed)| !handed.known)
            .map(|(of, _)| (of, Fingerprint::written(of.fingerprint.clone())))
            .collect();
        if !new.is_empty() {
            let taken: Vec<TakenIn<'_>> = new
                .iter()
                .map(|(of, fingerprint)| TakenIn {
                    stage: &of.stage,
                    fingerprint,
                    tasks: &of.tasks,
                    parameters: &of.parameters,
                })
                .collect();
            let sources: Vec<_> = sources(&manifest).into_iter().collect();
            let digest = digest_of(pack, &self.cancel)?;
            let place = |of: &TakenIn<'_>, file: &PackedFile| place(of.stage, file);
            let older = journal.take_in(&plan.pipeline.name, &digest, &taken, &manifest.prints, &sources, &place)?;
            older.iter().try_for_each(|path| remove(path))?;
        }
        Ok(handed)
    }

    /// A split as it is here: a stored file where it was put, a local file whose content is the same with the version that it has here.
    /// Says whether it is here.
    fn seen_here(
        &self,
        split: &mut PackedSplit,
        listed: &BTreeMap<(Name, String), Split>,
        folders: &BTreeMap<Name, PathBuf>,
        stores: &Stores,
    ) -> Result<bool, StepError> {
        if let Some(folder) = folders.get(&split.stage) {
            let name = Path::new(&split.identity).file_name().map(Path::new).unwrap_or(Path::new(""));
            // One that isn't in the pack leaves its reader incomplete.
            let Ok(here) = stores.split(&folder.join(name)) else { return Ok(false) };
            (split.identity, split.version) = (here.identity(), here.etag);
            return Ok(true);
        }
        let Some(here) = listed.get(&(split.stage.clone(), split.identity.clone())) else { return Ok(false) };
        if here.etag != split.version {
            let path = split.digest.as_ref().and_then(|_| stores.local_path(here));
            let digest = path.map(|path| digest_of(&path, &self.cancel)).transpose()?;
            if digest.is_none() || digest != split.digest {
                return Ok(false);
            }
            split.version.clone_from(&here.etag);
        }
        Ok(true)
    }
}

/// Why a segment that reads a source whose files aren't here can't be run, if it does.
pub(crate) fn refuse_absent(plan: &Plan, segment: &Segment) -> Result<(), StepError> {
    let absent = segment.sources.iter().find_map(|source| plan.absent.get_key_value(&source.stage));
    let Some((source, why)) = absent else { return Ok(()) };
    let end = &segment.ends[0];
    let what = format!("`{end}` reads source `{source}`, which isn't here: {why}");
    Err(StepError::new(Fault::Outside, what).hint(
        "what was taken in with `import` stands without it; bring the files, or `--select` what doesn't need them",
    ))
}

/// Whether a segment reads a source whose files aren't here.
pub(crate) fn is_absent(plan: &Plan, segment: &Segment) -> bool {
    segment.sources.iter().any(|source| plan.absent.contains_key(&source.stage))
}

/// The splits of a segment's sources that are listed now.
fn listed(segment: &Segment) -> BTreeMap<(Name, String), Split> {
    let sources = segment.sources.iter().filter(|source| source.saved.is_none());
    let splits = sources
        .flat_map(|source| source.splits.iter().map(|split| ((source.stage.clone(), split.identity()), split.clone())));
    splits.collect()
}

/// Tasks in the order of what they read: without the sources nobody else can tell.
fn in_source_order(tasks: Vec<PackedTask>, segment: &Segment) -> Vec<PackedTask> {
    let splits = segment.sources.iter().flat_map(|source| source.splits.iter().map(|split| (&source.stage, split)));
    let places: BTreeMap<(&Name, String), usize> =
        splits.enumerate().map(|(place, (stage, split))| ((stage, split.identity()), place)).collect();
    let mut keys: Vec<(usize, u64)> = Vec::new();
    for task in &tasks {
        let own = || {
            let first = task.splits.first()?;
            let place = places.get(&(&first.stage, first.identity.clone())).copied().unwrap_or(usize::MAX);
            Some((place, first.range.map_or(0, |range| range.0)))
        };
        // One that tried rows again goes with the one in which they had failed.
        keys.push(task.replays.map_or_else(|| own().unwrap_or_default(), |of| keys[of]));
    }
    let mut order: Vec<usize> = (0..tasks.len()).collect();
    order.sort_by_key(|place| keys[*place]);
    let mut now = vec![0; order.len()];
    order.iter().enumerate().for_each(|(new, old)| now[*old] = new);
    let mut tasks: Vec<(usize, PackedTask)> = now.iter().copied().zip(tasks).collect();
    tasks.sort_by_key(|(place, _)| *place);
    let mut tasks: Vec<PackedTask> = tasks.into_iter().map(|(_, task)| task).collect();
    tasks.iter_mut().filter_map(|task| task.replays.as_mut()).for_each(|of| *of = now[*of]);
    tasks
}

/// Moves a file to its place, all that leads there made.
fn put(from: &Path, to: &Path) -> Result<(), StepError> {
    let failed = |e: std::io::Error| {
        StepError::new(Fault::Outside, format!("can't write `{}`: {e}", to.display()))
            .hint("nothing was taken in; make room and import again")
    };
    let folder = to.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(failed)?;
    fs::rename(from, to).map_err(failed)?;
    fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)
}

/// What a fingerprint is of, and all that it reads.
fn printed(
    fingerprint: &Fingerprint,
    known: Known<'_>,
    prints: &mut IndexMap<String, PackedPrint>,
) -> Result<(), StepError> {
    let mut left = vec![fingerprint.clone()];
    while let Some(fingerprint) = left.pop() {
        if prints.contains_key(fingerprint.as_str()) {
            continue;
        }
        if let Some((stage, printed)) = known.printed(&fingerprint)? {
            let id = fingerprint.as_str().to_owned();
            let reads = printed.reads.iter().map(|of| of.as_str().to_owned()).collect();
            let form = (!printed.form.is_null()).then_some(printed.form);
            prints.insert(id.clone(), PackedPrint { id, stage, form, reads });
            left.extend(printed.reads);
        }
    }
    Ok(())
}

/// The columns of a pack's sources, as their forms say them.
fn sources(manifest: &Manifest) -> BTreeMap<Name, IndexMap<String, String>> {
    let forms = manifest.prints.iter().filter_map(|print| Some((&print.stage, print.form.as_ref()?)));
    let columns = forms.filter_map(|(stage, form)| {
        let columns = form.get("columns")?.as_array()?;
        let column = |column: &Value| {
            let (name, data_type) = column.as_str()?.split_once(' ')?;
            Some((name.to_owned(), data_type.to_owned()))
        };
        Some((stage.clone(), columns.iter().map(column).collect::<Option<_>>()?))
    });
    columns.collect()
}

/// The stages of a pack that aren't what this pipeline makes now, and why.
fn others(plan: &Plan, now: &Fingerprints, manifest: &Manifest) -> Result<BTreeMap<Name, StepError>, StepError> {
    let mut others = BTreeMap::new();
    for of in &manifest.stages {
        let segment = plan.segments.iter().find(|segment| segment.ends.contains(&of.stage));
        let Some(segment) = segment.filter(|segment| plan.saves(segment)) else {
            let what = match plan.pipeline.stage.contains_key(&of.stage) {
                true => format!("the pack holds `{}`, which isn't saved in this pipeline", of.stage),
                false => format!("the pack holds `{}`, a stage that this pipeline doesn't have", of.stage),
            };
            let hint = format!("it was made by the pipeline `{}`", manifest.pipeline);
            return Err(StepError::new(Fault::Pipeline, what).hint(hint));
        };
        if now.of_segment(segment).as_str() == of.fingerprint {
            continue;
        }
        let forms: BTreeMap<&str, &PackedPrint> =
            manifest.prints.iter().map(|print| (print.id.as_str(), print)).collect();
        let (mut then, mut left) = (BTreeMap::new(), vec![of.fingerprint.as_str()]);
        let mut seen = BTreeSet::new();
        while let Some(id) = left.pop().filter(|_| seen.len() <= forms.len()) {
            if !seen.insert(id) {
                continue;
            }
            if let Some(print) = forms.get(id) {
                left.extend(print.reads.iter().map(String::as_str));
                if let Some(form) = &print.form {
                    then.insert(print.stage.clone(), form.clone());
                }
            }
        }
        let mut lines = differences_of(plan, now, segment, then);
        for (name, value) in &plan.pipeline.param {
            if let Some(packed) = of.parameters.get(name.as_str()).filter(|packed| *packed != value) {
                lines.push(format!("parameter `{name}` is {packed} there, {value} here"));
            }
        }
        if lines.is_empty() {
            lines.push("it was made by another version of dflow-host".to_owned());
        }
        let what = format!("the pack's `{}` isn't what this pipeline makes: {}", of.stage, lines.join("; "));
        let hint = format!(
            "give the parameters with which it was made (`-p`), or take it in as an earlier state with `--stale`: \
             `dflow-host run --accept {}` then keeps it",
            of.stage
        );
        others.insert(of.stage.clone(), StepError::new(Fault::Pipeline, what).hint(hint));
    }
    Ok(others)
}
