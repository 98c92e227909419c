//! The WASI that guests' toolchains bring along, made inert: nothing of it reaches the machine.
//!
//! Empty environment and arguments, no preopened folders, no network, clocks that stand still, and one fixed random stream.
//! What is printed goes to the stage's log.

use std::time::Duration;

use rand::{SeedableRng, rngs::SmallRng};
use wasmtime_wasi::{HostMonotonicClock, HostWallClock, WasiCtx, p2::pipe::MemoryOutputPipe};

/// The moment at which guests' clocks stand: 2000-01-01T00:00:00Z, seconds since 1970.
const STANDS_AT: u64 = 946_684_800;
/// The seed of the one random stream.
const SEED: u64 = 0x6466_6c6f_7721;

struct Standing;

impl HostWallClock for Standing {
    fn resolution(&self) -> Duration {
        Duration::from_millis(1)
    }

    fn now(&self) -> Duration {
        Duration::from_secs(STANDS_AT)
    }
}

impl HostMonotonicClock for Standing {
    fn resolution(&self) -> u64 {
        1_000_000
    }

    fn now(&self) -> u64 {
        0
    }
}

/// An inert context whose standard output and error go to `printed`.
pub(crate) fn context(printed: &MemoryOutputPipe) -> WasiCtx {
    WasiCtx::builder()
        .stdout(printed.clone())
        .stderr(printed.clone())
        .secure_random(SmallRng::seed_from_u64(SEED))
        .insecure_random(SmallRng::seed_from_u64(SEED))
        .insecure_random_seed(u128::from(SEED))
        .wall_clock(Standing)
        .monotonic_clock(Standing)
        .socket_addr_check(|_, _| Box::pin(async { false }))
        .allow_ip_name_lookup(false)
        .allow_tcp(false)
        .allow_udp(false)
        .build()
}
