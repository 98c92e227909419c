//! Where a plugin is tried: loaded, opened, and given rows, without a pipeline.

use std::{path::PathBuf, sync::Arc};

use arrow::{
    array::RecordBatch,
    datatypes::{Schema, SchemaRef},
};
use dflow_pipeline::{Fault, GuestLimits, Millis};
use dflow_plugin::testing::cases::Case;
use dflow_wasm::{
    Cancel, Granted, Operator, OperatorInstance, Plugin, SEED, Sandbox, SandboxSettings, Stopped, WasmError, shipped,
};
use serde_json::{Map, Value};
use tokio::runtime::Runtime;

use crate::{KitError, answer::Answer};

/// What a batch may take: less than in a run, so that who waits learns soon of what takes too long.
const TIME: Millis = Millis(10_000);

/// A sandbox on the thread of who calls it. What a plugin wants of the outside isn't granted here.
pub struct Workbench {
    sandbox: Sandbox,
    runtime: Runtime,
    limits: GuestLimits,
}

impl Workbench {
    /// One whose compiled code is kept in `cache`; `cancel` ends guests.
    ///
    /// # Errors
    ///
    /// The folder for compiled code can't be used.
    pub fn new(cache: Option<PathBuf>, cancel: Cancel) -> Result<Self, KitError> {
        let sandbox = Sandbox::new(SandboxSettings { cache, cancel, account: None })?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let runtime = runtime.map_err(|e| KitError::outside(format!("failed to start a runtime: {e}")))?;
        Ok(Self { sandbox, runtime, limits: GuestLimits { time: TIME, ..GuestLimits::default() } })
    }

    /// Whether the user has ended what runs.
    pub fn is_interrupted(&self) -> bool {
        self.sandbox.cancel().is_raised()
    }

    /// A plugin that ships, by name, or the component at a path.
    ///
    /// # Errors
    ///
    /// There is none, or it is broken.
    pub fn load(&self, name_or_path: &str) -> Result<Arc<Plugin>, KitError> {
        if let Some(shipped) = shipped(name_or_path) {
            return self.loaded(shipped.name, shipped.bytes, Some(shipped.digest));
        }
        let path = PathBuf::from(name_or_path);
        let bytes = std::fs::read(&path).map_err(|e| {
            let what = format!("there is no plugin `{name_or_path}` in this host, and no such file can be read: {e}");
            KitError::outside(what).hint("`dflow-host plugin list` shows those that ship with it")
        })?;
        let name = path.file_stem().map_or_else(|| name_or_path.to_owned(), |n| n.to_string_lossy().into_owned());
        self.loaded(&name, &bytes, None)
    }

    fn loaded(&self, name: &str, bytes: &[u8], digest: Option<&str>) -> Result<Arc<Plugin>, KitError> {
        let granted = Granted { nominally: true, ..Granted::default() };
        Ok(self.runtime.block_on(self.sandbox.load(name, bytes, digest, self.limits, granted))?)
    }

    /// Opens an operator for columns; the seeds of one that is seeded are no column of its own.
    pub(crate) fn open<'a>(
        &'a self,
        plugin: &Arc<Plugin>,
        operator: &str,
        settings: &Map<String, Value>,
        input: &Schema,
    ) -> Result<Open<'a>, WasmError> {
        let fields: Vec<_> = input.fields().iter().filter(|field| field.name() != SEED).cloned().collect();
        let input = Schema::new(fields);
        let opened = plugin.open("a_case", operator, settings, &input);
        Ok(Open { workbench: self, operator: self.runtime.block_on(opened)?, instance: None })
    }

    /// Opens the operator of a case for its columns.
    pub(crate) fn open_case(&self, plugin: &Arc<Plugin>, case: &Case, input: SchemaRef) -> Result<Open<'_>, WasmError> {
        self.open(plugin, &case.operator, &case.with, &input)
    }
}

/// An operator that is open.
pub(crate) struct Open<'a> {
    workbench: &'a Workbench,
    operator: Arc<Operator>,
    instance: Option<OperatorInstance>,
}

impl Open<'_> {
    /// What it is.
    pub(crate) fn operator(&self) -> &Arc<Operator> {
        &self.operator
    }

    /// Gives rows, as one batch, to the instance that had those before, or to a fresh one after it has died.
    pub(crate) fn answer(&mut self, rows: &RecordBatch) -> Result<Answer, Box<Stopped>> {
        let mut instance = match self.instance.take() {
            Some(instance) => instance,
            None => self.started()?,
        };
        let processed = self.workbench.runtime.block_on(instance.process(rows)).map_err(Box::new)?;
        self.instance = Some(instance);
        Answer::new(rows.num_rows(), processed).map_err(|error| Box::new(error.into()))
    }

    /// Drops the instance, so that the next rows come to a fresh one.
    pub(crate) fn refresh(&mut self) {
        self.instance = None;
    }

    /// Memory that the instance holds, in bytes.
    pub(crate) fn memory(&self) -> u64 {
        self.instance.as_ref().map_or(0, OperatorInstance::memory)
    }

    fn started(&self) -> Result<OperatorInstance, Box<Stopped>> {
        self.workbench.runtime.block_on(self.operator.fresh_instance()).map_err(|error| Box::new(error.into()))
    }
}

/// Whether an error says that what was asked isn't what the plugin accepts, and not that it is broken.
pub(crate) fn is_refusal(error: &WasmError) -> bool {
    error.fault == Fault::Pipeline
}
