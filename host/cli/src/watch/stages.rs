//! The stages of a run as they are watched: names, what each does, and what its live counts mean.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use dflow_pipeline::{Name, Verb};
use dflow_run::{Plan, StageCounts, Usd};

use crate::words;

/// What a stage does: its verb, or its operator.
pub(crate) fn what(verb: &Verb) -> String {
    match verb {
        Verb::Use(written) => format!("{}/{}", written.plugin, written.operator),
        verb => verb.keyword().to_owned(),
    }
}

/// The stages of a run.
pub(crate) struct Stages {
    stages: Vec<Stage>,
    /// When each stage's first rows came, in seconds since the beginning.
    began: Mutex<BTreeMap<Name, f64>>,
}

/// A stage of a run.
struct Stage {
    name: Name,
    what: String,
}

/// What is known of a stage while it runs.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Now {
    /// The stage.
    pub(crate) name: String,
    /// What it does.
    pub(crate) what: String,
    /// Rows that went in.
    pub(crate) rows_in: u64,
    /// Rows that came out.
    pub(crate) rows_out: u64,
    /// Rows that failed, whatever became of them.
    pub(crate) failed: u64,
    /// What was paid for answers.
    pub(crate) usd: Usd,
    /// Seconds since its first rows came.
    pub(crate) seconds: f64,
}

impl Now {
    /// What isn't so of most stages: rows that failed, money that was spent.
    pub(crate) fn more(&self) -> Vec<String> {
        let failed = (self.failed > 0).then(|| format!("{} failed", words::count(self.failed)));
        let paid = (self.usd.0 > 0).then(|| self.usd.to_string());
        failed.into_iter().chain(paid).collect()
    }
}

impl Stages {
    /// All stages of a plan, each after those it reads.
    pub(crate) fn of(plan: &Plan) -> Self {
        let mut stages: Vec<Stage> = Vec::new();
        for name in plan.segments.iter().flat_map(|segment| &segment.stages) {
            let Some(stage) = plan.pipeline.stage.get(name) else { continue };
            if stages.iter().any(|s| s.name == *name) {
                continue;
            }
            stages.push(Stage { name: name.clone(), what: what(&stage.verb) });
        }
        Self { stages, began: Mutex::default() }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.stages.len()
    }

    /// What is known of each after `seconds`.
    pub(crate) fn now(&self, counts: &BTreeMap<Name, StageCounts>, seconds: f64) -> Vec<Now> {
        let mut began = self.began.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |name: &Name| counts.get(name).copied().unwrap_or_default();
        let now = |stage: &Stage| {
            let own = of(&stage.name);
            let since = if own.rows_in == 0 { seconds } else { *began.entry(stage.name.clone()).or_insert(seconds) };
            Now {
                name: stage.name.to_string(),
                what: stage.what.clone(),
                rows_in: own.rows_in,
                rows_out: own.rows_out,
                failed: own.failed + own.skipped,
                usd: Usd(own.usd),
                seconds: seconds - since,
            }
        };
        self.stages.iter().map(now).collect()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// `pages` (read) → `long` (filter) → `out` (write).
    pub(crate) fn stages() -> Stages {
        let name = |text: &str| text.parse::<Name>().expect("a name");
        let stage = |text: &str, what: &str| Stage { name: name(text), what: what.to_owned() };
        let stages = vec![stage("pages", "read"), stage("long", "filter"), stage("out", "write")];
        Stages { stages, began: Mutex::default() }
    }

    /// Counts of them: rows in and out, failed.
    pub(crate) fn counts(of: &[(&str, u64, u64, u64)]) -> BTreeMap<Name, StageCounts> {
        let count = |(name, rows_in, rows_out, failed): &(&str, u64, u64, u64)| {
            let counts =
                StageCounts { rows_in: *rows_in, rows_out: *rows_out, failed: *failed, ..StageCounts::default() };
            (name.parse().expect("a name"), counts)
        };
        of.iter().map(count).collect()
    }

    #[test]
    fn a_stage_s_time_begins_with_its_first_rows() {
        let stages = stages();
        stages.now(&counts(&[]), 1.0);
        stages.now(&counts(&[("pages", 1, 1, 0)]), 2.0);
        stages.now(&counts(&[("pages", 5, 5, 0), ("long", 1, 0, 0)]), 4.0);
        let now = stages.now(&counts(&[("pages", 9, 9, 0), ("long", 5, 0, 0)]), 5.0);
        assert_eq!(now.iter().map(|n| n.seconds).collect::<Vec<_>>(), [3.0, 1.0, 0.0]);
    }
}
