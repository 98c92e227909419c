//! A program that runs: what it is given, what it answers, what it says on its standard error, and how it ends.

use std::{
    collections::VecDeque,
    fmt,
    process::{ExitStatus, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use datafusion::arrow::{array::RecordBatch, error::ArrowError, ipc::writer::StreamWriter};
use dflow_pipeline::{Fault, Name};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, BufReader},
    process::{Child, ChildStderr, ChildStdin, ChildStdout},
    task::JoinHandle,
    time::timeout,
};

use crate::{
    command::Program,
    command_messages::{Broken, Messages},
    error::StepError,
    process_group,
};

/// How long a program whose pipes are closed may take to end.
const ENDING: Duration = Duration::from_secs(1);
/// How many of its last lines are told when it fails.
const LAST: usize = 20;
/// The longest line that is told.
const LINE: usize = 4 << 10;
/// How many lines of a stage's programs are told while they run.
const LINES: u32 = 100;

/// A program that runs.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    input: Option<Input>,
    pub(crate) answers: Messages<BufReader<ChildStdout>>,
    said: Arc<Mutex<VecDeque<String>>>,
    listening: JoinHandle<()>,
}

/// What a program reads.
pub(crate) struct Input {
    pipe: ChildStdin,
    writer: StreamWriter<Vec<u8>>,
}

/// How a program ended, and the last that it said.
pub(crate) struct Ending {
    status: Option<ExitStatus>,
    said: Vec<String>,
}

impl Process {
    /// Starts a program. It must be called on a runtime's own thread: when that ends, so does the program.
    pub(crate) fn start(program: &Arc<Program>) -> Result<Self, StepError> {
        let mut command = tokio::process::Command::new(program.path());
        command.args(&program.line[1..]).current_dir(&program.folder).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        process_group::of_its_own(&mut command);
        let mut child = command.spawn().map_err(|e| program.not_started(&e))?;
        let internal = |what: &str| StepError::new(Fault::Internal, format!("a program without {what}"));
        let pipe = child.stdin.take().ok_or_else(|| internal("input"))?;
        let output = child.stdout.take().ok_or_else(|| internal("output"))?;
        let error = child.stderr.take().ok_or_else(|| internal("error output"))?;
        let writer = StreamWriter::try_new(Vec::new(), &program.input);
        let writer = writer.map_err(|e| StepError::new(Fault::Internal, e.to_string()))?;
        let said = Arc::default();
        let told = Told { stage: program.stage.clone(), lines: program.lines.clone(), last: Arc::clone(&said) };
        let listening = tokio::spawn(told.listen(error));
        let answers = Messages::new(BufReader::new(output));
        Ok(Self { child, input: Some(Input { pipe, writer }), answers, said, listening })
    }

    /// Gives it a batch and waits for one.
    pub(crate) async fn exchange(
        &mut self,
        batch: &RecordBatch,
    ) -> Result<Result<Option<RecordBatch>, Broken>, ArrowError> {
        let Some(input) = &mut self.input else { return Ok(Err(Broken::Ended)) };
        let bytes = input.encoded(batch)?;
        let write = async {
            if !input.write(&bytes).await {
                // What it wrote before it closed its input says more.
                tokio::time::sleep(ENDING).await;
                return Err(Broken::Ended);
            }
            Ok(())
        };
        Ok(tokio::try_join!(write, self.answers.next()).map(|((), answer)| answer))
    }

    /// What it reads, for who feeds it by himself.
    pub(crate) fn take_input(&mut self) -> Option<Input> {
        self.input.take()
    }

    /// Waits for it to end by itself, its input closed; after a moment it is ended. Gives what is known then.
    pub(crate) async fn end(mut self, patience: Option<Duration>) -> Ending {
        self.input = None;
        let status = match patience {
            Some(patience) => timeout(patience, self.child.wait()).await.ok().and_then(Result::ok),
            None => self.child.wait().await.ok(),
        };
        if status.is_none() {
            self.kill();
        }
        // What it has started may still hold its standard error.
        drop(timeout(ENDING, &mut self.listening).await);
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        Ending { status, said: said.iter().cloned().collect() }
    }

