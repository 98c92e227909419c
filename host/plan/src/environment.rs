//! What planning needs from outside.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use datafusion::{
    arrow::array::RecordBatch,
    catalog::Session,
    common::Result,
    execution::{
        FunctionRegistry, SessionStateBuilder, context::QueryPlanner, memory_pool::MemoryLimit,
        runtime_env::RuntimeEnv, session_state::SessionState,
    },
    logical_expr::LogicalPlan,
    physical_plan::ExecutionPlan,
    physical_planner::{DefaultPhysicalPlanner, PhysicalPlanner},
    prelude::SessionConfig,
};
use dflow_io::{Stores, Variables};
use dflow_models::Models;
use dflow_operators::{StepPlanner, TypeNames, functions};
use dflow_pipeline::{Name, SourceSchema};
use dflow_wasm::Sandbox;

use crate::{
    optimize,
    replay::Replay,
    types::{parse_type, type_names},
};

/// What planning needs from outside: where files are, what runs plugins, what DataFusion shares.
#[derive(Clone)]
pub struct Environment {
    /// Where files are.
    pub stores: Stores,
    /// What runs plugins.
    pub sandbox: Sandbox,
    /// Memory and disk that all plans of the process share.
    pub runtime: Arc<RuntimeEnv>,
    /// The models of the run, opened as stages name them.
    pub models: Arc<Models>,
    /// Looks up an environment variable.
    pub variables: Variables,
    /// The pipeline's folder, against which a plugin's path is read.
    pub folder: std::path::PathBuf,
    /// Whether stages may run programs.
    pub allow_commands: bool,
    /// The rows of `input` stages, given by the caller.
    pub input: Option<RecordBatch>,
    /// Whether saved stages are read from where they are stored. If not, their rows are made as those of any other.
    pub saves: bool,
    /// The columns of sources whose files need not be here: what they gave was taken in from elsewhere.
    pub remembered: BTreeMap<Name, SourceSchema>,
    /// The rows that are planned, when it isn't those of sources.
    pub replay: Option<Replay>,
}

/// Plans with our nodes.
#[derive(Debug)]
struct StepQueryPlanner;

#[async_trait]
impl QueryPlanner for StepQueryPlanner {
    async fn create_physical_plan(
        &self,
        logical: &LogicalPlan,
        session: &dyn Session,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        DefaultPhysicalPlanner::with_extension_planners(vec![Arc::new(StepPlanner)])
            .create_physical_plan(logical, session)
            .await
    }
}

/// How queries are read and plans are made; identifiers keep their case.
pub(crate) fn config() -> SessionConfig {
    let mut config = SessionConfig::new().with_information_schema(false).with_target_partitions(1);
    let options = config.options_mut();
    options.sql_parser.enable_ident_normalization = false;
    options.sql_parser.map_string_types_to_utf8view = true;
    // What a query names are stages: one that sorts, or gives the first rows of an order, is no subquery whose order nobody sees.
    options.sql_parser.enable_subquery_sort_elimination = false;
    // Our sources are cut into splits and tasks already.
    options.optimizer.repartition_file_scans = false;
    // Partitions of global tasks follow the splits; only what regroups rows deals them anew.
    options.optimizer.enable_round_robin_repartition = false;
    // It puts a column's qualified and its flat name into one schema, and our readers don't read members of structs apart.
    options.optimizer.enable_leaf_expression_pushdown = false;
    config
}

impl Environment {
    /// Whether a sink is one of those that are planned.
    pub(crate) fn makes(&self, sink: &Name) -> bool {
        self.replay.as_ref().is_none_or(|replay| replay.ends.contains(sink))
    }

    /// A session with our planner.
    pub(crate) fn session(&self) -> SessionState {
        let memory = match self.runtime.memory_pool.memory_limit() {
            MemoryLimit::Finite(bytes) => bytes as u64,
            _ => u64::MAX,
        };
        let mut state = SessionStateBuilder::new()
            .with_config(config())
            .with_runtime_env(self.runtime.clone())
            .with_default_features()
            .with_optimizer_rules(optimize::logical_rules())
            .with_physical_optimizer_rules(optimize::physical_rules(memory))
            .with_query_planner(Arc::new(StepQueryPlanner))
            .build();
        // `now()` is that of the run.
        state.mark_start_execution();
        let types = TypeNames { parse: parse_type, known: type_names };
        for function in functions(&self.folder, types) {
            // Registering fails only in registries that refuse functions; this one doesn't.
            let _ = state.register_udf(function);
        }
        state
    }
}
