//! What can be typed. Arguments are data: nothing here looks at a file or at the environment.

mod cache;
mod dead;
mod plugin;
mod saved;
mod tried;

use std::{path::PathBuf, str::FromStr};

use clap::{Parser, Subcommand, builder::RangedU64ValueParser};
use dflow_pipeline::{Bytes, Name};
use dflow_run::{CrashPoint, Selection};

pub(crate) use self::cache::{CacheCommand, CacheGcArgs};
pub(crate) use self::dead::{DeadCommand, DeadExportArgs, DeadListArgs, DeadReplayArgs, DeadShowArgs};
pub(crate) use self::plugin::{
    ComponentizeArgs, DiffArgs, InspectArgs, LanguageArg, NewArgs, PluginCommand, PluginTestArgs, TriedArgs,
};
pub(crate) use self::saved::{
    ExportArgs, GcArgs, ImportArgs, KeptArgs, LoadArgs, ResetArgs, ShowArgs, TableFormat, WhyArgs,
};
pub(crate) use self::tried::{CheckArgs, EvalArgs, ExplainArgs, GraphArgs, GraphFormat, TestArgs};

/// Turns text, HTML and other files into clean, validated rows, with sandboxed plugins.
#[derive(Debug, Parser)]
#[command(
    name = "dflow-host",
    version,
    arg_required_else_help = true,
    after_help = "Examples:
  dflow-host run                           run `pipeline.toml` in this folder
  dflow-host run pages.toml -p size=200    run another, its parameter `size` changed
  dflow-host run --first 10                try it on each source's first 10 rows
  dflow-host eval \"Some text. And more.\"   see what becomes of one row
  dflow-host check                         find every mistake, run nothing
  dflow-host run --target prod             with the places that `dflow.toml` has for `prod`
  dflow-host show                          what is saved, and what a run would do anew
  dflow-host runs                          what was run here, and how it ended
  dflow-host dead show                     look at the rows that failed
  dflow-host plugin list                   see which operators a stage can `use`

Exit codes:
  0    done                                5    a plugin
  1    a mistake of dflow's                6    the outside world: files, disks
  2    the command line                    7    a limit, or a budget
  3    the pipeline file                   130  interrupted
  4    rows failed beyond what was allowed

Environment:
  DFLOW_LOG        what is logged to stderr, such as `debug` or `dflow_wasm=trace`
                   [default: warnings]
  DFLOW_CACHE_DIR  the folder for compiled plugins
                   [default: `dflow` in `$XDG_CACHE_HOME`, or in `~/.cache`]
  NO_COLOR         no colours"
)]
pub(crate) struct Args {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a pipeline: check, plan, run, and put its outputs in their places.
    Run(RunArgs),
    /// See what becomes of rows from the command line, stdin or a file; nothing is written.
    Eval(EvalArgs),
    /// Find every mistake in a pipeline, and show what each stage's rows look like.
    Check(CheckArgs),
    /// Show how a pipeline would run: what is read, in how many tasks, by which plan.
    Explain(ExplainArgs),
    /// Run a pipeline's own tests: rows in, rows or conditions out, with recorded answers of models.
    Test(TestArgs),
    /// Show what is kept of each stage, and whether a run would leave it alone: COMPLETE, STALE or PENDING.
    Show(ShowArgs),
    /// Say what has changed since a saved stage or a sink was whole.
    Why(WhyArgs),
    /// Show the rows of a saved stage, or write them to a file.
    Load(LoadArgs),
    /// Forget what is kept of stages, so that the next run makes it anew.
    Reset(ResetArgs),
    /// Remove what is kept of saved stages in earlier states.
    Gc(GcArgs),
    /// Pack what is kept of saved stages into one file, for handing over.
    Export(ExportArgs),
    /// Take in a pack of saved stages, so that a run needn't make them.
    Import(ImportArgs),
    /// List what was run of a pipeline, the last run first.
    Runs(RunsArgs),
    /// Print the report of a run once more: rows, files, failures.
    Report(ReportArgs),
    /// Repeat a run beside its outputs, and say whether the rows are equal.
    Rerun(RerunArgs),
    /// Look at the rows that failed, with their content.
    #[command(subcommand)]
    Dead(DeadCommand),
    /// See what models have answered and is kept, and remove it.
    #[command(subcommand)]
    Cache(CacheCommand),
    /// Draw a pipeline's stages and what each reads, as text for Mermaid or Graphviz.
    Graph(GraphArgs),
    /// Print the JSON Schema of pipeline files, for editors.
    #[command(
        after_help = "An editor that knows TOML completes and checks a file by the schema that its first line names:
  dflow-host schema > pipeline.schema.json
  #:schema ./pipeline.schema.json"
    )]
    Schema,
    /// Look at plugins, and make them.
    #[command(subcommand)]
    Plugin(PluginCommand),
}

