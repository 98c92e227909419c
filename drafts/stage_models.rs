//! Models that a plugin's operator asks: under the same pace, money and records as the stages that ask for themselves, and billed to its stage.

use std::{
    collections::{BTreeMap, HashMap},
    mem,
    sync::{Arc, Mutex, PoisonError},
};

use dflow_models::{
    Model, Models, UNREACHABLE, Unanswered, completion,
    exchange::{Part, Prompt},
    prompt_digest,
    records::{Content, Digest, From, Given, Question},
    text_digest, vectors,
};
use dflow_pipeline::{Fault, Name};
use dflow_wasm::{AskedAnswer, AskedPrompt, Asks, WasmError};
use futures::{FutureExt, future, future::BoxFuture};

use crate::scope::StageCounts;

/// The models that an operator of a stage may ask.
#[derive(Clone, Debug)]
pub struct StageModels {
    stage: Arc<str>,
    models: Arc<Models>,
    granted: Arc<BTreeMap<String, Arc<Model>>>,
    /// What was asked since it was counted last.
    counts: Arc<Mutex<StageCounts>>,
}

impl StageModels {
    /// Of a stage whose plugin is granted these, by the names that it knows them by.
    pub fn new(stage: &Name, models: Arc<Models>, granted: BTreeMap<String, Arc<Model>>) -> Self {
        Self { stage: stage.as_str().into(), models, granted: Arc::new(granted), counts: Arc::default() }
    }

