//! What a stage asks of a model: a prompt for each row, a vector, one of some labels.
//!
//! What a row was answered before isn't asked again. All rows of a batch are asked side by side, as far as the model's controller lets them;
//! those that share a long beginning let the first of them go ahead, so that the others find it in the provider's cache. A row without an
//! answer fails alone; a model that can't be asked at all, or for which there is no more money, ends the run.

mod answer;
mod chat;
mod columns;
mod embedding;
mod json_schema;
mod prefixes;
mod rehearsal;

use std::sync::Arc;

use datafusion::arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions},
    compute::cast,
    datatypes::{DataType, Schema, SchemaRef},
};
use dflow_models::{
    Model,
    exchange::{Part, Prompt},
    most_prompt_tokens, prompt_tokens,
    records::{Digest, From, Given, Question, Share},
};
use dflow_pipeline::Fault;
use dflow_wasm::{Cancel, Piece, Processed};
use serde_json::{Map, Value};
use tokio::sync::OnceCell;

pub use self::answer::{AnswerShape, schema_of};
pub use self::columns::{EXACT, usage_type};
pub use self::json_schema::columns_of;
use self::{columns::Answers, prefixes::Prefixes};
use crate::{
    alone::{Lost, Outcome},
    desk::{Desk, lost},
    error::StepError,
    template::Template,
};

/// Asks a model about rows.
#[derive(Debug)]
pub struct Asker {
    /// Where it is asked.
    pub(crate) desk: Desk,
    /// What.
    pub(crate) ask: Ask,
    /// Beginnings that several rows have.
    prefixes: Prefixes,
    /// The vectors of labels.
    closest: OnceCell<Vec<Vec<f32>>>,
}

/// What a stage asks of a model.
#[derive(Debug)]
pub struct Ask {
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
    /// Of an object: its columns, where they are made already.
    object: Option<RecordBatch>,
    vector: Vec<f32>,
    given: Given,
    from: From,
}

impl Asker {
    /// Asks this there.
    pub fn new(desk: Desk, ask: Ask) -> Self {
        Self { desk, ask, prefixes: Prefixes::default(), closest: OnceCell::new() }
    }

    /// `openai:small-chat`
    pub(crate) fn label(&self) -> String {
        self.desk.asked.first().map_or_else(String::new, |model| format!("{}:{}", model.dialect.as_str(), model.name))
    }

    /// How many rows are worked on at a time, so that the model always has something to do.
    pub(crate) fn window(&self) -> usize {
        let in_flight = self.desk.asked.iter().map(|model| model.most_in_flight()).max().unwrap_or(1);
        let texts =
            if self.embeds() { self.desk.asked.iter().map(|model| model.most_texts.0).max().unwrap_or(1) } else { 1 };
        4 * in_flight * texts
    }

    fn embeds(&self) -> bool {
        matches!(self.ask.wanted, Wanted::Vector { .. } | Wanted::Closest(_))
    }

    /// What becomes of a batch, whose columns are those of [`input`](Ask::input), and how many of its rows were answered before.
    pub(crate) async fn outcome(
        &self,
        batch: &RecordBatch,
        ids: Option<&ArrayRef>,
        cancel: &Cancel,
    ) -> Result<(Outcome, u64), StepError> {
        let rows = self.prompts(batch, self.desk.model()?)?;
        let answers = if self.embeds() {
            self.embedded(rows, ids, cancel).await?
        } else {
            self.completed(rows, ids, cancel).await?
        };
        let recalled = answers.iter().flatten().filter(|answer| answer.from != From::Asked).count();
        let mut outcome = Outcome::default();
        let mut built = Answers::new(&self.ask.output, self.ask.usage);
        let mut parents = Vec::with_capacity(answers.len());
        for (row, answer) in answers.into_iter().enumerate() {
            let added = answer.and_then(|answer| built.push(&self.ask.wanted, answer));
            match added {
                Ok(()) => parents.push(row as u32),
                Err(lost) => outcome.lost.push(Lost { row: row as u32, ..lost }),
            }
        }
        if !parents.is_empty() {
            let columns = built.finish()?;
            outcome.processed = Processed { pieces: vec![Piece { columns, parents }], errors: Vec::new() };
        }
        Ok((outcome, recalled as u64))
    }

    /// What is asked about each row.
    fn prompts(&self, batch: &RecordBatch, model: &Model) -> Result<Vec<Result<Prompt, Lost>>, StepError> {
        let failed = |e| StepError::new(Fault::Internal, format!("a template can't read its columns: {e}"));
        let own = batch.num_columns() - self.ask.images;
        let (fields, columns) = (batch.schema_ref().fields()[..own].to_vec(), batch.columns()[..own].to_vec());
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let read =
            RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options).map_err(failed)?;
        let texts = self.ask.text.render(&read).map_err(failed)?;
        let system = match &self.ask.system {
            Some(system) => system.render(&read).map_err(failed)?.into_iter().map(|text| text.map(Some)).collect(),
            None => vec![Ok(self.ask.said.clone()); batch.num_rows()],
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
        let is_empty = text.trim().is_empty();
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
        if is_empty && parts.len() == 1 {
            return Err(lost(Fault::Data, "empty-prompt", "what is asked is empty", 0));
        }
        let schema = match &self.ask.wanted {
            Wanted::Object(shape) | Wanted::Label(shape) => Some((shape.name.clone(), shape.schema.clone())),
            _ => None,
        };
        let mut prompt = Prompt {
            system: system.map_err(template)?,
            parts,
            repair: None,
            params: self.ask.params.clone(),
            max_tokens: self.ask.max_tokens,
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
        let most = window.saturating_sub(u64::from(self.ask.max_tokens.unwrap_or_default()));
        // Counting takes longer than all else that is done to a row, and most have room.
        if most_prompt_tokens(prompt) <= most {
            return Ok(());
        }
        let tokens = |prompt: &Prompt| match (&self.ask.wanted, &prompt.parts[..]) {
            (Wanted::Vector { .. } | Wanted::Closest(_), [Part::Text(text)]) => model.tokens(text),
            _ => prompt_tokens(model, prompt),
        };
        let has = tokens(prompt);
        if has <= most {
            return Ok(());
        }
        if self.ask.truncate
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
        let out = self.ask.max_tokens.map_or_else(String::new, |most| format!(" and {most} that may come out"));
        let about = if model.count.is_some() { "" } else { "about " };
        let what =
            format!("what is asked has {about}{has} tokens{out}, model `{}` takes {window} (`window`)", model.resource);
        Err(lost(Fault::Data, "prompt-too-long", what, 0))
    }

    /// The first question about a row.
    fn question(&self, digest: Digest, ids: Option<&ArrayRef>, row: usize) -> Question {
        let id = ids.map(|ids| ids.as_string_view().value(row).to_owned());
        self.desk.question(digest, id.unwrap_or_else(|| digest.to_string()), 0, self.ask.share)
    }
}