/// Which pipeline, with which parameters.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct PipelineArgs {
    /// Give a parameter another value than the pipeline's own; can be repeated.
    #[arg(short, long = "param", value_name = "KEY=VALUE", value_parser = key_value)]
    pub(crate) param: Vec<(String, String)>,
    /// Take the resources and parameters of a target, `[target.NAME]` of the nearest `dflow.toml`.
    #[arg(long, value_name = "NAME")]
    pub(crate) target: Option<String>,
}

/// How work is shared out.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Advanced")]
pub(crate) struct WorkArgs {
    /// The folder for the journal and for what is in the making [default: `.dflow` beside the pipeline].
    #[arg(long, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
    /// Tasks at a time [default: one for each core, fewer with little memory].
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..=4096))]
    pub(crate) workers: Option<usize>,
    /// Memory for everything, plugins included [default: three quarters of what the machine or the container has].
    #[arg(long, value_name = "SIZE")]
    pub(crate) memory: Option<Bytes>,
    /// Input for one task, about.
    #[arg(long, value_name = "SIZE", default_value = "64MiB")]
    pub(crate) task_bytes: Bytes,
}

/// `run`.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "A run goes on where an earlier one was cut short, and leaves alone what has not changed since it \
was done: files whose splits, stages and plugins are the same.

Examples:
  dflow-host run
  dflow-host run pages.toml -p size=200 -p site='docs/**/*.html'
  dflow-host run --first 10            outputs go under `.dflow/first/`
  dflow-host run --fresh               do again what is done already
  dflow-host run --select +chunks      no more than the saved stage `chunks` and what it needs
  dflow-host run --json | jq -c 'select(.event == \"finished\") | .report.outputs'"
)]
pub(crate) struct RunArgs {
    /// The pipeline.
    #[arg(value_name = "FILE", default_value = "pipeline.toml")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) pipeline: PipelineArgs,
    /// Read only the first N rows of each source; outputs go under the state folder, never to their places.
    #[arg(long, value_name = "N", value_parser = one_or_more::<u64>)]
    pub(crate) first: Option<u64>,
    /// Do everything again, whatever earlier runs have done.
    #[arg(long)]
    pub(crate) fresh: bool,
    /// Do only a saved stage or a sink; `+STAGE` also does what it needs, `STAGE+` also what needs it. Can be repeated.
    #[arg(long, value_name = "STAGE")]
    pub(crate) select: Vec<Selection>,
    /// Keep what is saved of a stage although the stage has changed, now and later. Can be repeated.
    #[arg(long, value_name = "STAGE", value_parser = Name::whole)]
    pub(crate) accept: Vec<Name>,
    /// Ask no model: take the answers that are recorded in this file. Neither a key nor a network is needed.
    #[arg(long, value_name = "ANSWERS", conflicts_with = "record")]
    pub(crate) replay: Option<PathBuf>,
    /// Record in this file what models answer; what is in it already isn't asked again.
    #[arg(long, value_name = "ANSWERS")]
    pub(crate) record: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) drive: DriveArgs,
}

/// How tasks are done, and what is told of them: of what does some.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct DriveArgs {
    /// Let stages with `command` run their programs. Nothing keeps them in: they can do all that you can.
    #[arg(long)]
    pub(crate) allow_commands: bool,
    /// Print what happens as JSON, on stdout; of `run` one event a line.
    #[arg(long)]
    pub(crate) json: bool,
    /// End as if killed at this point: for tests of what comes after.
    #[arg(long, value_name = "POINT", hide = true)]
    pub(crate) crash_at: Option<CrashPoint>,
    /// Say nothing but what went wrong.
    #[arg(short, long)]
    pub(crate) quiet: bool,
    #[command(flatten)]
    pub(crate) work: WorkArgs,
}

