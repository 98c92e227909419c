//! What a stage asks of a model: a prompt for each row, a vector, one of some labels.
//!
//! What a row was answered before isn't asked again. All rows of a batch are asked side by side, as far as the model's controller lets them;
//! those that share a long beginning let the first of them go ahead, so that the others find it in the provider's cache. A row without an
//! answer fails alone; a model that can't be asked at all, or for which there is no more money, ends the run.

mod answer;
mod columns;
mod prefixes;

use std::{collections::HashMap, sync::Arc, time::Duration};

use datafusion::arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions},
    compute::cast,
    datatypes::{DataType, Schema, SchemaRef},
};
use dflow_models::{
    Mode, Model, Models, Rehearsed, UNREACHABLE, Unanswered, completion,
    exchange::{Finish, Part, Prompt},
    money::Usage,
    prompt_digest, prompt_tokens,
    records::{Content, From, Given, Question, Share},
    text_digest, vectors,
};
use dflow_pipeline::{Fault, Name};
use dflow_wasm::{Cancel, Piece, Processed};
use futures::{StreamExt, stream::FuturesUnordered};
use serde_json::{Map, Value};
use tokio::sync::OnceCell;

pub use self::answer::{AnswerShape, schema_of, type_of};
pub use self::columns::usage_type;
use self::{columns::Answers, prefixes::Prefixes};
use crate::{
    alone::{Lost, Outcome},
    error::StepError,
    scope::{StageCounters, StageCounts},
    template::Template,
};

/// How often who waits for answers looks whether the run ends.
const LOOK: Duration = Duration::from_millis(50);

/// What a stage asks of a model.
#[derive(Debug)]
pub struct Asker {
    /// The stage.
    pub stage: Name,
    /// The models of the run.
    pub models: Arc<Models>,
    /// The model, and those that take its place.
    pub asked: Vec<Arc<Model>>,
    /// The columns that go in: those that the templates read, under the names that they have there, then those of pictures.
    pub input: SchemaRef,
    /// How many of them are pictures.
    pub images: usize,
    /// What is asked.
    pub text: Template,
    /// What is said before.
    pub system: Option<Template>,
    /// What is said before where no template says it.
    pub said: Option<String>,
    /// What is wanted.
    pub wanted: Wanted,
    /// Further parameters.
    pub params: Map<String, Value>,
    /// The most tokens that may come out.
    pub max_tokens: Option<u32>,
    /// Whether what is too long is cut.
    pub truncate: bool,
    /// Whether answers are shared.
    pub share: Option<Share>,
    /// The columns that come out; the last one is the usage, if that is asked for.
    pub output: SchemaRef,
    /// Whether it is.
    pub usage: bool,
    /// Beginnings that several rows have.
    pub(crate) prefixes: Prefixes,
    /// The vectors of labels.
    pub(crate) closest: OnceCell<Vec<Vec<f32>>>,
}

/// What is wanted of a model.
#[derive(Debug)]
pub enum Wanted {
    /// A text.
    Text,
    /// A JSON object.
    Object(AnswerShape),
    /// One of these labels, asked for with a schema.
    Label(AnswerShape),
    /// A vector of so many numbers, asked for with `dimensions` or not, made one of length 1 or not.
    Vector {
        /// What the request says.
        dimensions: Option<u32>,
        /// What comes.
        length: u32,
        /// Whether it is normalised.
        normalize: bool,
    },
    /// One of these labels (with what is embedded for each): the one whose vector is closest.
    Closest(Vec<(String, String)>),
}

/// A row's answer.
pub(crate) struct Answer {
    value: Value,
    vector: Vec<f32>,
    given: Given,
    from: From,
}

