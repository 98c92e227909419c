//! What is sent to a model, and what tells it apart from what is sent otherwise.

use bytes::Bytes;

use crate::{
    anthropic,
    exchange::{Part, Prompt},
    model::{AROUND, Dialect, Model, OF_IMAGE, Request},
    openai,
    records::{Digest, canonical},
};

/// The request for a completion, in the model's dialect.
pub fn completion(model: &Model, prompt: &Prompt) -> Request {
    let (path, body) = written(model, prompt, prompt.shared);
    let most_out = prompt.max_tokens.map(u64::from);
    let kept = model.dialect == Dialect::Anthropic && prompt.shared > 0;
    let weights = vec![prompt_tokens(model, prompt)];
    let most_in = if model.count.is_some() { weights[0] } else { most_prompt_tokens(prompt) };
    Request { path, body: Bytes::from(body.to_string()), weights, most_in, most_out, kept }
}

/// The request for vectors.
pub fn vectors(model: &Model, texts: &[&str], dimensions: Option<u32>) -> Request {
    let body = openai::embeddings(&model.name, texts, dimensions).to_string().into();
    let weights: Vec<u64> = texts.iter().map(|text| model.tokens(text)).collect();
    let most_in = match &model.count {
        Some(_) => weights.iter().sum(),
        None => texts.iter().map(|text| text.len() as u64).sum::<u64>() + AROUND,
    };
    Request { path: openai::EMBEDDINGS, body, weights, most_in, most_out: Some(0), kept: false }
}

/// How many tokens go in.
pub fn prompt_tokens(model: &Model, prompt: &Prompt) -> u64 {
    // What stands around messages.
    let around = 8;
    tokens_by(prompt, |text| model.tokens(text)) + around
}

/// The most tokens that can go in: as many as bytes, which no tokenizer makes more of.
pub fn most_prompt_tokens(prompt: &Prompt) -> u64 {
    tokens_by(prompt, |text| text.len() as u64) + AROUND
}

/// How many tokens a prompt's texts and pictures are, as `tokens` counts those of a text.
fn tokens_by(prompt: &Prompt, tokens: impl Fn(&str) -> u64) -> u64 {
    let parts = prompt.parts.iter().map(|part| match part {
        Part::Text(text) => tokens(text),
        Part::Image { .. } => OF_IMAGE,
    });
    let more = [
        prompt.system.as_deref(),
        prompt.repair.as_ref().map(|(a, _)| a.as_str()),
        prompt.repair.as_ref().map(|(_, b)| b.as_str()),
    ];
    let schema = prompt.schema.as_ref().map_or(0, |(_, schema)| tokens(&schema.to_string()));
    parts.sum::<u64>() + more.into_iter().flatten().map(&tokens).sum::<u64>() + schema
}

/// What tells a prompt apart from others, whoever answers it.
pub fn prompt_digest(model: &Model, prompt: &Prompt) -> Digest {
    // How much of it others have in common with it is no part of the question.
    let (path, mut body) = written(model, prompt, 0);
    // Nor is how strictly a schema is asked for, which follows from the schema: it wasn't said of all of them before.
    if let Some(strict) = body.pointer_mut("/response_format/json_schema/strict").filter(|_| prompt.schema.is_some()) {
        *strict = true.into();
    }
    Digest::of(&[model.dialect.as_str().as_bytes(), path.as_bytes(), &canonical(body)])
}

/// What tells a text apart from others that are embedded.
pub fn text_digest(model: &Model, text: &str, dimensions: Option<u32>) -> Digest {
    let dimensions = dimensions.unwrap_or_default().to_le_bytes();
    let parts = [model.dialect.as_str().as_bytes(), openai::EMBEDDINGS.as_bytes(), model.name.as_bytes(), &dimensions];
    Digest::of(&[parts.as_slice(), &[text.as_bytes()]].concat())
}

/// The path and the body of a request, the first `shared` bytes of which others have, too.
fn written(model: &Model, prompt: &Prompt, shared: usize) -> (&'static str, serde_json::Value) {
    match model.dialect {
        Dialect::OpenAi => {
            let own = model.endpoint.host_str() == Some("api.openai.com");
            let key = match prompt.parts.first() {
                Some(Part::Text(text)) if shared > 0 => {
                    let shared = &text.as_bytes()[..shared.min(text.len())];
                    Some(Digest::of(&[shared]).to_string())
                }
                _ => None,
            };
            (openai::COMPLETIONS, openai::completion(&model.name, prompt, key.as_deref(), own))
        }
        Dialect::Anthropic => (anthropic::MESSAGES, anthropic::messages(&model.name, prompt, shared)),
    }
}
