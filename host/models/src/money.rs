//! What may be spent, and what was: no request is sent whose most would pass a cap.

use std::{
    fmt,
    str::FromStr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use tokio::sync::Notify;

/// Money in billionths of a dollar: prices are dollars for a million tokens, so one token costs a thousandth of a cent at most, and sums are exact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens that went in, those that were cached included.
    pub input: u64,
    /// Tokens that went in and were in the provider's cache.
    pub cached_input: u64,
    /// Tokens that went in and were put into the provider's cache, where that costs more.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub written_input: u64,
    /// Tokens that came out.
    pub output: u64,
}

/// No request has more tokens, whatever a provider says: so that sums stay numbers.
const MOST: u64 = 1 << 32;

impl Usage {
    /// What is believed of what a provider says.
    pub(crate) fn believed(self) -> Self {
        let Self { input, cached_input, written_input, output } = self;
        let [input, cached_input, written_input, output] =
            [input, cached_input, written_input, output].map(|tokens| tokens.min(MOST));
        Self { input, cached_input, written_input, output }
    }
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// A number of tokens as providers write it: some as `12.0`, or in quotes. What is none is taken as not said.
pub(crate) fn told_tokens<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let number = match Value::deserialize(deserializer)? {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    // More than a float holds exactly isn't believed anyway.
    Ok(number.filter(|number| *number >= 0.0 && number.fract() == 0.0).map(|number| number as u64))
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

/// What a token costs that is put into the provider's cache, as a multiple of one that goes in: Anthropic's prompt caching for five minutes.
const WRITTEN: f64 = 1.25;

impl Price {
    /// What so many tokens cost. Rounded up to a billionth of a dollar.
    pub fn of(&self, usage: Usage) -> Usd {
        let cached = usage.cached_input.min(usage.input);
        let written = usage.written_input.min(usage.input - cached);
        let fresh = (usage.input - cached - written) as f64 + written as f64 * WRITTEN;
        let (cached, output) = (cached as f64, usage.output as f64);
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
    /// Money has come back.
    back: Notify,
}

#[derive(Clone, Copy, Debug, Default)]
struct Spent {
    spent: Usd,
    /// What of it earlier runs have spent.
    earlier: Usd,
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
    /// What of it earlier runs have spent.
    pub earlier: Usd,
    /// What the request may cost.
    pub asked: Usd,
    /// The tokens that may come out, where that is said, and their part in it.
    pub out: Option<(u64, Usd)>,
}

impl OverBudget {
    /// Whether the whole cap wouldn't do for the request.
    pub fn is_too_small(&self) -> bool {
        self.asked > self.most
    }
}

impl fmt::Display for OverBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, most, spent, earlier, asked, out } = self;
        if !self.is_too_small() {
            write!(f, "the money of {what} is spent: {spent} of {most}")?;
            if *earlier > Usd(0) {
                // Why it may be more than was paid, and than the cap.
                write!(f, " ({earlier} by earlier runs, at its most what was under way when one was killed)")?;
            }
            return write!(f, ", and the next request may cost {asked}");
        }
        write!(f, "the money of {what} is too little for one request: it is {most}, and this one may cost {asked}")?;
        match out {
            Some((tokens, usd)) => write!(f, ", {usd} of it for {tokens} tokens that may come out (`max_tokens`)"),
            None => Ok(()),
        }
    }
}

impl Budget {
    /// With a cap, or only to count.
    pub fn new(what: impl Into<String>, most: Option<Usd>) -> Arc<Self> {
        let state = Mutex::default();
        Arc::new(Self { what: what.into(), most, state, back: Notify::new() })
    }

    fn state(&self) -> MutexGuard<'_, Spent> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What earlier runs have spent that this one goes on with.
    pub fn begin(&self, spent: Usd) {
        let mut state = self.state();
        state.spent.0 += spent.0;
        state.earlier.0 += spent.0;
    }

    /// Whether there is a cap.
    pub fn is_capped(&self) -> bool {
        self.most.is_some()
    }

    /// What was spent.
    pub fn spent(&self) -> Usd {
        self.state().spent
    }

    /// Keeps money in each of some budgets, or in none. While requests are under way of which some may come back, that is waited for; how much is
    /// wanted is asked anew then.
    ///
    /// # Errors
    ///
    /// When it might pass the cap of one.
    pub async fn reserve(of: &[Arc<Self>], most: impl Fn() -> Usd) -> Result<Reserved, OverBudget> {
        loop {
            // Before it is looked, so that nothing that comes back meanwhile is missed.
            let mut back: Vec<_> = of.iter().map(|budget| budget.back.notified()).collect();
            match Self::try_reserve(of, most()) {
                Ok(reserved) => return Ok(reserved),
                Err((_, Some(reserved))) => back.swap_remove(reserved).await,
                Err((over, None)) => return Err(over),
            }
        }
    }

