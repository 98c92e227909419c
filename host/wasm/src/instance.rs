//! Live instances of guests: calls under limits, and what a failed call says.

use std::{sync::Arc, time::Duration};

use arrow::{array::RecordBatch, compute::concat_batches};
use dflow_boundary::Lent;
use dflow_pipeline::{Bytes, GuestLimits, Millis};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use wasmtime::{
    Store, Trap, UpdateDeadline,
    component::{ComponentNamedList, Instance, Lift, Lower, TypedFunc},
};
use wasmtime_wasi::I32Exit;

use crate::{
    abi::{self, Failure, WireBatch, WireNode, WireOpened, WireSchema},
    blobs::{FILE, sizes},
    description::OperatorDescription,
    emission::{Collector, Piece, Processed, Refusal},
    error::{TIME, WasmError},
    joined,
    label::Label,
    lower::lend,
    plugin::{Linked, Operator, Plugin, Within},
    sandbox::Sandbox,
    state::{State, TICK_MS},
};

/// Room for lists' own records beside the bytes that may be handed over, and for what is logged.
const HOSTCALL_MARGIN: usize = 16 << 20;
/// A guest that holds so much more than when it was opened isn't kept: its memory never shrinks, and the next batches need less.
const GROWN: u64 = 24 << 20;

/// A guest instance in a store of its own.
pub(crate) struct Guest {
    store: Store<State>,
    instance: Instance,
    label: Label,
    limits: GuestLimits,
    /// Whether the host never waits on its behalf. Then it is called on the thread's own stack, in half of the time of a call that
    /// could be suspended.
    at_once: bool,
}

impl Guest {
    pub(crate) async fn new(
        sandbox: &Sandbox,
        linked: &Linked,
        limits: GuestLimits,
        label: Label,
    ) -> Result<Self, WasmError> {
        let state = State::new(limits, label.clone(), sandbox.cancel().clone(), sandbox.account());
        let mut store = Store::new(linked.pre.engine(), state);
        store.limiter(|state| state);
        // Each tick that passes while the guest computes calls back here; those that pass while the host works call once,
        // afterwards, so that the host's time isn't the guest's.
        store.epoch_deadline_callback(|mut store| {
            let state = store.data_mut();
            state.ticks = state.ticks.saturating_sub(1);
            if state.ticks == 0 || state.cancel.is_raised() {
                return Err(Trap::Interrupt.into());
            }
            Ok(UpdateDeadline::Continue(1))
        });
        store.set_epoch_deadline(1);
        // What a guest hands over is counted before it is copied.
        store.set_hostcall_fuel((limits.description.0 as usize).saturating_add(HOSTCALL_MARGIN));
        store.data_mut().begin_call();
        let instance = match linked.pre.instantiate_async(&mut store).await {
            Ok(instance) => instance,
            Err(error) => return Err(explain(store.data(), &label, limits, "could not be started", &error)),
        };
        Ok(Self { store, instance, label, limits, at_once: linked.at_once })
    }

    /// Sets the limits of the calls that follow.
    pub(crate) fn within(&mut self, limits: GuestLimits) {
        self.limits = limits;
        self.store.data_mut().limits = limits;
    }

    /// Has what an operator may use done for it from now on.
    pub(crate) fn grant(&mut self, plugin: &Plugin, operator: &OperatorDescription, within: &Within) {
        let state = self.store.data_mut();
        state.http = plugin.http(operator);
        state.models = within.models.clone().filter(|_| operator.wants("models"));
        state.blobs.clone_from(&within.blobs);
    }

    /// A function of the exported interface.
    fn function<P, R>(&mut self, name: &str) -> Result<TypedFunc<P, R>, WasmError>
    where
        P: ComponentNamedList + Lower,
        R: ComponentNamedList + Lift,
    {
        let interface = self.instance.get_export_index(&mut self.store, None, abi::OPERATORS);
        let index = interface.and_then(|i| self.instance.get_export_index(&mut self.store, Some(&i), name));
        let index = index.ok_or_else(|| WasmError::plugin(format!("{} doesn't export `{name}`", self.label)))?;
        self.instance.get_typed_func(&mut self.store, index).map_err(|e| {
            WasmError::plugin(format!(
                "{}: `{name}` has other types than `dflow:operator` {} gives it: {e:#}",
                self.label,
                abi::VERSION
            ))
        })
    }

