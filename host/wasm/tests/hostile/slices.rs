//! Ranges of text that aren't within their row.

use dflow_pipeline::{Bytes, GuestLimits};

use crate::arena::{Arena, is_a_lie};

const OPENED: &[&str] = &["of another column", "of another port", "of a number", "announced twice"];
const EMITTED: &[&str] = &[
    "past the end",
    "far outside",
    "start after end",
    "start outside",
    "into the next row",
    "of half a character",
    "of a null",
    "of a row that isn't",
    "missing",
    "too short",
    "for two rows",
    "twice",
    "of a column that wasn't announced",
    "and text too",
    "a million of them",
];

#[tokio::test]
async fn slices_outside_their_row_are_refused() {
    let mut arena = Arena::within(GuestLimits { memory: Bytes(256 << 20), ..GuestLimits::default() });
    for how in OPENED.iter().chain(EMITTED) {
        let rows = [Some("ünlaut"), Some("attack"), None];
        let error = arena.attack_on("slices", how, &rows).await.expect_err(how);
        is_a_lie(how, &error);
    }
    arena.shown("slices");
}
