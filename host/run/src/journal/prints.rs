//! What fingerprints are of, and which of them the user takes for others.

use dflow_operators::StepError;
use dflow_pipeline::Name;
use rusqlite::params;

use super::{
    open::Journal,
    runs::{int, now},
};
use crate::fingerprint::{Fingerprint, Printed};

impl Journal {
    /// Remembers what fingerprints are of: of stages, and of segments by their first end.
    pub(crate) fn print(&mut self, printed: &[(&Name, Printed)]) -> Result<(), StepError> {
        self.lazily(|db| {
            let print = db.transaction()?;
            {
                let mut insert = print.prepare_cached("INSERT OR IGNORE INTO fingerprint VALUES (?, ?, ?, ?)")?;
                for (stage, Printed { fingerprint, form, reads }) in printed {
                    let reads: Vec<&str> = reads.iter().map(Fingerprint::as_str).collect();
                    let form = (!form.is_null()).then(|| form.to_string());
                    insert.execute(params![
                        fingerprint.as_str(),
                        stage.as_str(),
                        form,
                        serde_json::to_string(&reads)?
                    ])?;
                }
            }
            print.commit()?;
            Ok(())
        })
    }

    /// Takes a stage's fingerprint for another one of it from now on.
    pub(crate) fn accept(&mut self, stage: &Name, new: &Fingerprint, old: &Fingerprint) -> Result<(), StepError> {
        self.with(|db| {
            db.execute(
                "INSERT OR REPLACE INTO accepted VALUES (?, ?, ?, ?)",
                params![new.as_str(), old.as_str(), stage.as_str(), int(now())],
            )?;
            Ok(())
        })
    }
}