    /// The same, but it isn't waited for.
    pub(crate) async fn stop(mut self) -> Ending {
        self.kill();
        self.end(Some(ENDING)).await.forgotten()
    }

    /// How it ended where it shouldn't have.
    pub(crate) async fn ended(self) -> Ending {
        self.end(Some(ENDING)).await
    }

    /// Closes its input, so that it ends in order.
    pub(crate) fn close(&mut self) {
        self.input = None;
    }

    /// Whether it is there no more, and all that it said was told.
    pub(crate) fn is_gone(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None)) && self.listening.is_finished()
    }

    fn kill(&mut self) {
        if let Some(leader) = self.child.id() {
            process_group::kill(leader);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        self.listening.abort();
    }
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Input").field("pipe", &self.pipe).finish_non_exhaustive()
    }
}

impl Input {
    /// A batch as bytes, the columns before the first.
    pub(crate) fn encoded(&mut self, batch: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
        self.writer.write(batch)?;
        Ok(std::mem::take(self.writer.get_mut()))
    }

    /// Writes bytes; `false` when nobody reads them any more.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> bool {
        self.pipe.write_all(bytes).await.is_ok() && self.pipe.flush().await.is_ok()
    }

    /// The end of the stream as bytes.
    pub(crate) fn finished(&mut self) -> Result<Vec<u8>, ArrowError> {
        self.writer.finish()?;
        Ok(std::mem::take(self.writer.get_mut()))
    }
}

impl Ending {
    /// How it ended doesn't matter, as it was told to.
    fn forgotten(self) -> Self {
        Self { status: None, ..self }
    }

    /// Whether all was well with it.
    pub(crate) fn is_good(&self) -> bool {
        self.status.is_some_and(|status| status.success())
    }

    /// Whether it ended by itself.
    pub(crate) fn is_known(&self) -> bool {
        self.status.is_some()
    }

    /// `ended with exit code 3`, as far as it is known.
    pub(crate) fn how(&self) -> String {
        let Some(status) = self.status else { return "closed its output".to_owned() };
        #[cfg(unix)]
        if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
            let name = match signal {
                2 => " (interrupted)",
                6 => " (aborted)",
                9 => " (killed, maybe for want of memory)",
                11 => " (a memory fault)",
                15 => " (terminated)",
                _ => "",
            };
            return format!("was ended by signal {signal}{name}");
        }
        status.code().map_or_else(|| "ended".to_owned(), |code| format!("ended with exit code {code}"))
    }

    /// The last that it said, to be put behind a message.
    pub(crate) fn last(&self) -> String {
        if self.said.is_empty() {
            return String::new();
        }
        let lines: Vec<String> = self.said.iter().map(|line| format!("\n    {line}")).collect();
        format!("; the last that it said:{}", lines.concat())
    }
}

/// Tells what a process says on its standard error. It holds nothing of the program: that would keep it alive as long as its processes.
struct Told {
    stage: Name,
    /// How many lines the stage's processes have said.
    lines: Arc<AtomicU32>,
    /// The last of this one.
    last: Arc<Mutex<VecDeque<String>>>,
}

impl Told {
    /// Reads all that is said: a process that waits for somebody to read it would hang.
    async fn listen(self, mut error: ChildStderr) {
        let (mut part, mut line) = ([0; 8 << 10], Vec::new());
        loop {
            let read = error.read(&mut part).await.unwrap_or(0);
            for byte in &part[..read] {
                match byte {
                    b'\n' => self.tell(&mut line),
                    byte if line.len() < LINE => line.push(*byte),
                    _ => {}
                }
            }
            if read == 0 {
                return self.tell(&mut line);
            }
        }
    }

    fn tell(&self, line: &mut Vec<u8>) {
        let text = String::from_utf8_lossy(line).trim_end().to_owned();
        line.clear();
        if text.is_empty() {
            return;
        }
        let stage = &self.stage;
        match self.lines.fetch_add(1, Ordering::Relaxed) {
            before if before < LINES => tracing::info!("stage `{stage}`: {text}"),
            LINES => tracing::info!("stage `{stage}` says more; `DFLOW_LOG=debug` shows all of it"),
            _ => tracing::debug!("stage `{stage}`: {text}"),
        }
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.len() == LAST {
            last.pop_front();
        }
        last.push_back(text);
    }
}
