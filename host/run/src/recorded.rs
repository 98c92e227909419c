//! Answers of models in a file, so that tests need neither a key nor a network: a JSON object a line, sorted by the questions' digests.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use dflow_models::{
    exchange::Finish,
    money::{Usage, Usd},
    records::{Answers, Content, Digest, Found, From, Given, Question, Unkept},
};
use dflow_operators::StepError;
use dflow_pipeline::Fault;
use futures::{FutureExt, future::BoxFuture};
use serde::{Deserialize, Serialize};

/// A line of the file.
#[derive(Serialize, Deserialize)]
struct Line {
    /// The digest of what was asked, hexadecimal.
    request: String,
    /// The stage that asked, for people.
    stage: String,
    model: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    /// Numbers of 32 bits, little-endian, as base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    vector: Option<String>,
    finish: String,
    usage: Usage,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    usd: Option<Usd>,
}

/// Answers of a file, and those that come to them.
#[derive(Debug)]
pub(crate) struct Recorded {
    known: BTreeMap<Digest, (String, Given)>,
    /// Those that were asked for, or came.
    used: Arc<Mutex<BTreeMap<Digest, (String, Given)>>>,
}

impl Recorded {
    /// Reads a file; none is one without answers.
    ///
    /// # Errors
    /// It can't be read, or isn't one.
    pub(crate) fn read(path: &Path) -> Result<Self, StepError> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(e) => return Err(StepError::new(Fault::Outside, format!("can't read `{}`: {e}", path.display()))),
        };
        let mut known = BTreeMap::new();
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let read = || -> Option<(Digest, (String, Given))> {
                let line: Line = serde_json::from_str(line).ok()?;
                let mut digest = [0; 16];
                for (i, byte) in digest.iter_mut().enumerate() {
                    *byte = u8::from_str_radix(line.request.get(2 * i..2 * i + 2)?, 16).ok()?;
                }
                let content = match (line.text, line.vector) {
                    (Some(text), None) => Content::Text(text),
                    (None, Some(vector)) => {
                        let bytes = STANDARD.decode(vector).ok()?;
                        let numbers = bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
                        Content::Vector(numbers.collect())
                    }
                    _ => return None,
                };
                let given = Given {
                    content,
                    finish: Finish::of(&line.finish),
                    model: line.model,
                    usage: line.usage,
                    cost: line.usd,
                    latency: Duration::ZERO,
                    attempts: 1,
                };
                Some((Digest(digest), (line.stage, given)))
            };
            let Some((digest, given)) = read() else {
                let what = format!("line {} of `{}` is no recorded answer", number + 1, path.display());
                return Err(
                    StepError::new(Fault::Outside, what).hint("`dflow-host test --record` writes the file anew")
                );
            };
            known.insert(digest, given);
        }
        Ok(Self { known, used: Arc::default() })
    }

    fn used(&self) -> MutexGuard<'_, BTreeMap<Digest, (String, Given)>> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether none was asked for, and none came.
    pub(crate) fn is_unused(&self) -> bool {
        self.used().is_empty()
    }

    /// Writes those that were used.
    ///
    /// # Errors
    /// It can't be written.
    pub(crate) fn write(&self, path: &PathBuf) -> Result<usize, StepError> {
        let used = self.used();
        let mut text = String::new();
        for (digest, (stage, given)) in used.iter() {
            let (words, vector) = match &given.content {
                Content::Text(text) => (Some(text.clone()), None),
                Content::Vector(vector) => {
                    let bytes: Vec<u8> = vector.iter().flat_map(|number| number.to_le_bytes()).collect();
                    (None, Some(STANDARD.encode(bytes)))
                }
            };
            let line = Line {
                request: digest.to_string(),
                stage: stage.clone(),
                model: given.model.clone(),
                text: words,
                vector,
                finish: given.finish.to_string(),
                usage: given.usage,
                usd: given.cost,
            };
            text.push_str(&serde_json::to_string(&line).map_err(|e| StepError::new(Fault::Internal, e.to_string()))?);
            text.push('\n');
        }
        let written = path.with_extension("jsonl.new");
        fs::write(&written, text)
            .and_then(|()| fs::rename(&written, path))
            .map_err(|e| StepError::new(Fault::Outside, format!("can't write `{}`: {e}", path.display())))?;
        Ok(used.len())
    }
}

