//! Descriptions that describe nothing, and pointers that point nowhere.

use crate::{
    arena::Arena,
    made::{self, Made},
};

#[tokio::test]
async fn descriptions_that_are_wrong_are_refused() {
    let mut arena = Arena::new();
    let fine = made::description("drop", "1.0.0", "filter");
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let twice = {
        let mut document: serde_json::Value = serde_json::from_str(&fine).expect("it is JSON");
        let operator = document["operators"][0].clone();
        document["operators"].as_array_mut().expect("a list").push(operator);
        document.to_string()
    };
    let descriptions = [
        ("nothing", String::new()),
        ("no JSON", "drop".to_owned()),
        ("a list", "[]".to_owned()),
        ("nested without end", deep),
        ("a later version", fine.replace(r#""describe":1"#, r#""describe":2"#)),
        ("another interface", fine.replace("0.1.0", "0.9.0")),
        ("an unknown shape", made::description("drop", "1.0.0", "reduce")),
        ("a name that is none", made::description("Drop Table;", "1.0.0", "filter")),
        ("a long name", made::description(&"d".repeat(10_000), "1.0.0", "filter")),
        ("two operators of one name", twice),
    ];
    for (how, description) in descriptions {
        let made = Made { description, ..Made::default() };
        arena.load(how, &made.component()).await.expect_err(how);
    }
    arena.shown("describe");
}

#[tokio::test]
async fn pointers_into_nowhere_are_refused() {
    let mut arena = Arena::new();
    let answer = |pointer: i32, length: i32| {
        format!(
            "(i32.store (i32.const 8) (i32.const {pointer})) (i32.store (i32.const 12) (i32.const {length})) (i32.const 8)"
        )
    };
    let made = [
        ("text outside of memory", Made { describe: answer(-1, 100), ..Made::default() }),
        ("text longer than memory", Made { describe: answer(0, -1), ..Made::default() }),
        ("an answer outside of memory", Made { describe: "(i32.const -8)".to_owned(), ..Made::default() }),
        ("an answer between addresses", Made { describe: "(i32.const 17)".to_owned(), ..Made::default() }),
        (
            "an unknown case of open",
            Made { open: "(i32.store8 (i32.const 64) (i32.const 9)) (i32.const 64)".to_owned(), ..Made::default() },
        ),
        (
            "an unknown case of process",
            Made {
                process: "(i32.store8 (i32.const 192) (i32.const 9)) (i32.const 192)".to_owned(),
                ..Made::default()
            },
        ),
        (
            "fields outside of memory",
            Made { open: "(i32.store (i32.const 68) (i32.const -64)) (i32.const 64)".to_owned(), ..Made::default() },
        ),
        (
            "four billion fields",
            Made { open: "(i32.store (i32.const 72) (i32.const -1)) (i32.const 64)".to_owned(), ..Made::default() },
        ),
    ];
    for (how, made) in made {
        arena.load(how, &made.component()).await.expect_err(how);
    }
    // The same lies in what is emitted: rows 0, nodes, buffers, no parents, slices, errors.
    let import = r#"(import "dflow:operator/emitting@0.1.0" "emit" (func $emit
        (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))"#;
    let emissions = [
        ("nodes outside of memory", "0 -8 10 0 0 0 0 0 0 0 0 0"),
        ("four billion nodes", "0 0 -1 0 0 0 0 0 0 0 0 0"),
        ("buffers outside of memory", "0 0 0 -8 10 0 0 0 0 0 0 0"),
        ("buffers between addresses", "0 0 0 3 1 0 0 0 0 0 0 0"),
        ("four billion buffers", "0 0 0 0 -1 0 0 0 0 0 0 0"),
        ("parents outside of memory", "0 0 0 0 0 1 -8 100 0 0 0 0"),
        ("parents that are neither there nor not", "0 0 0 0 0 7 0 0 0 0 0 0"),
        ("slices outside of memory", "0 0 0 0 0 0 0 0 -8 10 0 0"),
        ("errors outside of memory", "0 0 0 0 0 0 0 0 0 0 -8 10"),
        // At 512 is a list whose one item points outside of memory.
        ("a buffer outside of memory", "0 0 0 512 1 0 0 0 0 0 0 0"),
        ("a slice's list outside of memory", "0 0 0 0 0 0 0 0 508 1 0 0"),
        ("an error's text outside of memory", "0 0 0 0 0 0 0 0 0 0 508 1"),
    ];
    for (how, words) in emissions {
        let words: String = words.split(' ').map(|word| format!("(i32.const {word}) ")).collect();
        let nowhere = "(i32.store (i32.const 512) (i32.const -256)) (i32.store (i32.const 516) (i32.const 100))";
        let process = format!("{nowhere} (drop (call $emit {words})) (i32.const 192)");
        let made = Made { more: import.to_owned(), process, ..Made::default() };
        arena.load(how, &made.component()).await.expect_err(how);
    }
    arena.shown("pointers");
}
