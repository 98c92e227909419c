//! Spinning for ever, in each export and wherever else a guest's code runs.

use dflow_pipeline::Fault;

use crate::{
    arena::{Arena, is_of_a_row},
    made::Made,
};

const FOR_EVER: &str = "(loop $again (br $again)) (unreachable)";

#[tokio::test]
async fn whatever_spins_runs_out_of_time() {
    let mut arena = Arena::new();
    for how in ["process", "after the first row", "open"] {
        let error = arena.attack("spin", how).await.expect_err(how);
        is_of_a_row(how, &error, Fault::Limit, "time");
    }
    let spins = || FOR_EVER.to_owned();
    let start = "(func $spin (loop $again (br $again))) (start $spin)".to_owned();
    let post =
        r#"(func (export "cabi_post_dflow:operator/operators@0.1.0#process") (param i32) (loop $again (br $again)))"#;
    let made = [
        ("describe", Made { describe: spins(), ..Made::default() }),
        ("the module's start", Made { more: start, ..Made::default() }),
        ("realloc", Made { realloc: spins(), ..Made::default() }),
        ("clean-up after process", Made { more: post.to_owned(), ..Made::default() }),
    ];
    for (how, made) in made {
        let error = arena.load(how, &made.component()).await.expect_err(how);
        is_of_a_row(how, &error, Fault::Limit, "time");
    }
    arena.shown("spin");
}
