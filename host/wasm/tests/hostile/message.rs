//! Words of a hundred megabytes.

use dflow_pipeline::{Bytes, GuestLimits, Millis};

use crate::{
    arena::{Arena, is_of_a_row},
    made::Made,
};

/// Room and time for a guest to have such words.
fn arena() -> Arena {
    Arena::within(GuestLimits { memory: Bytes(512 << 20), time: Millis(20_000), ..GuestLimits::default() })
}

/// That nothing long is shown is looked after by the arena.
#[tokio::test]
async fn long_words_are_cut() {
    let mut arena = arena();
    for how in ["of a row's error", "of a row's error, as its kind", "logging", "logging, as the target"] {
        arena.attack("message", how).await.unwrap_or_else(|e| panic!("{how}: {e}"));
    }
    for (how, kind) in [("giving up", "gave-up"), ("panicking", "trap")] {
        let error = arena.attack("message", how).await.expect_err(how);
        is_of_a_row(how, &error, dflow_pipeline::Fault::Plugin, kind);
    }
    for how in ["refusing settings", "refusing to open", "panicking in open"] {
        arena.attack("message", how).await.expect_err(how);
    }
    arena.shown("message");
}

#[tokio::test]
async fn long_answers_are_refused_before_they_are_copied() {
    let mut arena = arena();
    // The length says a hundred megabytes, and there are.
    let describe =
        "(i32.store (i32.const 8) (i32.const 0)) (i32.store (i32.const 12) (i32.const 100000000)) (i32.const 8)";
    let made = Made { describe: describe.to_owned(), pages: 1600, ..Made::default() };
    arena.load("a description", &made.component()).await.expect_err("too long");
    let made = Made { description: " ".repeat(1_500_000), pages: 64, ..Made::default() };
    arena.load("a description just too long", &made.component()).await.expect_err("too long");
    arena.shown("message-of-open");
}
