//! `dflow-host reset STAGE…`: what is kept of stages is forgotten.

use dflow_pipeline::{Bytes, exit};
use dflow_run::{StoredOutput, forget, of_stages, stored};

use crate::{failure::Failure, settings::ResetSettings, terminal::Terminal, words};

/// Forgets what is kept of stages.
pub(crate) fn reset(settings: &ResetSettings, terminal: &Terminal) -> Result<u8, Failure> {
    let outputs = of_stages(stored(&settings.state)?, &settings.stages)?;
    forget(&settings.state, &outputs)?;
    let mut stages: Vec<&StoredOutput> = outputs.iter().collect();
    stages.dedup_by_key(|output| &output.stage);
    for StoredOutput { stage, saved, .. } in stages {
        let of = outputs.iter().filter(|output| output.stage == *stage);
        let (files, bytes) = of.fold((0, 0), |sum, output| (sum.0 + output.files.len() as u64, sum.1 + output.bytes));
        let files = format!("{} ({})", words::plural(files, "file"), Bytes(bytes));
        terminal.say(&match saved {
            true => format!("`{stage}` is forgotten: {files} removed"),
            false => format!("`{stage}` is forgotten; what it wrote stays until the next run replaces it"),
        });
    }
    Ok(exit::DONE)
}
