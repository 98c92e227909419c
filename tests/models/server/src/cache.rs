//! What a provider keeps of prompts: beginnings of whole blocks, from 1,024 tokens on, once an answer to one has left.

use std::{
    collections::HashSet,
    hash::{DefaultHasher, Hash, Hasher},
};

use serde_json::Value;

/// Bytes of a token, as the server counts.
const TOKEN: usize = 4;
/// The shortest beginning that is kept, in tokens, ...
const SHORTEST: usize = 1024;
/// ... and by what it grows.
const STEP: usize = 128;

/// What is kept.
#[derive(Default)]
pub struct Cache(HashSet<u64>);

impl Cache {
    /// How many tokens of a request are kept.
    pub fn read(&self, path: &str, asked: &Value) -> u64 {
        let kept = beginnings(path, asked).into_iter().filter(|(_, hash)| self.0.contains(hash));
        kept.map(|(tokens, _)| tokens as u64).max().unwrap_or_default()
    }

    /// Keeps what a request begins with.
    pub fn write(&mut self, path: &str, asked: &Value) {
        self.0.extend(beginnings(path, asked).into_iter().map(|(_, hash)| hash));
    }
}

/// The beginnings of a request that can be kept, in tokens. OpenAI's are whatever comes first; Anthropic's end where `cache_control` stands.
fn beginnings(path: &str, asked: &Value) -> Vec<(usize, u64)> {
    let hash = |text: &[u8]| {
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        hasher.finish()
    };
    if path.ends_with("/messages") {
        let mut text = asked["system"].to_string();
        let mut found = Vec::new();
        for block in asked["messages"][0]["content"].as_array().into_iter().flatten() {
            text.push_str(block["text"].as_str().unwrap_or_default());
            let tokens = text.len() / TOKEN;
            if block.get("cache_control").is_some() && tokens >= SHORTEST {
                found.push((tokens, hash(text.as_bytes())));
            }
        }
        return found;
    }
    let text = asked["messages"].as_array().into_iter().flatten().map(|message| match message["content"].as_str() {
        Some(text) => text.to_owned(),
        None => message["content"].to_string(),
    });
    let text = text.collect::<Vec<_>>().concat();
    let whole = text.len() / TOKEN;
    (SHORTEST..=whole).step_by(STEP).map(|tokens| (tokens, hash(&text.as_bytes()[..tokens * TOKEN]))).collect()
}
