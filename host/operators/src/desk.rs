//! Where a stage's questions are asked: what was answered before isn't asked again, and what is asked is billed to the stage.

use std::{
    collections::HashMap,
    future::Future,
    mem,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use dflow_models::{
    Model, Models, Rehearsed, Request, UNREACHABLE, Unanswered, completion,
    exchange::Prompt,
    records::{Digest, From, Given, Question, Share},
    vectors,
};
use dflow_pipeline::{Fault, Name};
use dflow_wasm::Cancel;
use futures::{StreamExt, stream::FuturesUnordered};

use crate::{alone::Lost, error::StepError, scope::StageCounts};

/// How often who waits for answers looks whether the run ends.
const LOOK: Duration = Duration::from_millis(50);

/// Asks a model for a stage, or those that take its place.
#[derive(Debug)]
pub struct Desk {
    pub(crate) stage: Name,
    pub(crate) models: Arc<Models>,
    pub(crate) asked: Vec<Arc<Model>>,
    /// What was asked since it was counted last.
    counts: Mutex<StageCounts>,
}

impl Desk {
    /// Of a stage, for the first of some models that answers.
    pub fn new(stage: &Name, models: Arc<Models>, asked: Vec<Arc<Model>>) -> Self {
        Self { stage: stage.clone(), models, asked, counts: Mutex::default() }
    }

    /// The model.
    pub(crate) fn model(&self) -> Result<&Arc<Model>, StepError> {
        self.asked.first().ok_or_else(|| StepError::new(Fault::Internal, "a stage without a model"))
    }

    /// The name of its resource.
    pub(crate) fn resource(&self) -> String {
        self.asked.first().map_or_else(String::new, |model| model.resource.clone())
    }

    /// Notes what would have been asked.
    pub(crate) fn rehearse(&self, question: &Question, input: u64, cached: u64, output: [u64; 3]) {
        let (stage, model) = (question.stage.clone(), self.resource());
        self.models.rehearse(Rehearsed { stage, model, input, cached, output });
    }

    /// What was asked since this was called last.
    pub(crate) fn counted(&self) -> StageCounts {
        self.count(mem::take)
    }

    fn count<T>(&self, count: impl FnOnce(&mut StageCounts) -> T) -> T {
        count(&mut self.counts.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Counts what came of one request.
    fn bill(&self, given: &[Given]) {
        let sum = |of: fn(&Given) -> u64| given.iter().map(of).sum();
        let counts = StageCounts {
            calls: given.first().map_or(0, |given| u64::from(given.attempts)),
            input_tokens: sum(|given| given.usage.input),
            cached_tokens: sum(|given| given.usage.cached_input),
            output_tokens: sum(|given| given.usage.output),
            usd: sum(|given| given.cost.unwrap_or_default().0),
            ..StageCounts::default()
        };
        self.count(|all| all.add(&counts));
    }

    /// A question about a row.
    pub(crate) fn question(&self, digest: Digest, row: String, call: u32, share: Option<Share>) -> Question {
        Question { stage: self.stage.as_str().into(), row, call, digest, share }
    }

    /// What is known of some questions. Where others were given an answer, it is noted that these rows have it, too.
    pub(crate) async fn known(&self, questions: &[Option<Question>]) -> Result<Vec<Option<(Given, From)>>, StepError> {
        let asked = questions.iter().flatten().cloned().collect();
        let mut known = self.models.find(asked).await.map_err(|e| self.ending(e))?.into_iter();
        let known: Vec<_> =
            questions.iter().map(|question| question.as_ref().and_then(|_| known.next().flatten())).collect();
        let shared = questions.iter().zip(&known).filter_map(|(question, known)| match known {
            Some((given, From::Shared)) => Some((question.clone()?, given.clone())),
            _ => None,
        });
        self.note(shared.collect()).await?;
        Ok(known)
    }

    async fn note(&self, answers: Vec<(Question, Given)>) -> Result<(), StepError> {
        match answers.is_empty() {
            true => Ok(()),
            false => self.models.note(answers).await.map_err(|e| self.ending(e)),
        }
    }

    /// Asks for a completion.
    pub(crate) async fn complete(&self, question: Question, prompt: Prompt) -> Result<(Given, From), Unanswered> {
        let answered = match question.share {
            None => {
                let write = |model: &Model| completion(model, &prompt);
                let asked = self.models.ask(&self.asked, std::slice::from_ref(&question), write).await;
                asked.and_then(|mut given| given.pop().map(|given| (given, From::Asked)).ok_or(Unanswered::Closed))
            }
            Some(_) => self.models.ask_shared(&self.asked, &question, move |model| completion(model, &prompt)).await,
        };
        match &answered {
            Ok((given, From::Asked)) => self.bill(std::slice::from_ref(given)),
            Err(unanswered) => self.bill_attempts(unanswered),
            Ok(_) => {}
        }
        answered
    }

    fn bill_attempts(&self, unanswered: &Unanswered) {
        if let Unanswered::Endpoint(.., attempts) = unanswered {
            self.count(|all| all.calls += u64::from(*attempts));
        }
    }

    /// The vectors of texts, each with its question; nothing where there is none. Of those with the same text one asks, where answers are shared.
    pub(crate) async fn vectors(
        &self,
        texts: &[&str],
        questions: &[Option<Question>],
        dimensions: Option<u32>,
        cancel: &Cancel,
    ) -> Result<Vec<Option<Result<(Given, From), Lost>>>, StepError> {
        let model = self.model()?;
        let mut found: Vec<Option<Result<_, Lost>>> =
            self.known(questions).await?.into_iter().map(|known| known.map(Ok)).collect();
        let (mut first, mut asked, mut same) = (HashMap::new(), Vec::new(), Vec::new());
        for (row, question) in questions.iter().enumerate() {
            let Some(question) = question.as_ref().filter(|_| found[row].is_none()) else { continue };
            match first.get(&question.digest).filter(|_| question.share.is_some()) {
                Some(other) => same.push((row, *other)),
                None => {
                    first.insert(question.digest, row);
                    asked.push(row);
                }
            }
        }
        let ask = |rows: Vec<usize>| async move {
            let questions: Vec<Question> = rows.iter().filter_map(|row| questions[*row].clone()).collect();
            let write = |model: &Model| -> Request {
                vectors(model, &rows.iter().map(|row| texts[*row]).collect::<Vec<_>>(), dimensions)
            };
            let given = self.models.ask(&self.asked, &questions, write).await;
            (rows, given)
        };
        let mut waiting: FuturesUnordered<_> = parts(model, &asked, |row| texts[row]).into_iter().map(ask).collect();
        while let Some((mut rows, given)) = next(&mut waiting, cancel).await? {
            match given {
                Ok(given) => {
                    self.bill(&given);
                    for (row, given) in rows.into_iter().zip(given) {
                        found[row] = Some(Ok((given, From::Asked)));
                    }
                }
                // One of them is to blame: it is found by halves.
                Err(Unanswered::Request(..)) if rows.len() > 1 => {
                    let half = rows.split_off(rows.len() / 2);
                    waiting.extend([rows, half].map(ask));
                }
                Err(unanswered) => {
                    self.bill_attempts(&unanswered);
                    let lost = self.lost(unanswered)?;
                    rows.into_iter().for_each(|row| found[row] = Some(Err(lost.clone())));
                }
            }
        }
        drop(waiting);
        let mut notes = Vec::new();
        for (row, other) in same {
            found[row] = match found[other].clone() {
                Some(Ok((given, _))) => {
                    notes.extend(questions[row].clone().map(|question| (question, given.clone())));
                    Some(Ok((given, From::Shared)))
                }
                other => other,
            };
        }
        self.note(notes).await?;
        Ok(found)
    }

    /// What a row without an answer fails with, if it isn't the run that ends.
    pub(crate) fn lost(&self, unanswered: Unanswered) -> Result<Lost, StepError> {
        match unanswered {
            Unanswered::Request(kind, what) => Ok(lost(Fault::Data, kind, what, 1)),
            Unanswered::Endpoint(kind, what, attempts) if kind != UNREACHABLE => {
                Ok(lost(Fault::Outside, kind, what, attempts))
            }
            unanswered => Err(self.ending(unanswered)),
        }
    }

    /// What ends the run.
    fn ending(&self, unanswered: Unanswered) -> StepError {
        let stage = &self.stage;
        match unanswered {
            Unanswered::Setup(what, hint) if hint.is_empty() => {
                StepError::new(Fault::Outside, format!("stage `{stage}`: {what}"))
            }
            Unanswered::Setup(what, hint) => {
                StepError::new(Fault::Outside, format!("stage `{stage}`: {what}")).hint(hint)
            }
            Unanswered::Money(over) => StepError::new(Fault::Limit, format!("stage `{stage}`: {over}"))
                .hint("what was answered is kept: run again with a higher `max_usd`, and it goes on from there"),
            Unanswered::Request(kind, what) => StepError::new(Fault::Data, format!("stage `{stage}`: {kind}: {what}")),
            Unanswered::Endpoint(_, what, attempts) => {
                StepError::new(Fault::Outside, format!("stage `{stage}`: {what} ({attempts} attempts)"))
                    .hint("what was answered is kept: run again when it is there")
            }
            Unanswered::Closed => StepError::new(Fault::Outside, "interrupted"),
        }
    }
}

/// A row without result; its place isn't known here.
pub(crate) fn lost(fault: Fault, kind: &str, message: impl Into<String>, attempts: u32) -> Lost {
    Lost { row: 0, fault, kind: kind.to_owned(), message: message.into(), attempts: attempts.max(1) }
}

/// The next of those that are waited for, unless the run ends meanwhile.
pub(crate) async fn next<F: Future>(
    waiting: &mut FuturesUnordered<F>,
    cancel: &Cancel,
) -> Result<Option<F::Output>, StepError> {
    loop {
        tokio::select! {
            done = waiting.next() => return Ok(done),
            () = tokio::time::sleep(LOOK) => if cancel.is_raised() {
                return Err(StepError::new(Fault::Outside, "interrupted"));
            },
        }
    }
}

/// Cuts rows into requests, by the most texts and tokens of one.
fn parts<'a>(model: &Model, rows: &[usize], text: impl Fn(usize) -> &'a str) -> Vec<Vec<usize>> {
    let (most, most_tokens) = model.most_texts;
    let (mut parts, mut tokens) = (Vec::<Vec<usize>>::new(), 0);
    for row in rows {
        let more = model.tokens(text(*row));
        match parts.last_mut() {
            Some(part) if part.len() < most && tokens + more <= most_tokens => {
                part.push(*row);
                tokens += more;
            }
            _ => {
                parts.push(vec![*row]);
                tokens = more;
            }
        }
    }
    parts
}
