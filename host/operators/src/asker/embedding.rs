//! The vector of each row, or the label whose vector is closest.

use datafusion::arrow::array::ArrayRef;
use dflow_models::{
    Mode,
    exchange::{Part, Prompt},
    records::{Content, Question},
    text_digest,
};
use dflow_pipeline::Fault;
use dflow_wasm::Cancel;
use serde_json::Value;

use super::{Answer, Asker, Wanted, answer};
use crate::{alone::Lost, desk::lost, error::StepError};

impl Asker {
    /// The vector of each row, or the label whose vector is closest.
    pub(super) async fn embedded(
        &self,
        rows: Vec<Result<Prompt, Lost>>,
        ids: Option<&ArrayRef>,
        cancel: &Cancel,
    ) -> Result<Vec<Result<Answer, Lost>>, StepError> {
        let model = self.desk.model()?;
        let (dimensions, normalize) = match &self.ask.wanted {
            Wanted::Vector { dimensions, normalize, .. } => (*dimensions, *normalize),
            _ => (None, false),
        };
        let texts: Vec<Result<String, Lost>> = rows
            .into_iter()
            .map(|prompt| {
                prompt.map(|prompt| match prompt.parts.into_iter().next() {
                    Some(Part::Text(text)) => text,
                    _ => String::new(),
                })
            })
            .collect();
        if self.desk.models.mode() == Mode::Rehearse {
            let rehearsed =
                |text: String| self.rehearsed(model.tokens(&text), 0, text_digest(model, &text, dimensions));
            return Ok(texts.into_iter().map(|text| text.map(rehearsed)).collect());
        }
        if let Wanted::Closest(labels) = &self.ask.wanted {
            self.closest.get_or_try_init(|| self.labels(labels, cancel)).await?;
        }
        let questions: Vec<Option<Question>> = texts
            .iter()
            .enumerate()
            .map(|(row, text)| Some(self.question(text_digest(model, text.as_ref().ok()?, dimensions), ids, row)))
            .collect();
        let asked: Vec<&str> = texts.iter().map(|text| text.as_deref().unwrap_or_default()).collect();
        let found = self.desk.vectors(&asked, &questions, dimensions, cancel).await?;
        let unknown = || lost(Fault::Internal, "answer", "no vector came", 1);
        let answers = texts.into_iter().zip(found).map(|(text, found)| {
            text?;
            let (given, from) = found.ok_or_else(unknown)??;
            let Content::Vector(mut vector) = given.content.clone() else { return Err(unknown()) };
            if normalize {
                answer::normalize(&mut vector);
            }
            let value = match (&self.ask.wanted, self.closest.get()) {
                (Wanted::Closest(_), Some(of)) if of.iter().any(|other| other.len() != vector.len()) => {
                    let what = format!(
                        "model `{}` gives vectors of {} numbers, and of other lengths to labels",
                        given.model,
                        vector.len()
                    );
                    return Err(lost(Fault::Outside, "wrong-length", what, given.attempts));
                }
                (Wanted::Closest(labels), Some(of)) => Value::String(labels[answer::closest(&vector, of)].0.clone()),
                _ => Value::Null,
            };
            Ok(Answer { value, object: None, vector, given, from })
        });
        Ok(answers.collect())
    }

    /// The vectors of labels.
    async fn labels(&self, labels: &[(String, String)], cancel: &Cancel) -> Result<Vec<Vec<f32>>, StepError> {
        let model = self.desk.model()?;
        let question = |(label, text): &(String, String)| {
            Some(self.desk.question(text_digest(model, text, None), format!("label {label}"), 0, self.ask.share))
        };
        let questions: Vec<Option<Question>> = labels.iter().map(question).collect();
        let texts: Vec<&str> = labels.iter().map(|(_, text)| text.as_str()).collect();
        let found = self.desk.vectors(&texts, &questions, None, cancel).await?;
        let vectors = found.into_iter().zip(labels).map(|(found, (label, _))| match found {
            Some(Ok((given, _))) => match given.content {
                Content::Vector(vector) => Ok(vector),
                Content::Text(_) => Ok(Vec::new()),
            },
            Some(Err(Lost { fault, kind, message, .. })) => {
                let stage = &self.desk.stage;
                let what = format!("stage `{stage}`: the label `{label}` has no vector: {kind}: {message}");
                Err(StepError::new(fault, what))
            }
            None => Err(StepError::new(Fault::Internal, "a label without a vector")),
        });
        vectors.collect()
    }
}
