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

/// The rows of a case over and over, as many as the host gives at once; None when it has none, or is about what fails.
///
/// # Errors
///
/// Rows that aren't of the case's schema.
pub fn repeated(case: &Case) -> Result<Option<RecordBatch>, String> {
    if case.rows.is_empty() || case.fails.is_some() {
        return Ok(None);
    }
    let once = case.input()?.get_array_memory_size().max(1);
    let times = (MOST_ROWS / case.rows.len()).min(MOST_BYTES / once).max(1);
    let many = Case { rows: std::iter::repeat_n(&case.rows, times).flatten().cloned().collect(), ..case.clone() };
    many.input().map(Some)
}

/// Measures a plugin's operators natively, each on the rows of its first case that has some, and prints a line of JSON for each:
/// `operator`, `case`, `rows` of a batch, and `rows_per_second` (the median of five rounds). `dflow-host plugin bench` reads them.
///
/// # Errors
///
/// A case that can't be read, an operator that can't be opened or gives up.
#[expect(clippy::print_stdout, reason = "what a benchmark is for")]
pub fn native(plugin: &Plugin, folder: &Path) -> Result<(), String> {
    let mut measured: Vec<String> = Vec::new();
    for file in files(folder) {
        let case = Case::read(&file).map_err(|e| format!("{}: {e}", file.display()))?;
        if measured.contains(&case.operator) {
            continue;
        }
        let Some(batch) = repeated(&case)? else { continue };
        let failed = |failure: Failure| format!("{}: {failure}", file.display());
        let entry = plugin.operator(&case.operator).map_err(failed)?;
        let mut open = entry.open(&Value::Object(case.with.clone()).to_string(), batch.schema_ref()).map_err(failed)?;
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            let (began, mut rows) = (Instant::now(), 0);
            while began.elapsed() < ROUND {
                emitted(&mut open, &batch).map_err(failed)?;
                rows += batch.num_rows();
            }
            rounds.push(rows as f64 / began.elapsed().as_secs_f64());
        }
        rounds.sort_by(f64::total_cmp);
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        println!(
            "{}",
            json!({"operator": case.operator, "case": name, "rows": batch.num_rows(), "rows_per_second": rounds[ROUNDS / 2]})
        );
        measured.push(case.operator);
    }
    Ok(())
}
