//! Money that is set aside in the journal for requests under way: a run that is killed has spent it, for all that the next one knows.

use std::sync::atomic::{AtomicU64, Ordering::AcqRel};

use crate::money::Usd;

/// What a model's requests under way may cost at most, and the most of it that there has been, which is what the journal has: so it is written
/// when requests begin, and hardly ever later, not with each.
#[derive(Debug, Default)]
pub(crate) struct Aside {
    under_way: AtomicU64,
    noted: AtomicU64,
}

impl Aside {
    /// A request begins that may cost so much. Gives by how much more is under way than ever was, which is to be noted before it is sent.
    pub(crate) fn begin(&self, most: Usd) -> Usd {
        let now = self.under_way.fetch_add(most.0, AcqRel).saturating_add(most.0);
        Usd(now.saturating_sub(self.noted.fetch_max(now, AcqRel)))
    }

    /// It has ended, and what it cost is noted.
    pub(crate) fn end(&self, most: Usd) {
        self.under_way.fetch_sub(most.0, AcqRel);
    }

    /// Nothing is under way any more. Gives what was noted and isn't spent.
    pub(crate) fn settle(&self) -> Usd {
        Usd(self.noted.swap(0, AcqRel))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_more_than_ever_is_to_be_noted() {
        let aside = Aside::default();
        assert_eq!([3, 4].map(|most| aside.begin(Usd(most))), [Usd(3), Usd(4)]);
        aside.end(Usd(3));
        assert_eq!([2, 1, 5].map(|most| aside.begin(Usd(most))), [Usd(0), Usd(0), Usd(5)]);
        [4, 2, 1, 5].into_iter().for_each(|most| aside.end(Usd(most)));
        assert_eq!((aside.settle(), aside.begin(Usd(6))), (Usd(12), Usd(6)));
    }
}