impl Asker {
    /// The parts of [`Asker`] that fill as it works.
    pub fn new(
        (stage, models, asked): (Name, Arc<Models>, Vec<Arc<Model>>),
        (input, images, output): (SchemaRef, usize, SchemaRef),
        (text, system, said): (Template, Option<Template>, Option<String>),
        wanted: Wanted,
        asking: &dflow_pipeline::Asking,
        share: Option<Share>,
    ) -> Self {
        Self {
            stage,
            models,
            asked,
            input,
            images,
            text,
            system,
            said,
            wanted,
            params: asking.params.clone(),
            max_tokens: asking.max_tokens,
            truncate: asking.truncate,
            share,
            output,
            usage: asking.usage,
            prefixes: Prefixes::default(),
            closest: OnceCell::new(),
        }
    }

    /// `openai:small-chat`
    pub(crate) fn label(&self) -> String {
        self.asked.first().map_or_else(String::new, |model| format!("{}:{}", model.dialect.as_str(), model.name))
    }

    /// How many rows are worked on at a time, so that the model always has something to do.
    pub(crate) fn window(&self) -> usize {
        let in_flight = self.asked.iter().map(|model| model.most_in_flight()).max().unwrap_or(1);
        let texts =
            if self.embeds() { self.asked.iter().map(|model| model.most_texts.0).max().unwrap_or(1) } else { 1 };
        4 * in_flight * texts
    }

    fn embeds(&self) -> bool {
        matches!(self.wanted, Wanted::Vector { .. } | Wanted::Closest(_))
    }

    /// What becomes of a batch, whose columns are those of [`input`](Self::input).
    pub(crate) async fn outcome(
        &self,
        batch: &RecordBatch,
        ids: Option<&ArrayRef>,
        counters: &StageCounters,
        cancel: &Cancel,
    ) -> Result<Outcome, StepError> {
        let Some(model) = self.asked.first() else {
            return Err(StepError::new(Fault::Internal, "a stage without a model"));
        };
        let rows = self.prompts(batch, model)?;
        let answers = if self.embeds() {
            self.embedded(model, rows, ids, (counters, cancel)).await?
        } else {
            self.completed(model, rows, ids, cancel).await?
        };
        let mut counts = StageCounts::default();
        for answer in answers.iter().flatten() {
            if answer.from != From::Asked {
                counts.recalled += 1;
                continue;
            }
            if !self.embeds() {
                counts.calls += u64::from(answer.given.attempts);
            }
            counts.input_tokens += answer.given.usage.input;
            counts.cached_tokens += answer.given.usage.cached_input;
            counts.output_tokens += answer.given.usage.output;
            counts.usd += answer.given.cost.unwrap_or_default().0;
        }
        counters.add(&counts);
        let mut outcome = Outcome::default();
        let mut built = Answers::new(&self.output, self.usage);
        let mut parents = Vec::with_capacity(answers.len());
        for (row, answer) in answers.into_iter().enumerate() {
            let added = answer.and_then(|answer| built.push(&self.wanted, answer));
            match added {
                Ok(()) => parents.push(row as u32),
                Err(lost) => outcome.lost.push(Lost { row: row as u32, ..lost }),
            }
        }
        if !parents.is_empty() {
            let columns = built.finish()?;
            outcome.processed = Processed { pieces: vec![Piece { columns, parents }], errors: Vec::new() };
        }
        Ok(outcome)
    }

