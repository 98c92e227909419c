//! So much a minute: requests, or tokens.

use std::{collections::VecDeque, time::Duration};

/// What providers count over, and a little more: what leaves here evenly arrives there less so, and of two requests a minute apart the second may
/// have been the faster.
const MINUTE: Duration = Duration::from_millis(60_250);

/// How much may be asked for in any minute, evenly: a bucket that fills with it and holds a second's worth, and a record of what was taken
/// within the last minute, which is never more than the whole.
#[derive(Debug)]
pub(crate) struct Allowance {
    per_minute: u64,
    /// What is in the bucket; less than nothing after something larger than it was taken.
    level: f64,
    /// When it was filled last.
    filled: Duration,
    /// What was taken when, within the last minute, and its sum.
    taken: VecDeque<(Duration, u64)>,
    sum: u64,
}

impl Allowance {
    /// With an empty bucket.
    pub(crate) fn new(per_minute: u64, now: Duration) -> Self {
        Self { per_minute, level: 0.0, filled: now, taken: VecDeque::new(), sum: 0 }
    }

    #[cfg(test)]
    pub(crate) fn per_minute(&self) -> u64 {
        self.per_minute
    }

    /// It turned out to be another amount.
    pub(crate) fn change(&mut self, per_minute: u64, now: Duration) {
        if per_minute != self.per_minute {
            self.fill(now);
            self.per_minute = per_minute;
            self.level = self.level.min(self.holds());
        }
    }

    fn per_second(&self) -> f64 {
        self.per_minute as f64 / 60.0
    }

    /// A second's worth, at least one.
    fn holds(&self) -> f64 {
        self.per_second().max(1.0)
    }

    fn fill(&mut self, now: Duration) {
        let since = now.saturating_sub(self.filled);
        self.level = (self.level + since.as_secs_f64() * self.per_second()).min(self.holds());
        self.filled = now;
        while let Some((at, amount)) = self.taken.front().copied().filter(|(at, _)| *at + MINUTE <= now) {
            debug_assert!(at <= now, "time goes forward");
            self.taken.pop_front();
            self.sum -= amount;
        }
    }

    /// How long to wait until so much may be taken; nothing when it may be now. More than a minute has needs one in which nothing was taken.
    pub(crate) fn wait(&mut self, amount: u64, now: Duration) -> Duration {
        self.fill(now);
        let missing = (amount as f64).min(self.holds()) - self.level;
        // Rounded up, so that it is there when the time is over.
        let filled = Duration::from_secs_f64((missing / self.per_second()).max(0.0)).as_micros() as u64;
        let filled = if missing > 1e-9 { Duration::from_micros(filled + 1) } else { Duration::ZERO };
        let mut over = (self.sum + amount.min(self.per_minute)).saturating_sub(self.per_minute);
        if over == 0 {
            return filled;
        }
        let gone = self.taken.iter().find_map(|(at, amount)| {
            let last = *amount >= over;
            over = over.saturating_sub(*amount);
            last.then(|| (*at + MINUTE).saturating_sub(now))
        });
        filled.max(gone.unwrap_or_default())
    }

    /// Takes it.
    pub(crate) fn take(&mut self, amount: u64, now: Duration) {
        self.fill(now);
        self.level -= amount as f64;
        self.sum += amount;
        self.taken.push_back((now, amount));
    }

    /// What was taken at a time turned out to be another amount.
    pub(crate) fn correct(&mut self, at: Duration, took: u64, was: u64, now: Duration) {
        self.fill(now);
        self.level = (self.level + took as f64 - was as f64).min(self.holds());
        let from = self.taken.partition_point(|(then, _)| *then < at);
        let of =
            self.taken.iter_mut().skip(from).take_while(|(then, _)| *then == at).find(|(_, amount)| *amount == took);
        if let Some((_, amount)) = of {
            *amount = was;
            self.sum = self.sum - took + was;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_never_has_more_and_the_next_has_all_again() {
        let mut allowance = Allowance::new(600, Duration::ZERO);
        let (mut now, mut times) = (Duration::ZERO, Vec::new());
        while now < MINUTE * 5 {
            match allowance.wait(1, now) {
                Duration::ZERO => {
                    allowance.take(1, now);
                    times.push(now);
                }
                wait => now += wait,
            }
        }
        assert!((2_980..=3_000).contains(&times.len()), "{}", times.len());
        for (i, start) in times.iter().enumerate() {
            let within = times[i..].iter().take_while(|time| **time < *start + MINUTE).count();
            assert!(within <= 600, "{within} from {start:?} on");
        }
    }

    #[test]
    fn after_idle_times_only_a_second_s_worth_comes_at_once() {
        let mut allowance = Allowance::new(600, Duration::ZERO);
        let now = MINUTE * 10;
        let mut at_once = 0;
        while allowance.wait(1, now).is_zero() {
            allowance.take(1, now);
            at_once += 1;
        }
        assert_eq!(at_once, 10);
    }

    #[test]
    fn what_is_larger_than_the_bucket_is_paid_back() {
        let mut allowance = Allowance::new(6_000, Duration::ZERO);
        let now = Duration::from_secs(1);
        assert_eq!(allowance.wait(1_000, now), Duration::ZERO);
        allowance.take(1_000, now);
        let wait = allowance.wait(100, now);
        assert!((Duration::from_secs(10)..Duration::from_millis(10_001)).contains(&wait), "{wait:?}");
        // Less was used than was taken.
        allowance.correct(now, 1_000, 100, now);
        let wait = allowance.wait(100, now);
        assert!((Duration::from_secs(1)..Duration::from_millis(1_001)).contains(&wait), "{wait:?}");
    }

    #[test]
    fn more_than_a_minute_has_waits_for_one_in_which_nothing_was_taken() {
        let mut allowance = Allowance::new(60, Duration::ZERO);
        let start = Duration::from_secs(1);
        assert_eq!(allowance.wait(100, start), Duration::ZERO);
        allowance.take(1, start);
        assert_eq!(allowance.wait(100, start), MINUTE);
        assert_eq!(allowance.wait(100, start + MINUTE), Duration::ZERO);
    }

    #[test]
    fn a_lower_limit_holds_at_once() {
        let mut allowance = Allowance::new(6_000, Duration::ZERO);
        let now = Duration::from_secs(1);
        (0..50).for_each(|_| allowance.take(1, now));
        allowance.change(60, now);
        let (mut now, mut more) = (now, 0);
        while now < MINUTE {
            match allowance.wait(1, now) {
                Duration::ZERO => {
                    allowance.take(1, now);
                    more += 1;
                }
                wait => now += wait,
            }
        }
        assert_eq!(more, 10);
    }
}
