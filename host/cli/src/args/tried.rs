//! What looks at a pipeline or tries it, and writes no outputs: `eval`, `check`, `explain`, `test`, `graph`.

use std::path::PathBuf;

use clap::ValueEnum;
use dflow_pipeline::Name;

use super::{PipelineArgs, WorkArgs, one_or_more};

/// `eval`.
#[derive(Clone, Debug, clap::Args)]
#[command(
    override_usage = "dflow-host eval [OPTIONS] [FILE.toml] [TEXT]...",
    after_help = "Each TEXT is a row for the pipeline's `input` stage: the value of its column, or, where it \
has several, a JSON object. Without one, rows are the lines of stdin, or the first 10 of \
each source of a pipeline without an `input` stage. What is printed is a table on a terminal, and JSON, one row a line, anywhere else.

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
    #[arg(long, value_name = "N", default_value_t = 200, requires = "cost", value_parser = one_or_more::<u64>)]
    pub(crate) sample: u64,
    /// With `--cost`: print JSON.
    #[arg(long, requires = "cost")]
    pub(crate) json: bool,
}

/// `test`.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "A test is a table `[[test]]` of the pipeline: rows in, and the rows, their number or conditions that are to come out. What \
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