    /// What is asked about each row.
    fn prompts(&self, batch: &RecordBatch, model: &Model) -> Result<Vec<Result<Prompt, Lost>>, StepError> {
        let failed = |e| StepError::new(Fault::Internal, format!("a template can't read its columns: {e}"));
        let own = batch.num_columns() - self.images;
        let (fields, columns) = (batch.schema_ref().fields()[..own].to_vec(), batch.columns()[..own].to_vec());
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let read =
            RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options).map_err(failed)?;
        let texts = self.text.render(&read).map_err(failed)?;
        let system = match &self.system {
            Some(system) => system.render(&read).map_err(failed)?.into_iter().map(|text| text.map(Some)).collect(),
            None => vec![Ok(self.said.clone()); batch.num_rows()],
        };
        let images = batch.columns()[own..].iter().map(|column| cast(column, &DataType::Binary));
        let images = images.collect::<Result<Vec<_>, _>>().map_err(failed)?;
        let rows = texts.into_iter().zip(system).enumerate();
        Ok(rows.map(|(row, (text, system))| self.prompt(model, text, system, &images, row)).collect())
    }

    fn prompt(
        &self,
        model: &Model,
        text: Result<String, String>,
        system: Result<Option<String>, String>,
        images: &[ArrayRef],
        row: usize,
    ) -> Result<Prompt, Lost> {
        let template = |why| lost(Fault::Data, "template", why, 0);
        let text = text.map_err(template)?;
        if text.trim().is_empty() && images.is_empty() {
            return Err(lost(Fault::Data, "empty-prompt", "what is asked is empty", 0));
        }
        let mut parts = vec![Part::Text(text)];
        for column in images {
            if column.is_null(row) {
                continue;
            }
            let bytes = column.as_binary::<i32>().value(row);
            let Some(media_type) = answer::media_type(bytes) else {
                let begin: String = bytes.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
                let what = format!(
                    "a picture of {} bytes is neither png, jpeg, gif nor webp; it begins with {begin}",
                    bytes.len()
                );
                return Err(lost(Fault::Data, "not-an-image", what, 0));
            };
            parts.push(Part::Image { media_type: media_type.to_owned(), bytes: bytes.to_vec().into() });
        }
        let schema = match &self.wanted {
            Wanted::Object(shape) | Wanted::Label(shape) => Some((shape.name.clone(), shape.schema.clone())),
            _ => None,
        };
        let mut prompt = Prompt {
            system: system.map_err(template)?,
            parts,
            repair: None,
            params: self.params.clone(),
            max_tokens: self.max_tokens,
            schema,
            shared: 0,
        };
        if let Some(window) = model.window {
            self.fit(model, &mut prompt, window)?;
        }
        Ok(prompt)
    }

    /// Sees to it that a prompt isn't longer than the model takes.
    fn fit(&self, model: &Model, prompt: &mut Prompt, window: u64) -> Result<(), Lost> {
        let most = window.saturating_sub(u64::from(self.max_tokens.unwrap_or_default()));
        let tokens = |prompt: &Prompt| match (&self.wanted, &prompt.parts[..]) {
            (Wanted::Vector { .. } | Wanted::Closest(_), [Part::Text(text)]) => model.tokens(text),
            _ => prompt_tokens(model, prompt),
        };
        let has = tokens(prompt);
        if has <= most {
            return Ok(());
        }
        if self.truncate
            && let Some(Part::Text(text)) = prompt.parts.first().cloned()
        {
            // The longest beginning that fits, found by halves.
            let (mut fits, mut too_long) = (0, text.len());
            while too_long - fits > 1 {
                let middle = text.floor_char_boundary(fits.midpoint(too_long));
                if middle <= fits {
                    break;
                }
                prompt.parts[0] = Part::Text(text[..middle].to_owned());
                if tokens(prompt) <= most { fits = middle } else { too_long = middle }
            }
            prompt.parts[0] = Part::Text(text[..fits].to_owned());
            if fits > 0 {
                return Ok(());
            }
        }
        let out = self.max_tokens.map_or_else(String::new, |most| format!(" and {most} that may come out"));
        let about = if model.count.is_some() { "" } else { "about " };
        let what =
            format!("what is asked has {about}{has} tokens{out}, model `{}` takes {window} (`window`)", model.resource);
        Err(lost(Fault::Data, "prompt-too-long", what, 0))
    }

    /// The questions of rows.
    fn question(
        &self,
        digest: dflow_models::records::Digest,
        ids: Option<&ArrayRef>,
        row: usize,
        call: u32,
    ) -> Question {
        let id = ids.map(|ids| ids.as_string_view().value(row).to_owned());
        Question {
            stage: self.stage.as_str().into(),
            row: id.unwrap_or_else(|| digest.to_string()),
            call,
            digest,
            share: self.share,
        }
    }

    /// What a chat model says to each row.
    async fn completed(
        &self,
        model: &Model,
        mut rows: Vec<Result<Prompt, Lost>>,
        ids: Option<&ArrayRef>,
        cancel: &Cancel,
    ) -> Result<Vec<Result<Answer, Lost>>, StepError> {
        let questions: Vec<Option<Question>> = rows
            .iter()
            .enumerate()
            .map(|(row, prompt)| Some(self.question(prompt_digest(model, prompt.as_ref().ok()?), ids, row, 0)))
            .collect();
        let known =
            self.models.find(questions.iter().flatten().cloned().collect()).await.map_err(|e| self.ending(e))?;
        let mut known = known.into_iter();
        let known: Vec<Option<(Given, From)>> =
            questions.iter().map(|question| question.as_ref().and_then(|_| known.next().flatten())).collect();
        let noted = noted(&questions, &known);
        if !noted.is_empty() {
            self.models.note(noted).await.map_err(|e| self.ending(e))?;
        }
        let unknown: Vec<bool> = known.iter().map(Option::is_none).collect();
        let turns = self.prefixes.turns(&mut rows, &unknown);
        let mut waiting = FuturesUnordered::new();
        let mut answers: Vec<Option<Result<Answer, Lost>>> = Vec::with_capacity(rows.len());
        for (row, ((prompt, question), (known, turn))) in
            rows.into_iter().zip(questions).zip(known.into_iter().zip(turns)).enumerate()
        {
            answers.push(None);
            match (prompt, question) {
                (Err(lost), _) => answers[row] = Some(Err(lost)),
                (Ok(_), None) => {}
                (Ok(prompt), Some(question)) => waiting.push(async move {
                    let answer = self.answer(model, prompt, question, known, turn).await;
                    (row, answer)
                }),
            }
        }
        while !waiting.is_empty() {
            tokio::select! {
                Some((row, answer)) = waiting.next() => match answer {
                    Ok(answer) => answers[row] = Some(Ok(answer)),
                    Err(unanswered) => answers[row] = Some(Err(self.lost(unanswered)?)),
                },
                () = tokio::time::sleep(LOOK) => if cancel.is_raised() {
                    return Err(StepError::new(Fault::Outside, "interrupted"));
                },
            }
        }
        Ok(answers.into_iter().flatten().collect())
    }

    /// What it says to one row: asked for once more if it doesn't fit.
    async fn answer(
        &self,
        model: &Model,
        prompt: Prompt,
        question: Question,
        known: Option<(Given, From)>,
        turn: prefixes::Turn,
    ) -> Result<Answer, Why> {
        let (given, from) = match known {
            Some(known) => known,
            None if self.models.mode() == Mode::Rehearse => {
                let shared = prompt
                    .parts
                    .iter()
                    .take(1)
                    .map(|part| if let Part::Text(text) = part { &text[..prompt.shared] } else { "" });
                let cached = if matches!(turn, prefixes::Turn::After(_)) {
                    shared.map(|text| model.tokens(text)).sum()
                } else {
                    0
                };
                return Ok(self.rehearsed(&question, prompt_tokens(model, &prompt), cached));
            }
            None => {
                turn.comes().await;
                self.ask(question.clone(), prompt.clone()).await?
            }
        };
        drop(turn);
        let wrong = match self.read(&given)? {
            Ok(value) => return Ok(Answer { value, vector: Vec::new(), given, from }),
            Err(wrong) => wrong,
        };
        let Content::Text(said) = &given.content else { return Err(Why::Lost(wrong.lost())) };
        let again = Prompt { repair: Some((said.clone(), wrong.repair())), ..prompt };
        let question = Question { call: question.call + 1, digest: prompt_digest(model, &again), ..question };
        let known = self.models.find(vec![question.clone()]).await?.pop().flatten();
        let (second, again) = match known {
            Some(known) => known,
            None => self.ask(question, again).await?,
        };
        match self.read(&second)? {
            Ok(value) => Ok(Answer {
                value,
                vector: Vec::new(),
                given: sum(given, second),
                from: if again == From::Asked { again } else { from },
            }),
            Err(wrong) => Err(Why::Lost(wrong.lost())),
        }
    }

    /// Asks.
    async fn ask(&self, question: Question, prompt: Prompt) -> Result<(Given, From), Unanswered> {
        match question.share {
            None => {
                let asked = self
                    .models
                    .ask(&self.asked, std::slice::from_ref(&question), |model| completion(model, &prompt))
                    .await;
                asked?.pop().map(|given| (given, From::Asked)).ok_or(Unanswered::Closed)
            }
            Some(_) => self.models.ask_shared(&self.asked, &question, move |model| completion(model, &prompt)).await,
        }
    }

    /// An answer that nobody gave: what would have been asked is noted.
    fn rehearsed(&self, question: &Question, input: u64, cached: u64) -> Answer {
        let most = self.max_tokens.map(u64::from);
        let [least, likely, highest] = match &self.wanted {
            Wanted::Vector { .. } | Wanted::Closest(_) => [0, 0, 0],
            Wanted::Label(_) => [4, 10, 20],
            Wanted::Object(_) => {
                let fields = self.output.fields().len() as u64;
                [5 * fields, 15 * fields, most.unwrap_or(100 * fields)]
            }
            Wanted::Text => [1, 256, most.unwrap_or(1024)],
        };
        let highest = most.map_or(highest, |most| highest.min(most));
        let output = [least.min(highest), likely.min(highest), highest];
        self.models.rehearse(Rehearsed { stage: question.stage.clone(), input, cached, output });
        let words = "word ".repeat(output[1] as usize * 4 / 5);
        let (value, vector) = match &self.wanted {
            Wanted::Vector { length, .. } => (Value::Null, vec![0.0; *length as usize]),
            Wanted::Closest(labels) => (labels[0].0.as_str().into(), Vec::new()),
            Wanted::Label(shape) => (shape.schema["properties"]["label"]["enum"][0].clone(), Vec::new()),
            Wanted::Object(shape) => {
                let own = self.output.fields().len() - usize::from(self.usage);
                let fields = self.output.fields().iter().take(own).zip(shape.members());
                let members = fields.map(|(field, name)| (name.clone(), answer::placeholder(field.data_type())));
                (members.collect(), Vec::new())
            }
            Wanted::Text => (words.into(), Vec::new()),
        };
        let given = Given {
            content: Content::Text(String::new()),
            finish: Finish::Stop,
            model: self.asked.first().map_or_else(String::new, |model| model.resource.clone()),
            usage: Usage { input, cached_input: cached, output: output[1] },
            cost: None,
            latency: Duration::ZERO,
            attempts: 1,
        };
        Answer { value, vector, given, from: From::Asked }
    }

    /// What an answer says, or why it doesn't fit.
    fn read(&self, given: &Given) -> Result<Result<Value, answer::Misfit>, Why> {
        let Content::Text(text) = &given.content else {
            return Err(Why::Lost(lost(
                Fault::Internal,
                "answer",
                "a vector where a text was asked for",
                given.attempts,
            )));
        };
        if given.finish == Finish::Refused {
            let what = format!("model `{}` refuses to answer: {}", given.model, answer::begin(text));
            return Err(Why::Lost(lost(Fault::Data, "refused", what, given.attempts)));
        }
        let shape = match &self.wanted {
            Wanted::Object(shape) | Wanted::Label(shape) => shape,
            _ => return Ok(Ok(Value::String(text.clone()))),
        };
        Ok(shape.read(text, given))
    }

    /// The vector of each row, or the label whose vector is closest.
    async fn embedded(
        &self,
        model: &Model,
        rows: Vec<Result<Prompt, Lost>>,
        ids: Option<&ArrayRef>,
        (counters, cancel): (&StageCounters, &Cancel),
    ) -> Result<Vec<Result<Answer, Lost>>, StepError> {
        let unknown = || lost(Fault::Internal, "answer", "no vector came", 1);
        let (dimensions, normalize) = match &self.wanted {
            Wanted::Vector { dimensions, normalize, .. } => (*dimensions, *normalize),
            _ => (None, false),
        };
        if self.models.mode() == Mode::Rehearse {
            let rehearsed = rows.into_iter().enumerate().map(|(row, prompt)| {
                let Some(Part::Text(text)) = prompt?.parts.into_iter().next() else { return Err(unknown()) };
                let question = self.question(text_digest(model, &text, dimensions), ids, row, 0);
                Ok(self.rehearsed(&question, model.tokens(&text), 0))
            });
            return Ok(rehearsed.collect());
        }
        if let Wanted::Closest(labels) = &self.wanted {
            self.closest.get_or_try_init(|| self.labels(model, labels)).await?;
        }
        let texts: Vec<Result<String, Lost>> = rows
            .into_iter()
            .map(|prompt| {
                prompt.map(|prompt| match prompt.parts.into_iter().next() {
                    Some(Part::Text(text)) => text,
                    _ => String::new(),
                })
            })
            .collect();
        let questions: Vec<Option<Question>> = texts
            .iter()
            .enumerate()
            .map(|(row, text)| Some(self.question(text_digest(model, text.as_ref().ok()?, dimensions), ids, row, 0)))
            .collect();
        let known =
            self.models.find(questions.iter().flatten().cloned().collect()).await.map_err(|e| self.ending(e))?;
        let mut known = known.into_iter();
        let mut known: Vec<Option<(Given, From)>> =
            questions.iter().map(|question| question.as_ref().and_then(|_| known.next().flatten())).collect();
        let mut notes = noted(&questions, &known);
        // Of rows with the same text one asks, where answers are shared.
        let mut first: HashMap<_, usize> = HashMap::new();
        let mut asked: Vec<usize> = Vec::new();
        let mut same: Vec<(usize, usize)> = Vec::new();
        for (row, question) in questions.iter().enumerate() {
            let Some(question) = question.as_ref().filter(|_| known[row].is_none()) else { continue };
            match first.get(&question.digest).filter(|_| self.share.is_some()) {
                Some(other) => same.push((row, *other)),
                None => {
                    first.insert(question.digest, row);
                    asked.push(row);
                }
            }
        }
        let text = |row: usize| texts[row].as_deref().unwrap_or_default();
        let mut waiting = FuturesUnordered::new();
        for part in parts(model, &asked, text) {
            let (questions, texts): (Vec<Question>, Vec<String>) =
                part.iter().filter_map(|row| Some((questions[*row].clone()?, text(*row).to_owned()))).unzip();
            waiting.push(async move {
                let write =
                    |model: &Model| vectors(model, &texts.iter().map(String::as_str).collect::<Vec<_>>(), dimensions);
                (part, self.models.ask(&self.asked, &questions, write).await)
            });
        }
        let mut failed: HashMap<usize, Lost> = HashMap::new();
        while !waiting.is_empty() {
            tokio::select! {
                Some((rows, given)) = waiting.next() => match given {
                    Ok(given) => {
                        let calls = given.first().map_or(0, |given| u64::from(given.attempts));
                        counters.add(&StageCounts { calls, ..StageCounts::default() });
                        for (row, given) in rows.into_iter().zip(given) {
                            known[row] = Some((given, From::Asked));
                        }
                    }
                    Err(unanswered) => {
                        let lost = self.lost(Why::Unanswered(unanswered))?;
                        failed.extend(rows.into_iter().map(|row| (row, lost.clone())));
                    }
                },
                () = tokio::time::sleep(LOOK) => if cancel.is_raised() {
                    return Err(StepError::new(Fault::Outside, "interrupted"));
                },
            }
        }
        drop(waiting);
        for (row, other) in same {
            match (&known[other], failed.get(&other)) {
                (Some((given, _)), _) => {
                    notes.extend(questions[row].clone().map(|question| (question, given.clone())));
                    known[row] = Some((given.clone(), From::Shared));
                }
                (None, Some(lost)) => drop(failed.insert(row, lost.clone())),
                (None, None) => {}
            }
        }
        if !notes.is_empty() {
            self.models.note(notes).await.map_err(|e| self.ending(e))?;
        }
        Ok(texts
            .into_iter()
            .enumerate()
            .map(|(row, text)| {
                text?;
                let Some((given, from)) = known[row].take() else {
                    return Err(failed.remove(&row).unwrap_or_else(unknown));
                };
                let Content::Vector(mut vector) = given.content.clone() else { return Err(unknown()) };
                if normalize {
                    answer::normalize(&mut vector);
                }
                let value = match (&self.wanted, self.closest.get()) {
                    (Wanted::Closest(labels), Some(of)) => {
                        Value::String(labels[answer::closest(&vector, of)].0.clone())
                    }
                    _ => Value::Null,
                };
                Ok(Answer { value, vector, given, from })
            })
            .collect())
    }

    /// The vectors of labels.
    async fn labels(&self, model: &Model, labels: &[(String, String)]) -> Result<Vec<Vec<f32>>, StepError> {
        let questions: Vec<Question> = labels
            .iter()
            .map(|(label, text)| {
                let digest = text_digest(model, text, None);
                Question {
                    stage: self.stage.as_str().into(),
                    row: format!("label {label}"),
                    call: 0,
                    digest,
                    share: self.share,
                }
            })
            .collect();
        let known = self.models.find(questions.clone()).await.map_err(|e| self.ending(e))?;
        let given: Vec<Given> = match known.into_iter().map(|known| Some(known?.0)).collect::<Option<Vec<_>>>() {
            Some(known) => known,
            None => {
                let texts: Vec<&str> = labels.iter().map(|(_, text)| text.as_str()).collect();
                let asked = self.models.ask(&self.asked, &questions, |model| vectors(model, &texts, None)).await;
                asked.map_err(|unanswered| self.ending(unanswered))?
            }
        };
        let vectors = given.into_iter().map(|given| match given.content {
            Content::Vector(vector) => vector,
            Content::Text(_) => Vec::new(),
        });
        Ok(vectors.collect())
    }

    /// What a row without an answer fails with, if it isn't the run that ends.
    fn lost(&self, why: Why) -> Result<Lost, StepError> {
        match why {
            Why::Lost(lost) => Ok(lost),
            Why::Unanswered(Unanswered::Request(kind, what)) => Ok(lost(Fault::Data, kind, what, 1)),
            Why::Unanswered(Unanswered::Endpoint(kind, what, attempts)) if kind != UNREACHABLE => {
                Ok(lost(Fault::Outside, kind, what, attempts))
            }
            Why::Unanswered(unanswered) => Err(self.ending(unanswered)),
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

/// Why a row has no answer.
pub(crate) enum Why {
    Lost(Lost),
    Unanswered(Unanswered),
}

impl std::convert::From<Unanswered> for Why {
    fn from(unanswered: Unanswered) -> Self {
        Self::Unanswered(unanswered)
    }
}

/// A row without result; its place isn't known here.
pub(crate) fn lost(fault: Fault, kind: &str, message: impl Into<String>, attempts: u32) -> Lost {
    Lost { row: 0, fault, kind: kind.to_owned(), message: message.into(), attempts: attempts.max(1) }
}

/// Two answers to a row as one: the second counts, and both were paid.
fn sum(first: Given, mut second: Given) -> Given {
    second.usage.input += first.usage.input;
    second.usage.cached_input += first.usage.cached_input;
    second.usage.output += first.usage.output;
    second.attempts += first.attempts;
    second.latency += first.latency;
    second.cost = second.cost.map(|cost| dflow_models::money::Usd(cost.0 + first.cost.unwrap_or_default().0));
    second
}

/// The rows whose answers others were given: it is noted that they have them, too.
fn noted(questions: &[Option<Question>], known: &[Option<(Given, From)>]) -> Vec<(Question, Given)> {
    let shared = questions.iter().zip(known).filter_map(|(question, known)| match known {
        Some((given, From::Shared)) => Some((question.clone()?, given.clone())),
        _ => None,
    });
    shared.collect()
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