    /// Does so now. If there isn't enough, with the budget whose money some may come back to.
    fn try_reserve(of: &[Arc<Self>], most: Usd) -> Result<Reserved, (OverBudget, Option<usize>)> {
        let mut kept = Reserved { of: Vec::with_capacity(of.len()), most };
        for (i, budget) in of.iter().enumerate() {
            let mut state = budget.state();
            let Spent { spent, earlier, reserved } = *state;
            let spent = Usd(spent.0.saturating_add(reserved.0));
            if let Some(cap) = budget.most.filter(|cap| spent.0.saturating_add(most.0) > cap.0) {
                let what = budget.what.clone();
                let over = OverBudget { what, most: cap, spent, earlier, asked: most, out: None };
                return Err((over, (reserved > Usd(0)).then_some(i)));
            }
            state.reserved.0 += most.0;
            drop(state);
            kept.of.push(budget.clone());
        }
        Ok(kept)
    }
}

impl Reserved {
    /// How much was kept.
    pub fn most(&self) -> Usd {
        self.most
    }

    /// What was kept is spent in part, or more of it than was thought.
    pub fn spend(self, cost: Usd) {
        for budget in &self.of {
            let mut state = budget.state();
            state.spent.0 = state.spent.0.saturating_add(cost.0);
        }
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        for budget in &self.of {
            budget.state().reserved.0 -= self.most.0;
            budget.back.notify_waiters();
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
        let usage = Usage { input: 1_000_000, cached_input: 400_000, written_input: 0, output: 100_000 };
        assert_eq!(price.of(usage), Usd::of(0.09 + 0.03 + 0.06).expect("money"));
        let without = Price { cached_input: None, ..price };
        assert_eq!(without.of(usage), Usd::of(0.15 + 0.06).expect("money"));
        assert_eq!(price.of(Usage { input: 1, ..Usage::default() }), Usd(150));
        // More cached than went in is a mistake of the provider's.
        assert_eq!(price.of(Usage { input: 1, cached_input: 9, ..Usage::default() }), Usd(75));
        assert_eq!(price.of(Usage { input: 1_000, written_input: 400, ..Usage::default() }), Usd(165_000));
    }

    #[test]
    fn no_cap_is_passed_and_what_is_not_used_comes_back() {
        let reserve = |of: &[Arc<Budget>], most: u64| Budget::try_reserve(of, Usd(most)).map_err(|(over, _)| over);
        let (run, model) = (Budget::new("the run", Some(Usd(100))), Budget::new("model m", Some(Usd(60))));
        run.begin(Usd(10));
        let both = [run.clone(), model.clone()];
        let first = reserve(&both, 40).expect("50 of 100 and 40 of 60");
        let error = reserve(&both, 30).expect_err("70 of 60");
        let expected = OverBudget {
            what: "model m".to_owned(),
            most: Usd(60),
            spent: Usd(40),
            earlier: Usd(0),
            asked: Usd(30),
            out: None,
        };
        assert_eq!(error, expected);
        // Where one hasn't enough, nothing is kept in the other.
        let second = reserve(std::slice::from_ref(&run), 50).expect("all that is left");
        let error = reserve(std::slice::from_ref(&run), 1).expect_err("101 of 100");
        assert_eq!((error.spent, error.earlier), (Usd(100), Usd(10)));
        assert!(error.to_string().contains(" ($0.00000001 by earlier runs, "), "{error}");
        drop(second);
        first.spend(Usd(15));
        assert_eq!((run.spent(), model.spent()), (Usd(25), Usd(15)));
        reserve(&both, 45).expect("60 of 60").spend(Usd(45));
        assert!(reserve(&both, 1).is_err());
        let counted = Budget::new("the run", None);
        reserve(std::slice::from_ref(&counted), u64::MAX / 2).expect("no cap").spend(Usd(7));
        assert_eq!(counted.spent(), Usd(7));
    }

    #[tokio::test]
    async fn who_has_too_little_waits_for_what_may_come_back() {
        let budget = [Budget::new("the run", Some(Usd(100)))];
        let first = Budget::reserve(&budget, || Usd(80)).await.expect("80 of 100");
        let waiting = tokio::spawn({
            let budget = budget.clone();
            async move { Budget::reserve(&budget, || Usd(60)).await.map(|kept| kept.spend(Usd(60))) }
        });
        tokio::task::yield_now().await;
        first.spend(Usd(30));
        waiting.await.expect("it ends").expect("90 of 100");
        let error = Budget::reserve(&budget, || Usd(11)).await.expect_err("nobody gives anything back");
        assert_eq!(error.spent, Usd(90));
    }
}
