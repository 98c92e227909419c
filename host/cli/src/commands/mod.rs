//! One file for each command. A command sees settings, and gives back its exit code.

mod cache;
mod check;
mod dead;
mod dead_replay;
mod eval;
mod explain;
mod export;
mod gc;
mod graph;
mod import;
mod load;
mod plugin;
mod report;
mod rerun;
mod reset;
mod run;
mod runs;
mod schema;
mod show;
mod test;
mod why;

use std::sync::Arc;

use crate::{
    args::Command,
    failure::Failure,
    outside::Outside,
    settings::{
        EvalSettings, GcSettings, GraphSettings, JournalSettings, KeptSettings, LoadSettings, PackSettings,
        PlanSettings, RerunSettings, ResetSettings, RunSettings, TestSettings,
    },
    terminal::Terminal,
};

/// Does what was typed.
pub(crate) fn run(command: Command, outside: &Outside, terminal: &Arc<Terminal>) -> Result<u8, Failure> {
    match command {
        Command::Run(args) => run::run(&RunSettings::resolve(args, outside), outside, terminal),
        Command::Eval(args) => eval::eval(&EvalSettings::resolve(args, outside)?, outside, terminal),
        Command::Check(args) => check::check(&PlanSettings::of_check(args, outside), outside, terminal),
        Command::Explain(args) => explain::explain(&PlanSettings::of_explain(args, outside), outside, terminal),
        Command::Test(args) => test::test(&TestSettings::resolve(args, outside), outside, terminal),
        Command::Show(args) => show::show(&KeptSettings::of_show(args, outside), outside, terminal),
        Command::Why(args) => why::why(&KeptSettings::of_why(args, outside)?, outside, terminal),
        Command::Load(args) => load::load(&LoadSettings::resolve(args, outside)?, outside, terminal),
        Command::Reset(args) => reset::reset(&ResetSettings::resolve(args, outside)?, terminal),
        Command::Gc(args) => gc::gc(&GcSettings::resolve(args, outside), terminal),
        Command::Export(args) => export::export(&PackSettings::of_export(args, outside), outside, terminal),
        Command::Import(args) => import::import(&PackSettings::of_import(args, outside)?, outside, terminal),
        Command::Runs(args) => runs::runs(&JournalSettings::of_runs(args.journal, outside), terminal),
        Command::Report(args) => report::report(&JournalSettings::of_report(args, outside), terminal),
        Command::Rerun(args) => rerun::rerun(&RerunSettings::resolve(args, outside), terminal),
        Command::Dead(command) => dead::dead(command, outside, terminal),
        Command::Cache(command) => cache::cache(command, outside, terminal),
        Command::Graph(args) => graph::graph(&GraphSettings::resolve(args, outside), outside, terminal),
        Command::Schema => schema::schema(terminal),
        Command::Plugin(command) => plugin::plugin(command, outside, terminal),
    }
}
