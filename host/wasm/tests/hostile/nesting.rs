//! Types nested a thousand deep.

use crate::arena::{Arena, is_too_long};

const WAYS: &[&str] =
    &["lists in the schema", "structs in the schema", "dictionaries in the schema", "in the emission"];

#[tokio::test]
async fn what_is_nested_too_deeply_is_refused() {
    let mut arena = Arena::new();
    arena.lies("nesting", WAYS).await;
    let error = arena.attack("nesting", "a hundred thousand").await.expect_err("too long to be looked at");
    is_too_long("a hundred thousand", &error);
    arena.attack("nesting", "as deep as is allowed").await.expect("64 lists, one in the other");
    arena.shown("nesting");
}
