//! Row counts that are wrong.

use crate::arena::Arena;

const WAYS: &[&str] = &[
    "none",
    "one too few",
    "one too many",
    "more than values",
    "fewer than values",
    "four billion",
    "four billion, with parents",
    "a second time",
];

#[tokio::test]
async fn row_counts_that_are_wrong_are_refused() {
    let mut arena = Arena::new();
    arena.lies("rows", WAYS).await;
    arena.shown("rows");
}
