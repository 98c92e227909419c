//! What was counted of rows, split by split.

use std::{borrow::Cow, collections::BTreeMap};

use dflow_pipeline::Name;
use serde::{Deserialize, Serialize};

use crate::scope::StageCounts;

/// One of the counts.
type Count = fn(&mut StageCounts) -> &mut u64;

/// The counts that there are of rows, and the bytes.
const COUNTS: [(&str, Count); 10] = [
    ("rows_in", |counts| &mut counts.rows_in),
    ("rows_made", |counts| &mut counts.rows_made),
    ("rows_out", |counts| &mut counts.rows_out),
    ("repeated", |counts| &mut counts.repeated),
    ("unread", |counts| &mut counts.unread),
    ("filtered", |counts| &mut counts.filtered),
    ("skipped", |counts| &mut counts.skipped),
    ("failed", |counts| &mut counts.failed),
    ("replayed", |counts| &mut counts.replayed),
    ("bytes", |counts| &mut counts.bytes),
];

/// The rows of a task's stages by the splits that they come from: by their places in the task.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BySplit {
    /// Of each stage once.
    pub counts: BTreeMap<Name, SplitCounts>,
    /// Of stages where they ran once more.
    pub again: BTreeMap<Name, SplitCounts>,
}

/// What was counted of one stage: of each count that isn't zero everywhere a list with a number for each split, as far as there is one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitCounts(BTreeMap<Cow<'static, str>, Vec<u64>>);

impl SplitCounts {
    /// Counts more of a split's rows.
    pub fn add(&mut self, split: u32, counts: &StageCounts) {
        let (split, mut counts) = (split as usize, *counts);
        for (name, count) in COUNTS {
            let more = *count(&mut counts);
            if more == 0 {
                continue;
            }
            let list = self.0.entry(Cow::Borrowed(name)).or_default();
            if list.len() <= split {
                list.resize(split + 1, 0);
            }
            list[split] += more;
        }
    }

    /// What was counted of a split.
    pub fn of(&self, split: u32) -> StageCounts {
        self.each(|list| list.get(split as usize).copied().unwrap_or_default())
    }

    /// What was counted of all of them.
    pub fn sum(&self) -> StageCounts {
        self.each(|list| list.iter().fold(0, |sum, more| sum.saturating_add(*more)))
    }

    fn each(&self, of: impl Fn(&[u64]) -> u64) -> StageCounts {
        let mut counts = StageCounts::default();
        for (name, count) in COUNTS {
            *count(&mut counts) = self.0.get(name).map_or(0, |list| of(list));
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_comes_back() {
        let counts = |rows_in, failed| StageCounts { rows_in, failed, ..StageCounts::default() };
        let mut splits = SplitCounts::default();
        splits.add(2, &counts(5, 1));
        splits.add(0, &counts(2, 0));
        splits.add(0, &counts(1, 0));
        let text = serde_json::to_string(&splits).unwrap();
        assert_eq!(text, r#"{"failed":[0,0,1],"rows_in":[3,0,5]}"#);
        assert_eq!(serde_json::from_str::<SplitCounts>(&text).unwrap(), splits);
        assert_eq!((splits.of(0), splits.of(1), splits.of(2)), (counts(3, 0), counts(0, 0), counts(5, 1)));
        assert_eq!((splits.of(9), splits.sum()), (counts(0, 0), counts(8, 1)));
    }
}
