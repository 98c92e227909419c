//! What can be typed. Arguments are data: nothing here looks at a file or at the environment.

mod cache;
mod dead;
mod plugin;

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum, builder::RangedU64ValueParser};
use dflow_pipeline::{Bytes, Name};
use dflow_run::{CrashPoint, Selection};

pub(crate) use self::cache::{CacheCommand, CacheGcArgs};
pub(crate) use self::dead::{DeadCommand, DeadExportArgs, DeadListArgs, DeadReplayArgs, DeadShowArgs};
pub(crate) use self::plugin::{
    ComponentizeArgs, DiffArgs, InspectArgs, LanguageArg, NewArgs, PluginCommand, PluginTestArgs, TriedArgs,
};

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
    after_help = "A run goes on where an earlier one was cut short, and leaves alone what has not changed since it
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
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<u64>::new().range(1..))]
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

/// `show`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ShowArgs {
    /// The pipeline.
    #[arg(value_name = "FILE", default_value = "pipeline.toml")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) kept: KeptArgs,
}

/// Of which pipeline something is kept, and where.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct KeptArgs {
    #[command(flatten)]
    pub(crate) pipeline: PipelineArgs,
    /// The folder of the journal [default: `.dflow` beside the pipeline].
    #[arg(long, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `why`.
#[derive(Clone, Debug, clap::Args)]
#[command(override_usage = "dflow-host why [OPTIONS] [FILE.toml] STAGE")]
pub(crate) struct WhyArgs {
    /// The pipeline, where it isn't `pipeline.toml`, and a saved stage or a sink.
    #[arg(value_name = "FILE.toml] STAGE", num_args = 1..=2, required = true)]
    pub(crate) words: Vec<String>,
    #[command(flatten)]
    pub(crate) kept: KeptArgs,
}

/// `load`.
#[derive(Clone, Debug, clap::Args)]
#[command(
    override_usage = "dflow-host load [OPTIONS] [FILE.toml] STAGE",
    after_help = "Examples:
  dflow-host load chunks                       a table of the first 20 rows
  dflow-host load chunks --to chunks.csv       all rows, in the format of the name
  dflow-host load chunks --to - | jq .title    all rows as JSON, one a line"
)]
pub(crate) struct LoadArgs {
    /// The pipeline, where it isn't `pipeline.toml`, and a saved stage.
    #[arg(value_name = "FILE.toml] STAGE", num_args = 1..=2, required = true)]
    pub(crate) words: Vec<String>,
    /// Write all rows there: a file, a folder (`dir/`), or `-` for stdout. What is there already is replaced.
    #[arg(long, value_name = "PLACE")]
    pub(crate) to: Option<String>,
    /// The format [default: by the name; JSON lines on stdout].
    #[arg(long, value_name = "FORMAT", requires = "to")]
    pub(crate) format: Option<TableFormat>,
    /// How many rows are shown.
    #[arg(short = 'n', long, value_name = "N", default_value = "20", conflicts_with = "to")]
    pub(crate) rows: u64,
    #[command(flatten)]
    pub(crate) kept: KeptArgs,
}

/// A format of tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TableFormat {
    /// Apache Parquet.
    Parquet,
    /// Comma-separated values.
    Csv,
    /// One document, a list of objects.
    Json,
    /// An object a line.
    Jsonl,
    /// Arrow IPC.
    Arrow,
}

impl TableFormat {
    /// The word for it in a pipeline.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Csv => "csv",
            Self::Json => "json",
            Self::Jsonl => "jsonl",
            Self::Arrow => "arrow",
        }
    }
}

/// `reset`.
#[derive(Clone, Debug, clap::Args)]
#[command(override_usage = "dflow-host reset [OPTIONS] [FILE.toml] STAGE...")]
pub(crate) struct ResetArgs {
    /// The pipeline, where it isn't `pipeline.toml`, and saved stages or sinks.
    #[arg(value_name = "FILE.toml] STAGE", required = true)]
    pub(crate) words: Vec<String>,
    /// The folder of the journal [default: `.dflow` beside the pipeline].
    #[arg(long, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
}

/// `gc`.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Of each saved stage there may be as many outputs as there were states of it (parameters, plugins, its own text).
The last one always stays. Without `--yes` nothing is removed.

Examples:
  dflow-host gc --older-than 30 --yes      what no run has used for 30 days
  dflow-host gc --keep 2                   show what is there beyond the last two of each stage"
)]
pub(crate) struct GcArgs {
    /// The pipeline; it need not be there any more.
    #[arg(value_name = "FILE", default_value = "pipeline.toml")]
    pub(crate) file: PathBuf,
    /// What no run has used for so many days.
    #[arg(long, value_name = "DAYS")]
    pub(crate) older_than: Option<u64>,
    /// What is beyond the last N of each stage.
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    pub(crate) keep: Option<usize>,
    /// Remove it.
    #[arg(long)]
    pub(crate) yes: bool,
    /// The folder of the journal [default: `.dflow` beside the pipeline].
    #[arg(long, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
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

/// `export`.
#[derive(Clone, Debug, clap::Args)]
#[command(
    override_usage = "dflow-host export [OPTIONS] --out PACK [FILE.toml] [STAGE]...",
    after_help = "With a stage go the saved stages that it reads. Who takes the pack in needs the same pipeline, and not its
inputs.

Examples:
  dflow-host export --out chunks.pack chunks
  dflow-host export --out all.pack -p size=200"
)]
pub(crate) struct ExportArgs {
    /// The pipeline, where it isn't `pipeline.toml`, and saved stages [default: all that are complete].
    #[arg(value_name = "FILE.toml] [STAGE")]
    pub(crate) words: Vec<String>,
    /// The file; one that is there is replaced.
    #[arg(short, long, value_name = "PACK")]
    pub(crate) out: PathBuf,
    #[command(flatten)]
    pub(crate) kept: KeptArgs,
}

