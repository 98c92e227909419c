//! What may be spent, and what was: no request is sent whose most would pass a cap.

use std::{
    fmt,
    str::FromStr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Money in billionths of a dollar: prices are dollars for a million tokens, so one token costs a thousandth of a cent at most, and sums are exact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Usd(pub u64);

const BILLION: f64 = 1e9;

impl Usd {
    /// Of dollars.
    pub fn of(dollars: f64) -> Option<Self> {
        let billionths = (dollars * BILLION).round();
        (billionths >= 0.0 && billionths < u64::MAX as f64).then_some(Self(billionths as u64))
    }
}

impl fmt::Display for Usd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dollars = self.0 as f64 / BILLION;
        match dollars {
            0.0 => f.write_str("$0"),
            // Two digits that say something, however little it is.
            small if small < 0.01 => {
                let digits = (-small.log10()).ceil() as usize + 1;
                let text = format!("{small:.digits$}");
                write!(f, "${}", text.trim_end_matches('0'))
            }
            _ => write!(f, "${dollars:.2}"),
        }
    }
}

impl FromStr for Usd {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.trim().trim_start_matches('$').parse().ok().and_then(Self::of);
        number.ok_or_else(|| format!("`{text}` is no amount of dollars"))
    }
}

/// Tokens of a request and its answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens that went in, those that were cached included.
    pub input: u64,
    /// Tokens that went in and were in the provider's cache.
    pub cached_input: u64,
    /// Tokens that came out.
    pub output: u64,
}

/// What tokens cost, in dollars for a million.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Price {
    /// Of those that go in.
    pub input: f64,
    /// Of those that go in and are in the provider's cache; as the others unless given.
    pub cached_input: Option<f64>,
    /// Of those that come out.
    pub output: f64,
}

impl Price {
    /// What so many tokens cost. Rounded up to a billionth of a dollar.
    pub fn of(&self, usage: Usage) -> Usd {
        let cached = usage.cached_input.min(usage.input);
        let (fresh, cached, output) = ((usage.input - cached) as f64, cached as f64, usage.output as f64);
        let dollars = fresh * self.input + cached * self.cached_input.unwrap_or(self.input) + output * self.output;
        // Dollars for a million are thousandths of billionths.
        Usd((dollars * 1e3).ceil() as u64)
    }
}

/// What a model, or a run, may cost. Shared by all that spend of it.
#[derive(Debug)]
pub struct Budget {
    what: String,
    most: Option<Usd>,
    state: Mutex<Spent>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Spent {
    spent: Usd,
    /// What requests that are under way may cost at most.
    reserved: Usd,
}

/// Money that is kept for a request. What isn't used goes back.
#[derive(Debug)]
pub struct Reserved {
    of: Vec<Arc<Budget>>,
    most: Usd,
}

/// That a request might pass a cap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OverBudget {
    /// Whose cap: `model small-chat`, `the run`.
    pub what: String,
    /// The cap.
    pub most: Usd,
    /// What was spent, and what requests under way may still cost.
    pub spent: Usd,
    /// What the request may cost.
    pub asked: Usd,
}

impl fmt::Display for OverBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, most, spent, asked } = self;
        write!(f, "the money of {what} is spent: {spent} of {most}, and the next request may cost {asked}")
    }
}

impl Budget {
    /// With a cap, or only to count. `spent` is what earlier runs that this one goes on with have spent.
    pub fn new(what: impl Into<String>, most: Option<Usd>, spent: Usd) -> Arc<Self> {
        let state = Mutex::new(Spent { spent, reserved: Usd(0) });
        Arc::new(Self { what: what.into(), most, state })
    }

    fn state(&self) -> MutexGuard<'_, Spent> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was spent.
    pub fn spent(&self) -> Usd {
        self.state().spent
    }

    /// Keeps money in each of some budgets, or in none. What may come back from requests under way isn't waited for: who is told that there
    /// isn't enough may ask again when one has ended.
    ///
    /// # Errors
    ///
    /// When it might pass the cap of one.
    pub fn reserve(of: &[Arc<Self>], most: Usd) -> Result<Reserved, OverBudget> {
        let mut reserved = Reserved { of: Vec::with_capacity(of.len()), most };
        for budget in of {
            let mut state = budget.state();
            let spent = Usd(state.spent.0 + state.reserved.0);
            if let Some(cap) = budget.most.filter(|cap| spent.0.saturating_add(most.0) > cap.0) {
                return Err(OverBudget { what: budget.what.clone(), most: cap, spent, asked: most });
            }
            state.reserved.0 += most.0;
            drop(state);
            reserved.of.push(budget.clone());
        }
        Ok(reserved)
    }
}

impl Reserved {
    /// What was kept is spent in part, or more of it than was thought.
    pub fn spend(self, cost: Usd) {
        for budget in &self.of {
            budget.state().spent.0 += cost.0;
        }
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        for budget in &self.of {
            budget.state().reserved.0 -= self.most.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_and_shown() {
        for (text, shown) in [
            ("5", "$5.00"),
            ("$1.005", "$1.00"),
            ("0.01", "$0.01"),
            ("0.0012345", "$0.0012"),
            ("0.00000015", "$0.00000015"),
            ("0", "$0"),
        ] {
            assert_eq!(text.parse::<Usd>().expect(text).to_string(), shown);
        }
        for text in ["", "-1", "five", "1e30"] {
            assert!(text.parse::<Usd>().is_err(), "{text}");
        }
    }

    #[test]
    fn tokens_cost_what_the_price_says() {
        let price = Price { input: 0.15, cached_input: Some(0.075), output: 0.60 };
        let usage = Usage { input: 1_000_000, cached_input: 400_000, output: 100_000 };
        assert_eq!(price.of(usage), Usd::of(0.09 + 0.03 + 0.06).expect("money"));
        let without = Price { cached_input: None, ..price };
        assert_eq!(without.of(usage), Usd::of(0.15 + 0.06).expect("money"));
        assert_eq!(price.of(Usage { input: 1, ..Usage::default() }), Usd(150));
        // More cached than went in is a mistake of the provider's.
        assert_eq!(price.of(Usage { input: 1, cached_input: 9, output: 0 }), Usd(75));
    }

    #[test]
    fn no_cap_is_passed_and_what_is_not_used_comes_back() {
        let (run, model) = (Budget::new("the run", Some(Usd(100)), Usd(10)), Budget::new("model m", Some(Usd(60)), Usd(0)));
        let both = [run.clone(), model.clone()];
        let first = Budget::reserve(&both, Usd(40)).expect("50 of 100 and 40 of 60");
        let error = Budget::reserve(&both, Usd(30)).expect_err("70 of 60");
        let expected = OverBudget { what: "model m".to_owned(), most: Usd(60), spent: Usd(40), asked: Usd(30) };
        assert_eq!(error, expected);
        // Where one hasn't enough, nothing is kept in the other.
        let second = Budget::reserve(&[run.clone()], Usd(50)).expect("all that is left");
        assert!(Budget::reserve(&[run.clone()], Usd(1)).is_err());
        drop(second);
        first.spend(Usd(15));
        assert_eq!((run.spent(), model.spent()), (Usd(25), Usd(15)));
        Budget::reserve(&both, Usd(45)).expect("60 of 60").spend(Usd(45));
        assert!(Budget::reserve(&both, Usd(1)).is_err());
        let counted = Budget::new("the run", None, Usd(0));
        Budget::reserve(&[counted.clone()], Usd(u64::MAX / 2)).expect("no cap").spend(Usd(7));
        assert_eq!(counted.spent(), Usd(7));
    }
}
