//! Text that isn't UTF-8, wherever a guest gives text.

use crate::arena::{Arena, is_a_lie};

const VALUES: &[&str] = &["a value", "a surrogate", "an overlong one", "cut by offsets", "below a null"];
const WORDS: &[&str] = &[
    "an error's kind",
    "an error's message",
    "a log line",
    "a log target",
    "a failure of the batch",
    "a column's name",
    "a format",
    "a failure",
];

#[tokio::test]
async fn text_that_is_none_is_refused() {
    let mut arena = Arena::new();
    for how in VALUES.iter().chain(WORDS) {
        let error = arena.attack("text", how).await.expect_err(how);
        is_a_lie(how, &error);
    }
    arena.shown("text");
}
