//! Rows that share a long beginning: the first of them primes the provider's cache, the others follow.
//!
//! Parts of a window are worked on side by side, and rows that begin alike may be in different ones: each part notes first what its rows begin
//! with, and takes their turns when the others have had time to do the same.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use dflow_models::exchange::{Part, Prompt};
use tokio::sync::watch;
use xxhash_rust::xxh3::xxh3_128;

use crate::alone::Lost;

/// The shortest beginning that providers keep, in bytes: 1,024 tokens.
const SHORTEST: usize = 4096;
/// How much of beginnings is remembered, in bytes.
const REMEMBERED: usize = 16 << 20;
/// How long rows with a new beginning wait for others of the window that have it: little beside what an answer takes.
pub(crate) const TOGETHER: Duration = Duration::from_millis(20);

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
    /// Whether there are several.
    shared: bool,
    /// Whether the first of them that was asked about has been answered.
    primed: Option<watch::Receiver<bool>>,
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
    /// Notes what rows begin with, as far as they are to be asked about. Says whether some of it is new, so that others with the same may be about to
    /// be noted.
    pub(crate) fn note(&self, rows: &[Result<Prompt, Lost>], asked: &[bool]) -> bool {
        let hashes = hashes(rows, asked);
        let (mut known, mut is_new) = (self.known(), false);
        for (row, hash) in rows.iter().zip(hashes) {
            let (text, Some(hash)) = (text_of(row), hash) else { continue };
            match known.iter().position(|prefix| prefix.hash == hash) {
                Some(i) if known[i].primed.is_some() => {}
                Some(i) => {
                    let common = common(&known[i].text, text);
                    if common < known[i].text.len() {
                        known[i].text = text[..common].into();
                    }
                    known[i].shared = true;
                    is_new = true;
                }
                None => {
                    known.push(Prefix { hash, text: text.into(), shared: false, primed: None });
                    is_new = true;
                }
            }
        }
        let mut bytes: usize = known.iter().map(|prefix| prefix.text.len()).sum();
        let old = known.iter().take_while(|prefix| {
            let is_old = bytes > REMEMBERED;
            bytes -= prefix.text.len();
            is_old
        });
        let old = old.count();
        known.drain(..old);
        is_new
    }

    /// The turns of rows that were [noted](Self::note). Says in each prompt how much of it is shared.
    pub(crate) fn turns(&self, rows: &mut [Result<Prompt, Lost>], asked: &[bool]) -> Vec<Turn> {
        let hashes = hashes(rows, asked);
        let mut known = self.known();
        let mut turns: Vec<Turn> = rows.iter().map(|_| Turn::Now).collect();
        for (first, hash) in hashes.iter().enumerate() {
            let Some(hash) = hash.filter(|hash| !hashes[..first].contains(&Some(*hash))) else { continue };
            // One that is alone has nobody to share with, yet.
            let Some(prefix) = known.iter_mut().find(|prefix| prefix.hash == hash && prefix.shared) else { continue };
            let alike: Vec<usize> = (first..rows.len()).filter(|row| hashes[*row] == Some(hash)).collect();
            let in_common = |most: usize, row: &usize| most.min(common(&prefix.text, text_of(&rows[*row])));
            let common = alike.iter().fold(prefix.text.len(), in_common);
            // Rows may begin alike by chance beyond what they share (`chunk 1`, `chunk 10`); those that come later won't, and would have to prime anew.
            let line = prefix.text[..common].rfind('\n').map_or(0, |end| end + 1);
            let common = if line >= SHORTEST && line * 10 >= common * 9 { line } else { common };
            let primed = prefix.primed.take().filter(|_| common == prefix.text.len());
            let primed = primed.unwrap_or_else(|| {
                let (sender, receiver) = watch::channel(false);
                turns[first] = Turn::First(sender);
                prefix.text = prefix.text[..common].into();
                receiver
            });
            for row in alike {
                if let Turn::Now = turns[row] {
                    turns[row] = Turn::After(primed.clone());
                }
                if let Ok(prompt) = &mut rows[row] {
                    prompt.shared = common;
                }
            }
            prefix.primed = Some(primed);
        }
        turns
    }

    fn known(&self) -> MutexGuard<'_, Vec<Prefix>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What tells the beginnings of rows apart, as far as they are to be asked about and begin with a text that is long enough.
fn hashes(rows: &[Result<Prompt, Lost>], asked: &[bool]) -> Vec<Option<u128>> {
    let texts = rows.iter().zip(asked).map(|(row, asked)| if *asked { text_of(row) } else { "" });
    texts.map(|text| text.as_bytes().get(..SHORTEST).map(xxh3_128)).collect()
}

