//! What was answered before: to this row, or to somebody with the same question. Whoever keeps it is handed in ([`Answers`]).

use std::{fmt, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::{
    exchange::Finish,
    money::{Usage, Usd},
};

/// What tells requests apart: the first half of a SHA-256 of the provider, the model, all parameters and the whole request.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(pub [u8; 16]);

impl Digest {
    /// Of some parts, each of which counts for itself.
    pub fn of(parts: &[&[u8]]) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        let whole = hash.finalize();
        let mut half = [0; 16];
        half.copy_from_slice(&whole[..16]);
        Self(half)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A question of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The stage that asks.
    pub stage: Arc<str>,
    /// The row's id; of rows without one the request's digest.
    pub row: String,
    /// Which of the stage's questions about the row it is, from 0: an answer that doesn't fit is asked for once more.
    pub call: u32,
    /// What is asked.
    pub digest: Digest,
    /// The same, and where: what those know it by who share answers ([`Model::shared`](crate::Model::shared)).
    pub shared: Digest,
    /// Whether answers to the same question by others count, and how old they may be.
    pub share: Option<Share>,
}

/// That answers are shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// How old an answer may be; of any age when it is `None`.
    pub ttl: Option<Duration>,
}

/// What is answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// A text.
    Text(String),
    /// A vector.
    Vector(Vec<f32>),
}

/// An answer, and what it took.
#[derive(Clone, Debug, PartialEq)]
pub struct Given {
    /// What it says.
    pub content: Content,
    /// Why it ends.
    pub finish: Finish,
    /// Who gave it: the resource's name.
    pub model: String,
    /// Tokens; estimated where the provider didn't say.
    pub usage: Usage,
    /// What it cost, where there is a price.
    pub cost: Option<Usd>,
    /// How long the request took.
    pub latency: Duration,
    /// How often it was asked for.
    pub attempts: u32,
}

/// Where an answer is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// It was asked for just now.
    Asked,
    /// It was given to this row before.
    Row,
    /// As [`Row`](Self::Row), though who shares answers gives it to no other row: it is too old, or of another endpoint.
    Own,
    /// It was given to somebody with the same question.
    Shared,
}

/// That answers can't be kept, or found: what, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unkept(pub String, pub Option<String>);

/// What is known of some questions, in their order.
pub type Found = Vec<Option<(Given, From)>>;

/// Keeps answers.
pub trait Answers: fmt::Debug + Send + Sync {
    /// What is known of some questions, in their order.
    fn find(&self, questions: Vec<Question>) -> BoxFuture<'static, Result<Found, Unkept>>;

    /// Keeps answers; it is done when they are on the disk. Of those that were [`Shared`](From::Shared) only is kept that this row has them, too.
    fn keep(&self, answers: Vec<(Question, Given, From)>) -> BoxFuture<'static, Result<(), Unkept>>;

    /// Notes what was spent on a model without an answer that can be kept, or may be; it is done when it is on the disk.
    fn lost(&self, model: &str, usd: Usd) -> BoxFuture<'static, Result<(), Unkept>>;

    /// Takes back of it what wasn't spent after all.
    fn unspent(&self, model: &str, usd: Usd) -> BoxFuture<'static, Result<(), Unkept>>;
}

/// A request as what it is told apart by: keys of objects have an order, whoever wrote them.
pub fn canonical(mut value: Value) -> Vec<u8> {
    value.sort_all_objects();
    value.to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn digests_tell_parts_apart_and_not_the_order_of_keys() {
        assert_ne!(Digest::of(&[b"ab", b"c"]), Digest::of(&[b"a", b"bc"]));
        let (one, other) =
            (json!({ "a": { "x": 1, "y": [1, 2] }, "b": 2 }), json!({ "b": 2, "a": { "y": [1, 2], "x": 1 } }));
        assert_eq!(canonical(one.clone()), canonical(other));
        assert_ne!(canonical(one), canonical(json!({ "a": { "x": 1, "y": [2, 1] }, "b": 2 })));
        assert_eq!(Digest::of(&[b"abc"]).to_string().len(), 32);
    }
}
