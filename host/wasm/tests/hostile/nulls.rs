//! A billion values that take no bytes.

use dflow_pipeline::Fault;

use crate::arena::Arena;

const WAYS: &[&str] = &["rows", "in a list", "in fixed-size lists", "of no width", "structs of nothing", "one run"];

#[tokio::test]
async fn values_without_bytes_are_counted_all_the_same() {
    let mut arena = Arena::new();
    for how in WAYS {
        let error = arena.attack("nulls", how).await.expect_err(how);
        let known = match (error.fault, error.of_a_row) {
            (Fault::Plugin, None) => true,
            (Fault::Limit, kind) => kind == Some("emitted"),
            _ => false,
        };
        assert!(known, "{how}: {error}");
    }
    arena.shown("nulls");
}
