//! Parts of the wrong type, and values that the type can't have.

use crate::arena::Arena;

const WAYS: &[&str] = &[
    "text for numbers",
    "int32 for int64",
    "numbers for text",
    "null in what has none",
    "decimal beyond its precision",
    "time beyond the day",
    "key outside the dictionary",
    "negative key",
    "view outside its buffers",
    "view of no buffer",
    "view with another prefix",
    "type id of no member",
    "union offset outside",
    "runs that descend",
    "runs too short",
    "list outside its items",
    "list view outside its items",
    "fixed-size list too short",
    "struct of unequal columns",
    "map with a null key",
];

#[tokio::test]
async fn values_that_are_wrong_are_refused() {
    let mut arena = Arena::new();
    arena.lies("types", WAYS).await;
    arena.shown("types");
}
