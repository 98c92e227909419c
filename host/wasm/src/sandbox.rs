//! The engines that run guests, and what every guest may import.

use std::{
    path::PathBuf,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use dflow_pipeline::GuestLimits;
use sha2::{Digest, Sha256};
use wasmtime::{
    Config, Engine, EngineWeak,
    component::{Component, Linker},
};

use crate::{
    abi,
    account::MemoryAccount,
    blobs,
    cache::{Cache, hex},
    description::Profile,
    error::WasmError,
    granted::Granted,
    http, inert, models,
    plugin::Plugin,
    state::{self, State, TICK_MS},
    streaming,
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

/// The engines that run guests, one for each kind of determinism. Cheap to clone.
#[derive(Clone)]
pub struct Sandbox(Arc<Inner>);

struct Inner {
    /// For operators whose answers are determined. Each is made when the first is there.
    pinned: OnceLock<World>,
    /// For those that may answer as they like.
    open: OnceLock<World>,
    cache: Option<Cache>,
    cancel: Cancel,
    account: Option<Arc<dyn MemoryAccount>>,
    interruptible: bool,
}

/// An engine, and what guests on it may import.
pub(crate) struct World {
    engine: Engine,
    pub(crate) linker: Linker<State>,
    /// For operators one row's results of which flow on before it is done.
    pub(crate) streaming: Linker<State>,
}

impl World {
    /// With `pinned`, arithmetic gives the same bits on every machine.
    fn new(pinned: bool, interruptible: bool) -> Result<Self, WasmError> {
        let mut config = Config::new();
        config
            .epoch_interruption(interruptible)
            // Nothing of the contract is concurrent inside a component; this makes a call three times cheaper.
            .concurrency_support(false)
            .cranelift_nan_canonicalization(pinned)
            .relaxed_simd_deterministic(pinned)
            .wasm_memory64(false);
        let internal = |e: wasmtime::Error| WasmError::internal(format!("failed to make the wasm engine: {e:#}"));
        let engine = Engine::new(&config).map_err(internal)?;
        let mut linker = Linker::new(&engine);
        inert::add_to_linker(&mut linker).map_err(internal)?;
        linker.instance(abi::LOGGING).and_then(|mut i| i.func_wrap("log", state::log)).map_err(internal)?;
        http::add_to_linker(&mut linker).map_err(internal)?;
        models::add_to_linker(&mut linker).map_err(internal)?;
        blobs::add_to_linker(&mut linker).map_err(internal)?;
        let mut streaming = linker.clone();
        linker.instance(abi::EMITTING).and_then(|mut i| i.func_wrap("emit", state::emit)).map_err(internal)?;
        streaming::add_to_linker(&mut streaming).map_err(internal)?;
        tick(engine.weak())?;
        Ok(Self { engine, linker, streaming })
    }
}

impl Sandbox {
    /// Makes one. Fails when the folder for compiled code can't be used.
    pub fn new(settings: SandboxSettings) -> Result<Self, WasmError> {
        Self::interruptible_or_not(settings, true)
    }

    /// As [`new`](Self::new), but guests that loop are never ended: only to measure what it costs that they can be.
    #[doc(hidden)]
    pub fn uninterruptible(settings: SandboxSettings) -> Result<Self, WasmError> {
        Self::interruptible_or_not(settings, false)
    }

    fn interruptible_or_not(settings: SandboxSettings, interruptible: bool) -> Result<Self, WasmError> {
        let cache = settings.cache.as_deref().map(Cache::open).transpose()?;
        let SandboxSettings { cancel, account, .. } = settings;
        let (pinned, open) = (OnceLock::new(), OnceLock::new());
        Ok(Self(Arc::new(Inner { pinned, open, cache, cancel, account, interruptible })))
    }

    /// The flag that ends guests.
    pub fn cancel(&self) -> &Cancel {
        &self.0.cancel
    }

    pub(crate) fn account(&self) -> Option<Arc<dyn MemoryAccount>> {
        self.0.account.clone()
    }

    /// Where an operator of this profile runs.
    pub(crate) fn world(&self, profile: Profile) -> Result<&World, WasmError> {
        let pinned = profile != Profile::Open;
        let world = if pinned { &self.0.pinned } else { &self.0.open };
        if let Some(made) = world.get() {
            return Ok(made);
        }
        let made = World::new(pinned, self.0.interruptible)?;
        Ok(world.get_or_init(|| made))
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
        granted: Granted,
    ) -> Result<Arc<Plugin>, WasmError> {
        let digest = digest.map_or_else(|| format!("sha256:{}", hex(&Sha256::digest(bytes))), str::to_owned);
        // What is in it is asked where nothing can differ; operators that may answer as they like run elsewhere.
        let component = self.compiled(self.world(Profile::Pure)?, name, bytes, &digest)?;
        let mut plugin =
            Plugin::new(self.clone(), name, digest, bytes.len() as u64, &component, limits, granted).await?;
        if plugin.description().operators.iter().any(|operator| operator.profile == Profile::Open) {
            let open = self.world(Profile::Open)?;
            plugin.run_open(open, &self.compiled(open, name, bytes, plugin.digest())?)?;
        }
        Ok(Arc::new(plugin))
    }

    /// A component's code, from the cache if it is there.
    fn compiled(&self, world: &World, name: &str, bytes: &[u8], digest: &str) -> Result<Component, WasmError> {
        let cache = self.0.cache.as_ref();
        if let Some(component) = cache.and_then(|cache| cache.get(&world.engine, digest)) {
            return Ok(component);
        }
        looks_like_a_component(name, bytes)?;
        let started = std::time::Instant::now();
        let component = Component::new(&world.engine, bytes)
            .map_err(|e| WasmError::plugin(format!("plugin `{name}` is not a valid component: {e:#}")))?;
        tracing::info!("compiled plugin `{name}` in {:.1} s", started.elapsed().as_secs_f64());
        if let Some(cache) = cache {
            cache.put(&world.engine, digest, &component);
        }
        Ok(component)
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

/// Moves the engine's epoch on every 10 ms for as long as somebody holds it.
fn tick(engine: EngineWeak) -> Result<(), WasmError> {
    std::thread::Builder::new()
        .name("dflow-ticker".to_owned())
        .spawn(move || {
            while let Some(engine) = engine.upgrade() {
                engine.increment_epoch();
                drop(engine);
                std::thread::sleep(Duration::from_millis(TICK_MS));
            }
        })
        .map(drop)
        .map_err(|e| WasmError::outside(format!("failed to start the sandbox's clock: {e}")))
}
