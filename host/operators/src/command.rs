//! A stage's program: how it is started, and the processes of it that are kept from batch to batch and from task to task.
//!
//! A process that ends while it has a batch is replaced once, and the new one gets the same batch; when that ends, too, the run does.

use std::{
    io,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicU32},
    thread,
    time::{Duration, Instant},
};

use datafusion::arrow::{
    array::{ArrayRef, RecordBatch, RecordBatchOptions},
    compute::cast,
    datatypes::{DataType, SchemaRef},
};
use dflow_pipeline::{Bytes, CommandRows, Fault, Millis, Name};
use dflow_wasm::{Processed, RowShape};

use crate::{
    command_answer::Expected,
    command_messages::{Broken, LARGEST},
    command_process::{Ending, Process},
    error::StepError,
};

/// How long programs that nobody needs any more may take to end in order.
const PARTING: Duration = Duration::from_secs(1);

/// A stage's program.
#[derive(Debug)]
pub struct Program {
    /// The stage.
    pub stage: Name,
    /// The program and its arguments.
    pub line: Vec<String>,
    /// Where it runs.
    pub folder: PathBuf,
    /// The columns that it is given, with the metadata that tells it what to do.
    pub input: SchemaRef,
    /// The columns that it answers with.
    pub returns: SchemaRef,
    /// How its rows come of those that it is given.
    pub rows: CommandRows,
    /// How long an answer may take.
    pub timeout: Option<Millis>,
    /// What types are called.
    pub type_text: fn(&DataType) -> String,
    /// How many lines its processes have said.
    pub(crate) lines: Arc<AtomicU32>,
    /// Processes that nobody uses just now.
    idle: Mutex<Vec<Process>>,
}

/// Why a process has no answer.
enum Failed {
    /// It ended.
    Ended(Box<Process>),
    /// Anything else; another process would do no better.
    Otherwise(StepError),
}

impl Program {
    /// Not started yet.
    pub fn new(
        (stage, line, folder): (Name, Vec<String>, PathBuf),
        (input, returns): (SchemaRef, SchemaRef),
        rows: CommandRows,
        timeout: Option<Millis>,
        type_text: fn(&DataType) -> String,
    ) -> Self {
        let (lines, idle) = (Arc::default(), Mutex::default());
        Self { stage, line, folder, input, returns, rows, timeout, type_text, lines, idle }
    }

    /// How many rows come of one; `None` where they are made anew of all.
    pub fn shape(&self) -> Option<RowShape> {
        match self.rows {
            CommandRows::Map => Some(RowShape::Map),
            CommandRows::Filter => Some(RowShape::Filter),
            CommandRows::Expand => Some(RowShape::Expand),
            CommandRows::Whole => None,
        }
    }

    /// What is started: a path, or a name that the system looks for.
    pub(crate) fn path(&self) -> PathBuf {
        let program = &self.line[0];
        if program.contains('/') { self.folder.join(program.trim_start_matches("./")) } else { PathBuf::from(program) }
    }

    /// What becomes of a batch.
    pub(crate) async fn process(self: &Arc<Self>, batch: &RecordBatch) -> Result<Processed, StepError> {
        let batch = self.plain(batch)?;
        let idle = self.idle().pop();
        let first = match idle {
            Some(process) => process,
            None => Process::start(self)?,
        };
        match self.answer(first, &batch).await {
            Ok(processed) => Ok(processed),
            Err(Failed::Otherwise(error)) => Err(error),
            Err(Failed::Ended(process)) => {
                let how = process.ended().await.how();
                tracing::debug!("stage `{}`: `{}` {how}, and is started anew", self.stage, self.line.join(" "));
                match self.answer(Process::start(self)?, &batch).await {
                    Ok(processed) => Ok(processed),
                    Err(Failed::Otherwise(error)) => Err(error),
                    Err(Failed::Ended(process)) => {
                        let of = format!("instead of answering a batch of {}, twice", rows(batch.num_rows()));
                        Err(self.ended(&process.ended().await, &of))
                    }
                }
            }
        }
    }

    /// A process's answer to a batch. The process is kept for the next one.
    async fn answer(self: &Arc<Self>, mut process: Process, batch: &RecordBatch) -> Result<Processed, Failed> {
        let answered = match self.timeout {
            None => process.exchange(batch).await,
            Some(limit) => match tokio::time::timeout(limit.duration(), process.exchange(batch)).await {
                Ok(answered) => answered,
                Err(_) => return Err(Failed::Otherwise(self.silent(process, limit).await)),
            },
        };
        let answer = match answered.map_err(|e| Failed::Otherwise(StepError::internal(e)))? {
            Ok(Some(answer)) => answer,
            Ok(None) => {
                let what = format!("ended its answers, and had a batch of {} to answer", rows(batch.num_rows()));
                return Err(Failed::Otherwise(self.wrong(process, &what).await));
            }
            Err(Broken::Ended) => return Err(Failed::Ended(Box::new(process))),
            Err(broken) => return Err(Failed::Otherwise(self.broken(process, &broken).await)),
        };
        match self.expected().processed(batch.num_rows(), &answer) {
            Ok(_) if process.answers.has_more() => {
                let what = format!("answered more than one batch to one of {}", rows(batch.num_rows()));
                Err(Failed::Otherwise(self.wrong(process, &what).await))
            }
            Ok(processed) => {
                self.idle().push(process);
                Ok(processed)
            }
            Err(what) => Err(Failed::Otherwise(self.wrong(process, &format!("answered {what}")).await)),
        }
    }

