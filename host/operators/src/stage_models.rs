//! Models that a plugin's operator asks: under the same pace, money and records as the stages that ask for themselves, and billed to its stage.

use std::{
    collections::{BTreeMap, HashMap},
    future::Future,
    sync::Arc,
};

use dflow_models::{
    Dialect, Mode, Model, Taken, anthropic,
    exchange::{Part, Prompt, repeats},
    prompt_digest, prompt_tokens,
    records::{Content, Digest, Given, Question, Share},
    text_digest,
};
use dflow_pipeline::HOSTS_PARAMS;
use dflow_wasm::{Asked, AskedAnswer, AskedPrompt, Asks, Cancel, WasmError};
use futures::{FutureExt, future};
use serde_json::{Map, Value};

use crate::{alone::Lost, desk::Desk, error::StepError, scope::StageCounts};

/// The models that an operator of a stage may ask, by the names that it knows them by.
#[derive(Clone, Debug)]
pub struct StageModels(Arc<BTreeMap<String, GrantedModel>>);

/// One of them.
#[derive(Debug)]
pub struct GrantedModel {
    /// Where it is asked.
    pub desk: Desk,
    /// The length of its vectors, where it is known.
    pub length: Option<u32>,
}

impl StageModels {
    /// Of these.
    pub fn new(granted: BTreeMap<String, GrantedModel>) -> Self {
        Self(Arc::new(granted))
    }

    /// What was asked since this was called last.
    pub(crate) fn counted(&self) -> StageCounts {
        let mut counts = StageCounts::default();
        self.0.values().for_each(|granted| counts.add(&granted.desk.counted()));
        counts
    }

    /// An answer to each of some things that are asked of a model; none of one that isn't granted.
    async fn of<'a, T, F>(&'a self, name: &str, asked: usize, ask: impl FnOnce(&'a GrantedModel) -> F) -> Answered<T>
    where
        F: Future<Output = Answered<T>>,
    {
        match self.0.get(name) {
            Some(granted) => ask(granted).await,
            None => {
                let granted: Vec<_> = self.0.keys().map(|name| format!("`{name}`")).collect();
                let why = format!("the model `{name}` isn't granted; granted is {}", granted.join(", "));
                Ok((0..asked).map(|_| Err(why.clone())).collect())
            }
        }
    }
}

/// An answer to each thing that was asked, or why there is none.
type Answered<T> = Result<Vec<Result<T, String>>, StepError>;

impl GrantedModel {
    /// A guest's rows aren't known here: the same question is the same row, and its so-manyeth in one call another, which the contract says is
    /// asked for itself. So the first one alone goes with answers that others share, where it is one whose answer is.
    fn questions(&self, asked: impl Iterator<Item = Option<(Digest, bool)>>) -> Vec<Option<Question>> {
        let mut seen: HashMap<Digest, u32> = HashMap::new();
        let question = |asked: Option<(Digest, bool)>| {
            let (digest, is_shared) = asked?;
            let call = seen.entry(digest).or_default();
            *call += 1;
            let share = (is_shared && *call == 1).then_some(Share { ttl: None });
            Some(self.desk.question(digest, digest.to_string(), *call - 1, share))
        };
        asked.map(question).collect()
    }

    async fn complete(&self, prompts: Vec<AskedPrompt>) -> Answered<AskedAnswer> {
        let model = self.desk.model()?;
        let prompts: Vec<Result<Prompt, String>> = prompts.into_iter().map(|asked| self.prompt(asked)).collect();
        let questions = prompts.iter().map(|prompt| {
            let prompt = prompt.as_ref().ok()?;
            Some((prompt_digest(model, prompt), repeats(&prompt.params)))
        });
        let taken = self.desk.take(self.questions(questions)).await?;
        let asked = prompts.into_iter().zip(taken).map(|(prompt, taken)| async move {
            let (prompt, taken) = match (prompt, taken) {
                (Ok(prompt), Some(taken)) => (prompt, taken),
                (Ok(_), None) => return Ok(Err("it was not asked".to_owned())),
                (Err(why), _) => return Ok(Err(why)),
            };
            if self.desk.models.mode() == Mode::Rehearse && !matches!(taken, Taken::Known(..)) {
                return Ok(Ok(self.rehearsed(model, &prompt)));
            }
            match self.desk.complete(taken, &prompt).await {
                Ok((given, _)) => Ok(Ok(answer(given))),
                Err(unanswered) => Ok(Err(said(self.desk.lost(unanswered)?))),
            }
        });
        future::try_join_all(asked).await
    }

