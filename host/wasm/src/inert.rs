//! The WASI that guests' toolchains bring along, made inert: nothing of it reaches the machine.
//!
//! Empty environment and arguments, no preopened folders, no network, clocks that stand still, and one fixed random stream.
//! Who waits for a moment doesn't wait: how long that takes would be a clock. What is printed goes to the stage's log.

use std::time::Duration;

use rand::{SeedableRng, rngs::SmallRng};
use wasmtime::{
    StoreContextMut,
    component::{Linker, Resource},
};
use wasmtime_wasi::{
    HostMonotonicClock, HostWallClock, WasiCtx, async_trait,
    p2::{DynPollable, Pollable, subscribe},
};

use crate::{printed::Printed, state::State};

/// The moment at which guests' clocks stand: 2000-01-01T00:00:00Z, seconds since 1970.
const STANDS_AT: u64 = 946_684_800;
/// The seed of the one random stream.
const SEED: u64 = 0x6466_6c6f_7721;
/// The most random bytes of one call: the host makes them in memory of its own.
const MOST_RANDOM: u64 = 1 << 20;

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

/// A moment that has come.
struct Come;

#[async_trait]
impl Pollable for Come {
    async fn ready(&mut self) {}
}

/// Links WASI. What a guest gets to see of it is the [`context`] of its store.
pub(crate) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    linker.allow_shadowing(true);
    let mut clock = linker.instance("wasi:clocks/monotonic-clock@0.2.12")?;
    for name in ["subscribe-duration", "subscribe-instant"] {
        clock.func_wrap(name, |mut store: StoreContextMut<'_, State>, (_when,): (u64,)| {
            Ok((come(store.data_mut())?,))
        })?;
    }
    linker.allow_shadowing(false);
    Ok(())
}

fn come(state: &mut State) -> wasmtime::Result<Resource<DynPollable>> {
    let table = state.table();
    let moment = table.push(Come)?;
    subscribe(table, moment)
}

/// An inert context whose standard output and error go to `printed`.
pub(crate) fn context(printed: &Printed) -> WasiCtx {
    WasiCtx::builder()
        .stdout(printed.clone())
        .stderr(printed.clone())
        .secure_random(SmallRng::seed_from_u64(SEED))
        .insecure_random(SmallRng::seed_from_u64(SEED))
        .insecure_random_seed(u128::from(SEED))
        .max_random_size(MOST_RANDOM)
        .wall_clock(Standing)
        .monotonic_clock(Standing)
        .socket_addr_check(|_, _| Box::pin(async { false }))
        .allow_ip_name_lookup(false)
        .allow_tcp(false)
        .allow_udp(false)
        .build()
}
