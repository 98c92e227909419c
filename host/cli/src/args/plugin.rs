//! `dflow-host plugin`: plugins, and what their authors need.

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};

/// `plugin`.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum PluginCommand {
    /// List the plugins that ship with this host, and their operators.
    List,
    /// Show all about a plugin: operators, ports, settings, what it imports.
    #[command(after_help = "Examples:
  dflow-host plugin inspect text
  dflow-host plugin inspect ./acme.wasm --json")]
    Inspect(InspectArgs),
    /// Make the folder of a new plugin, which builds and has a case.
    #[command(after_help = "Examples:
  dflow-host plugin new my_words --lang python
  cd my_words && dflow-host plugin test")]
    New(NewArgs),
    /// Build the plugin in a folder into a component.
    Build(BuildArgs),
    /// Build a plugin, and run its cases in the sandbox: rows in, and the rows or errors that are to come out.
    Test(PluginTestArgs),
    /// Measure operators on the rows of their cases.
    Bench(TriedArgs),
    /// Check that operators keep what every operator must, with rows of all kinds.
    #[command(
        after_help = "An answer must not depend on how rows are cut into batches, on their order, on what was there before, or on the instance; and \
nothing that the ports admit may trap an operator, except at a limit, which is named. Rows are those of the cases, and \
values that break what isn't ready for them. The exit code is 5 when something fails.

Examples:
  dflow-host plugin verify
  dflow-host plugin verify ./acme.wasm --cases acme/cases --json
  dflow-host plugin verify text"
    )]
    Verify(TriedArgs),
    /// Show what differs between two plugins: capabilities, operators, ports, columns, settings and their bounds.
    Diff(DiffArgs),
    /// Make a component of a core module.
    #[command(hide = true)]
    Componentize(ComponentizeArgs),
}

/// `plugin inspect`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct InspectArgs {
    /// A plugin that ships with this host, or the path of a component.
    #[arg(value_name = "NAME|PATH")]
    pub(crate) plugin: String,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `plugin new`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct NewArgs {
    /// The plugin's name, and its folder's.
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// What it is written in.
    #[arg(long, value_name = "LANGUAGE")]
    pub(crate) lang: LanguageArg,
}

/// What a plugin is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LanguageArg {
    /// The fastest; needs Rust.
    Rust,
    /// Needs Python 3.10.
    Python,
    /// Needs Node 20.
    Js,
}

/// `plugin build`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct BuildArgs {
    /// The plugin's folder.
    #[arg(value_name = "DIR", default_value = ".")]
    pub(crate) folder: PathBuf,
}

/// `plugin test`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct PluginTestArgs {
    /// The plugin's folder.
    #[arg(value_name = "DIR", default_value = ".")]
    pub(crate) folder: PathBuf,
    /// Write what comes out into the cases.
    #[arg(long)]
    pub(crate) bless: bool,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `plugin bench`, `plugin verify`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct TriedArgs {
    /// The plugin's folder, a component, or a plugin that ships with this host.
    #[arg(value_name = "DIR|PATH|NAME", default_value = ".")]
    pub(crate) plugin: String,
    /// The folder of its cases, whose settings and rows are taken [default: `cases` in the folder].
    #[arg(long, value_name = "DIR")]
    pub(crate) cases: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `plugin diff`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct DiffArgs {
    /// A component, or a plugin that ships with this host.
    #[arg(value_name = "BEFORE")]
    pub(crate) before: String,
    /// The other.
    #[arg(value_name = "AFTER")]
    pub(crate) after: String,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `plugin componentize`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ComponentizeArgs {
    /// The core module.
    pub(crate) module: PathBuf,
    /// The component.
    pub(crate) component: PathBuf,
    /// How further interfaces begin that it may import.
    pub(crate) imports: Vec<String>,
}
