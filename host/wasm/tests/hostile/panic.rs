//! Panicking, with and without words.

use dflow_pipeline::Fault;

use crate::arena::{Arena, is_of_a_row};

#[tokio::test]
async fn a_panics_words_are_shown() {
    let mut arena = Arena::new();
    for how in ["with a message", "without a word", "after its results", "in open"] {
        let error = arena.attack("panic", how).await.expect_err(how);
        is_of_a_row(how, &error, Fault::Plugin, "trap");
    }
    arena.attack("panic", "a false alarm").await.expect("nothing happened");
    arena.shown("panic");
}