    /// Calls a function under the limits; `doing` says what it was about, for errors.
    async fn call<P, R>(
        &mut self,
        function: &TypedFunc<P, R>,
        params: P,
        doing: impl Fn() -> String,
    ) -> Result<R, WasmError>
    where
        P: ComponentNamedList + Lower + Send + Sync,
        R: ComponentNamedList + Lift + Send + Sync + 'static,
    {
        self.store.data_mut().begin_call();
        self.store.set_epoch_deadline(1);
        // Guest time is counted in ticks; this is for a guest that waits in a host function, whose time isn't counted.
        let patience = self.limits.time.duration() * 2 + Duration::from_secs(1);
        let result = if self.at_once {
            Some(function.call(&mut self.store, params))
        } else {
            let waiting = self.store.data().waiting.clone();
            waiting.within(patience, function.call_async(&mut self.store, params)).await
        };
        self.store.data_mut().flush_printed();
        match result {
            Some(Ok(value)) => Ok(value),
            Some(Err(error)) => Err(explain(self.store.data(), &self.label, self.limits, &doing(), &error)),
            None => {
                self.store.data_mut().ticks = 0;
                Err(explain(self.store.data(), &self.label, self.limits, &doing(), &Trap::Interrupt.into()))
            }
        }
    }

    /// That an answer isn't longer than those of `describe` and `open` may be.
    fn not_too_long(&self, what: &str, bytes: usize) -> Result<(), WasmError> {
        let (most, bytes) = (self.limits.description, Bytes(bytes as u64));
        if bytes > most { Err(limit(&self.label, what, "description", most, bytes)) } else { Ok(()) }
    }

    /// The document that says what is in the component.
    pub(crate) async fn describe(&mut self) -> Result<String, WasmError> {
        let function = self.function::<(), (String,)>("describe")?;
        let (text,) = self.call(&function, (), || "failed to describe itself".to_owned()).await?;
        self.not_too_long("its description is too long", text.len())?;
        Ok(text)
    }

    /// Opens an operator; the inner error is the guest's own refusal, its text cut.
    pub(crate) async fn open(
        &mut self,
        operator: &str,
        settings: &str,
        input: &WireSchema,
    ) -> Result<Result<WireOpened, Failure>, WasmError> {
        let function = self.function::<(&str, &str, &WireSchema), (Result<WireOpened, Failure>,)>("open")?;
        let doing = || "failed while it was opened".to_owned();
        let (opened,) = self.call(&function, (operator, settings, input), doing).await?;
        self.not_too_long("what `open` returned is too long", opened.as_ref().map_or(0, WireOpened::size))?;
        Ok(opened.map_err(|failure| {
            let text = self.store.data().cut(failure.text());
            match failure {
                Failure::Settings(_) => Failure::Settings(text),
                Failure::Schema(_) => Failure::Schema(text),
                Failure::Data(_) => Failure::Data(text),
                Failure::Unsupported(_) => Failure::Unsupported(text),
                Failure::Denied(_) => Failure::Denied(text),
                Failure::Other(_) => Failure::Other(text),
            }
        }))
    }
}

/// A guest that has opened an operator, and its function for batches.
pub(crate) struct Ready {
    guest: Guest,
    /// The memory that it held then, in bytes.
    opened: u64,
    process: TypedFunc<(WireBatch<'static>,), (Result<(), Failure>,)>,
}

impl Ready {
    /// Of a guest whose `open` gave what was wanted.
    pub(crate) fn new(mut guest: Guest) -> Result<Self, WasmError> {
        let process = guest.function("process")?;
        let opened = guest.store.data().memory;
        guest.store.set_hostcall_fuel((guest.limits.emitted.0 as usize).saturating_add(HOSTCALL_MARGIN));
        Ok(Self { guest, opened, process })
    }
}

/// An instance of an operator, ready for batches. Calls don't overlap; after an error it is dead and must be replaced.
pub struct OperatorInstance {
    operator: Arc<Operator>,
    ready: Ready,
    /// That there may be one more.
    _permit: OwnedSemaphorePermit,
}

impl OperatorInstance {
    /// One that was `used` before, or a new one. Waits while there are as many as there may be.
    pub(crate) async fn new(operator: Arc<Operator>, used: impl FnOnce() -> Option<Ready>) -> Result<Self, WasmError> {
        let permit = operator.permits.clone().acquire_owned().await;
        let permit = permit.map_err(|e| WasmError::internal(format!("{}: {e}", operator.label)))?;
        if let Some(ready) = used() {
            return Ok(Self { operator, ready, _permit: permit });
        }
        let plugin = &operator.plugin;
        let linked = plugin.linked(operator.description());
        let mut guest = Guest::new(&plugin.sandbox, linked, plugin.limits, operator.label.clone()).await?;
        guest.grant(plugin, operator.description(), &operator.within);
        let opened = guest.open(&operator.description().name.clone(), &operator.settings, &operator.wire).await?;
        if opened.as_ref().ok() != Some(&operator.opened) {
            return Err(WasmError::plugin(format!(
                "{}: `open` gave another answer than before for the same settings and columns",
                operator.label
            )));
        }
        guest.within(operator.limits);
        Ok(Self { operator, ready: Ready::new(guest)?, _permit: permit })
    }

