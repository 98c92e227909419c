//! How fast operators are.

use std::{path::Path, sync::Arc};

use dflow_plugin::testing::{Workload, median, workloads};
use dflow_wasm::{Plugin, Stopped};
use serde::Serialize;

use crate::{KitError, Workbench};

/// What an operator costs.
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    /// Its name.
    pub operator: String,
    /// The case whose rows it had, over and over.
    pub case: String,
    /// Rows of a batch.
    pub rows: usize,
    /// Bytes of a batch, as Arrow holds it.
    pub bytes: usize,
    /// Rows it takes in a second, on one core: the median of five rounds.
    pub rows_per_second: f64,
    /// The same of the same code without the sandbox, where that was measured.
    pub native_rows_per_second: Option<f64>,
    /// Seconds that a batch without rows takes: what each costs beside its rows.
    pub seconds_per_batch: f64,
    /// Seconds to make an instance and open it.
    pub seconds_to_start: f64,
    /// Memory of an instance after all that, in bytes.
    pub memory: u64,
}

/// Measures each operator on the rows of its first case that has some. What has none isn't measured.
///
/// # Errors
///
/// A case that can't be read, an operator that can't be opened or fails.
pub fn measure(workbench: &Workbench, plugin: &Arc<Plugin>, cases: &Path) -> Result<Vec<Measured>, KitError> {
    let mut measured: Vec<Measured> = Vec::new();
    for Workload { name, case, batch } in workloads(cases).map_err(KitError::plugin)? {
        let mut open = workbench.open_case(plugin, &case, batch.schema())?;
        let failed = |stopped: Box<Stopped>| KitError::from(stopped.error);
        let none = batch.slice(0, 0);
        let seconds_per_batch = median(|| open.answer(&none).map(drop)).map_err(failed)?;
        let seconds = median(|| open.answer(&batch).map(drop)).map_err(failed)?;
        let memory = open.memory();
        // Until an instance has had its first batch.
        let start = || {
            open.refresh();
            open.answer(&none).map(drop)
        };
        measured.push(Measured {
            case: name,
            rows: batch.num_rows(),
            bytes: batch.get_array_memory_size(),
            rows_per_second: batch.num_rows() as f64 / seconds,
            native_rows_per_second: None,
            seconds_per_batch,
            seconds_to_start: median(start).map_err(failed)?,
            memory,
            operator: case.operator,
        });
    }
    if measured.is_empty() {
        return Err(KitError::outside(format!("there is no case with rows in `{}`", cases.display()))
            .hint("operators are measured on the rows of their cases"));
    }
    Ok(measured)
}