/// What a row begins with; nothing, where it isn't a text.
fn text_of(row: &Result<Prompt, Lost>) -> &str {
    match row.as_ref().map(|prompt| prompt.parts.first()) {
        Ok(Some(Part::Text(text))) => text,
        _ => "",
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

    fn turns(prefixes: &Prefixes, rows: &mut [Result<Prompt, Lost>], asked: &[bool]) -> Vec<Turn> {
        prefixes.note(rows, asked);
        prefixes.turns(rows, asked)
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
        let taken = turns(&prefixes, &mut rows, &[true; 5]);
        assert!(matches!(taken[..], [Turn::First(_), Turn::After(_), Turn::Now, Turn::Now, Turn::After(_)]));
        assert_eq!(shared(&rows), [a.len(), a.len(), 0, 0, a.len()]);
        let Turn::After(primed) = &taken[1] else { panic!("it waits") };
        assert!(primed.has_changed().is_ok());
        let waits = primed.clone();
        drop(taken);
        assert!(waits.has_changed().is_err(), "the first has gone");
        // A later batch finds the beginning primed.
        let mut rows = prompts(&[format!("{a}four"), format!("{b}y"), format!("{b}z")]);
        let taken = turns(&prefixes, &mut rows, &[true; 3]);
        assert!(matches!(taken[..], [Turn::After(_), Turn::First(_), Turn::After(_)]));
        assert_eq!(shared(&rows), [a.len(), b.len(), b.len()]);
        // Who was answered before isn't asked, and primes nothing.
        let mut rows = prompts(&[format!("{b}k"), format!("{b}l")]);
        let taken = turns(&Prefixes::default(), &mut rows, &[false, true]);
        assert!(matches!(taken[..], [Turn::Now, Turn::Now]));
    }

    #[test]
    fn what_rows_have_in_common_by_chance_is_not_shared() {
        let document = format!("{}\n", "d".repeat(SHORTEST));
        let prefixes = Prefixes::default();
        let mut rows = prompts(&[format!("{document}chunk 1"), format!("{document}chunk 10")]);
        turns(&prefixes, &mut rows, &[true; 2]);
        assert_eq!(shared(&rows), [document.len(); 2]);
        let mut rows = prompts(&[format!("{document}chunk 2"), format!("{document}chunk 3")]);
        let taken = turns(&prefixes, &mut rows, &[true; 2]);
        assert!(matches!(taken[..], [Turn::After(_), Turn::After(_)]));
    }

    #[test]
    fn rows_that_begin_alike_find_each_other_in_turn_and_in_other_parts() {
        let (a, b) = ("a".repeat(SHORTEST + 1), "b".repeat(SHORTEST + 7));
        let text = |i: usize| [format!("{a}{i}"), format!("{b}{i}")];
        let prefixes = Prefixes::default();
        let mut parts = [prompts(&text(1)), prompts(&text(2)), prompts(&text(3))];
        // Two parts are noted before either takes its turns.
        assert!(prefixes.note(&parts[0], &[true; 2]) && prefixes.note(&parts[1], &[true; 2]));
        let first = prefixes.turns(&mut parts[0], &[true; 2]);
        assert!(matches!(first[..], [Turn::First(_), Turn::First(_)]));
        let second = prefixes.turns(&mut parts[1], &[true; 2]);
        assert!(matches!(second[..], [Turn::After(_), Turn::After(_)]));
        // Who finds that others are on their way waits for nobody else.
        assert!(!prefixes.note(&parts[2], &[true; 2]));
        let third = prefixes.turns(&mut parts[2], &[true; 2]);
        assert!(matches!(third[..], [Turn::After(_), Turn::After(_)]));
        for part in &parts {
            assert_eq!(shared(part), [a.len(), b.len()]);
        }
        // In one part, too.
        let mut rows = prompts(&[text(1), text(2)].concat());
        let taken = turns(&Prefixes::default(), &mut rows, &[true; 4]);
        assert!(matches!(taken[..], [Turn::First(_), Turn::First(_), Turn::After(_), Turn::After(_)]));
        // Who was alone in its window shares with those of the next.
        let prefixes = Prefixes::default();
        let mut rows = parts.map(|_| prompts(&text(1)[..1]));
        let taken: Vec<Turn> = rows.iter_mut().flat_map(|rows| turns(&prefixes, rows, &[true])).collect();
        assert!(matches!(taken[..], [Turn::Now, Turn::First(_), Turn::After(_)]));
    }

    #[test]
    fn old_beginnings_are_forgotten() {
        let prefixes = Prefixes::default();
        let long = |first: char| prompts(&[format!("{first}{}", "x".repeat(REMEMBERED / 2))]);
        for first in ['a', 'b', 'a'] {
            assert!(prefixes.note(&long(first), &[true]), "{first}");
        }
        assert_eq!(prefixes.known().len(), 1);
    }
}
