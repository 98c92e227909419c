//! Flooding the log.

use crate::arena::Arena;

#[tokio::test]
async fn a_flood_is_cut_and_stops_nobody() {
    let mut arena = Arena::within(dflow_pipeline::GuestLimits {
        time: dflow_pipeline::Millis(20_000),
        log_lines: 3,
        ..dflow_pipeline::GuestLimits::default()
    });
    let ways = ["lines", "debug lines", "printed lines", "one printed line", "long printed lines", "lines of newlines"];
    for how in ways {
        arena.attack("log", how).await.unwrap_or_else(|e| panic!("{how}: {e}"));
    }
    arena.shown("log");
}
