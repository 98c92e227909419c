//! Calling oneself until the stack ends.

use dflow_pipeline::Fault;

use crate::{
    arena::{Arena, is_of_a_row},
    made::Made,
};

#[tokio::test]
async fn the_stack_ends_before_the_hosts_does() {
    let mut arena = Arena::new();
    let error = arena.attack("recurse", "").await.expect_err("the stack ends");
    is_of_a_row("process", &error, Fault::Plugin, "trap");
    let deep = "(func $deep (param i64) (result i64)
        (i64.add (call $deep (i64.add (local.get 0) (i64.const 1))) (i64.const 1)))";
    let start = "(func $begin (drop (call $deep (i64.const 0)))) (start $begin)";
    let made = Made { more: format!("{deep} {start}"), ..Made::default() };
    arena.load("the module's start", &made.component()).await.expect_err("the stack ends");
    arena.shown("recurse");
}