/// `import`.
#[derive(Clone, Debug, clap::Args)]
#[command(
    override_usage = "dflow-host import [OPTIONS] [FILE.toml] PACK",
    after_help = "What is taken in is COMPLETE when the pipeline and its parameters are those that made it. Inputs that are here must
have the same content; those that aren't here aren't missed.

Examples:
  dflow-host import chunks.pack
  dflow-host import all.pack -p size=200"
)]
pub(crate) struct ImportArgs {
    /// The pipeline, where it isn't `pipeline.toml`, and the pack.
    #[arg(value_name = "FILE.toml] PACK", num_args = 1..=2, required = true)]
    pub(crate) words: Vec<String>,
    /// Take in what isn't what the pipeline makes now, too: as an earlier state, for `run --accept`.
    #[arg(long)]
    pub(crate) stale: bool,
    #[command(flatten)]
    pub(crate) kept: KeptArgs,
}

/// `rerun`.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "The pipeline and its parameters are those of the run, as recorded. Nothing that it wrote is touched: what comes
of the repetition is in the state folder, under `reruns/`. The exit code is 0 when all rows that can be compared are
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

/// `eval`.
#[derive(Clone, Debug, clap::Args)]
#[command(
    override_usage = "dflow-host eval [OPTIONS] [FILE.toml] [TEXT]...",
    after_help = "Each TEXT is a row for the pipeline's `input` stage: the value of its column, or, where it
has several, a JSON object. Without one, rows are the lines of stdin. What is printed is a
table on a terminal, and JSON, one row a line, anywhere else.

Examples:
  dflow-host eval \"Some text. And more.\"
  dflow-host eval chunks.toml --stage sized \"Some text. And more.\"
  dflow-host eval '{ \"title\": \"A\", \"body\": \"Some text.\" }'
  dflow-host eval --input rows.jsonl --json > out.jsonl
  dflow-host eval -- notes.toml        a text that ends like a pipeline's name"
)]
pub(crate) struct EvalArgs {
    /// The pipeline [default: pipeline.toml]. The first word is taken for it when it ends in `.toml`, and everything else
    /// for a row.
    #[arg(value_name = "FILE.toml] [TEXT")]
    pub(crate) words: Vec<String>,
    /// Rows that are never taken for the pipeline.
    #[arg(last = true, hide = true, value_name = "TEXT")]
    pub(crate) texts: Vec<String>,
    /// The stage whose rows are shown [default: the sink, or the one stage that nothing reads].
    #[arg(short, long, value_name = "STAGE", value_parser = Name::whole)]
    pub(crate) stage: Option<Name>,
    #[command(flatten)]
    pub(crate) pipeline: PipelineArgs,
    /// Take rows from a file: JSON objects where its name ends in `.jsonl`, else lines of text; `-` is stdin.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) input: Option<PathBuf>,
    /// Let stages with `command` run their programs.
    #[arg(long)]
    pub(crate) allow_commands: bool,
    /// Print JSON, one row a line, on a terminal too.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `check`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct CheckArgs {
    /// The pipeline.
    #[arg(value_name = "FILE", default_value = "pipeline.toml")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) pipeline: PipelineArgs,
}

/// `explain`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ExplainArgs {
    /// The pipeline.
    #[arg(value_name = "FILE", default_value = "pipeline.toml")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) pipeline: PipelineArgs,
    #[command(flatten)]
    pub(crate) work: WorkArgs,
    /// Say what models will cost instead, before anything is spent.
    #[arg(long)]
    pub(crate) cost: bool,
    /// With `--cost`: the rows of each source that are looked at.
    #[arg(long, value_name = "N", default_value_t = 200, requires = "cost", value_parser = RangedU64ValueParser::<u64>::new().range(1..))]
    pub(crate) sample: u64,
    /// With `--cost`: print JSON.
    #[arg(long, requires = "cost")]
    pub(crate) json: bool,
}

/// `test`.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "A test is a table `[[test]]` of the pipeline: rows in, and the rows, their number or conditions that are to come out. What
models answer is taken from a file beside the pipeline, `pipeline.answers.jsonl`, so that neither a key nor a network is needed.

Examples:
  dflow-host test                          run the tests of `pipeline.toml`
  dflow-host test --record                 ask the models, and record what they answer"
)]
pub(crate) struct TestArgs {
    /// The pipeline.
    #[arg(value_name = "FILE", default_value = "pipeline.toml")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) pipeline: PipelineArgs,
    /// Ask the models what isn't recorded, and write the file anew with what was needed.
    #[arg(long)]
    pub(crate) record: bool,
    /// Let stages run programs, which nothing keeps in.
    #[arg(long)]
    pub(crate) allow_commands: bool,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `graph`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Neither files nor plugins need be there: only the pipeline itself is read.

Examples:
  dflow-host graph > pipeline.mmd
  dflow-host graph --format dot | dot -Tsvg > pipeline.svg")]
pub(crate) struct GraphArgs {
    /// The pipeline.
    #[arg(value_name = "FILE", default_value = "pipeline.toml")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) pipeline: PipelineArgs,
    /// The language it is drawn in.
    #[arg(long, value_name = "LANGUAGE", default_value = "mermaid")]
    pub(crate) format: GraphFormat,
}

/// A language for graphs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum GraphFormat {
    /// Mermaid's flowcharts, which GitHub and others show.
    Mermaid,
    /// Graphviz's.
    Dot,
}

/// `KEY=VALUE`, cut at the first `=`.
fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_owned(), value.to_owned())),
        _ => Err("expected a parameter and its value, such as `size=200`".to_owned()),
    }
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