    /// Gives it back for the operator's next batch, in whichever task that is. One that is only dropped is gone, and so is one that
    /// has grown much.
    pub fn release(self) {
        if self.memory() > self.ready.opened + GROWN {
            return;
        }
        let Self { operator, ready, _permit } = self;
        operator.idle().push(ready);
    }

    /// The operator it is of.
    pub fn operator(&self) -> &Arc<Operator> {
        &self.operator
    }

    /// Memory that the guest holds, in bytes.
    pub fn memory(&self) -> u64 {
        self.ready.guest.store.data().memory
    }

    /// Works on some rows, whose columns are the operator's ports (in any encoding of their types).
    ///
    /// Everything that comes back was checked. Errors name stage, operator, digest, rows and, for a trap, the guest's own words.
    pub async fn process(&mut self, input: &RecordBatch) -> Result<Processed, Stopped> {
        self.process_into(input, None).await
    }

    /// The same for a row of an operator that [streams](Operator::is_streaming): what comes of it flows into `flow` once it is much, and
    /// whenever it emits rows the guest has its whole time again. What is given at the end is the rest. When nobody takes what flows, no more is wanted.
    pub async fn stream(&mut self, input: &RecordBatch, flow: mpsc::Sender<Vec<Piece>>) -> Result<Processed, Stopped> {
        self.process_into(input, Some(flow)).await
    }

