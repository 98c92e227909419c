//! How fast operators are.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use arrow::array::RecordBatch;
use dflow_plugin::testing::{
    cases::{Case, files},
    repeated,
};
use dflow_wasm::{Plugin, Stopped};
use serde::Serialize;

use crate::{KitError, Workbench, workbench::Open};

/// Rounds, of which the one in the middle counts, and how long each takes at least.
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_millis(200);

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
    for file in files(cases) {
        let wrong = |what: String| KitError::plugin(format!("{}: {what}", file.display()));
        let case = Case::read(&file).map_err(wrong)?;
        if measured.iter().any(|measured| measured.operator == case.operator) {
            continue;
        }
        let Some(batch) = repeated(&case).map_err(wrong)? else { continue };
        let mut open = workbench.open_case(plugin, &case, batch.schema())?;
        let failed = |stopped: Box<Stopped>| KitError::from(stopped.error);
        open.answer(&batch).map_err(failed)?;
        let seconds_per_batch = median(&mut open, &batch.slice(0, 0)).map_err(failed)?;
        let seconds = median(&mut open, &batch).map_err(failed)?;
        let memory = open.memory();
        measured.push(Measured {
            case: file.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            rows: batch.num_rows(),
            bytes: batch.get_array_memory_size(),
            rows_per_second: batch.num_rows() as f64 / seconds,
            native_rows_per_second: None,
            seconds_per_batch,
            seconds_to_start: start(&mut open, &batch).map_err(failed)?,
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

/// Seconds of a batch.
fn median(open: &mut Open<'_>, batch: &RecordBatch) -> Result<f64, Box<Stopped>> {
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let (began, mut times) = (Instant::now(), 0);
        while began.elapsed() < ROUND {
            open.answer(batch)?;
            times += 1;
        }
        rounds.push(began.elapsed().as_secs_f64() / f64::from(times));
    }
    rounds.sort_by(f64::total_cmp);
    Ok(rounds[ROUNDS / 2])
}

/// Seconds until an instance has had its first batch, which is empty.
fn start(open: &mut Open<'_>, batch: &RecordBatch) -> Result<f64, Box<Stopped>> {
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        open.refresh();
        let began = Instant::now();
        open.answer(&batch.slice(0, 0))?;
        rounds.push(began.elapsed().as_secs_f64());
    }
    rounds.sort_by(f64::total_cmp);
    Ok(rounds[ROUNDS / 2])
}
