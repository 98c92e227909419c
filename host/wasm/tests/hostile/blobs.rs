//! Reading what wasn't given.

use crate::arena::Arena;

#[tokio::test]
async fn files_that_are_none_of_the_batch_s_are_lies() {
    let mut arena = Arena::new();
    let ways = ["from open", "of a port of text", "of no port", "of a row beyond the batch", "of a row without a file"];
    arena.lies("blobs", &ways).await;
    arena.lies("blobs", &["a million at once"]).await;
    arena.shown("blobs-of-others");
}

#[tokio::test]
async fn more_than_there_is_or_may_come_in_is_told_and_not_read() {
    let mut arena = Arena::new();
    let rows = [Some("abc"), Some("attack"), Some("d")];
    for how in ["past the end", "more than may come in"] {
        let done = arena.attack_on("blobs", how, &rows).await.expect(how);
        assert_eq!(done.errors.len(), rows.len(), "{how}");
    }
    assert!(arena.highest() < 64 << 20, "{} bytes were taken", arena.highest());
    arena.shown("blobs");
}
