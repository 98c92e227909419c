//! Allocating through tables, which aren't memory that a guest can address.

use dflow_pipeline::{Bytes, Fault, GuestLimits};

use crate::{
    arena::{Arena, is_of_a_row},
    made::Made,
};

#[tokio::test]
async fn tables_are_memory_too() {
    let limits = GuestLimits { memory: Bytes(16 << 20), ..GuestLimits::default() };
    let mut arena = Arena::within(limits);
    let until_refused = |then: &str| {
        format!(
            "(loop $more (br_if $more (i32.ne (table.grow $t (ref.null func) (i32.const 1000)) (i32.const -1)))) {then}"
        )
    };
    let table = "(table $t 1 funcref)".to_owned();
    let made = Made { more: table.clone(), process: until_refused("(unreachable)"), ..Made::default() };
    let error = arena.load("one that grows", &made.component()).await.expect_err("it gives up");
    is_of_a_row("one that grows", &error, Fault::Limit, "memory");
    let made = Made { more: table, process: until_refused("(i32.const 192)"), ..Made::default() };
    arena.load("one that grows and goes on", &made.component()).await.expect("no failure of its");
    assert!(arena.highest() > 8 << 20, "{} counted of tables", arena.highest());
    assert!(arena.highest() <= 2 * limits.memory.0, "{} counted", arena.highest());

    let made = Made { more: "(table 1000000000 funcref)".to_owned(), ..Made::default() };
    arena.load("a large one from the beginning", &made.component()).await.expect_err("8 GB");
    let made = Made { more: "(table 1000000 funcref) ".repeat(60), ..Made::default() };
    arena.load("many from the beginning", &made.component()).await.expect_err("480 MB");
    arena.shown("table");
}
