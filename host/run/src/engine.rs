//! What runs pipelines: two runtimes, the sandbox, shared memory.
//!
//! Files and requests are waited for on one runtime, plans and guests compute on the other: a guest that computes for seconds
//! doesn't keep a request from being answered, and a thousand waiting requests don't keep a core from computing.

use std::{collections::BTreeMap, path::PathBuf};

use datafusion::arrow::array::RecordBatch;
use dflow_io::{Stores, Variables};
use dflow_models::{Mode, Models, money::Usd};
use dflow_operators::StepError;
use dflow_pipeline::{Draft, Fault, Mistake, Mistakes, Name, Pipeline};
use dflow_plan::{Environment, Plan, Replay, plan};
use dflow_wasm::{Cancel, Sandbox, SandboxSettings};
use indexmap::IndexMap;
use tokio::runtime::{Builder, Handle, Runtime};

use crate::{faults::Faults, journal::History, memory::Memory, select::Selection, task::LOOK};

/// The name of the state folder where nobody gives another: it is in the pipeline's folder.
pub const STATE_FOLDER: &str = ".dflow";

/// How an engine is made.
#[derive(Clone, Debug)]
pub struct EngineSettings {
    /// The pipeline's folder, against which relative paths are read.
    pub folder: PathBuf,
    /// The folder for the journal and what is staged.
    pub state: PathBuf,
    /// The folder for compiled plugins.
    pub cache: Option<PathBuf>,
    /// Tasks at a time.
    pub workers: usize,
    /// Bytes of input for one task, about.
    pub task_bytes: u64,
    /// Bytes of memory for all that runs: rows, plugins and the process itself.
    pub memory: u64,
    /// Looks up an environment variable: the keys of buckets are in some.
    pub variables: Variables,
    /// Called when memory is short: what keeps memory that is free is to give it back.
    pub tight: fn(),
    /// With `--first N`: the rows that each source gives.
    pub first: Option<u64>,
    /// Whether a run does everything again, whatever earlier ones have done.
    pub fresh: bool,
    /// What a run does, when not all of it: saved stages and sinks.
    pub select: Vec<Selection>,
    /// Stages whose saved rows stand although the stage has changed.
    pub accept: Vec<Name>,
    /// Whether stages may run programs, which nothing keeps in.
    pub allow_commands: bool,
    /// What becomes of what models are asked.
    pub models: Mode,
    /// A file of answers that are known beside the journal's; a run that asks writes it anew, with those that it needed.
    pub answers: Option<PathBuf>,
    /// The state folder of another run, whose answers of models count, too.
    pub answered: Option<PathBuf>,
    /// Where a run ends by force: for tests.
    pub faults: Faults,
}

/// Runs pipelines. It outlives its plans.
pub struct Engine {
    pub(crate) settings: EngineSettings,
    pub(crate) cancel: Cancel,
    sandbox: Sandbox,
    pub(crate) memory: Memory,
    io: Runtime,
    compute: Runtime,
}

impl Engine {
    /// Starts the runtimes and the sandbox. Nothing else is made before it is needed.
    pub fn new(settings: EngineSettings) -> Result<Self, StepError> {
        let memory = Memory::new(settings.memory, settings.workers, settings.tight, &settings.state.join("tmp"))?;
        let failed = |e: std::io::Error| StepError::new(Fault::Outside, format!("failed to start threads: {e}"));
        let io = Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("dflow-io")
            .enable_all()
            .build()
            .map_err(failed)?;
        let compute = Builder::new_multi_thread()
            .worker_threads(settings.workers.max(1))
            .thread_name("dflow-compute")
            .enable_all()
            .build()
            .map_err(failed)?;
        let cancel = Cancel::new();
        let account = Some(memory.guests());
        let sandbox = Sandbox::new(SandboxSettings { cache: settings.cache.clone(), cancel: cancel.clone(), account })?;
        Ok(Self { settings, cancel, sandbox, memory, io, compute })
    }

    /// The flag that ends what runs.
    pub fn cancel(&self) -> &Cancel {
        &self.cancel
    }

    /// Where things wait.
    pub(crate) fn io(&self) -> &Runtime {
        &self.io
    }

    /// Where things compute.
    pub(crate) fn compute(&self) -> &Handle {
        self.compute.handle()
    }