    /// What is expected of its answers.
    pub(crate) fn expected(&self) -> Expected<'_> {
        Expected { returns: &self.returns, rows: self.rows, type_text: self.type_text }
    }

    /// Rows as it is given them.
    pub(crate) fn plain(&self, batch: &RecordBatch) -> Result<RecordBatch, StepError> {
        let columns = batch.columns().iter().zip(self.input.fields());
        let columns =
            columns.map(|(column, field)| cast(column, field.data_type())).collect::<Result<Vec<ArrayRef>, _>>();
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let plain =
            columns.and_then(|columns| RecordBatch::try_new_with_options(self.input.clone(), columns, &options));
        plain.map_err(StepError::internal)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Process>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `stage `x`: `python3 x.py``, with which messages begin.
    fn label(&self) -> String {
        format!("stage `{}`: `{}`", self.stage, self.line.join(" "))
    }

    /// It could not be started.
    pub(crate) fn not_started(&self, error: &io::Error) -> StepError {
        let (program, path) = (&self.line[0], self.path());
        let (why, hint) = match error.kind() {
            io::ErrorKind::NotFound if !self.folder.is_dir() => {
                (format!("there is no folder `{}`", self.folder.display()), None)
            }
            io::ErrorKind::NotFound if program.contains('/') => (format!("there is no `{}`", path.display()), None),
            io::ErrorKind::NotFound => (
                format!("there is no `{program}` in `PATH`"),
                Some(format!(
                    "install it, or write where it is: `./{program}` is one in the folder of the pipeline's file"
                )),
            ),
            io::ErrorKind::PermissionDenied if path.is_dir() => (format!("`{}` is a folder", path.display()), None),
            io::ErrorKind::PermissionDenied => {
                (error.to_string(), Some(format!("`chmod +x {}` lets it be run", path.display())))
            }
            _ => (error.to_string(), None),
        };
        let error = StepError::new(Fault::Outside, format!("{} can't be started: {why}", self.label()));
        match hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }

    /// It ended where it shouldn't have.
    pub(crate) fn ended(&self, ending: &Ending, when: &str) -> StepError {
        StepError::new(Fault::Outside, format!("{} {} {when}{}", self.label(), ending.how(), ending.last()))
    }

    /// It took longer than it may.
    pub(crate) async fn silent(&self, process: Process, limit: Millis) -> StepError {
        let last = process.stop().await.last();
        StepError::new(Fault::Limit, format!("{} has not answered within {limit} and was ended{last}", self.label()))
            .hint("`timeout` of the stage says how long an answer may take")
    }

    /// It has answered, and doesn't end.
    pub(crate) fn lingers(&self, ending: &Ending, limit: Millis) -> StepError {
        let what = format!("has not ended within {limit} after its answer, and was ended{}", ending.last());
        StepError::new(Fault::Limit, format!("{} {what}", self.label()))
            .hint("a program of all rows ends when it has answered")
    }

    /// It did what it must not.
    pub(crate) async fn wrong(&self, process: Process, what: &str) -> StepError {
        let last = process.stop().await.last();
        StepError::new(Fault::Plugin, format!("{} {what}{last}", self.label()))
    }

    /// Its answer can't be read.
    pub(crate) async fn broken(&self, process: Process, broken: &Broken) -> StepError {
        match broken {
            Broken::Ended => self.ended(&process.ended().await, "before its answer was whole"),
            Broken::NotArrow(what) => self
                .wrong(process, &format!("wrote {what}"))
                .await
                .hint("its standard output is for Arrow IPC alone; what people are to read goes to standard error"),
            Broken::TooLarge(size) => {
                let last = process.stop().await.last();
                let what = format!("answered with a batch of {}, the most is {LARGEST}{last}", Bytes(*size));
                StepError::new(Fault::Limit, format!("{} {what}", self.label()))
                    .hint("answer with smaller batches; `batch = { rows = … }` of the stage cuts what it is given")
            }
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let mut idle = std::mem::take(&mut *self.idle());
        idle.iter_mut().for_each(Process::close);
        let begun = Instant::now();
        while begun.elapsed() < PARTING && !idle.iter_mut().all(Process::is_gone) {
            thread::sleep(Duration::from_millis(2));
        }
    }
}

fn rows(rows: usize) -> String {
    if rows == 1 { "1 row".to_owned() } else { format!("{rows} rows") }
}
