//! What a task counted, split by split, as the journal holds it: of each stage and count a list of numbers.

use std::collections::BTreeMap;

use dflow_operators::{BySplit, StageCounts};
use dflow_pipeline::Name;
use serde::{Deserialize, Serialize};

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

type Lists = BTreeMap<Name, BTreeMap<String, Vec<u64>>>;

#[derive(Serialize, Deserialize)]
struct Written {
    counts: Lists,
    again: Lists,
}

pub(super) fn to_json(by_split: &BySplit) -> serde_json::Result<String> {
    let written = Written { counts: lists(&by_split.counts), again: lists(&by_split.again) };
    serde_json::to_string(&written)
}

pub(super) fn from_json(text: &str) -> serde_json::Result<BySplit> {
    let Written { counts, again } = serde_json::from_str(text)?;
    Ok(BySplit { counts: counts_of(&counts), again: counts_of(&again) })
}

fn lists(counts: &BTreeMap<Name, Vec<StageCounts>>) -> Lists {
    let of_stage = |splits: &Vec<StageCounts>| {
        let list = |(name, count): &(&str, Count)| {
            let list: Vec<u64> = splits.iter().map(|counts| *count(&mut counts.clone())).collect();
            list.iter().any(|n| *n > 0).then(|| ((*name).to_owned(), list))
        };
        COUNTS.iter().filter_map(list).collect()
    };
    counts.iter().map(|(stage, splits)| (stage.clone(), of_stage(splits))).collect()
}

fn counts_of(lists: &Lists) -> BTreeMap<Name, Vec<StageCounts>> {
    let of_stage = |lists: &BTreeMap<String, Vec<u64>>| {
        let mut splits = vec![StageCounts::default(); lists.values().map(Vec::len).max().unwrap_or(0)];
        for (name, count) in COUNTS {
            let list = lists.get(name).into_iter().flatten();
            splits.iter_mut().zip(list).for_each(|(counts, n)| *count(counts) = *n);
        }
        splits
    };
    lists.iter().map(|(stage, lists)| (stage.clone(), of_stage(lists))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_comes_back() {
        let counts = |rows_in, failed| StageCounts { rows_in, failed, ..StageCounts::default() };
        let stage: Name = "clean".parse().unwrap();
        let by_split = BySplit {
            counts: [(stage, vec![counts(3, 0), counts(0, 0), counts(5, 1)])].into(),
            again: BTreeMap::new(),
        };
        let text = to_json(&by_split).unwrap();
        assert_eq!(text, r#"{"counts":{"clean":{"failed":[0,0,1],"rows_in":[3,0,5]}},"again":{}}"#);
        assert_eq!(from_json(&text).unwrap(), by_split);
    }
}