    pub(crate) fn stores(&self, pipeline: &Pipeline) -> Result<Stores, StepError> {
        Ok(Stores::new(pipeline, &self.settings.folder, self.settings.variables, self.io.handle().clone())?)
    }

    fn environment(
        &self,
        pipeline: &Pipeline,
        input: Option<RecordBatch>,
        replay: Option<Replay>,
    ) -> Result<Environment, StepError> {
        let (sandbox, runtime, folder) =
            (self.sandbox.clone(), self.memory.runtime.clone(), self.settings.folder.clone());
        // The first rows are those of the sources.
        let saves = self.settings.first.is_none() && replay.is_none();
        let (stores, allow_commands) = (self.stores(pipeline)?, self.settings.allow_commands);
        // Of first rows nothing is kept, so that there is nothing to do without sources.
        let remembered = match saves && input.is_none() {
            // Whoever needs the journal says what is wrong with it.
            true => History::open(&self.settings.state).ok().flatten().and_then(|it| it.known().remembered().ok()),
            false => None,
        };
        let remembered = remembered.unwrap_or_default().into_iter().collect();
        let models = Models::new(self.io.handle().clone(), pipeline.max_usd.and_then(Usd::of), self.settings.models);
        let variables = self.settings.variables;
        Ok(Environment {
            remembered,
            stores,
            sandbox,
            runtime,
            models,
            variables,
            folder,
            allow_commands,
            input,
            saves,
            replay,
        })
    }

    /// Plans a pipeline for all of its sinks, or for one stage; `input` are the rows of its `input` stages. Of one with mistakes
    /// what is sound is planned, to find the rest of them.
    ///
    /// # Errors
    /// Every mistake at once.
    pub fn plan(&self, draft: &Draft, target: Option<&Name>, input: Option<RecordBatch>) -> Result<Plan, Mistakes> {
        self.planned(draft, target, input, None)
    }

    /// As [`plan`](Self::plan), also for rows that failed.
    pub(crate) fn planned(
        &self,
        draft: &Draft,
        target: Option<&Name>,
        input: Option<RecordBatch>,
        replay: Option<Replay>,
    ) -> Result<Plan, Mistakes> {
        let environment = self.environment(&draft.pipeline, input, replay);
        self.planned_in(environment, draft, target)
    }

    /// As [`plan`](Self::plan), for all sinks, of a pipeline whose sources need not be here, as their columns are known.
    ///
    /// # Errors
    /// Every mistake at once.
    pub fn plan_remembering(
        &self,
        draft: &Draft,
        columns: BTreeMap<Name, IndexMap<String, String>>,
    ) -> Result<Plan, Mistakes> {
        let environment = self.environment(&draft.pipeline, None, None).map(|mut environment| {
            environment.remembered.extend(columns);
            environment
        });
        self.planned_in(environment, draft, None)
    }

    fn planned_in(
        &self,
        environment: Result<Environment, StepError>,
        draft: &Draft,
        target: Option<&Name>,
    ) -> Result<Plan, Mistakes> {
        let environment = environment.map(|mut environment| {
            if target.is_some() {
                // Who wants to see a stage's rows wants them of what is here.
                environment.remembered.clear();
            }
            environment
        });
        let environment = environment.map_err(|e| {
            let mistake = Mistake::new(dflow_pipeline::At::default(), e.message.clone()).fault(e.fault);
            Mistakes {
                source: draft.text.clone(),
                list: vec![match e.hint {
                    Some(hint) => mistake.hint(hint),
                    None => mistake,
                }],
            }
        })?;
        // Planning compiles and runs guests, so it computes.
        self.io.block_on(async {
            let _compute = self.compute.enter();
            tokio::select! {
                planned = plan(&environment, draft, target) => planned,
                // A server may take its time to say which files there are.
                () = self.interrupted() => {
                    let interrupted = Mistake::new(dflow_pipeline::At::default(), "interrupted").fault(Fault::Outside);
                    Err(Mistakes { source: draft.text.clone(), list: vec![interrupted] })
                }
            }
        })
    }

    /// Waits until the user ends what runs.
    async fn interrupted(&self) {
        while !self.cancel.is_interrupted() {
            tokio::time::sleep(LOOK).await;
        }
    }
}
