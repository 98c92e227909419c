//! Which of the splits that are listed now earlier tasks have read, and what is left.

use std::{collections::HashMap, ops::Range};

use dflow_io::Split;

use crate::journal::PastSplit;

/// Where the bytes of a split end that isn't cut off: behind all of them, also when there are none.
const END: u64 = u64::MAX;

/// A source's splits, and how much of each is covered.
#[derive(Debug)]
pub(crate) struct Coverage<'a> {
    splits: &'a [Split],
    by_identity: HashMap<String, usize>,
    /// Of each split the pieces that are covered.
    covered: Vec<Vec<Range<u64>>>,
}

/// A place in a source: which split, and where in it.
pub(crate) type Position = (usize, u64);

impl<'a> Coverage<'a> {
    /// Nothing covered yet.
    pub(crate) fn of(splits: &'a [Split]) -> Self {
        let by_identity = splits.iter().enumerate().map(|(i, split)| (split.identity(), i)).collect();
        Self { splits, by_identity, covered: vec![Vec::new(); splits.len()] }
    }

    /// Where a split that was read is now. `None` when it isn't there any more, or with another content, or nobody can tell.
    fn piece(&self, read: &PastSplit) -> Option<(usize, Range<u64>)> {
        let i = *self.by_identity.get(&read.identity)?;
        let split = &self.splits[i];
        // Inline rows are a part of the pipeline; of any other split a version is needed.
        let known = !split.etag.is_empty() || split.volume == "values";
        let same = known && split.etag == read.version;
        let (from, to) = read.range.unwrap_or((0, END));
        let end = if to >= split.size { END } else { to };
        same.then_some((i, from..end))
    }

    /// Whether a split that was read is there as it was, and not covered yet.
    pub(crate) fn is_free(&self, read: &PastSplit) -> bool {
        self.piece(read).is_some_and(|(i, piece)| {
            !self.covered[i].iter().any(|other| other.start < piece.end && piece.start < other.end)
        })
    }

    /// A split that was read, as it is listed now.
    pub(crate) fn split(&self, read: &PastSplit) -> Option<Split> {
        self.piece(read).map(|(i, _)| Split { range: read.range, ..self.splits[i].clone() })
    }

    /// The position of the first of these splits.
    pub(crate) fn position(&self, read: &[PastSplit]) -> Position {
        let first = read.first().and_then(|read| self.piece(read));
        first.map_or((0, 0), |(i, piece)| (i, piece.start))
    }

    /// Whether all of these splits are there as they were, and follow each other without anything in between.
    pub(crate) fn in_a_row(&self, read: &[PastSplit]) -> bool {
        let mut next: Option<Position> = None;
        read.iter().all(|read| {
            let Some((i, piece)) = self.piece(read) else { return false };
            let follows = next.is_none_or(|next| next == (i, piece.start));
            next = Some(if piece.end == END { (i + 1, 0) } else { (i, piece.end) });
            follows
        })
    }

    /// Covers these splits, if all are there as they were and none of them is covered yet. Otherwise nothing is covered.
    pub(crate) fn cover(&mut self, read: &[PastSplit]) -> bool {
        let pieces: Option<Vec<_>> = read.iter().map(|read| self.piece(read)).collect();
        let Some(pieces) = pieces else { return false };
        let before: Vec<usize> = pieces.iter().map(|(i, _)| self.covered[*i].len()).collect();
        let overlaps = |covered: &[Range<u64>], piece: &Range<u64>| {
            covered.iter().any(|other| other.start < piece.end && piece.start < other.end)
        };
        for (i, piece) in &pieces {
            if overlaps(&self.covered[*i], piece) {
                pieces.iter().zip(&before).for_each(|((i, _), before)| self.covered[*i].truncate(*before));
                return false;
            }
            self.covered[*i].push(piece.clone());
        }
        true
    }

