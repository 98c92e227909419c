//! An operator called natively, for who measures it.

use arrow_array::RecordBatch;

use crate::emit::{Part, Sink};
use crate::{Emitter, Failure, OpenOperator};

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
