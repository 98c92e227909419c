//! What a guest instance's store holds: limits and what they refused, log, collector, inert WASI.

use std::sync::Arc;

use arrow::array::ArrayRef;
use dflow_pipeline::{Bytes, GuestLimits};
use tokio::sync::mpsc;
use wasmtime::{
    ResourceLimiter, StoreContextMut,
    component::{ResourceTable, WasmStr},
};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use crate::{
    abi::{EmittedOutput, Level},
    account::MemoryAccount,
    blobs::Blobs,
    emission::{Collector, Emission, Piece, Refusal, RowError},
    http::Http,
    inert,
    label::Label,
    models::Asks,
    printed::Printed,
    sandbox::Cancel,
    waiting::Waiting,
};

/// Length of an epoch's tick in milliseconds.
pub(crate) const TICK_MS: u64 = 10;
/// A log line's target, or an error's kind.
const LONGEST_TARGET: Bytes = Bytes(64);
/// Resources of WASI that a guest may hold: the host has memory of its own for each.
const MOST_RESOURCES: usize = 10_000;
/// Memories, tables and core instances of one component. Python's interpreter has some twenty of them.
const MOST_PARTS: usize = 200;
/// What an element of a table takes.
const ELEMENT: usize = size_of::<usize>();

/// The state of one guest instance.
pub(crate) struct State {
    wasi: WasiCtx,
    table: ResourceTable,
    printed: Printed,
    pub(crate) limits: GuestLimits,
    /// Who this is, for the log: `stage (plugin/operator)`.
    label: Label,
    lines: u32,
    /// What the guest last said under the target `panic`.
    pub(crate) panic: Option<String>,
    /// The memory in use, and the size that was refused last.
    pub(crate) memory: u64,
    pub(crate) refused: Option<u64>,
    /// Whether it was refused because the process has no more, and not because of its own limit.
    pub(crate) exhausted: bool,
    account: Option<Arc<dyn MemoryAccount>>,
    /// Ticks left of the current call.
    pub(crate) ticks: u64,
    pub(crate) cancel: Cancel,
    /// Present while a batch is processed.
    pub(crate) collector: Option<Collector>,
    pub(crate) refusal: Option<Refusal>,
    /// Who makes its requests, if it may have some made.
    pub(crate) http: Option<Arc<dyn Http>>,
    /// Who asks models for it, if it may have some asked.
    pub(crate) models: Option<Arc<dyn Asks>>,
    /// Who reads parts of files for it, and the files of the batch in work, by their columns' positions.
    pub(crate) blobs: Option<Arc<dyn Blobs>>,
    pub(crate) files: Vec<(u32, ArrayRef)>,
    pub(crate) waiting: Waiting,
    /// Where results flow while their row isn't done.
    pub(crate) flow: Option<mpsc::Sender<Vec<Piece>>>,
}

impl State {
    pub(crate) fn new(
        limits: GuestLimits,
        label: Label,
        cancel: Cancel,
        account: Option<Arc<dyn MemoryAccount>>,
    ) -> Self {
        let printed = Printed::default();
        let mut table = ResourceTable::new();
        table.set_max_capacity(MOST_RESOURCES);
        Self {
            wasi: inert::context(&printed),
            table,
            printed,
            limits,
            label,
            lines: 0,
            panic: None,
            memory: 0,
            refused: None,
            exhausted: false,
            account,
            ticks: 0,
            cancel,
            collector: None,
            refusal: None,
            http: None,
            models: None,
            blobs: None,
            files: Vec::new(),
            waiting: Waiting::default(),
            flow: None,
        }
    }

    /// Where memory comes from that is taken on its behalf.
    pub(crate) fn account(&self) -> Option<&Arc<dyn MemoryAccount>> {
        self.account.as_ref()
    }

    /// Before each call: the whole time again, and a fresh allowance of log lines.
    pub(crate) fn begin_call(&mut self) {
        self.whole_time();
        self.lines = 0;
        self.panic = None;
        self.refused = None;
        self.exhausted = false;
        self.refusal = None;
    }

    /// The resources of WASI that the guest holds.
    pub(crate) fn table(&mut self) -> &mut ResourceTable {
        &mut self.table
    }

    /// The guest has its whole time again.
    pub(crate) fn whole_time(&mut self) {
        self.ticks = self.limits.time.0.div_ceil(TICK_MS).max(1);
    }

    /// Cuts a message of a guest's to its limit and takes control characters out.
    pub(crate) fn cut(&self, text: &str) -> String {
        cut(text, self.limits.message)
    }

    /// Takes a line for the stage's log.
    fn log(&mut self, level: Level, target: &str, message: String) {
        if target == "panic" {
            self.panic = Some(message);
            return;
        }
        if matches!(level, Level::Trace | Level::Debug) {
            // What is only for the plugin's author doesn't count, and costs nothing unless it is asked for.
            tracing::debug!(stage = &*self.label, target, "{message}");
            return;
        }
        self.lines += 1;
        let stage = &*self.label;
        match self.lines.cmp(&self.limits.log_lines.saturating_add(1)) {
            std::cmp::Ordering::Less => match level {
                Level::Trace | Level::Debug | Level::Info => tracing::info!(stage, target, "{message}"),
                Level::Warn => tracing::warn!(stage, target, "{message}"),
                Level::Error => tracing::error!(stage, target, "{message}"),
            },
            std::cmp::Ordering::Equal => {
                tracing::warn!(stage, "more than {} log lines in one call; the rest is dropped", self.limits.log_lines)
            }
            std::cmp::Ordering::Greater => {}
        }
    }