    /// What was asked since this was called last.
    pub(crate) fn counted(&self) -> StageCounts {
        mem::take(&mut *self.counts.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn count(&self, given: &Given, calls: u64) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.add(&StageCounts {
            calls,
            input_tokens: given.usage.input,
            cached_tokens: given.usage.cached_input,
            output_tokens: given.usage.output,
            usd: given.cost.unwrap_or_default().0,
            ..StageCounts::default()
        });
    }

    fn model(&self, name: &str) -> Result<Arc<Model>, String> {
        self.granted.get(name).cloned().ok_or_else(|| {
            let granted: Vec<_> = self.granted.keys().map(|name| format!("`{name}`")).collect();
            format!("the model `{name}` isn't granted; granted is {}", granted.join(", "))
        })
    }

    /// A guest's rows aren't known here: the same question is the same row, and its so-manyeth in one call another.
    fn questions(&self, digests: impl Iterator<Item = Digest>) -> Vec<Question> {
        let mut seen: HashMap<Digest, u32> = HashMap::new();
        let question = |digest: Digest| {
            let call = seen.entry(digest).or_default();
            let question = Question { stage: self.stage.clone(), row: digest.to_string(), call: *call, digest, share: None };
            *call += 1;
            question
        };
        digests.map(question).collect()
    }

    /// What one question's failure means: an error for the guest, or the end of the run.
    fn failed(&self, unanswered: Unanswered) -> Result<String, WasmError> {
        let stage = &self.stage;
        let ending = |fault, message: String, hint: Option<String>| WasmError { fault, message, hint, of_a_row: None };
        match unanswered {
            Unanswered::Request(kind, what) => Ok(format!("{kind}: {what}")),
            Unanswered::Endpoint(kind, what, _) if kind != UNREACHABLE => Ok(format!("{kind}: {what}")),
            Unanswered::Endpoint(_, what, _) => Err(ending(Fault::Outside, format!("stage `{stage}`: {what}"), None)),
            Unanswered::Setup(what, hint) => {
                Err(ending(Fault::Outside, format!("stage `{stage}`: {what}"), Some(hint).filter(|hint| !hint.is_empty())))
            }
            Unanswered::Money(over) => {
                let hint = "what was answered is kept: run again with a higher `max_usd`, and it goes on from there";
                Err(ending(Fault::Limit, format!("stage `{stage}`: {over}"), Some(hint.to_owned())))
            }
            Unanswered::Closed => Err(ending(Fault::Outside, "interrupted".to_owned(), None)),
        }
    }

    async fn completed(self, name: String, prompts: Vec<AskedPrompt>) -> Result<Vec<Result<AskedAnswer, String>>, WasmError> {
        let model = match self.model(&name) {
            Ok(model) => model,
            Err(why) => return Ok(prompts.iter().map(|_| Err(why.clone())).collect()),
        };
        let capped = self.models.is_capped(&model);
        let prompts: Vec<Result<Prompt, String>> = prompts.into_iter().map(|asked| prompt(asked, capped)).collect();
        let sound: Vec<Prompt> = prompts.iter().flatten().cloned().collect();
        let questions = self.questions(sound.iter().map(|prompt| prompt_digest(&model, prompt)));
        let known = self.models.find(questions.clone()).await;
        let known = known.map_err(|unanswered| self.failed(unanswered).err().unwrap_or_else(lost))?;
        let models = [model];
        let asked = sound.into_iter().zip(questions).zip(known).map(|((prompt, question), known)| {
            let (desk, models) = (&self, &models);
            async move {
                if let Some((given, _)) = known {
                    return Ok(Ok(given));
                }
                let given = desk.models.ask(models, std::slice::from_ref(&question), |model| completion(model, &prompt)).await;
                match given.map(|mut given| given.pop()) {
                    Ok(Some(given)) => {
                        desk.count(&given, u64::from(given.attempts));
                        Ok(Ok(given))
                    }
                    Ok(None) => Ok(Err("no answer came".to_owned())),
                    Err(unanswered) => desk.failed(unanswered).map(Err),
                }
            }
        });
        let mut answers = future::try_join_all(asked).await?.into_iter();
        let answer = |given: Given| AskedAnswer {
            text: if let Content::Text(text) = given.content { text } else { String::new() },
            finish: given.finish.to_string(),
            input_tokens: given.usage.input,
            output_tokens: given.usage.output,
        };
        let answers = prompts.into_iter().map(|prompt| {
            prompt?;
            answers.next().unwrap_or_else(|| Err("no answer came".to_owned())).map(answer)
        });
        Ok(answers.collect())
    }

    async fn embedded(self, name: String, texts: Vec<String>) -> Result<Vec<Result<Vec<f32>, String>>, WasmError> {
        let model = match self.model(&name) {
            Ok(model) => model,
            Err(why) => return Ok(texts.iter().map(|_| Err(why.clone())).collect()),
        };
        let questions = self.questions(texts.iter().map(|text| text_digest(&model, text, None)));
        let known = self.models.find(questions.clone()).await;
        let known = known.map_err(|unanswered| self.failed(unanswered).err().unwrap_or_else(lost))?;
        let mut known: Vec<Option<Result<Given, String>>> =
            known.into_iter().map(|known: Option<(Given, From)>| known.map(|(given, _)| Ok(given))).collect();
        let missing: Vec<usize> = (0..texts.len()).filter(|i| known[*i].is_none()).collect();
        let models = [model];
        let asked = missing.chunks(models[0].most_texts.0.max(1)).map(|part| {
            let (desk, models, texts, questions) = (&self, &models, &texts, &questions);
            async move {
                let questions: Vec<Question> = part.iter().map(|i| questions[*i].clone()).collect();
                let write = |model: &Model| vectors(model, &part.iter().map(|i| texts[*i].as_str()).collect::<Vec<_>>(), None);
                match desk.models.ask(models, &questions, write).await {
                    Ok(given) => {
                        let calls = given.first().map_or(0, |given| u64::from(given.attempts));
                        given.iter().enumerate().for_each(|(i, given)| desk.count(given, if i == 0 { calls } else { 0 }));
                        Ok((part, given.into_iter().map(Ok).collect::<Vec<_>>()))
                    }
                    Err(unanswered) => {
                        let why = desk.failed(unanswered)?;
                        Ok((part, part.iter().map(|_| Err(why.clone())).collect()))
                    }
                }
            }
        });
        for (part, given) in future::try_join_all(asked).await? {
            for (i, given) in part.iter().zip(given) {
                known[*i] = Some(given);
            }
        }
        let vector = |given: Given| if let Content::Vector(vector) = given.content { vector } else { Vec::new() };
        Ok(known.into_iter().map(|given| given.unwrap_or_else(|| Err("no vector came".to_owned())).map(vector)).collect())
    }
}

impl Asks for StageModels {
    fn complete(
        &self,
        model: String,
        prompts: Vec<AskedPrompt>,
    ) -> BoxFuture<'static, Result<Vec<Result<AskedAnswer, String>>, WasmError>> {
        self.clone().completed(model, prompts).boxed()
    }

    fn embed(
        &self,
        model: String,
        texts: Vec<String>,
    ) -> BoxFuture<'static, Result<Vec<Result<Vec<f32>, String>>, WasmError>> {
        self.clone().embedded(model, texts).boxed()
    }
}

/// A guest's prompt.
fn prompt(asked: AskedPrompt, capped: bool) -> Result<Prompt, String> {
    let AskedPrompt { system, text, schema, max_tokens } = asked;
    if capped && max_tokens == 0 {
        return Err("the pipeline has a budget, and the prompt doesn't say how many tokens may come out".to_owned());
    }
    let schema = match schema.as_str() {
        "" => None,
        schema => {
            let schema = serde_json::from_str(schema).map_err(|e| format!("the schema isn't JSON: {e}"))?;
            Some(("answer".to_owned(), schema))
        }
    };
    Ok(Prompt {
        system: Some(system).filter(|system| !system.is_empty()),
        parts: vec![Part::Text(text)],
        max_tokens: Some(max_tokens).filter(|most| *most > 0),
        schema,
        ..Prompt::default()
    })
}

fn lost() -> WasmError {
    WasmError { fault: Fault::Internal, message: "answers can't be found".to_owned(), hint: None, of_a_row: None }
}