/// Where the journal is.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct JournalArgs {
    /// The pipeline; it need not be there any more.
    #[arg(value_name = "FILE", default_value = "pipeline.toml")]
    pub(crate) file: PathBuf,
    /// The folder of the journal [default: `.dflow` beside the pipeline].
    #[arg(long, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `runs`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct RunsArgs {
    #[command(flatten)]
    pub(crate) journal: JournalArgs,
}

/// `report`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:
  dflow-host report last
  dflow-host report last --html report.html
  dflow-host report 19ab6f2f3121a7f --json | jq .outputs")]
pub(crate) struct ReportArgs {
    /// The run, as `dflow-host runs` lists it; `last` is the last one.
    #[arg(value_name = "RUN")]
    pub(crate) run: String,
    /// Write it as a page, one file that needs no other.
    #[arg(long, value_name = "PATH", conflicts_with = "json")]
    pub(crate) html: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) journal: JournalArgs,
}

/// `rerun`.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "The pipeline and its parameters are those of the run, as recorded. Nothing that it wrote is touched: what comes \
of the repetition is in the state folder, under `reruns/`. The exit code is 0 when all rows that can be compared are \
equal, 1 when not, or when none can be.

Examples:
  dflow-host rerun last
  dflow-host rerun 19ab6f2f3121a7f --json"
)]
pub(crate) struct RerunArgs {
    /// The run, as `dflow-host runs` lists it; `last` is the last one.
    #[arg(value_name = "RUN")]
    pub(crate) run: String,
    /// The pipeline whose runs are meant; the file need not be there any more.
    #[arg(value_name = "FILE", default_value = "pipeline.toml")]
    pub(crate) file: PathBuf,
    /// Let stages with `command` run their programs.
    #[arg(long)]
    pub(crate) allow_commands: bool,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) work: WorkArgs,
}

/// `KEY=VALUE`, cut at the first `=`.
fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_owned(), value.to_owned())),
        _ => Err("expected a parameter and its value, such as `size=200`".to_owned()),
    }
}

/// A number of things of which there must be one.
fn one_or_more<N: FromStr + From<u8> + PartialOrd>(text: &str) -> Result<N, String> {
    let number = text.parse::<N>().ok().filter(|number| *number >= N::from(1));
    number.ok_or_else(|| "expected a whole number, 1 or more".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn parameters_are_cut_at_the_first_equals_sign() {
        for (text, pair) in [
            ("size=200", Some(("size", "200"))),
            ("filter=a=b", Some(("filter", "a=b"))),
            ("empty=", Some(("empty", ""))),
            ("size", None),
            ("=200", None),
        ] {
            let pair = pair.map(|(key, value)| (key.to_owned(), value.to_owned()));
            assert_eq!(key_value(text).ok(), pair, "{text}");
        }
    }

    #[test]
    fn what_is_typed_wrongly_is_a_usage_error_with_a_suggestion() {
        for (typed, suggestion) in [
            (&["dflow-host", "chekc"][..], "check"),
            (&["dflow-host", "run", "--frist", "3"], "--first"),
            (&["dflow-host", "run", "--first", "0"], "--first"),
            (&["dflow-host", "gc", "--keep", "0"], "1 or more"),
            (&["dflow-host", "run", "-p", "size"], "size=200"),
            (&["dflow-host", "run", "--task-bytes", "many"], "512MiB"),
            (&["dflow-host", "graph", "--format", "dott"], "dot"),
            (&["dflow-host", "eval", "--stage", "2x"], "letters, digits"),
        ] {
            let error = Args::try_parse_from(typed).expect_err("it is wrong");
            assert_eq!(error.exit_code(), 2, "{typed:?}");
            assert!(error.to_string().contains(suggestion), "{typed:?}\n{error}");
        }
    }
}
