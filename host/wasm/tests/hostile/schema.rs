//! Answers of `open` that are no schema, or not that of what is emitted.

use dflow_pipeline::{Bytes, GuestLimits};

use crate::arena::{Arena, is_too_long};

const WAYS: &[&str] = &[
    "two of one name",
    "no name",
    "an unknown format",
    "a format with a zero",
    "a fixed size below zero",
    "children that don't follow",
    "four billion children",
    "a list of nothing",
    "a map of text",
    "a union of a thousand",
    "a time zone that isn't",
    "a shape that isn't",
    "a wider shape",
    "another column",
    "no column",
];
const LONG: &[&str] = &[
    "a name of a megabyte",
    "a format of a megabyte",
    "a shape of a megabyte",
    "a million columns",
    "metadata of twenty megabytes",
];

#[tokio::test]
async fn schemas_that_are_wrong_are_refused() {
    let limits = GuestLimits { memory: Bytes(256 << 20), ..GuestLimits::default() };
    let mut arena = Arena::within(limits);
    arena.lies("schema", WAYS).await;
    for how in LONG {
        let error = arena.attack("schema", how).await.expect_err(how);
        is_too_long(how, &error);
    }
    arena.shown("schema");
}
