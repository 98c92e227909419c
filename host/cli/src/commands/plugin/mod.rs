//! `dflow-host plugin`: what can a stage `use`, and how is more of it made?

mod bench;
mod diff;
mod inspect;
mod list;
mod make;
mod test;
mod verify;

use std::{path::PathBuf, sync::Arc};

use dflow_kit::{KitError, Project, Sdk, Workbench};
use dflow_run::Cancel;

use crate::{
    args::PluginCommand, failure::Failure, interrupt, outside::Outside, settings::compiled, terminal::Terminal,
};

/// Looks at plugins, or makes them.
pub(crate) fn plugin(command: PluginCommand, outside: &Outside, terminal: &Arc<Terminal>) -> Result<u8, Failure> {
    match command {
        PluginCommand::List => list::list(&workbench(outside, terminal)?, terminal),
        PluginCommand::Inspect(args) => inspect::inspect(&args, outside, terminal),
        PluginCommand::New(args) => make::new(&args, outside, terminal),
        PluginCommand::Build(args) => make::build(&args.folder, outside, terminal),
        PluginCommand::Test(args) => test::test(&args, outside, terminal),
        PluginCommand::Bench(args) => bench::bench(&args, outside, terminal),
        PluginCommand::Verify(args) => verify::verify(&args, outside, terminal),
        PluginCommand::Diff(args) => diff::diff(&args, outside, terminal),
        PluginCommand::Componentize(args) => make::componentize(&args),
    }
}

/// Where plugins are tried; Ctrl-C ends it.
fn workbench(outside: &Outside, terminal: &Arc<Terminal>) -> Result<Workbench, Failure> {
    let cancel = Cancel::new();
    interrupt::watch(cancel.clone(), terminal.clone())?;
    Ok(Workbench::new(compiled(outside), cancel)?)
}

/// What was named: a folder, which is built first, or a component; with the folder of its cases, if there is one.
struct Subject {
    plugin: String,
    cases: Option<PathBuf>,
    project: Option<(Project, Sdk)>,
}

impl Subject {
    fn find(named: &str, cases: Option<PathBuf>, outside: &Outside) -> Result<Self, Failure> {
        let path = outside.folder.join(named);
        let cases = cases.map(|folder| outside.folder.join(folder));
        // A plugin that ships is known by its name even where a folder is called the same.
        if path.is_dir() && dflow_run::shipped(named).is_none() {
            let (project, sdk) = make::built(&path, outside)?;
            let cases = cases.or_else(|| Some(project.cases()));
            return Ok(Self { plugin: text(project.component())?, cases, project: Some((project, sdk)) });
        }
        Ok(Self { plugin: component(named, outside)?, cases, project: None })
    }
}

/// A component that was named: by its path, or as one that ships.
fn component(named: &str, outside: &Outside) -> Result<String, Failure> {
    let is_path = named.contains(['/', '\\']) || named.ends_with(".wasm");
    if is_path { text(outside.folder.join(named)) } else { Ok(named.to_owned()) }
}

/// A path as text.
fn text(path: PathBuf) -> Result<String, Failure> {
    let text = path.into_os_string().into_string();
    text.map_err(|path| Failure::outside(format!("`{}` has a name that isn't Unicode", path.display())))
}

impl From<KitError> for Failure {
    fn from(error: KitError) -> Self {
        Self::Error { message: error.message, hint: error.hint, fault: Some(error.fault) }
    }
}
