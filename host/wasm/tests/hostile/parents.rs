//! Parents and row errors out of range or out of order.

use crate::arena::Arena;

const WAYS: &[&str] = &[
    "outside",
    "far outside",
    "descending",
    "descending from emission to emission",
    "of a row that erred",
    "an error for a row that is done",
    "an error twice",
    "errors that descend",
    "an error outside",
    "an error far outside",
    "too few",
    "half a number",
    "after the last row",
];

#[tokio::test]
async fn parents_that_are_wrong_are_refused() {
    let mut arena = Arena::new();
    arena.lies("parents", WAYS).await;
    arena.shown("parents");
}
