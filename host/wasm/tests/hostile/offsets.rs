//! Offsets that decrease or point outside.

use crate::arena::Arena;

const WAYS: &[&str] = &["decrease", "outside", "far outside", "negative", "first negative", "all outside"];

#[tokio::test]
async fn offsets_that_are_wrong_are_refused() {
    let mut arena = Arena::new();
    arena.lies("offsets", WAYS).await;
    arena.shown("offsets");
}
