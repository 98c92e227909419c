//! Money that is set aside in the journal for requests under way: a run that is killed has spent it, for all that the next one knows.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::money::Usd;

/// What a model's requests under way may cost at most, and the most of it that there has been, which is what the journal has: so it is written
/// when requests begin, and hardly ever later, not with each.
///
/// No request is sent before the journal has as much as all that are sent may cost. A note is counted as soon as it is to be written, for its own
/// request waits for it; what is noted ahead is not, until it is on the disk.
#[derive(Debug, Default)]
pub(crate) struct Aside(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    under_way: u64,
    noted: u64,
    /// What is being noted ahead.
    ahead: u64,
}

/// Where there is less than an eighth more under way than ever, an eighth is noted ahead: rows that grow little by little would wait for a commit each.
const AHEAD: u64 = 8;

/// What is to be noted before a request is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Note {
    /// By how much more is under way than ever was.
    more: u64,
    /// What is noted ahead of others.
    ahead: u64,
}

impl Note {
    /// All of it.
    pub(crate) fn all(self) -> Usd {
        Usd(self.more.saturating_add(self.ahead))
    }
}

impl Aside {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request begins that may cost so much. Gives what is to be noted before it is sent.
    pub(crate) fn begin(&self, most: Usd) -> Note {
        let mut state = self.state();
        state.under_way = state.under_way.saturating_add(most.0);
        let more = state.under_way.saturating_sub(state.noted);
        if more == 0 {
            return Note::default();
        }
        state.noted = state.under_way;
        let step = state.under_way / AHEAD;
        if more >= step || state.ahead > 0 {
            return Note { more, ahead: 0 };
        }
        state.ahead = step;
        Note { more, ahead: step }
    }

    /// It is on the disk.
    pub(crate) fn noted(&self, note: Note) {
        if note.ahead > 0 {
            let mut state = self.state();
            state.noted = state.noted.saturating_add(note.ahead);
            state.ahead = 0;
        }
    }

    /// It has ended, and what it cost is noted.
    pub(crate) fn end(&self, most: Usd) {
        let mut state = self.state();
        state.under_way = state.under_way.saturating_sub(most.0);
    }

    /// Nothing is under way any more. Gives what was noted and isn't spent.
    pub(crate) fn settle(&self) -> Usd {
        Usd(std::mem::take(&mut self.state().noted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(aside: &Aside, most: u64) -> u64 {
        aside.begin(Usd(most)).all().0
    }

    #[test]
    fn only_what_is_more_than_ever_is_to_be_noted() {
        let aside = Aside::default();
        assert_eq!([3, 4].map(|most| begin(&aside, most)), [3, 4]);
        aside.end(Usd(3));
        assert_eq!([2, 1, 5].map(|most| begin(&aside, most)), [0, 0, 5]);
        [4, 2, 1, 5].into_iter().for_each(|most| aside.end(Usd(most)));
        assert_eq!((aside.settle(), begin(&aside, 6)), (Usd(12), 6));
    }

    #[test]
    fn rows_that_grow_little_by_little_are_noted_now_and_then() {
        let (aside, mut notes, mut journal) = (Aside::default(), 0, 0);
        for most in 100..1_000 {
            let note = aside.begin(Usd(most));
            notes += u64::from(note.all() > Usd(0));
            journal += note.all().0;
            assert!(journal >= most, "{journal} for {most}");
            aside.noted(note);
            aside.end(Usd(most));
        }
        assert!(notes < 25 && journal < 1_000 * 9 / 8, "{notes} notes of {journal}");
        assert_eq!(aside.settle(), Usd(journal));
    }

    #[test]
    fn nobody_begins_on_what_is_noted_ahead_before_it_is_on_the_disk() {
        let aside = Aside::default();
        assert_eq!(begin(&aside, 800), 800);
        let ahead = aside.begin(Usd(10));
        assert_eq!(ahead.all(), Usd(10 + 101));
        assert_eq!(begin(&aside, 20), 20, "and only one notes ahead");
        aside.noted(ahead);
        assert_eq!(begin(&aside, 101), 0);
        assert_eq!(begin(&aside, 1), 1 + 116);
    }
}
