//! Rows that failed, grouped by what was wrong with them.

use std::collections::{BTreeMap, BTreeSet};

use dflow_run::RowFailure;

use crate::{table::wrapped, words};

/// How many groups are shown.
const SHOWN: usize = 5;
/// How many columns of text of a message are shown: a few lines.
const LONGEST: usize = 300;

/// Rows of one stage with one thing wrong.
pub(crate) struct Group<'a> {
    pub(crate) stage: &'a str,
    pub(crate) kind: &'a str,
    pub(crate) message: &'a str,
    pub(crate) rows: Vec<&'a RowFailure>,
}

/// Rows by what was wrong with them, the most frequent first.
pub(crate) fn groups(failures: &[RowFailure]) -> Vec<Group<'_>> {
    let mut groups: BTreeMap<(&str, &str, &str), Vec<&RowFailure>> = BTreeMap::new();
    // Two sinks that read one source both meet its failed rows; each is told once.
    let mut seen = BTreeSet::new();
    for failure in failures {
        if failure.id.is_none() || seen.insert((&failure.stage, &failure.id, &failure.message)) {
            let key = (failure.stage.as_str(), failure.kind.as_str(), failure.message.as_str());
            groups.entry(key).or_default().push(failure);
        }
    }
    let group = |((stage, kind, message), rows)| Group { stage, kind, message, rows };
    let mut groups: Vec<_> = groups.into_iter().map(group).collect();
    groups.sort_by_key(|group| std::cmp::Reverse(group.rows.len()));
    groups
}

/// What was wrong with rows: the most frequent first, each with an example. `total` is how many failed in all, as only some
/// are described. Messages are broken into lines and cut for a terminal of `width` columns. Empty when none failed.
pub(crate) fn grouped(failures: &[RowFailure], total: u64, width: Option<usize>) -> String {
    let groups = groups(failures);
    let described = groups.iter().map(|group| group.rows.len()).sum::<usize>() as u64;
    let mut text = String::new();
    for Group { stage, kind, message, rows } in groups.iter().take(SHOWN) {
        let head = format!("  {} × stage `{stage}`: {kind}: ", words::count(rows.len() as u64));
        let line = match width {
            Some(width) => {
                let message = format!("{head}{}", words::fit(message, LONGEST));
                wrapped(&message, width.saturating_sub(6), 6)
            }
            None => format!("{head}{}", words::fit(message, usize::MAX)),
        };
        text.extend([&line, "\n"]);
        if let Some(example) = rows.iter().find_map(|row| example(row)) {
            text.push_str(&format!("      {example}\n"));
        }
    }
    if groups.len() > SHOWN {
        text.push_str(&format!("  and {}\n", words::plural((groups.len() - SHOWN) as u64, "other kind")));
    }
    if total > described && described > 0 {
        text.push_str(&format!(
            "  ({} of {} failed rows are described)\n",
            words::count(described),
            words::count(total)
        ));
    }
    text
}

pub(crate) fn example(row: &RowFailure) -> Option<String> {
    match (&row.id, &row.uri) {
        (Some(id), Some(uri)) => Some(format!("such as row {id} of {uri}")),
        (Some(id), None) => Some(format!("such as row {id}")),
        (None, Some(uri)) => Some(format!("such as {uri}")),
        (None, None) => None,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use dflow_pipeline::Fault;

    use super::*;

    /// A failed row.
    pub(crate) fn failure(stage: &str, kind: &str, message: &str, id: Option<&str>, uri: Option<&str>) -> RowFailure {
        RowFailure {
            split: None,
            stage: stage.parse().expect("a name"),
            id: id.map(str::to_owned),
            uri: uri.map(str::to_owned),
            fault: Fault::Data,
            kind: kind.to_owned(),
            message: message.to_owned(),
            attempts: 1,
        }
    }

    #[test]
    fn the_most_frequent_come_first() {
        let mut failures = vec![failure("pages", "encoding", "not UTF-8", None, Some("file:///a.html"))];
        failures.extend((0..3).map(|i| failure("valid", "schema", "no title", Some(&format!("{i:04}")), None)));
        assert_eq!(
            grouped(&failures, 4, Some(100)),
            "  3 × stage `valid`: schema: no title\n      such as row 0000\n  \
               1 × stage `pages`: encoding: not UTF-8\n      such as file:///a.html\n"
        );
    }

    #[test]
    fn many_kinds_are_counted_and_long_messages_cut() {
        let kinds = (0..7)
            .map(|i| failure("valid", "schema", &format!("{i} {}", "long ".repeat(100)), Some(&i.to_string()), None));
        let mut failures: Vec<_> = kinds.collect();
        failures.push(failures[0].clone());
        let text = grouped(&failures, 1200, Some(80));
        assert_eq!(text.matches("  1 × stage").count(), 5, "{text}");
        assert!(text.ends_with("  and 2 other kinds\n  (7 of 1,200 failed rows are described)\n"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert!(grouped(&failures, 1200, None).lines().all(|line| line.len() > 500 || !line.contains('×')));
        assert_eq!(grouped(&[], 0, None), "");
    }
}
