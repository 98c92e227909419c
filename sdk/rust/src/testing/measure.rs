//! An operator called natively, for who measures it.

use std::path::Path;
use std::time::{Duration, Instant};

use arrow_array::RecordBatch;
use serde_json::{Value, json};

use super::cases::{Case, files};
use crate::emit::{Part, Sink};
use crate::{Emitter, Failure, OpenOperator, Plugin};

/// A batch that is measured has so many rows, or so many bytes, as the host's own have.
const MOST_ROWS: usize = 8192;
const MOST_BYTES: usize = 1 << 20;
/// Rounds, of which the one in the middle counts, and how long each takes at least.
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_millis(200);

/// Counts rows, and drops them.
struct Count(usize);

impl Sink for Count {
    fn emit(&mut self, part: Part) -> Result<bool, Failure> {
        self.0 += part.rows as usize;
        Ok(true)
    }
}

/// Gives an open operator a batch, and says how many rows it emitted. Nothing is checked or copied, so that the time this takes
/// is the operator's own.
///
/// # Errors
///
/// What `process` failed with.
pub fn emitted(operator: &mut OpenOperator, input: &RecordBatch) -> Result<usize, Failure> {
    let (running, opened) = operator;
    let mut count = Count(0);
    let mut emitter = Emitter::new(&mut count, opened, input.num_rows() as u32);
    running.process(input, &mut emitter)?;
    emitter.finish()?;
    Ok(count.0)
}

/// What operators of a plugin are measured with.
pub struct Workload {
    /// The file's name.
    pub name: String,
    /// The case.
    pub case: Case,
    /// Its rows over and over, as many as the host gives at once.
    pub batch: RecordBatch,
}

/// Of each operator the first case of a folder that has rows and isn't about what fails.
///
/// # Errors
///
/// A case that can't be read.
pub fn workloads(folder: &Path) -> Result<Vec<Workload>, String> {
    let mut found: Vec<Workload> = Vec::new();
    for file in files(folder) {
        let wrong = |why: String| format!("{}: {why}", file.display());
        let case = Case::read(&file).map_err(wrong)?;
        let is_new = found.iter().all(|workload| workload.case.operator != case.operator);
        if !is_new || case.rows.is_empty() || case.fails.is_some() {
            continue;
        }
        let once = case.input().map_err(wrong)?.get_array_memory_size().max(1);
        let times = (MOST_ROWS / case.rows.len()).min(MOST_BYTES / once).max(1);
        let rows = std::iter::repeat_n(&case.rows, times).flatten().cloned().collect();
        let batch = Case { rows, ..case.clone() }.input().map_err(wrong)?;
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        found.push(Workload { name, case, batch });
    }
    Ok(found)
}

/// Seconds that something takes: the median of five rounds of at least 0.2 s.
///
/// # Errors
///
/// The first that it gives.
pub fn median<E>(mut once: impl FnMut() -> Result<(), E>) -> Result<f64, E> {
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let (began, mut times) = (Instant::now(), 0);
        while began.elapsed() < ROUND {
            once()?;
            times += 1;
        }
        rounds.push(began.elapsed().as_secs_f64() / f64::from(times));
    }
    rounds.sort_by(f64::total_cmp);
    Ok(rounds[ROUNDS / 2])
}

/// Measures a plugin's operators natively with their [`workloads`], and prints a line of JSON for each: `operator` and `rows_per_second`.
/// `dflow-host plugin bench` reads them.
///
/// # Errors
///
/// A case that can't be read, an operator that can't be opened or gives up.
#[expect(clippy::print_stdout, reason = "what a benchmark is for")]
pub fn native(plugin: &Plugin, folder: &Path) -> Result<(), String> {
    for Workload { name, case, batch } in workloads(folder)? {
        let failed = |failure: Failure| format!("{name}: {failure}");
        let entry = plugin.operator(&case.operator).map_err(failed)?;
        let mut open = entry.open(&Value::Object(case.with).to_string(), batch.schema_ref()).map_err(failed)?;
        let seconds = median(|| emitted(&mut open, &batch).map(drop)).map_err(failed)?;
        let rate = batch.num_rows() as f64 / seconds;
        println!("{}", json!({"operator": case.operator, "rows_per_second": rate}));
    }
    Ok(())
}
