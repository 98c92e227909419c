//! Rows that share a long beginning: the first of them primes the provider's cache, the others follow.

use std::sync::{Arc, Mutex, PoisonError};

use dflow_models::exchange::{Part, Prompt};
use tokio::sync::watch;
use xxhash_rust::xxh3::xxh3_128;

use crate::alone::Lost;

/// The shortest beginning that providers keep, in bytes: 1,024 tokens.
const SHORTEST: usize = 4096;
/// How many beginnings are remembered. Rows with the same one follow each other.
const REMEMBERED: usize = 64;

/// Beginnings that rows had of late.
#[derive(Debug, Default)]
pub(crate) struct Prefixes(Mutex<Vec<Prefix>>);

/// What some rows begin with.
#[derive(Debug)]
struct Prefix {
    /// Of its first [`SHORTEST`] bytes.
    hash: u128,
    /// All that they have in common.
    text: Arc<str>,
    /// Whether the first of them has been answered.
    primed: watch::Receiver<bool>,
}

/// A row's turn: at once, when it is the first with its beginning, or alone with it; else when the first has been answered.
pub(crate) enum Turn {
    /// At once.
    Now,
    /// At once; others wait until this is dropped.
    First(#[expect(dead_code, reason = "it is dropped")] watch::Sender<bool>),
    /// Then.
    After(watch::Receiver<bool>),
}

impl Turn {
    /// Waits for it.
    pub(crate) async fn comes(&self) {
        if let Self::After(primed) = self {
            // Who was first has gone, with an answer or without one.
            let _ = primed.clone().wait_for(|primed| *primed).await;
        }
    }
}

impl Prefixes {
    /// The turns of rows, as far as they are to be asked about. Says in each prompt how much of it is shared.
    pub(crate) fn turns(&self, rows: &mut [Result<Prompt, Lost>], asked: &[bool]) -> Vec<Turn> {
        let hashes: Vec<Option<u128>> = rows
            .iter()
            .zip(asked)
            .map(|(row, asked)| {
                let text = text_of(row.as_ref().ok().filter(|_| *asked)?)?;
                (text.len() >= SHORTEST).then(|| xxh3_128(&text.as_bytes()[..SHORTEST]))
            })
            .collect();
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut turns: Vec<Turn> = rows.iter().map(|_| Turn::Now).collect();
        let mut row = 0;
        while row < rows.len() {
            let Some(hash) = hashes[row] else {
                row += 1;
                continue;
            };
            let end = (row..rows.len()).find(|next| hashes[*next] != Some(hash)).unwrap_or(rows.len());
            let text = |row: usize| rows[row].as_ref().ok().and_then(text_of).unwrap_or_default();
            let remembered = known.iter().find(|prefix| prefix.hash == hash);
            let (shared, primed) = match remembered {
                Some(prefix) => (prefix.text.clone(), Some(prefix.primed.clone())),
                // One that is alone has nobody to share with, yet.
                None if end == row + 1 => {
                    row = end;
                    continue;
                }
                None => (Arc::from(text(row)), None),
            };
            let common = (row..end).fold(shared.len(), |most, row| most.min(common(&shared, text(row))));
            // Rows may begin alike by chance beyond what they share (`chunk 1`, `chunk 10`); those that come later won't, and would have to prime anew.
            let line = shared[..common].rfind('\n').map_or(0, |end| end + 1);
            let common = if line >= SHORTEST && line * 10 >= common * 9 { line } else { common };
            let first = primed.is_none() || common < shared.len();
            let primed = if first {
                let (sender, receiver) = watch::channel(false);
                turns[row] = Turn::First(sender);
                known.retain(|prefix| prefix.hash != hash);
                if known.len() >= REMEMBERED {
                    known.remove(0);
                }
                known.push(Prefix { hash, text: shared[..common].into(), primed: receiver.clone() });
                receiver
            } else {
                primed.unwrap_or_else(|| watch::channel(true).1)
            };
            for (turn, prompt) in turns[row..end].iter_mut().zip(&mut rows[row..end]) {
                if let Turn::Now = turn {
                    *turn = Turn::After(primed.clone());
                }
                if let Ok(prompt) = prompt {
                    prompt.shared = common;
                }
            }
            row = end;
        }
        turns
    }
}

fn text_of(prompt: &Prompt) -> Option<&str> {
    match prompt.parts.first() {
        Some(Part::Text(text)) => Some(text),
        _ => None,
    }
}

/// How many bytes two texts have in common at their beginning, whole characters.
fn common(one: &str, other: &str) -> usize {
    let same = one.bytes().zip(other.bytes()).take_while(|(a, b)| a == b).count();
    one.floor_char_boundary(same)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prompts(texts: &[String]) -> Vec<Result<Prompt, Lost>> {
        texts.iter().map(|text| Ok(Prompt { parts: vec![Part::Text(text.clone())], ..Prompt::default() })).collect()
    }

    fn shared(rows: &[Result<Prompt, Lost>]) -> Vec<usize> {
        rows.iter().map(|row| row.as_ref().map_or(0, |prompt| prompt.shared)).collect()
    }

    #[test]
    fn rows_with_one_beginning_let_the_first_go_ahead() {
        let (a, b) = ("ä".repeat(SHORTEST), "b".repeat(SHORTEST + 7));
        let texts = [format!("{a}one"), format!("{a}two"), format!("{b}x"), "short".to_owned(), format!("{a}three")];
        let prefixes = Prefixes::default();
        let mut rows = prompts(&texts);
        let turns = prefixes.turns(&mut rows, &[true; 5]);
        assert!(matches!(turns[..], [Turn::First(_), Turn::After(_), Turn::Now, Turn::Now, Turn::After(_)]));
        assert_eq!(shared(&rows), [a.len(), a.len(), 0, 0, a.len()]);
        let Turn::After(primed) = &turns[1] else { panic!("it waits") };
        assert!(primed.has_changed().is_ok());
        let waits = primed.clone();
        drop(turns);
        assert!(waits.has_changed().is_err(), "the first has gone");
        // A later batch finds the beginning primed.
        let mut rows = prompts(&[format!("{a}four"), format!("{b}y"), format!("{b}z")]);
        let turns = prefixes.turns(&mut rows, &[true; 3]);
        assert!(matches!(turns[..], [Turn::After(_), Turn::First(_), Turn::After(_)]));
        assert_eq!(shared(&rows), [a.len(), b.len(), b.len()]);
        // Who was answered before isn't asked, and primes nothing.
        let mut rows = prompts(&[format!("{b}k"), format!("{b}l")]);
        let turns = Prefixes::default().turns(&mut rows, &[false, true]);
        assert!(matches!(turns[..], [Turn::Now, Turn::Now]));
    }

    #[test]
    fn what_rows_have_in_common_by_chance_is_not_shared() {
        let document = format!("{}\n", "d".repeat(SHORTEST));
        let prefixes = Prefixes::default();
        let mut rows = prompts(&[format!("{document}chunk 1"), format!("{document}chunk 10")]);
        prefixes.turns(&mut rows, &[true; 2]);
        assert_eq!(shared(&rows), [document.len(); 2]);
        let mut rows = prompts(&[format!("{document}chunk 2"), format!("{document}chunk 3")]);
        let turns = prefixes.turns(&mut rows, &[true; 2]);
        assert!(matches!(turns[..], [Turn::After(_), Turn::After(_)]));
    }
}