    async fn process_into(
        &mut self,
        input: &RecordBatch,
        flow: Option<mpsc::Sender<Vec<Piece>>>,
    ) -> Result<Processed, Stopped> {
        let operator = &self.operator;
        let internal = |e: String| WasmError::internal(format!("{}: {e}", operator.label));
        let mut lent = Lent::without_views();
        let mut files = Vec::new();
        for (port, (column, field)) in (0..).zip(input.columns().iter().zip(operator.input.fields())) {
            let sizes = if *field.data_type() == FILE { sizes(column) } else { None };
            lend(&mut lent, sizes.as_ref().unwrap_or(column), field.data_type()).map_err(internal)?;
            files.extend(sizes.map(|_| (port, column.clone())));
        }
        let rows =
            u32::try_from(input.num_rows()).map_err(|_| internal("a batch of more than 4 billion rows".to_owned()))?;
        let collector = Collector::new(
            input.clone(),
            operator.emitted.clone(),
            operator.output.clone(),
            operator.slices.clone(),
            operator.shape,
            operator.limits.emitted,
        );
        let Ready { guest, process, .. } = &mut self.ready;
        let state = guest.store.data_mut();
        (state.collector, state.files, state.flow) = (Some(collector), files, flow);
        let doing = || format!("trapped on a batch of {rows} rows");
        if operator.description().joined_text {
            joined::join(&mut lent, operator.input.fields()).map_err(internal)?;
        }
        let nodes: Vec<WireNode> = lent.nodes.into_iter().map(Into::into).collect();
        let buffers: Vec<&[u8]> = lent.buffers.iter().map(|b| b.as_slice()).collect();
        let batch = WireBatch { rows, nodes: &nodes, buffers: &buffers };
        // The function is typed for `'static` since a type can't be generic over a lifetime in a field; it reads its
        // parameters only during the call.
        // SAFETY: lifetimes apart, its types are those that `Ready::new` compared with the component's.
        #[expect(unsafe_code, reason = "comparing the types again takes longer than a small call")]
        let process = unsafe { TypedFunc::<(WireBatch<'_>,), (Result<(), Failure>,)>::new_unchecked(*process.func()) };
        let ended = guest.call(&process, (batch,), doing).await;
        let state = guest.store.data_mut();
        (state.files, state.flow) = (Vec::new(), None);
        let collector = state.collector.take().ok_or_else(|| internal("the collector is gone".to_owned()))?;
        let error = match ended {
            Ok((Ok(()),)) => return Ok(collector.finish().map_err(|e| lie(&self.operator.label, &e))?),
            Ok((Err(failure),)) => {
                let (label, text) = (&self.operator.label, state.cut(failure.text()));
                match state.refused {
                    // It noticed by itself that there is no more memory.
                    Some(_) => explain(state, label, self.operator.limits, &doing(), &wasmtime::Error::msg(text)),
                    None => WasmError::plugin(format!("{label} gave up on a batch of {rows} rows: {text}"))
                        .of_a_row("gave-up"),
                }
            }
            Err(error) => error,
        };
        if error.of_a_row.is_none() {
            return Err(error.into());
        }
        let (done, processed) = collector.stop().map_err(|e| lie(&self.operator.label, &e))?;
        Err(Stopped { error, done, processed })
    }
}

/// A batch that ended before all of its rows were done.
#[derive(Clone, Debug)]
pub struct Stopped {
    /// Why.
    pub error: WasmError,
    /// How many rows were done, from the first on. None when it isn't a matter of one of the rows.
    pub done: u32,
    /// What came of them.
    pub processed: Processed,
}

impl From<WasmError> for Stopped {
    fn from(error: WasmError) -> Self {
        Self { error, done: 0, processed: Processed::default() }
    }
}

impl Processed {
    /// All pieces as one batch with its parents; `None` when nothing came.
    ///
    /// # Errors
    ///
    /// When they can't be one batch: keys of a dictionary that are too small for all values, text beyond what offsets can say.
    pub fn joined(&self) -> Result<Option<(RecordBatch, Vec<u32>)>, WasmError> {
        Ok(match self.pieces.as_slice() {
            [] => None,
            [one] => Some((one.columns.clone(), one.parents.clone())),
            many => {
                let batch = concat_batches(many[0].columns.schema_ref(), many.iter().map(|p| &p.columns));
                let batch = batch.map_err(|e| {
                    WasmError::plugin(format!("what was emitted for one batch can't be put together: {e}"))
                        .hint("wider keys of dictionaries or large types help, and so does emitting all rows at once")
                })?;
                Some((batch, many.iter().flat_map(|p| p.parents.iter().copied()).collect()))
            }
        })
    }
}

fn lie(label: &str, what: &str) -> WasmError {
    WasmError::plugin(format!("{label} broke the contract: {what}"))
        .hint("this is a mistake of the plugin's; tell its author")
}

/// The error that a limit was met.
pub(crate) fn limit(
    label: &Label,
    what: &str,
    key: &str,
    limit: impl std::fmt::Display,
    asked: impl std::fmt::Display,
) -> WasmError {
    WasmError::limit(format!("{label}: {what}: {asked}, the limit is {limit}"), label.moves(key))
}

/// Says what ended a call: a lie, a limit, an interrupt, or a trap with the guest's own words.
fn explain(state: &State, label: &Label, limits: GuestLimits, doing: &str, error: &wasmtime::Error) -> WasmError {
    match &state.refusal {
        Some(Refusal::Lie(what)) => return lie(label, what),
        Some(Refusal::TooMuch(bytes)) => {
            let what = "it emitted too much for one batch";
            return limit(label, what, "emitted", limits.emitted, Bytes(*bytes)).of_a_row("emitted");
        }
        Some(Refusal::Ending(error)) => return WasmError::clone(error),
        None => {}
    }
    let trap = error.downcast_ref::<Trap>();
    if trap == Some(&Trap::Interrupt) {
        if state.cancel.is_raised() {
            return WasmError::outside(format!("{label} was interrupted"));
        }
        let used = limits.time.0 - state.ticks.saturating_mul(TICK_MS).min(limits.time.0);
        let what = format!("{doing}: it used up its time");
        return limit(label, &what, "time", limits.time, Millis(used)).of_a_row(TIME);
    }
    let words = state.panic.as_deref().map(|p| format!(": {p}"));
    if let Some(refused) = state.refused.filter(|_| state.exhausted) {
        let held = Bytes(state.memory);
        let what = format!(
            "{label} {doing}: it held {held} and asked for {} of memory, and the run has no more",
            Bytes(refused)
        );
        let hint = "`--memory` says how much a run may use, and `--workers` how much it does at a time";
        return WasmError::limit(what, hint);
    }
    if let Some(refused) = state.refused {
        let (words, held) = (words.unwrap_or_default(), Bytes(state.memory));
        let what = format!("{doing}: it held {held} and asked for more memory{words}");
        return limit(label, &what, "memory", limits.memory, Bytes(refused)).of_a_row("memory");
    }
    let ended = match trap {
        Some(trap) => format!(": {trap}"),
        None if error.is::<I32Exit>() => ": it called `exit`".to_owned(),
        None => return gave(state, label, limits, doing, &error.root_cause().to_string()),
    };
    let words = words.unwrap_or(ended);
    WasmError::plugin(format!("{label} {doing}{words}")).of_a_row("trap")
}

/// What a guest handed over, or asked of WASI, was too much, or nothing that the host could take.
fn gave(state: &State, label: &Label, limits: GuestLimits, doing: &str, why: &str) -> WasmError {
    if !why.contains("fuel allocated for hostcalls") {
        return lie(label, &format!("what it handed over can't be taken: {}", state.cut(why)));
    }
    // How much it would have been isn't known: it wasn't read.
    let (key, most) = match state.collector {
        Some(_) => ("emitted", limits.emitted),
        None => ("description", limits.description),
    };
    let what = format!("{label}: {doing}: it handed over more at a time than the limit, {most}");
    let error = WasmError::limit(what, label.moves(key));
    if state.collector.is_some() { error.of_a_row("emitted") } else { error }
}
