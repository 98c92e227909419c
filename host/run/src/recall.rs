//! Which stored rows may hold results for what a task of a saved stage is about to do: those that earlier came of the same split.
//!
//! Of a file in which a paragraph has changed the others needn't go through the plugin again, nor when the stages above have
//! changed and give what they gave. What the stage itself does must be the same.

use std::collections::BTreeMap;

use dflow_io::{Split, Splits};
use dflow_operators::{StepError, StoredRows};
use dflow_pipeline::{Name, Verb};
use dflow_plan::{Plan, Segment};

use crate::{
    fingerprint::{Fingerprint, Fingerprints},
    journal::{Known, SplitFile},
};

/// How many earlier states of a stage are looked at.
const STATES: usize = 3;
/// Of a stage that reads a saved one, whose files have other names each time, all that it stored is looked at, if it isn't more
/// than this, in bytes.
const MOST: u64 = 64 << 20;

/// The rows that a saved stage has stored, by the split that they came of.
#[derive(Debug, Default)]
pub(crate) struct Stored {
    by_split: BTreeMap<String, Vec<StoredRows>>,
    /// All of them, where splits say nothing.
    all: Vec<StoredRows>,
}

impl Stored {
    /// What a segment's saved stage has stored with the code that it has now. Nothing of one whose operator isn't known to be pure.
    pub(crate) fn find(
        plan: &Plan,
        segment: &Segment,
        fingerprints: &Fingerprints,
        journal: Known<'_>,
    ) -> Result<Self, StepError> {
        let mut stored = Self::default();
        let stage = &segment.ends[0];
        let recalls =
            matches!(&plan.pipeline.stage[stage].verb, Verb::Use(_)) && plan.saves(segment) && !segment.global;
        let (true, Some(now), [source]) = (recalls, fingerprints.stages.get(stage), segment.sources.as_slice()) else {
            return Ok(stored);
        };
        let mut states: Vec<Fingerprint> = vec![fingerprints.of_segment(segment)];
        for output in journal.outputs(stage)?.into_iter().take(STATES) {
            let end = journal.printed(&output.fingerprint)?.and_then(|(_, printed)| printed.reads.into_iter().next());
            let form = end.map(|end| journal.printed(&end)).transpose()?.flatten().map(|(_, printed)| printed.form);
            if form.as_ref() == Some(&now.form) && !states.contains(&output.fingerprint) {
                states.push(output.fingerprint);
            }
        }
        let mut bytes = 0;
        for state in states {
            for task in journal.past_tasks(&state)? {
                let Some(known) = journal.by_split(task.id)? else { continue };
                let read = task.splits.get(&source.stage).map(Vec::as_slice).unwrap_or_default();
                for SplitFile { path, splits, .. } in known.files.into_iter().filter(|file| file.sink == *stage) {
                    if source.saved.is_some() {
                        bytes += std::fs::metadata(&path).map_or(0, |file| file.len());
                        let rows = 0..splits.iter().map(|(_, rows)| rows).sum();
                        stored.all.push(StoredRows { path, rows: vec![rows] });
                        continue;
                    }
                    let mut at = 0;
                    for (split, rows) in splits {
                        let rows = at..at + rows;
                        at = rows.end;
                        let Some(read) = read.get(split as usize) else { continue };
                        let known = stored.by_split.entry(read.identity.clone()).or_default();
                        known.push(StoredRows { path: path.clone(), rows: vec![rows] });
                    }
                }
            }
        }
        if bytes > MOST {
            stored.all.clear();
        }
        Ok(stored)
    }

    /// Those that may hold results for these splits.
    pub(crate) fn of(&self, splits: &BTreeMap<Name, Splits>) -> Vec<StoredRows> {
        let of = |split: &Split| self.by_split.get(&split.identity()).into_iter().flatten();
        let splits = splits.values().flat_map(|splits| splits.iter());
        self.all.iter().chain(splits.flat_map(of)).cloned().collect()
    }
}
