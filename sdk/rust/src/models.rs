//! Models that the pipeline grants: the contract's `models`.
//!
//! For operators whose description is of [`Profile::Open`](crate::Profile::Open) and [wants](crate::Description::wants) `models`. The host asks them at
//! its pace and within its budget, and keeps what they answer. Natively there is no host to ask: a test says what is answered, with
//! `testing::modelling`.

/// A completion that is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prompt {
    /// What the model is told before; nothing when empty.
    pub system: String,
    /// What it is asked.
    pub text: String,
    /// The JSON Schema of the object that the answer is to be; when empty, the answer is a text.
    pub schema: String,
    /// A JSON object of further parameters, such as `{"temperature": 0}`; none when empty.
    pub params: String,
    /// The most tokens that may come out; as many as the model gives when 0. Where the pipeline has a budget it must be said.
    pub max_tokens: u32,
}

/// An answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// What it says.
    pub text: String,
    /// Why it ends: `stop`, `length`, `refused`, or what the provider says.
    pub finish: String,
    /// Tokens that went in.
    pub input_tokens: u64,
    /// Tokens that came out.
    pub output_tokens: u64,
}

impl Prompt {
    /// A question, to be answered by a text of at most so many tokens.
    pub fn new(text: impl Into<String>, max_tokens: u32) -> Self {
        Self { text: text.into(), max_tokens, ..Self::default() }
    }
}

/// Asks a model, by the name that the pipeline gives it, and gives an answer for each prompt, in their order: those of a whole batch are
/// best asked at once. An error is one of its prompt alone, in words for people; what may help was tried already.
#[cfg(target_arch = "wasm32")]
pub fn complete(model: &str, prompts: &[Prompt]) -> Vec<Result<Answer, String>> {
    use crate::guest::bindings::dflow::operator::models;
    let prompts = prompts.iter().map(|prompt| models::Prompt {
        system: &prompt.system,
        text: &prompt.text,
        schema: &prompt.schema,
        params: &prompt.params,
        max_tokens: prompt.max_tokens,
    });
    let answer = |answer: models::Answer| Answer {
        text: answer.text,
        finish: answer.finish,
        input_tokens: answer.input_tokens,
        output_tokens: answer.output_tokens,
    };
    let answers = models::complete(model, &prompts.collect::<Vec<_>>());
    answers.into_iter().map(|answered| answered.map(answer)).collect()
}

/// Gives the vector of each text, in their order; otherwise as [`complete`].
#[cfg(target_arch = "wasm32")]
pub fn embed(model: &str, texts: &[&str]) -> Vec<Result<Vec<f32>, String>> {
    crate::guest::bindings::dflow::operator::models::embed(model, texts)
}

/// Natively: what the test says, or else an error for each.
#[cfg(not(target_arch = "wasm32"))]
pub fn complete(model: &str, prompts: &[Prompt]) -> Vec<Result<Answer, String>> {
    #[cfg(feature = "testing")]
    return prompts.iter().map(|prompt| crate::testing::completion(model, prompt)).collect();
    #[cfg(not(feature = "testing"))]
    prompts.iter().map(|_| Err(format!("there is no host here that asks `{model}`"))).collect()
}

/// Natively: what the test says, or else an error for each.
#[cfg(not(target_arch = "wasm32"))]
pub fn embed(model: &str, texts: &[&str]) -> Vec<Result<Vec<f32>, String>> {
    #[cfg(feature = "testing")]
    return texts.iter().map(|text| crate::testing::vector(model, text)).collect();
    #[cfg(not(feature = "testing"))]
    texts.iter().map(|_| Err(format!("there is no host here that asks `{model}`"))).collect()
}
