//! Names and messages with control characters: nothing of them reaches a terminal or a log (the arena looks for them).

use crate::{
    arena::{Arena, is_a_lie},
    made::{self, Made},
};

#[tokio::test]
async fn control_characters_are_shown_as_such_or_refused() {
    let mut arena = Arena::new();
    arena.lies("names", &["a column", "a member", "a format", "a time zone", "a shape"]).await;
    for how in ["a refusal", "giving up", "a panic"] {
        arena.attack("names", how).await.expect_err(how);
    }
    for how in ["an error's kind", "an error's message", "a log line"] {
        arena.attack("names", how).await.unwrap_or_else(|e| panic!("{how}: {e}"));
    }
    let evil = "\u{1b}[2Jevil\r\n";
    let descriptions = [
        ("an operator's name", made::description(evil, "1.0.0", "filter")),
        ("an operator's version", made::description("drop", evil, "filter")),
        ("an operator's shape", made::description("drop", "1.0.0", evil)),
        ("no description", format!("{{\"describe\": 1, \"interface\": \"{evil}\"}}")),
        ("another interface", made::description("drop", "1.0.0", "filter").replace("0.1.0", "\\u001b[2J")),
    ];
    for (how, description) in descriptions {
        let made = Made { description, ..Made::default() };
        let error = arena.load(how, &made.component()).await.expect_err(how);
        is_a_lie(how, &error);
    }
    arena.shown("names");
}
