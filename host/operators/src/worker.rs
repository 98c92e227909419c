//! What does a stage's work on batches, row by row: an operator of a plugin, a program, or a model.

use std::sync::Arc;

use datafusion::arrow::{array::RecordBatch, datatypes::SchemaRef};
use dflow_pipeline::Fault;
use dflow_wasm::{Operator, Processed, Profile, RowShape, Stopped, WasmError};

use crate::{asker::Asker, command::Program};

/// What does a stage's work.
#[derive(Clone, Debug)]
pub enum Worker {
    /// An opened operator.
    Operator(Arc<Operator>),
    /// A program, whose rows aren't made anew of all.
    Program(Arc<Program>),
    /// A model, of which each row asks something.
    Asker(Arc<Asker>),
}

impl Worker {
    /// The columns that it takes, one for each port.
    pub(crate) fn input(&self) -> &SchemaRef {
        match self {
            Self::Operator(operator) => operator.input(),
            Self::Program(program) => &program.input,
            Self::Asker(asker) => &asker.ask.input,
        }
    }

    /// Whether a seed for each row goes in, after the ports.
    pub(crate) fn is_seeded(&self) -> bool {
        match self {
            Self::Operator(operator) => operator.description().profile == Profile::Seeded,
            Self::Program(_) | Self::Asker(_) => false,
        }
    }

    /// How many rows come of one.
    pub(crate) fn shape(&self) -> RowShape {
        match self {
            Self::Operator(operator) => operator.shape(),
            Self::Program(program) => program.shape().unwrap_or(RowShape::Expand),
            Self::Asker(_) => RowShape::Map,
        }
    }

    /// Whether it may have a part in which rows there are, or does more than to give columns.
    pub(crate) fn is_needed(&self) -> bool {
        match self {
            Self::Operator(operator) => operator.description().rejects_rows,
            Self::Program(_) => true,
            // Nobody pays for what nobody reads.
            Self::Asker(_) => false,
        }
    }

    /// The operator, if one row's results may flow on before the row is done.
    pub(crate) fn streaming(&self) -> Option<&Arc<Operator>> {
        match self {
            Self::Operator(operator) if operator.is_streaming() => Some(operator),
            _ => None,
        }
    }

    /// `plugin/operator@version`, or the command line.
    pub(crate) fn label(&self) -> String {
        match self {
            Self::Operator(operator) => {
                let (plugin, described) = (operator.plugin(), operator.description());
                format!("{}/{}@{}", plugin.name(), described.name, described.version)
            }
            Self::Program(program) => format!("`{}`", program.line.join(" ")),
            Self::Asker(asker) => asker.label(),
        }
    }

    /// What tells the code: a component's digest. Of a program nobody knows.
    pub(crate) fn digest(&self) -> Option<&str> {
        match self {
            Self::Operator(operator) => Some(operator.plugin().digest()),
            Self::Program(_) | Self::Asker(_) => None,
        }
    }

    /// How many rows may break it or meet a limit when they are alone, before the stage is given up.
    pub(crate) fn most_poisoned(&self) -> u32 {
        match self {
            Self::Operator(operator) => operator.limits().poisoned,
            Self::Program(_) | Self::Asker(_) => u32::MAX,
        }
    }

    /// What becomes of a batch, whose columns are those of its ports.
    pub(crate) async fn process(&self, batch: &RecordBatch) -> Result<Processed, Stopped> {
        match self {
            Self::Operator(operator) => {
                // A guest that can't be made is no matter of rows.
                let made = operator.instance().await;
                let mut instance = made.map_err(|error| WasmError { of_a_row: None, ..error })?;
                let processed = instance.process(batch).await?;
                instance.release();
                Ok(processed)
            }
            // What it is asked goes another way: rows fail one by one (`Work::part`).
            Self::Asker(_) => {
                Err(WasmError::new(Fault::Internal, "a model isn't asked about a batch as a whole").into())
            }
            // Neither is what a program does.
            Self::Program(program) => program.process(batch).await.map_err(|error| WasmError::from(error).into()),
        }
    }
}
