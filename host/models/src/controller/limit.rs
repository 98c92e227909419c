//! How much a minute has, by all who say so: the user, the headers of an endpoint, and the words of its refusals.

use std::time::Duration;

use super::allowance::Allowance;

/// How long nothing is refused before more is tried than a refusal has said.
const QUIET: Duration = Duration::from_mins(1);

/// Requests, or tokens, of any minute: the least that is said holds, and nothing as long as nobody says anything.
#[derive(Debug, Default)]
pub(crate) struct Limit {
    /// By the user.
    stated: Option<u64>,
    /// By the last header that says it.
    told: Option<u64>,
    learned: Option<Learned>,
    allowance: Option<Allowance>,
}

/// What the words of a refusal said, which no header takes back. It grows by a tenth of that each minute without a refusal.
#[derive(Debug)]
struct Learned {
    said: u64,
    grown: u64,
    /// When it was said, has grown, or something was refused, last.
    since: Duration,
}

impl Limit {
    /// The user says so; of what is said twice the stricter holds.
    pub(crate) fn state(&mut self, limit: Option<u64>, now: Duration) {
        self.stated = [self.stated, limit].into_iter().flatten().min();
        self.hold(now);
    }

    /// A request has ended, refused or not: so say its headers, and so the words of its refusal.
    pub(crate) fn ended(&mut self, header: Option<u64>, words: Option<u64>, refused: bool, now: Duration) {
        self.told = header.or(self.told);
        if let Some(said) = words {
            self.learned = Some(Learned { said, grown: said, since: now });
        } else if let Some(learned) = &mut self.learned {
            if refused {
                learned.since = now;
            } else if now.saturating_sub(learned.since) >= QUIET {
                // One step, however long nobody asked: more would be a burst.
                learned.grown = learned.grown.saturating_add((learned.said / 10).max(1));
                learned.since = now;
            }
        }
        self.hold(now);
    }

    fn hold(&mut self, now: Duration) {
        let learned = self.learned.as_ref().map(|learned| learned.grown);
        let Some(least) = [self.stated, self.told, learned].into_iter().flatten().min() else { return };
        match &mut self.allowance {
            Some(allowance) => allowance.change(least, now),
            none => *none = Some(Allowance::new(least, now)),
        }
    }

    /// The limit that holds.
    #[cfg(test)]
    pub(crate) fn per_minute(&self) -> Option<u64> {
        self.allowance.as_ref().map(Allowance::per_minute)
    }

    /// The most that one request may take. What only a header says isn't meant: it may be about something else, or rise with the next answer.
    pub(crate) fn most(&self) -> Option<u64> {
        [self.stated, self.learned.as_ref().map(|learned| learned.grown)].into_iter().flatten().min()
    }

    /// As [`Allowance::wait`].
    pub(crate) fn wait(&mut self, amount: u64, now: Duration) -> Duration {
        self.allowance.as_mut().map_or(Duration::ZERO, |allowance| allowance.wait(amount, now))
    }

    /// As [`Allowance::take`].
    pub(crate) fn take(&mut self, amount: u64, now: Duration) {
        if let Some(allowance) = &mut self.allowance {
            allowance.take(amount, now);
        }
    }

    /// As [`Allowance::correct`].
    pub(crate) fn correct(&mut self, at: Duration, took: u64, was: u64, now: Duration) {
        if let Some(allowance) = &mut self.allowance {
            allowance.correct(at, took, was, now);
        }
    }
}