    async fn embed(&self, texts: Vec<String>) -> Answered<Vec<f32>> {
        let model = self.desk.model()?;
        if model.dialect == Dialect::Anthropic {
            let why = format!("model `{}` is Anthropic's, and there are none that embed", model.resource);
            return Ok(texts.iter().map(|_| Err(why.clone())).collect());
        }
        if self.desk.models.mode() == Mode::Rehearse {
            let vector = |text: &String| {
                self.desk.rehearse(model.tokens(text), 0, [0, 0, 0], Some(text_digest(model, text, None)));
                Ok(vec![0.0; self.length.unwrap_or(1) as usize])
            };
            return Ok(texts.iter().map(vector).collect());
        }
        let questions = self.questions(texts.iter().map(|text| Some((text_digest(model, text, None), true))));
        let asked: Vec<&str> = texts.iter().map(String::as_str).collect();
        let found = self.desk.vectors(&asked, &questions, None, &Cancel::default()).await?;
        let vectors = found.into_iter().map(|found| match found {
            Some(Ok((given, _))) => match given.content {
                Content::Vector(vector) => Ok(vector),
                Content::Text(_) => Err("a text came where a vector was asked for".to_owned()),
            },
            Some(Err(lost)) => Err(said(lost)),
            None => Err("no vector came".to_owned()),
        });
        Ok(vectors.collect())
    }

    /// A guest's prompt.
    fn prompt(&self, asked: AskedPrompt) -> Result<Prompt, String> {
        let AskedPrompt { system, text, schema, params, max_tokens } = asked;
        let said = Some(max_tokens).filter(|most| *most > 0);
        if said.is_none() && self.desk.asked.iter().any(|model| self.desk.models.is_capped(model)) {
            return Err("the pipeline has a budget, and the prompt doesn't say how many tokens may come out".to_owned());
        }
        let anthropic = self.desk.asked.iter().any(|model| model.dialect == Dialect::Anthropic);
        let params: Map<String, Value> = match params.as_str() {
            "" => Map::new(),
            params => serde_json::from_str(params).map_err(|e| format!("the parameters are no JSON object: {e}"))?,
        };
        if let Some((param, _)) = HOSTS_PARAMS.iter().find(|(param, _)| params.contains_key(*param)) {
            return Err(format!("the parameter `{param}` is the host's to say"));
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
            params,
            max_tokens: said.or(anthropic.then_some(anthropic::MAX_TOKENS)),
            schema,
            ..Prompt::default()
        })
    }

    fn rehearsed(&self, model: &Model, prompt: &Prompt) -> AskedAnswer {
        let input = prompt_tokens(model, prompt);
        let most = prompt.max_tokens.map_or(1024, u64::from);
        let output = [1.min(most), 256.min(most), most];
        let question = repeats(&prompt.params).then(|| prompt_digest(model, prompt));
        self.desk.rehearse(input, 0, output, question);
        let text = if prompt.schema.is_some() { "{}".to_owned() } else { "word ".repeat(output[1] as usize * 4 / 5) };
        AskedAnswer { text, finish: "stop".to_owned(), input_tokens: input, output_tokens: output[1] }
    }
}

/// An answer as a guest gets it.
fn answer(given: Given) -> AskedAnswer {
    AskedAnswer {
        text: if let Content::Text(text) = given.content { text } else { String::new() },
        finish: given.finish.to_string(),
        input_tokens: given.usage.input,
        output_tokens: given.usage.output,
    }
}

/// Why there is none, as a guest is told.
fn said(Lost { kind, message, .. }: Lost) -> String {
    format!("{kind}: {message}")
}

impl Asks for StageModels {
    fn complete(&self, model: String, prompts: Vec<AskedPrompt>) -> Asked<AskedAnswer> {
        let granted = self.clone();
        async move {
            let answered = granted.of(&model, prompts.len(), |granted| granted.complete(prompts)).await;
            answered.map_err(WasmError::from)
        }
        .boxed()
    }

    fn embed(&self, model: String, texts: Vec<String>) -> Asked<Vec<f32>> {
        let granted = self.clone();
        async move { granted.of(&model, texts.len(), |granted| granted.embed(texts)).await.map_err(WasmError::from) }
            .boxed()
    }
}
