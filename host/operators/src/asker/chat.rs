//! What a chat model says to each row.

use datafusion::arrow::array::{ArrayRef, RecordBatch};
use dflow_models::{
    Mode, Taken, Unanswered,
    exchange::{Finish, Part, Prompt},
    money::Usd,
    prompt_digest, prompt_tokens,
    records::{Content, From, Given, Question},
};
use dflow_pipeline::Fault;
use dflow_wasm::Cancel;
use futures::stream::FuturesUnordered;
use serde_json::Value;

use super::{
    Answer, Asker, Wanted,
    answer::{self, Misfit},
    columns,
    prefixes::{TOGETHER, Turn},
};
use crate::{
    alone::Lost,
    desk::{looking, lost, next},
    error::StepError,
};

/// Why a row has no answer.
enum Why {
    Lost(Lost),
    Unanswered(Unanswered),
    Ended(StepError),
}

impl std::convert::From<Unanswered> for Why {
    fn from(unanswered: Unanswered) -> Self {
        Self::Unanswered(unanswered)
    }
}

impl Asker {
    /// What is said to each row.
    pub(super) async fn completed(
        &self,
        mut rows: Vec<Result<Prompt, Lost>>,
        ids: Option<&ArrayRef>,
        cancel: &Cancel,
    ) -> Result<Vec<Result<Answer, Lost>>, StepError> {
        let model = self.desk.model()?;
        let questions: Vec<Option<Question>> = rows
            .iter()
            .enumerate()
            .map(|(row, prompt)| Some(self.question(prompt_digest(model, prompt.as_ref().ok()?), ids, row)))
            .collect();
        let taken = self.desk.take(questions.clone()).await?;
        // Who waits for another's answer primes nothing, and mustn't keep waiting who does.
        let ours: Vec<bool> = taken.iter().map(|taken| matches!(taken, Some(Taken::Ours(_)))).collect();
        if self.prefixes.note(&rows, &ours) {
            tokio::time::sleep(TOGETHER).await;
        }
        let turns = self.prefixes.turns(&mut rows, &ours);
        let mut waiting = FuturesUnordered::new();
        let mut answers: Vec<Option<Result<Answer, Lost>>> = Vec::with_capacity(rows.len());
        let asked = questions.into_iter().zip(taken).map(|(question, taken)| question.zip(taken));
        for (row, ((prompt, asked), turn)) in rows.into_iter().zip(asked).zip(turns).enumerate() {
            answers.push(None);
            match (prompt, asked) {
                (Err(lost), _) => answers[row] = Some(Err(lost)),
                (Ok(_), None) => {}
                (Ok(prompt), Some((question, taken))) => waiting.push(async move {
                    let answer = self.answer(prompt, question, taken, turn).await;
                    (row, answer)
                }),
            }
        }
        let mut look = looking();
        while let Some((row, answer)) = next(&mut waiting, &mut look, cancel).await? {
            answers[row] = Some(match answer {
                Ok(answer) => Ok(answer),
                Err(Why::Lost(lost)) => Err(self.desk.masked(lost)),
                Err(Why::Unanswered(unanswered)) => Err(self.desk.lost(unanswered)?),
                Err(Why::Ended(error)) => return Err(error),
            });
        }
        Ok(answers.into_iter().flatten().collect())
    }

    /// What is said to one row: asked for once more if it doesn't fit.
    async fn answer(&self, prompt: Prompt, question: Question, taken: Taken, turn: Turn) -> Result<Answer, Why> {
        let model = self.desk.model().map_err(Why::Ended)?;
        if self.desk.models.mode() == Mode::Rehearse && !matches!(taken, Taken::Known(..)) {
            let shared = match prompt.parts.first() {
                Some(Part::Text(text)) if matches!(turn, Turn::After(_)) => model.tokens(&text[..prompt.shared]),
                _ => 0,
            };
            return Ok(self.rehearsed(prompt_tokens(model, &prompt), shared, question.digest));
        }
        turn.comes().await;
        let (given, from) = self.desk.complete(taken, &prompt).await?;
        drop(turn);
        let wrong = match self.read(&given).map_err(Why::Lost)? {
            Ok((value, object)) => return Ok(Answer { value, object, vector: Vec::new(), given, from }),
            Err(wrong) => wrong,
        };
        let Content::Text(said) = &given.content else { return Err(Why::Lost(wrong.lost())) };
        let again = Prompt { repair: Some((said.clone(), wrong.repair())), ..prompt };
        let Question { row, call, share, .. } = question;
        let question = self.desk.question(prompt_digest(model, &again), row, call + 1, share);
        let taken = self.desk.take(vec![Some(question)]).await.map_err(Why::Ended)?.pop().flatten();
        let (second, again) = self.desk.complete(taken.ok_or(Unanswered::Closed)?, &again).await?;
        match self.read(&second).map_err(Why::Lost)? {
            Ok((value, object)) => Ok(Answer {
                value,
                object,
                vector: Vec::new(),
                given: sum(given, second),
                from: if again == From::Asked { again } else { from },
            }),
            Err(wrong) => Err(Why::Lost(wrong.lost())),
        }
    }

    /// What an answer says, or why it doesn't fit.
    fn read(&self, given: &Given) -> Result<Result<(Value, Option<RecordBatch>), Misfit>, Lost> {
        let Content::Text(text) = &given.content else {
            return Err(lost(Fault::Internal, "answer", "a vector where a text was asked for", given.attempts));
        };
        if given.finish == Finish::Refused {
            let what = format!("model `{}` refuses to answer: {}", given.model, answer::begin(text));
            return Err(lost(Fault::Data, "refused", what, given.attempts));
        }
        let shape = match &self.ask.wanted {
            Wanted::Object(shape) | Wanted::Label(shape) => shape,
            _ => return Ok(Ok((Value::String(text.clone()), None))),
        };
        Ok(shape.read(text, given).and_then(|value| {
            let object =
                matches!(self.ask.wanted, Wanted::Object(_)).then(|| columns::object(&self.ask, shape, &value));
            let object = object.transpose().map_err(|why| Misfit::of_columns(why, given.attempts))?;
            Ok((value, object))
        }))
    }
}

/// Two answers to a row as one: the second counts, and both were paid.
fn sum(first: Given, mut second: Given) -> Given {
    second.usage.input += first.usage.input;
    second.usage.cached_input += first.usage.cached_input;
    second.usage.output += first.usage.output;
    second.attempts += first.attempts;
    second.latency += first.latency;
    second.cost = second.cost.map(|cost| Usd(cost.0 + first.cost.unwrap_or_default().0));
    second
}
