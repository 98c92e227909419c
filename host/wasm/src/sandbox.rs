//! The engine that runs guests, and what every guest may import.

use std::{
    path::PathBuf,
    sync::{
        Arc, Weak,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use dflow_pipeline::GuestLimits;
use sha2::{Digest, Sha256};
use wasmtime::{
    Config, Engine,
    component::{Component, Linker},
};

use crate::{
    abi,
    account::MemoryAccount,
    cache::{Cache, hex},
    error::WasmError,
    plugin::Plugin,
    state::{self, State, TICK_MS},
};

/// The user has raised the flag.
const INTERRUPTED: u8 = 1;
/// Something that failed has.
const FAILED: u8 = 2;

/// A flag that ends what runs, guests included, within a tick.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicU8>);

impl Cancel {
    /// A flag that isn't raised.
    pub fn new() -> Self {
        Self::default()
    }

    /// Raises it, for good: the user ends what runs.
    pub fn raise(&self) {
        self.0.fetch_or(INTERRUPTED, Ordering::Relaxed);
    }

    /// Raises it until [`recover`](Self::recover): something failed, and what runs beside it ends.
    pub fn fail(&self) {
        self.0.fetch_or(FAILED, Ordering::Relaxed);
    }

    /// What failed is over.
    pub fn recover(&self) {
        self.0.fetch_and(!FAILED, Ordering::Relaxed);
    }

    /// Whether it is raised.
    pub fn is_raised(&self) -> bool {
        self.0.load(Ordering::Relaxed) != 0
    }

    /// Whether the user has raised it.
    pub fn is_interrupted(&self) -> bool {
        self.0.load(Ordering::Relaxed) & INTERRUPTED != 0
    }
}

/// How a sandbox is made.
#[derive(Clone, Debug, Default)]
pub struct SandboxSettings {
    /// The folder for compiled code; without one, every component is compiled anew.
    pub cache: Option<PathBuf>,
    /// Ends guests when raised.
    pub cancel: Cancel,
    /// Where their memory comes from; without one, only each instance's own limit counts.
    pub account: Option<Arc<dyn MemoryAccount>>,
}

/// The engine that runs guests. Cheap to clone.
#[derive(Clone)]
pub struct Sandbox(Arc<Inner>);

struct Inner {
    engine: Engine,
    linker: Linker<State>,
    cache: Option<Cache>,
    cancel: Cancel,
    account: Option<Arc<dyn MemoryAccount>>,
    /// Keeps the ticker going while it is there.
    _alive: Arc<()>,
}

impl Sandbox {
    /// Makes the engine and starts its clock. Fails when the folder for compiled code can't be used.
    pub fn new(settings: SandboxSettings) -> Result<Self, WasmError> {
        let mut config = Config::new();
        config
            .epoch_interruption(true)
            // Nothing of the contract is concurrent inside a component; this makes a call three times cheaper.
            .concurrency_support(false)
            .relaxed_simd_deterministic(true)
            .wasm_memory64(false);
        let internal = |e: wasmtime::Error| WasmError::internal(format!("failed to make the wasm engine: {e:#}"));
        let engine = Engine::new(&config).map_err(internal)?;
        let mut linker = Linker::new(&engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker).map_err(internal)?;
        linker.instance(abi::EMITTING).and_then(|mut i| i.func_wrap("emit", state::emit)).map_err(internal)?;
        linker
            .instance(abi::LOGGING)
            .and_then(|mut i| {
                i.func_wrap(
                    "log",
                    |mut store: wasmtime::StoreContextMut<'_, State>,
                     (level, target, message): (abi::Level, String, String)| {
                        store.data_mut().log(level, &target, &message);
                        Ok(())
                    },
                )
            })
            .map_err(internal)?;
        let cache = settings.cache.as_deref().map(Cache::open).transpose()?;
        let alive = Arc::new(());
        tick(engine.clone(), Arc::downgrade(&alive))?;
        let SandboxSettings { cancel, account, .. } = settings;
        Ok(Self(Arc::new(Inner { engine, linker, cache, cancel, account, _alive: alive })))
    }

    /// The flag that ends guests.
    pub fn cancel(&self) -> &Cancel {
        &self.0.cancel
    }

    pub(crate) fn account(&self) -> Option<Arc<dyn MemoryAccount>> {
        self.0.account.clone()
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.0.engine
    }

    pub(crate) fn linker(&self) -> &Linker<State> {
        &self.0.linker
    }

    /// Loads a component from its bytes (compiling it if that wasn't done before) and asks it what it holds.
    ///
    /// `name` is what the pipeline calls the plugin, `digest` its `sha256:…` where it is known already. Errors are of the
    /// plugin: not a component, another version, wants what isn't granted, a broken description.
    pub async fn load(
        &self,
        name: &str,
        bytes: &[u8],
        digest: Option<&str>,
        limits: GuestLimits,
    ) -> Result<Arc<Plugin>, WasmError> {
        let digest = digest.map_or_else(|| format!("sha256:{}", hex(&Sha256::digest(bytes))), str::to_owned);
        let cached = self.0.cache.as_ref().and_then(|c| c.get(&self.0.engine, &digest));
        let component = match cached {
            Some(component) => component,
            None => {
                looks_like_a_component(name, bytes)?;
                let started = std::time::Instant::now();
                let component = Component::new(&self.0.engine, bytes)
                    .map_err(|e| WasmError::plugin(format!("plugin `{name}` is not a valid component: {e:#}")))?;
                tracing::info!("compiled plugin `{name}` in {:.1} s", started.elapsed().as_secs_f64());
                if let Some(cache) = &self.0.cache {
                    cache.put(&self.0.engine, &digest, &component);
                }
                component
            }
        };
        Plugin::new(self.clone(), name, digest, bytes.len() as u64, &component, limits).await
    }
}

/// Tells the usual wrong files apart before the compiler does it in its own words.
fn looks_like_a_component(name: &str, bytes: &[u8]) -> Result<(), WasmError> {
    let wrong =
        |what: &str, hint: &str| Err(WasmError::plugin(format!("plugin `{name}` {what}")).hint(hint.to_owned()));
    match bytes {
        [] => wrong("is an empty file", "build it again"),
        [0, b'a', b's', b'm', 0x0d, 0, 1, 0, ..] => Ok(()),
        [0, b'a', b's', b'm', 1, 0, 0, 0, ..] => wrong(
            "is a core WebAssembly module, not a component",
            "`sdk/rust/build` makes components; `wasm-tools component new` turns a module into one",
        ),
        [0, b'a', b's', b'm', ..] => wrong(
            "is WebAssembly of a version that this host doesn't know",
            "build it with the toolchain that the SDK names",
        ),
        _ => wrong(
            "is not a WebAssembly component",
            "`source` must name a `.wasm` file made by `sdk/rust/build` or another component toolchain",
        ),
    }
}

/// Moves the engine's epoch on every 10 ms for as long as somebody holds the sandbox.
fn tick(engine: Engine, alive: Weak<()>) -> Result<(), WasmError> {
    std::thread::Builder::new()
        .name("dflow-ticker".to_owned())
        .spawn(move || {
            while alive.strong_count() > 0 {
                std::thread::sleep(Duration::from_millis(TICK_MS));
                engine.increment_epoch();
            }
        })
        .map(drop)
        .map_err(|e| WasmError::outside(format!("failed to start the sandbox's clock: {e}")))
}
