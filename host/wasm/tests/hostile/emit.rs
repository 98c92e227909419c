//! Emitting for ever, after the end, and when nobody asked.

use dflow_pipeline::{Bytes, Fault, GuestLimits, Millis};

use crate::{
    arena::{Arena, is_a_lie, is_of_a_row},
    made::Made,
};

#[tokio::test]
async fn emissions_end_with_the_time_or_with_their_size() {
    let limits = GuestLimits { memory: Bytes(64 << 20), time: Millis(1_000), ..GuestLimits::default() };
    let mut arena = Arena::within(GuestLimits { emitted: Bytes(16 << 20), ..limits });
    for how in ["large ones for ever", "small ones for ever", "nothing for ever"] {
        let error = arena.attack("emit", how).await.expect_err(how);
        is_of_a_row(how, &error, Fault::Limit, "emitted");
    }
    arena.shown("emit-for-ever");
}

#[tokio::test]
async fn emissions_that_nobody_asked_for_are_lies() {
    let mut arena = Arena::new();
    arena.lies("emit", &["from open"]).await;
    // An emission of no rows and no columns.
    let import = r#"(import "dflow:operator/emitting@0.1.0" "emit" (func $emit
        (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))"#;
    let emit = format!("(drop (call $emit {}))", "(i32.const 0) ".repeat(12));
    let describe = Made { more: import.to_owned(), describe: format!("{emit} (i32.const 16)"), ..Made::default() };
    let error = arena.load("from describe", &describe.component()).await.expect_err("it emits");
    is_a_lie("from describe", &error);
    let start = Made { more: format!("{import} (func $start {emit}) (start $start)"), ..Made::default() };
    arena.load("from the module's start", &start.component()).await.expect_err("it emits");
    let realloc = Made { more: import.to_owned(), ..Made::default() };
    let realloc = Made { realloc: format!("{emit} {}", realloc.realloc), ..realloc };
    arena.load("from realloc", &realloc.component()).await.expect_err("it emits");
    let post = r#"(func (export "cabi_post_dflow:operator/operators@0.1.0#process") (param i32)"#;
    let post = Made { more: format!("{import} {post} {emit})"), ..Made::default() };
    arena.load("after the end of process", &post.component()).await.expect_err("it emits");
    arena.shown("emit");
}