    /// After each call: what the guest printed goes to the log.
    pub(crate) fn flush_printed(&mut self) {
        let printed = self.printed.take();
        for line in String::from_utf8_lossy(&printed).lines() {
            let line = self.cut(line);
            self.log(Level::Info, "print", line);
        }
    }
}

/// Whether a character does something to what is around it: controls, and those that change the direction of writing.
pub(crate) fn controls(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// At most `most` bytes of a text, on a character boundary, without control characters.
pub(crate) fn cut(text: &str, most: Bytes) -> String {
    let most = most.0 as usize;
    let clean = |t: &str| {
        t.chars().map(|c| if controls(c) && c != '\n' && c != '\t' { '\u{fffd}' } else { c }).collect::<String>()
    };
    if text.len() <= most {
        return clean(text);
    }
    let end = text.floor_char_boundary(most);
    format!("{}… ({} bytes more)", clean(&text[..end]), text.len() - end)
}

impl Drop for State {
    fn drop(&mut self) {
        if let Some(account) = &self.account {
            account.give_back(self.memory);
        }
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl State {
    /// Takes memory for what grows from `current` bytes to `desired`. A component may hold several memories and tables: what
    /// counts is their sum.
    fn grows(&mut self, current: usize, desired: usize) -> bool {
        let total = (self.memory - (current as u64).min(self.memory)).saturating_add(desired as u64);
        if total > self.limits.memory.0 {
            self.refused = Some(total);
            return false;
        }
        if self.account.as_ref().is_some_and(|account| !account.try_take(total.saturating_sub(self.memory))) {
            (self.refused, self.exhausted) = (Some(total), true);
            return false;
        }
        self.memory = total;
        true
    }
}

impl ResourceLimiter for State {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|m| desired > m) {
            self.refused = Some(desired as u64);
            return Ok(false);
        }
        Ok(self.grows(current, desired))
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let within = maximum.is_none_or(|m| desired <= m);
        Ok(within && self.grows(current.saturating_mul(ELEMENT), desired.saturating_mul(ELEMENT)))
    }

    fn instances(&self) -> usize {
        MOST_PARTS
    }

    fn tables(&self) -> usize {
        MOST_PARTS
    }

    fn memories(&self) -> usize {
        MOST_PARTS
    }
}

/// `emitting.emit`: views the lists in guest memory, makes checked arrays of them.
pub(crate) fn emit(mut store: StoreContextMut<'_, State>, (output,): (EmittedOutput,)) -> wasmtime::Result<(bool,)> {
    let Some(mut collector) = store.data_mut().collector.take() else {
        store.data_mut().refusal = Some(Refusal::Lie("`emit` was called outside of `process`".to_owned()));
        return Err(wasmtime::Error::msg("emit outside of process"));
    };
    let result = view(&mut store, &output, &mut collector);
    store.data_mut().collector = Some(collector);
    match result? {
        Ok(()) => Ok((true,)),
        Err(refusal) => {
            store.data_mut().refusal = Some(refusal);
            Err(wasmtime::Error::msg("the emission was refused"))
        }
    }
}

/// `logging.log`: reads the words in guest memory, so that long ones aren't copied only to be cut.
pub(crate) fn log(
    mut store: StoreContextMut<'_, State>,
    (level, target, message): (Level, WasmStr, WasmStr),
) -> wasmtime::Result<()> {
    let most = store.data().limits.message;
    let short = |text: WasmStr, most: Bytes| text.to_str(&store).map(|text| cut(&text, most));
    let (target, message) = (short(target, LONGEST_TARGET)?, short(message, most)?);
    store.data_mut().log(level, &target, message);
    Ok(())
}

fn view(
    store: &mut StoreContextMut<'_, State>,
    output: &EmittedOutput,
    collector: &mut Collector,
) -> wasmtime::Result<Result<(), Refusal>> {
    let limit = store.data().limits.message;
    let lists = [output.nodes.len(), output.buffers.len(), output.slices.len(), output.errors.len()];
    if let Err(refusal) = collector.admit(lists) {
        return Ok(Err(refusal));
    }
    let nodes = output.nodes.iter(&mut *store)?.map(|node| Ok(node?.into())).collect::<wasmtime::Result<Vec<_>>>()?;
    let buffers = output.buffers.iter(&mut *store)?.collect::<wasmtime::Result<Vec<_>>>()?;
    let slices = output.slices.iter(&mut *store)?.collect::<wasmtime::Result<Vec<_>>>()?;
    let emitted = output.errors.iter(&mut *store)?.collect::<wasmtime::Result<Vec<_>>>()?;
    let mut errors = Vec::with_capacity(emitted.len());
    for error in &emitted {
        let kind = cut(&error.kind.to_str(&*store)?, LONGEST_TARGET);
        errors.push(RowError { row: error.row, kind, message: cut(&error.message.to_str(&*store)?, limit) });
    }
    let store = &*store;
    let buffers: Vec<&[u8]> = buffers.iter().map(|b| b.as_le_slice(store)).collect();
    let slices: Vec<_> =
        slices.iter().map(|s| (s.column, s.starts.as_le_slice(store), s.ends.as_le_slice(store))).collect();
    Ok(collector.emit(Emission {
        rows: output.rows,
        nodes: &nodes,
        buffers: &buffers,
        parents: output.parents.as_ref().map(|p| p.as_le_slice(store)),
        slices: &slices,
        errors,
    }))
}
