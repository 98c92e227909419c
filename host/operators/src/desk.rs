//! Where a stage's questions are asked: what was answered before isn't asked again, and what is asked is billed to the stage.

use std::{
    future::Future,
    mem,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use dflow_models::{
    Flight, Model, Models, Rehearsed, Request, Taken, UNREACHABLE, Unanswered, completion,
    exchange::Prompt,
    records::{Digest, From, Given, Question, Share},
    vectors,
};
use dflow_pipeline::{Fault, Name};
use dflow_wasm::Cancel;
use futures::{StreamExt, stream::FuturesUnordered};
use tokio::time::{Instant, Interval, MissedTickBehavior};

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
    pub(crate) fn rehearse(&self, input: u64, cached: u64, output: [u64; 3], question: Option<Digest>) {
        let (stage, model) = (self.stage.as_str().into(), self.resource());
        self.models.rehearse(Rehearsed { stage, model, input, cached, output, question });
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
        let shared = self.asked.first().map_or(digest, |model| model.shared(digest));
        Question { stage: self.stage.as_str().into(), row, call, digest, shared, share }
    }

    /// What is known of some questions; nothing where there is none.
    pub(crate) async fn take(&self, questions: Vec<Option<Question>>) -> Result<Vec<Option<Taken>>, StepError> {
        let asked: Vec<bool> = questions.iter().map(Option::is_some).collect();
        let taken = self.models.take(questions.into_iter().flatten().collect()).await;
        let mut taken = taken.map_err(|e| self.ending(e))?.into_iter();
        Ok(asked.into_iter().map(|asked| if asked { taken.next() } else { None }).collect())
    }

    /// The answer to a question: what is known, what others are told who ask it, or what is asked for.
    pub(crate) async fn complete(&self, mut taken: Taken, prompt: &Prompt) -> Result<(Given, From), Unanswered> {
        loop {
            let awaited = match taken {
                Taken::Known(given, from) => return Ok((given, from)),
                Taken::Ours(flight) => {
                    let write = |model: &Model| completion(model, prompt);
                    let asked = self.models.ask(&self.asked, std::slice::from_ref(&flight), write).await;
                    let answered = match asked {
                        Ok(mut given) => {
                            self.bill(&given);
                            given.pop().ok_or(Unanswered::Closed)
                        }
                        Err((unanswered, attempts)) => {
                            self.bill_attempts(attempts);
                            Err(unanswered)
                        }
                    };
                    flight.end(&answered);
                    return answered.map(|given| (given, From::Asked));
                }
                Taken::Others(awaited) => awaited,
            };
            let question = awaited.question.clone();
            if let Some(known) = self.models.awaited(awaited).await? {
                return Ok(known);
            }
            taken = self.models.take(vec![question]).await?.pop().ok_or(Unanswered::Closed)?;
        }
    }

    /// Counts requests of which no answer came.
    fn bill_attempts(&self, attempts: u32) {
        self.count(|all| all.calls += u64::from(attempts));
    }

    /// The vectors of texts, each with its question; nothing where there is none.
    pub(crate) async fn vectors(
        &self,
        texts: &[&str],
        questions: &[Option<Question>],
        dimensions: Option<u32>,
        cancel: &Cancel,
    ) -> Result<Vec<Option<Result<(Given, From), Lost>>>, StepError> {
        let mut found: Vec<Option<Result<_, Lost>>> = vec![None; texts.len()];
        let mut rows: Vec<usize> = (0..questions.len()).filter(|row| questions[*row].is_some()).collect();
        // Once more where others have gone who were asking.
        while !rows.is_empty() {
            let taken = self.take(rows.iter().map(|row| questions[*row].clone()).collect()).await?;
            let (mut ours, mut awaited) = (Vec::new(), Vec::new());
            for (row, taken) in mem::take(&mut rows).into_iter().zip(taken) {
                match taken {
                    Some(Taken::Known(given, from)) => found[row] = Some(Ok((given, from))),
                    Some(Taken::Ours(flight)) => ours.push((row, flight)),
                    Some(Taken::Others(others)) => awaited.push((row, others)),
                    None => {}
                }
            }
            self.embed(texts, ours, dimensions, cancel, &mut found).await?;
            let wait = |(row, awaited)| async move { (row, self.models.awaited(awaited).await) };
            let mut waiting: FuturesUnordered<_> = awaited.into_iter().map(wait).collect();
            let mut look = looking();
            while let Some((row, answered)) = next(&mut waiting, &mut look, cancel).await? {
                match answered {
                    Ok(Some(known)) => found[row] = Some(Ok(known)),
                    Ok(None) => rows.push(row),
                    Err(unanswered) => found[row] = Some(Err(self.lost(unanswered)?)),
                }
            }
        }
        Ok(found)
    }

    /// Asks for vectors, in as few requests as the model takes.
    async fn embed(
        &self,
        texts: &[&str],
        flights: Vec<(usize, Arc<Flight>)>,
        dimensions: Option<u32>,
        cancel: &Cancel,
        found: &mut [Option<Result<(Given, From), Lost>>],
    ) -> Result<(), StepError> {
        let first = self.model()?;
        // Vectors of another model don't compare with this one's.
        let asked: Vec<Arc<Model>> = self.asked.iter().filter(|model| model.name == first.name).cloned().collect();
        let asked = &asked;
        let ask = |part: Vec<(usize, Arc<Flight>)>| async move {
            let (rows, flights): (Vec<usize>, Vec<_>) = part.into_iter().unzip();
            let write = |model: &Model| -> Request {
                vectors(model, &rows.iter().map(|row| texts[*row]).collect::<Vec<_>>(), dimensions)
            };
            let given = self.models.ask(asked, &flights, write).await;
            (rows.into_iter().zip(flights).collect::<Vec<_>>(), given)
        };
        let parts = parts(first, flights, |row| texts[row]);
        let mut waiting: FuturesUnordered<_> = parts.into_iter().map(ask).collect();
        let mut look = looking();
        while let Some((mut part, given)) = next(&mut waiting, &mut look, cancel).await? {
            match given {
                Ok(given) => {
                    self.bill(&given);
                    for ((row, flight), given) in part.into_iter().zip(given) {
                        let answered = Ok(given);
                        flight.end(&answered);
                        found[row] = answered.ok().map(|given| Ok((given, From::Asked)));
                    }
                }
                // One of them is to blame: it is found by halves.
                Err((Unanswered::Request(..), attempts)) if part.len() > 1 => {
                    self.bill_attempts(attempts);
                    let half = part.split_off(part.len() / 2);
                    waiting.extend([part, half].map(ask));
                }
                Err((unanswered, attempts)) => {
                    self.bill_attempts(attempts);
                    let unanswered = Err(unanswered);
                    part.iter().for_each(|(_, flight)| flight.end(&unanswered));
                    let Err(unanswered) = unanswered else { continue };
                    let lost = self.lost(unanswered)?;
                    part.into_iter().for_each(|(row, _)| found[row] = Some(Err(lost.clone())));
                }
            }
        }
        Ok(())
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

    /// The same, in whose message an endpoint is quoted.
    pub(crate) fn masked(&self, lost: Lost) -> Lost {
        let message = self.asked.iter().fold(lost.message, |message, model| model.masked(&message));
        Lost { message, ..lost }
    }

    /// What ends the run.
    fn ending(&self, unanswered: Unanswered) -> StepError {
        let stage = &self.stage;
        match unanswered {
            Unanswered::Setup(what, hint) => {
                StepError::new(Fault::Outside, format!("stage `{stage}`: {what}")).hint(hint)
            }
            Unanswered::Unkept(what, hint) => {
                let error = StepError::new(Fault::Outside, format!("stage `{stage}`: {what}"));
                hint.into_iter().fold(error, StepError::hint)
            }
            Unanswered::Money(over) => {
                let hint = match self.models.keeps() {
                    _ if over.is_too_small() => {
                        "ask for less (a lower `max_tokens`, a shorter text), or with a higher `max_usd`"
                    }
                    true => "what was answered is kept: run again with a higher `max_usd`, and it goes on from there",
                    false => {
                        "nothing is kept of what was answered here: ask about fewer rows, or with a higher `max_usd`"
                    }
                };
                StepError::new(Fault::Limit, format!("stage `{stage}`: {over}")).hint(hint)
            }
            Unanswered::Request(kind, what) => StepError::new(Fault::Data, format!("stage `{stage}`: {kind}: {what}")),
            Unanswered::Endpoint(_, what, attempts) => {
                let hint = match self.models.keeps() {
                    true => "what was answered is kept: run again when it is there",
                    false => "try again when it is there",
                };
                StepError::new(Fault::Outside, format!("stage `{stage}`: {what} ({attempts} attempts)")).hint(hint)
            }
            Unanswered::Closed => StepError::new(Fault::Outside, "interrupted"),
        }
    }
}

/// A row without result; its place isn't known here.
pub(crate) fn lost(fault: Fault, kind: &str, message: impl Into<String>, attempts: u32) -> Lost {
    Lost { row: 0, fault, kind: kind.to_owned(), message: message.into(), attempts: attempts.max(1) }
}

/// When to look whether the run ends.
pub(crate) fn looking() -> Interval {
    let mut look = tokio::time::interval_at(Instant::now() + LOOK, LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    look
}

/// The next of those that are waited for, unless the run ends meanwhile.
pub(crate) async fn next<F: Future>(
    waiting: &mut FuturesUnordered<F>,
    look: &mut Interval,
    cancel: &Cancel,
) -> Result<Option<F::Output>, StepError> {
    loop {
        let done = tokio::select! {
            done = waiting.next() => Some(done),
            _ = look.tick() => None,
        };
        match done {
            _ if cancel.is_raised() => return Err(StepError::new(Fault::Outside, "interrupted")),
            Some(done) => return Ok(done),
            None => {}
        }
    }
}

/// Cuts rows into requests, by the most texts and tokens of one.
fn parts<'a, T>(model: &Model, rows: Vec<(usize, T)>, text: impl Fn(usize) -> &'a str) -> Vec<Vec<(usize, T)>> {
    let (most, most_tokens) = model.most_texts;
    let (mut parts, mut tokens) = (Vec::<Vec<_>>::new(), 0);
    for row in rows {
        let more = model.tokens(text(row.0));
        match parts.last_mut() {
            Some(part) if part.len() < most && tokens + more <= most_tokens => {
                part.push(row);
                tokens += more;
            }
            _ => {
                parts.push(vec![row]);
                tokens = more;
            }
        }
    }
    parts
}
