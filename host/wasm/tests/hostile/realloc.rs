//! A `realloc` that gives room where there is none.

use crate::{arena::Arena, made::Made};

#[tokio::test]
async fn room_that_is_none_is_not_written_to() {
    let mut arena = Arena::new();
    let ways = [
        ("outside of memory", "(i32.const -4096)"),
        ("at the last byte", "(i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 1))"),
        ("between addresses", "(i32.add (global.get $free) (i32.const 1))"),
        ("a trap", "(unreachable)"),
    ];
    for (how, realloc) in ways {
        let made = Made { realloc: realloc.to_owned(), ..Made::default() };
        arena.load(how, &made.component()).await.expect_err(how);
    }
    // A guest may have the host write over whatever is the guest's own.
    let made = Made { realloc: "(i32.const 65536)".to_owned(), ..Made::default() };
    arena.load("one place for all", &made.component()).await.expect("it harms nobody but itself");
    arena.shown("realloc");
}