    /// What isn't covered, in source order.
    pub(crate) fn rest(&self) -> Vec<Split> {
        let mut rest = Vec::new();
        for (split, covered) in self.splits.iter().zip(&self.covered) {
            let mut covered = covered.clone();
            covered.sort_by_key(|piece| piece.start);
            let mut from = 0;
            for piece in covered.into_iter().chain(std::iter::once(END..END)) {
                if from < piece.start {
                    let whole = from == 0 && piece.start == END;
                    let range = (!whole).then(|| (from, piece.start.min(split.size)));
                    rest.push(Split { range, ..split.clone() });
                }
                from = piece.end;
            }
        }
        rest
    }

    /// Whether nothing is left.
    pub(crate) fn is_whole(&self) -> bool {
        self.rest().is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(path: &str, size: u64, etag: &str) -> Split {
        let (volume, etag) = (String::new(), etag.to_owned());
        Split { volume, path: path.to_owned(), size, modified: 0, range: None, etag }
    }

    fn read(path: &str, version: &str, range: Option<(u64, u64)>) -> PastSplit {
        PastSplit { identity: path.to_owned(), version: version.to_owned(), range }
    }

    /// What is left, as `path` or `path@from..to`.
    fn rest(coverage: &Coverage<'_>) -> Vec<String> {
        let text = |split: Split| match split.range {
            None => split.path,
            Some((from, to)) => format!("{}@{from}..{to}", split.path),
        };
        coverage.rest().into_iter().map(text).collect()
    }

    #[test]
    fn what_changed_is_left() {
        let splits = [split("a", 10, "1"), split("b", 0, "1"), split("c", 10, "2"), split("d", 10, "")];
        let mut coverage = Coverage::of(&splits);
        assert!(coverage.cover(&[read("a", "1", None), read("b", "1", None)]));
        assert!(!coverage.cover(&[read("c", "1", None)]), "it has another content now");
        assert!(!coverage.cover(&[read("d", "", None)]), "nobody can tell whether it has");
        assert!(!coverage.cover(&[read("e", "1", None)]), "it isn't there any more");
        assert!(!coverage.cover(&[read("c", "2", None), read("b", "1", None)]), "one of them is covered already");
        assert_eq!(rest(&coverage), ["c", "d"]);
        assert!(coverage.cover(&[read("c", "2", None)]), "to be refused leaves nothing behind");
        assert_eq!(rest(&coverage), ["d"]);
    }

    #[test]
    fn pieces_are_covered() {
        let splits = [split("a", 100, "1"), split("b", 100, "1")];
        let mut coverage = Coverage::of(&splits);
        assert!(coverage.cover(&[read("a", "1", Some((20, 50)))]));
        assert!(!coverage.cover(&[read("a", "1", Some((40, 60)))]));
        assert!(coverage.cover(&[read("a", "1", Some((80, 100))), read("b", "1", Some((0, 30)))]));
        assert_eq!(rest(&coverage), ["a@0..20", "a@50..80", "b@30..100"]);
        assert!(coverage.cover(&[read("a", "1", Some((0, 20)))]) && coverage.cover(&[read("a", "1", Some((50, 80)))]));
        assert!(coverage.cover(&[read("b", "1", Some((30, 100)))]) && coverage.is_whole());
    }

    #[test]
    fn splits_follow_each_other() {
        let splits = [split("a", 100, "1"), split("b", 100, "1"), split("c", 100, "1")];
        let coverage = Coverage::of(&splits);
        let row = |of: &[(&str, Option<(u64, u64)>)]| {
            let of: Vec<_> = of.iter().map(|(path, range)| read(path, "1", *range)).collect();
            (coverage.in_a_row(&of), coverage.position(&of))
        };
        assert_eq!(row(&[("a", None), ("b", None)]), (true, (0, 0)));
        assert_eq!(row(&[("a", Some((50, 100))), ("b", Some((0, 20))), ("b", Some((20, 40)))]), (true, (0, 50)));
        assert_eq!(row(&[("a", None), ("c", None)]), (false, (0, 0)));
        assert_eq!(row(&[("b", Some((0, 20))), ("c", None)]), (false, (1, 0)));
        assert_eq!(row(&[]), (true, (0, 0)));
    }
}
