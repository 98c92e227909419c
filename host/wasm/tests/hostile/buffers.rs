//! Buffers that are too few, too many, too short, or lent too often.

use dflow_pipeline::{Bytes, Fault, GuestLimits};

use crate::arena::{Arena, is_a_lie, is_of_a_row};

const WAYS: &[&str] = &[
    "short offsets",
    "offsets cut within one",
    "no offsets",
    "short values",
    "one too few",
    "one too many",
    "node has none",
    "node has four billion",
    "nulls that aren't",
    "nulls that aren't counted",
    "no node",
    "another node",
];
/// Lists that cost the guest little, and would cost the host much.
const MILLIONS: &[&str] = &["millions of empty ones", "millions of nodes", "one, lent a million times"];

#[tokio::test]
async fn buffers_that_are_wrong_are_refused() {
    let mut arena = Arena::new();
    arena.lies("buffers", WAYS).await;
    // Nine values need two bytes.
    let mut rows = [Some("x"); 9];
    rows[0] = Some("attack");
    let error = arena.attack_on("buffers", "short validity", &rows).await.expect_err("a byte of two");
    is_a_lie("short validity", &error);
    arena.shown("buffers");
}

#[tokio::test]
async fn lists_are_counted_before_they_are_read() {
    let mut arena = Arena::within(GuestLimits { memory: Bytes(256 << 20), ..GuestLimits::default() });
    for how in MILLIONS {
        let error = arena.attack("buffers", how).await.expect_err(how);
        is_of_a_row(how, &error, Fault::Limit, "emitted");
    }
    arena.shown("buffers-by-the-million");
}