impl Answers for Recorded {
    fn find(&self, questions: Vec<Question>) -> BoxFuture<'static, Result<Found, Unkept>> {
        let mut used = self.used();
        let found = questions.iter().map(|question| {
            let known = used.get(&question.digest).or_else(|| self.known.get(&question.digest)).cloned()?;
            used.insert(question.digest, known.clone());
            Some((known.1, From::Row))
        });
        let found: Vec<_> = found.collect();
        async move { Ok(found) }.boxed()
    }

    fn keep(&self, answers: Vec<(Question, Given, From)>) -> BoxFuture<'static, Result<(), Unkept>> {
        let mut used = self.used();
        for (question, given, _) in answers {
            used.insert(question.digest, (question.stage.to_string(), given));
        }
        async { Ok(()) }.boxed()
    }

    fn lost(&self, _model: &str, _usd: Usd) -> BoxFuture<'static, Result<(), Unkept>> {
        async { Ok(()) }.boxed()
    }

    fn unspent(&self, _model: &str, _usd: Usd) -> BoxFuture<'static, Result<(), Unkept>> {
        async { Ok(()) }.boxed()
    }
}

/// The journal's answers, and those of a file beside them.
#[derive(Debug)]
pub(crate) struct Beside {
    pub(crate) journal: Arc<dyn Answers>,
    pub(crate) recorded: Arc<Recorded>,
}

impl Answers for Beside {
    fn find(&self, questions: Vec<Question>) -> BoxFuture<'static, Result<Found, Unkept>> {
        let (journal, recorded) = (self.journal.clone(), self.recorded.clone());
        async move {
            let mut found = journal.find(questions.clone()).await?;
            let of_file = recorded.find(questions.clone()).await?;
            let mut kept = Vec::new();
            for ((found, of_file), question) in found.iter_mut().zip(of_file).zip(questions) {
                match (&found, of_file) {
                    (None, Some((given, _))) => {
                        // Nobody has paid for it here.
                        let given = Given { cost: None, ..given };
                        kept.push((question, given.clone(), From::Asked));
                        *found = Some((given, From::Row));
                    }
                    // What is known is recorded, too.
                    (Some((given, from)), None) => recorded.keep(vec![(question, given.clone(), *from)]).await?,
                    _ => {}
                }
            }
            if !kept.is_empty() {
                journal.keep(kept).await?;
            }
            Ok(found)
        }
        .boxed()
    }

    fn keep(&self, answers: Vec<(Question, Given, From)>) -> BoxFuture<'static, Result<(), Unkept>> {
        let (journal, recorded) = (self.journal.clone(), self.recorded.clone());
        async move {
            recorded.keep(answers.clone()).await?;
            journal.keep(answers).await
        }
        .boxed()
    }

    fn lost(&self, model: &str, usd: Usd) -> BoxFuture<'static, Result<(), Unkept>> {
        self.journal.lost(model, usd)
    }

    fn unspent(&self, model: &str, usd: Usd) -> BoxFuture<'static, Result<(), Unkept>> {
        self.journal.unspent(model, usd)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_used_is_found_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("answers.jsonl");
        let question = |text: &str| {
            let digest = Digest::of(&[text.as_bytes()]);
            Question { stage: "s".into(), row: "r".to_owned(), call: 0, digest, shared: digest, share: None }
        };
        let given = Given {
            content: Content::Text("hi".to_owned()),
            finish: Finish::Length,
            model: "m".to_owned(),
            usage: Usage { input: 3, output: 2, ..Usage::default() },
            cost: Some(Usd(5)),
            latency: Duration::ZERO,
            attempts: 1,
        };
        let vector = Given { content: Content::Vector(vec![0.1, -3.5e-9]), ..given.clone() };
        let recorded = Recorded::read(&path).expect("there is none yet");
        assert_eq!(recorded.find(vec![question("a")]).await.expect("found"), [None]);
        let kept = vec![(question("a"), given.clone(), From::Asked), (question("b"), vector.clone(), From::Asked)];
        recorded.keep(kept).await.expect("kept");
        assert_eq!(recorded.write(&path).expect("written"), 2);
        let again = Recorded::read(&path).expect("it is one");
        let found = again.find(vec![question("b")]).await.expect("found");
        assert_eq!(found, [Some((vector, From::Row))]);
        // Nobody asked for the other one: it goes.
        assert_eq!(again.write(&path).expect("written"), 1);
        fs::write(&path, "{}\n").expect("written");
        assert!(Recorded::read(&path).expect_err("no answer").message.starts_with("line 1 of"));
    }
}
