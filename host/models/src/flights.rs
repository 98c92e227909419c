//! Questions that are under way. Who comes with one that somebody else is asking waits for that answer, and pays for none of its own.
//!
//! A question is entered before it is looked for among what was answered before, and leaves when its answer is kept: so nobody finds it in
//! neither place. It is under way for as long as somebody holds its [`Flight`]: who asks, and then what brings a request to its end that
//! nobody waits for any more.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::{FutureExt, future::Shared};
use tokio::sync::oneshot;

use crate::{
    model::Unanswered,
    records::{Digest, Given, Question},
};

/// What came of a question.
type Outcome = Result<Given, Unanswered>;

/// What tells questions apart: one whose answer is shared is the same for every row.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Shared(Digest),
    OfRow(Arc<str>, String, u32, Digest),
}

/// The questions of a run that are under way.
#[derive(Debug, Default)]
pub(crate) struct Flights(Mutex<HashMap<Key, Others>>);

/// Those who wait for an answer.
#[derive(Debug)]
struct Others {
    answer: Shared<oneshot::Receiver<Outcome>>,
    any: bool,
}

/// A question that its holders are to ask.
#[derive(Debug)]
pub struct Flight {
    /// What is asked.
    pub question: Question,
    key: Key,
    flights: Arc<Flights>,
    answer: Mutex<Option<oneshot::Sender<Outcome>>>,
}

/// A question that somebody else is asking.
#[derive(Debug)]
pub struct Awaited {
    /// What is asked.
    pub question: Question,
    answer: Shared<oneshot::Receiver<Outcome>>,
}

impl Awaited {
    /// What came of it; nothing, if those who asked have gone before they knew.
    pub async fn outcome(self) -> Option<Outcome> {
        self.answer.await.ok()
    }
}

impl Flights {
    fn entries(&self) -> MutexGuard<'_, HashMap<Key, Others>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters questions, but for those that somebody is asking already. All at once: two that come with the same ones don't take some each.
    pub(crate) fn enter(self: &Arc<Self>, questions: Vec<Question>) -> Vec<Result<Arc<Flight>, Awaited>> {
        let mut entries = self.entries();
        let mut enter = |question: Question| {
            let key = match question.share {
                Some(_) => Key::Shared(question.shared),
                None => Key::OfRow(question.stage.clone(), question.row.clone(), question.call, question.digest),
            };
            match entries.entry(key.clone()) {
                Entry::Occupied(mut others) => {
                    let others = others.get_mut();
                    others.any = true;
                    Err(Awaited { question, answer: others.answer.clone() })
                }
                Entry::Vacant(place) => {
                    let (sender, receiver) = oneshot::channel();
                    place.insert(Others { answer: receiver.shared(), any: false });
                    let answer = Mutex::new(Some(sender));
                    Ok(Arc::new(Flight { question, key, flights: self.clone(), answer }))
                }
            }
        };
        questions.into_iter().map(&mut enter).collect()
    }
}

impl Flight {
    /// Tells all who wait for it what came of it. An answer is kept by then.
    pub fn end(&self, outcome: &Outcome) {
        if let Some((sender, others)) = self.leave()
            && others.is_some_and(|others| others.any)
        {
            // Who waited may have gone.
            let _ = sender.send(outcome.clone());
        }
    }

    /// Leaves without an answer: the others ask for themselves.
    pub(crate) fn pass(&self) {
        self.leave();
    }

    fn leave(&self) -> Option<(oneshot::Sender<Outcome>, Option<Others>)> {
        let sender = self.answer.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        Some((sender, self.flights.entries().remove(&self.key)))
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(row: &str, share: bool) -> Question {
        let share = share.then_some(crate::records::Share { ttl: None });
        let digest = Digest([7; 16]);
        Question { stage: "s".into(), row: row.to_owned(), call: 0, digest, shared: digest, share }
    }

    #[tokio::test]
    async fn one_asks_and_the_others_wait() {
        let flights = Arc::new(Flights::default());
        let enter = |question| flights.enter(vec![question]).remove(0);
        let flight = enter(question("a", true)).expect("nobody asks");
        let waits = enter(question("b", true)).expect_err("somebody asks");
        assert_eq!(waits.question.row, "b");
        // Rows that share nothing don't wait for each other, only for themselves.
        let own = enter(question("a", false)).expect("nobody asks");
        enter(question("b", false)).expect("nobody asks");
        let itself = enter(question("a", false)).expect_err("somebody asks");
        flight.end(&Err(Unanswered::Closed));
        assert_eq!(waits.outcome().await, Some(Err(Unanswered::Closed)));
        // What is told is no longer under way, though the flight is still held.
        let next = enter(question("a", true)).expect("nobody asks");
        drop(flight);
        enter(question("a", true)).expect_err("somebody asks");
        drop(next);
        // Who goes without having been told anything leaves the question to the others.
        drop(own);
        assert_eq!(itself.outcome().await, None);
        enter(question("a", false)).expect("nobody asks");
    }
}
