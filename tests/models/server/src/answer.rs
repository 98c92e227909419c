//! What is answered, by rule: the same to the same question.

use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::{Map, Value, json};

/// The numbers of a vector when nobody says how many.
const DIMENSIONS: usize = 8;

/// All that is asked, as one text.
pub fn asked(body: &Value) -> String {
    let mut text = String::new();
    words(&body["messages"], &mut text);
    words(&body["input"], &mut text);
    text
}

fn words(value: &Value, text: &mut String) {
    match value {
        Value::String(words) => {
            text.push_str(words);
            text.push('\n');
        }
        Value::Array(items) => items.iter().for_each(|item| words(item, text)),
        Value::Object(members) => {
            // Pictures aren't words.
            members
                .iter()
                .filter(|(key, _)| ["content", "text"].contains(&key.as_str()))
                .for_each(|(_, member)| words(member, text));
        }
        _ => {}
    }
}

/// Tokens that go in: four bytes each, and some that stand around a message.
pub fn tokens(body: &Value) -> u64 {
    let around = if body["messages"].is_array() { 7 } else { 0 };
    (asked(body).len() as u64).div_ceil(4) + around
}

/// What tells a body apart.
pub fn digest(body: &[u8]) -> String {
    format!("{:016x}", hash(body))
}

fn hash(text: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

/// The answer to a request.
pub fn answer(path: &str, body: &Value, misfit: bool, tokens: u64, cached: u64) -> Value {
    let text = asked(body);
    if path.ends_with("/embeddings") {
        return embeddings(body, tokens);
    }
    let anthropic = path.ends_with("/messages");
    let schema = if anthropic {
        &body["output_config"]["format"]["schema"]
    } else {
        &body["response_format"]["json_schema"]["schema"]
    };
    let object = (!schema.is_null())
        .then(|| if misfit { json!({ "wrong": true }) } else { fitting(schema, hash(text.as_bytes())) });
    let words = match &object {
        Some(object) => object.to_string(),
        None => format!("answer {:016x} to {} characters", hash(text.as_bytes()), text.chars().count()),
    };
    let most = body["max_tokens"].as_u64().or(body["max_completion_tokens"].as_u64()).unwrap_or(u64::MAX);
    let out = (words.len() as u64).div_ceil(4);
    let (words, out, cut) =
        if out > most { (words[..(most * 4) as usize].to_owned(), most, true) } else { (words, out, false) };
    let id = format!("{:016x}", hash(body.to_string().as_bytes()));
    if anthropic {
        let content = json!([{ "type": "text", "text": words }]);
        let stop = if cut { "max_tokens" } else { "end_turn" };
        return json!({
            "id": format!("msg_{id}"), "type": "message", "role": "assistant", "model": body["model"], "content": content,
            "stop_reason": stop, "stop_sequence": null,
            "usage": { "input_tokens": tokens - cached, "cache_read_input_tokens": cached, "cache_creation_input_tokens": 0, "output_tokens": out },
        });
    }
    json!({
        "id": format!("chatcmpl-{id}"), "object": "chat.completion", "created": 1_700_000_000, "model": body["model"],
        "choices": [{
            "index": 0, "message": { "role": "assistant", "content": words, "refusal": null },
            "finish_reason": if cut { "length" } else { "stop" },
        }],
        "usage": {
            "prompt_tokens": tokens, "completion_tokens": out, "total_tokens": tokens + out,
            "prompt_tokens_details": { "cached_tokens": cached },
        },
    })
}

/// Vectors by the letters of each text: texts that are alike have vectors that are.
fn embeddings(body: &Value, tokens: u64) -> Value {
    let texts: Vec<&str> = match &body["input"] {
        Value::Array(texts) => texts.iter().filter_map(Value::as_str).collect(),
        Value::String(text) => vec![text],
        _ => Vec::new(),
    };
    let length = body["dimensions"].as_u64().map_or(DIMENSIONS, |length| length as usize);
    let encoded = body["encoding_format"] == "base64";
    let data = texts.iter().enumerate().map(|(index, text)| {
        let mut vector = vec![0f32; length];
        text.bytes().for_each(|byte| vector[byte as usize % length] += 1.0);
        let embedding = if encoded { json!(base64(&vector)) } else { json!(vector) };
        json!({ "object": "embedding", "index": index, "embedding": embedding })
    });
    json!({
        "object": "list", "data": data.collect::<Vec<_>>(), "model": body["model"],
        "usage": { "prompt_tokens": tokens, "total_tokens": tokens },
    })
}

fn base64(vector: &[f32]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bytes: Vec<u8> = vector.iter().flat_map(|number| number.to_le_bytes()).collect();
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let bits = three.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        for place in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * place)) as usize & 63] as char;
            text.push(if place > three.len() { '=' } else { letter });
        }
    }
    text
}

/// A value that fits a schema, picked by a number.
fn fitting(schema: &Value, seed: u64) -> Value {
    if let Some(choices) = schema["enum"].as_array().filter(|choices| !choices.is_empty()) {
        return choices[(seed % choices.len() as u64) as usize].clone();
    }
    match schema["type"].as_str() {
        Some("object") => {
            let members = schema["properties"].as_object().cloned().unwrap_or_default();
            let members = members
                .iter()
                .enumerate()
                .map(|(i, (name, of))| (name.clone(), fitting(of, seed.rotate_left(i as u32 * 7))));
            Value::Object(members.collect::<Map<_, _>>())
        }
        Some("array") => (0..seed % 3 + 1).map(|i| fitting(&schema["items"], seed.rotate_left(i as u32))).collect(),
        Some("integer") => json!(seed % 100),
        Some("number") => json!((seed % 1000) as f64 / 1000.0),
        Some("boolean") => json!(seed.is_multiple_of(2)),
        _ => json!(format!("word{}", seed % 1000)),
    }
}
