//! Growing beyond the limit of memory.

use dflow_pipeline::{Bytes, Fault, GuestLimits};

use crate::{
    arena::{Arena, is_of_a_row},
    made::Made,
};

#[tokio::test]
async fn memory_ends_at_its_limit() {
    let limits = GuestLimits { memory: Bytes(64 << 20), ..GuestLimits::default() };
    let mut arena = Arena::within(limits);
    let error = arena.attack("grow", "until it fails").await.expect_err("it fails");
    is_of_a_row("grow", &error, Fault::Limit, "memory");
    // One that takes no for an answer may go on.
    arena.attack("grow", "and go on").await.expect("it gives its rows");
    assert!(arena.highest() > 60 << 20, "{} is all it got", arena.highest());
    // As much as two guests: the attacker and one that works beside it while it is looked for.
    assert!(arena.highest() <= 2 * limits.memory.0, "{} is more than it may have", arena.highest());

    // Memory that a component has from the beginning, and that of several modules, is counted like any other.
    let made = Made { pages: 1025, ..Made::default() };
    arena.load("a large one from the beginning", &made.component()).await.expect_err("65 MiB");
    arena.shown("grow");
}
