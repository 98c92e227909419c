//! `dflow-host plugin`: what can a stage `use`?

mod inspect;
mod list;

use std::sync::Arc;

use crate::{args::PluginCommand, failure::Failure, outside::Outside, settings::bare_engine, terminal::Terminal};

/// Looks at plugins.
pub(crate) fn plugin(command: PluginCommand, outside: &Outside, terminal: &Arc<Terminal>) -> Result<u8, Failure> {
    let engine = dflow_run::Engine::new(bare_engine(outside))?;
    match command {
        PluginCommand::List => list::list(&engine, terminal),
        PluginCommand::Inspect(args) => inspect::inspect(&engine, &args.plugin, args.json, outside, terminal),
    }
}
