//! `dflow-host schema`: the JSON Schema of pipeline files.

use std::sync::Arc;

use dflow_pipeline::{exit, written};

use crate::{failure::Failure, terminal::Terminal};

/// Prints the schema.
pub(crate) fn schema(terminal: &Arc<Terminal>) -> Result<u8, Failure> {
    terminal.print(format!("{:#}\n", written::schema()).as_bytes())?;
    Ok(exit::DONE)
}
