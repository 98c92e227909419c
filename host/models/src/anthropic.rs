//! The dialect of Anthropic: messages, with a cache that is asked for.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{
    exchange::{Answer, Finish, Part, Prompt},
    money::{Usage, told_tokens},
};

/// The path of messages below an endpoint.
pub const MESSAGES: &str = "messages";
/// The version of the dialect, sent as `anthropic-version`.
pub const VERSION: &str = "2026-10-21";
/// The most tokens that come out where nobody says: the dialect wants a number.
pub const MAX_TOKENS: u32 = 4096;

/// The body of a request, the first `shared` bytes of which others have, too.
pub fn messages(model: &str, prompt: &Prompt, shared: usize) -> Value {
    let mut messages = vec![json!({ "role": "user", "content": content(prompt, shared) })];
    if let Some((answer, wrong)) = &prompt.repair {
        messages.push(json!({ "role": "assistant", "content": answer }));
        messages.push(json!({ "role": "user", "content": wrong }));
    }
    let mut body = Map::new();
    body.insert("model".to_owned(), model.into());
    body.insert("max_tokens".to_owned(), prompt.max_tokens.unwrap_or(MAX_TOKENS).into());
    if let Some(system) = &prompt.system {
        body.insert("system".to_owned(), system.as_str().into());
    }
    body.insert("messages".to_owned(), messages.into());
    if let Some((_, schema)) = &prompt.schema {
        body.insert("output_config".to_owned(), json!({ "format": { "type": "json_schema", "schema": schema } }));
    }
    body.extend(prompt.params.clone());
    body.into()
}

/// The parts; what others have in common with the first one is a part of its own, which the provider is asked to keep.
fn content(prompt: &Prompt, shared: usize) -> Value {
    let text = |text: &str| json!({ "type": "text", "text": text });
    let mut blocks = Vec::new();
    for (i, part) in prompt.parts.iter().enumerate() {
        match part {
            Part::Text(words) => {
                let shared = if i == 0 { words.floor_char_boundary(shared) } else { 0 };
                let (shared, own) = words.split_at(shared);
                if !shared.is_empty() {
                    let cache = json!({ "type": "ephemeral" });
                    blocks.push(json!({ "type": "text", "text": shared, "cache_control": cache }));
                }
                if !own.is_empty() {
                    blocks.push(text(own));
                }
            }
            Part::Image { media_type, bytes } => {
                let source = json!({ "type": "base64", "media_type": media_type, "data": STANDARD.encode(bytes) });
                blocks.push(json!({ "type": "image", "source": source }));
            }
        }
    }
    blocks.into()
}

#[derive(Deserialize)]
struct Message {
    content: Vec<Block>,
    #[serde(default)]
    stop_reason: Option<String>,
    #[serde(default)]
    usage: Option<Counted>,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Block {
    Text {
        text: String,
    },
    #[serde(other)]
    Other,
}

/// What was read of the cache and what was written to it isn't in `input_tokens`.
#[derive(Deserialize)]
struct Counted {
    #[serde(default, deserialize_with = "told_tokens")]
    input_tokens: Option<u64>,
    #[serde(default, deserialize_with = "told_tokens")]
    output_tokens: Option<u64>,
    #[serde(default, deserialize_with = "told_tokens")]
    cache_read_input_tokens: Option<u64>,
    #[serde(default, deserialize_with = "told_tokens")]
    cache_creation_input_tokens: Option<u64>,
}

impl Counted {
    fn usage(self) -> Option<Usage> {
        let cached_input = self.cache_read_input_tokens.unwrap_or_default();
        let written_input = self.cache_creation_input_tokens.unwrap_or_default();
        let input = self.input_tokens?.saturating_add(cached_input).saturating_add(written_input);
        Some(Usage { input, cached_input, written_input, output: self.output_tokens? })
    }
}

/// An answer out of a body. Errors are phrases about it.
pub fn answer(body: &[u8]) -> Result<Answer, String> {
    let message: Message = serde_json::from_slice(body).map_err(|e| format!("is no message: {e}"))?;
    let words = message.content.into_iter().map(|block| match block {
        Block::Text { text } => text,
        Block::Other => String::new(),
    });
    let text: String = words.collect();
    let finish = match message.stop_reason.as_deref() {
        Some("end_turn" | "stop_sequence") | None => Finish::Stop,
        Some("max_tokens" | "model_context_window_exceeded") => Finish::Length,
        Some("refusal") => Finish::Refused,
        Some(other) => Finish::Other(other.to_owned()),
    };
    if text.is_empty() && finish == Finish::Stop {
        return Err("is a message without a text".to_owned());
    }
    Ok(Answer { text, finish, usage: message.usage.and_then(Counted::usage) })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn prompts_are_messages_whose_shared_beginning_is_kept() {
        let prompt = Prompt {
            system: Some("Be brief.".to_owned()),
            parts: vec![
                Part::Text("<document>ü</document>Situate this.".to_owned()),
                Part::Image { media_type: "image/png".to_owned(), bytes: Bytes::from_static(b"png") },
            ],
            shared: "<document>ü</document>".len(),
            repair: Some(("{}".to_owned(), "`kind` is missing".to_owned())),
            schema: Some(("row".to_owned(), json!({ "type": "object" }))),
            max_tokens: Some(20),
            ..Prompt::default()
        };
        let expected = json!({
            "model": "m",
            "max_tokens": 20,
            "system": "Be brief.",
            "messages": [
                { "role": "user", "content": [
                    { "type": "text", "text": "<document>ü</document>", "cache_control": { "type": "ephemeral" } },
                    { "type": "text", "text": "Situate this." },
                    { "type": "image", "source": { "type": "base64", "media_type": "image/png", "data": "cG5n" } },
                ] },
                { "role": "assistant", "content": "{}" },
                { "role": "user", "content": "`kind` is missing" },
            ],
            "output_config": { "format": { "type": "json_schema", "schema": { "type": "object" } } },
        });
        assert_eq!(messages("m", &prompt, prompt.shared), expected);
    }

    #[test]
    fn answers_are_read_and_what_is_none_is_said() {
        let read = |body: Value| answer(body.to_string().as_bytes());
        let usage = json!({ "input_tokens": 5, "output_tokens": 2, "cache_read_input_tokens": 40, "cache_creation_input_tokens": 3 });
        let message = |content: Value, stop: &str| json!({ "content": content, "stop_reason": stop, "usage": usage });
        let text = json!([{ "type": "thinking", "thinking": "…" }, { "type": "text", "text": "Hi" }, { "type": "text", "text": "!" }]);
        let usage = Some(Usage { input: 48, cached_input: 40, written_input: 3, output: 2 });
        let expected = Answer { text: "Hi!".to_owned(), finish: Finish::Stop, usage };
        assert_eq!(read(message(text.clone(), "end_turn")), Ok(expected));
        for (stop, finish) in [
            ("max_tokens", Finish::Length),
            ("refusal", Finish::Refused),
            ("pause_turn", Finish::Other("pause_turn".to_owned())),
        ] {
            assert_eq!(read(message(text.clone(), stop)).map(|answer| answer.finish), Ok(finish));
        }
        assert!(read(message(json!([]), "end_turn")).expect_err("nothing").contains("without a text"));
        assert!(
            read(json!({ "type": "error" })).expect_err("an error").contains("is no message: missing field `content`")
        );
    }
}
