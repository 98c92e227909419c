//! The dialect of OpenAI, which most servers speak: chat completions and embeddings.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{
    exchange::{Answer, Finish, Part, Prompt, Vectors},
    money::{Usage, told_tokens},
};

/// The path of completions below an endpoint.
pub const COMPLETIONS: &str = "chat/completions";
/// The path of embeddings.
pub const EMBEDDINGS: &str = "embeddings";

/// The body of a request for a completion. `cache_key` names those that share a beginning; `newer`: the server is OpenAI's own, which
/// has another name for the most tokens.
pub fn completion(model: &str, prompt: &Prompt, cache_key: Option<&str>, newer: bool) -> Value {
    let mut messages = Vec::new();
    if let Some(system) = &prompt.system {
        messages.push(json!({ "role": "system", "content": system }));
    }
    messages.push(json!({ "role": "user", "content": content(&prompt.parts) }));
    if let Some((answer, wrong)) = &prompt.repair {
        messages.push(json!({ "role": "assistant", "content": answer }));
        messages.push(json!({ "role": "user", "content": wrong }));
    }
    let mut body = Map::new();
    body.insert("model".to_owned(), model.into());
    body.insert("messages".to_owned(), messages.into());
    if let Some(most) = prompt.max_tokens {
        let key = if newer { "max_completion_tokens" } else { "max_tokens" };
        body.insert(key.to_owned(), most.into());
    }
    if let Some((name, schema)) = &prompt.schema {
        let schema = json!({ "name": name, "strict": is_strict(schema), "schema": schema });
        body.insert("response_format".to_owned(), json!({ "type": "json_schema", "json_schema": schema }));
    }
    if let Some(key) = cache_key {
        body.insert("prompt_cache_key".to_owned(), key.into());
    }
    body.extend(prompt.params.clone());
    body.into()
}

/// Whether a schema is one of those that may be asked for strictly: each object in it names all that it holds, and requires it.
fn is_strict(schema: &Value) -> bool {
    match schema {
        Value::Object(members) => {
            let properties = members.get("properties").and_then(Value::as_object);
            let is_object = properties.is_some()
                || members.get("type").is_some_and(|of| {
                    *of == "object" || of.as_array().is_some_and(|all| all.iter().any(|one| *one == "object"))
                });
            let required = members.get("required").and_then(Value::as_array);
            let is_required = |name: &String| required.is_some_and(|all| all.iter().any(|one| one == name.as_str()));
            let closed = members.get("additionalProperties") == Some(&Value::Bool(false));
            (!is_object || (closed && properties.is_none_or(|properties| properties.keys().all(is_required))))
                && members.values().all(is_strict)
        }
        Value::Array(items) => items.iter().all(is_strict),
        _ => true,
    }
}

/// Words alone are a string: not every server takes parts.
fn content(parts: &[Part]) -> Value {
    if let [Part::Text(text)] = parts {
        return text.as_str().into();
    }
    let part = |part: &Part| match part {
        Part::Text(text) => json!({ "type": "text", "text": text }),
        Part::Image { media_type, bytes } => {
            let url = format!("data:{media_type};base64,{}", STANDARD.encode(bytes));
            json!({ "type": "image_url", "image_url": { "url": url } })
        }
    };
    parts.iter().map(part).collect()
}

/// The body of a request for vectors.
pub fn embeddings(model: &str, texts: &[&str], dimensions: Option<u32>) -> Value {
    let mut body = json!({ "model": model, "input": texts, "encoding_format": "base64" });
    if let (Some(dimensions), Some(body)) = (dimensions, body.as_object_mut()) {
        body.insert("dimensions".to_owned(), dimensions.into());
    }
    body
}

#[derive(Deserialize)]
struct Completion {
    choices: Vec<Choice>,
    #[serde(default)]
    usage: Option<Counted>,
}

#[derive(Deserialize)]
struct Choice {
    message: Message,
    #[serde(default)]
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    content: Option<String>,
    #[serde(default)]
    refusal: Option<String>,
}

/// Not every server says all of it.
#[derive(Deserialize)]
struct Counted {
    #[serde(default, deserialize_with = "told_tokens")]
    prompt_tokens: Option<u64>,
    #[serde(default, deserialize_with = "told_tokens")]
    completion_tokens: Option<u64>,
    #[serde(default, deserialize_with = "told_tokens")]
    total_tokens: Option<u64>,
    #[serde(default)]
    prompt_tokens_details: Option<Details>,
}

#[derive(Deserialize)]
struct Details {
    #[serde(default, deserialize_with = "told_tokens")]
    cached_tokens: Option<u64>,
}

impl Counted {
    /// What it took, if that is said; `came_out` are the tokens that came out, where nothing is said of them.
    fn usage(self, came_out: impl FnOnce() -> u64) -> Option<Usage> {
        let (input, output) = match (self.prompt_tokens, self.completion_tokens, self.total_tokens) {
            (Some(input), Some(output), _) => (input, output),
            (Some(input), None, Some(total)) => (input, total.saturating_sub(input)),
            (Some(input), None, None) => (input, came_out()),
            (None, Some(output), Some(total)) => (total.saturating_sub(output), output),
            (None, None, Some(total)) => {
                let output = came_out().min(total);
                (total - output, output)
            }
            (None, _, None) => return None,
        };
        let cached = self.prompt_tokens_details.and_then(|details| details.cached_tokens);
        let usage = Usage { input, cached_input: cached.unwrap_or_default(), output, ..Usage::default() };
        // Nothing is what those say who don't count.
        (input > 0 || output > 0).then_some(usage)
    }
}

/// An answer out of a body; `tokens` counts those of a text. Errors are phrases about it.
pub fn answer(body: &[u8], tokens: impl Fn(&str) -> u64) -> Result<Answer, String> {
    let completion: Completion = serde_json::from_slice(body).map_err(|e| format!("is no chat completion: {e}"))?;
    let choice = completion.choices.into_iter().next().ok_or("is a chat completion without choices")?;
    // Some servers say of each answer that nothing was refused.
    let refusal = choice.message.refusal.filter(|refusal| !refusal.trim().is_empty());
    let (text, finish) = match (choice.message.content, refusal, choice.finish_reason.as_deref()) {
        (_, Some(refusal), _) => (refusal, Finish::Refused),
        (text, None, Some("content_filter")) => (text.unwrap_or_default(), Finish::Refused),
        (Some(text), None, Some("length")) => (text, Finish::Length),
        (Some(text), None, Some("stop") | None) => (text, Finish::Stop),
        (Some(text), None, Some(other)) => (text, Finish::Other(other.to_owned())),
        // It may have spent all that may come out on thinking: the same request would again.
        (None, None, Some("length")) => (String::new(), Finish::Length),
        (None, None, _) => return Err("is a chat completion without a text".to_owned()),
    };
    let usage = completion.usage.and_then(|counted| counted.usage(|| tokens(&text)));
    Ok(Answer { text, finish, usage })
}

#[derive(Deserialize)]
struct Embeddings {
    data: Vec<Embedded>,
    #[serde(default)]
    usage: Option<Counted>,
}

#[derive(Deserialize)]
struct Embedded {
    index: usize,
    embedding: Encoded,
}

/// Servers that don't know base64 give numbers.
#[derive(Deserialize)]
#[serde(untagged)]
enum Encoded {
    Base64(String),
    Numbers(Vec<f32>),
}

/// The vectors of so many texts out of a body. Errors are phrases about it.
pub fn vectors(body: &[u8], texts: usize) -> Result<Vectors, String> {
    let embeddings: Embeddings = serde_json::from_slice(body).map_err(|e| format!("holds no embeddings: {e}"))?;
    let given = embeddings.data.len();
    if given != texts {
        return Err(format!("holds {given} embeddings for {texts} texts"));
    }
    let mut vectors = vec![Vec::new(); texts];
    for Embedded { index, embedding } in embeddings.data {
        let vector = match embedding {
            Encoded::Numbers(numbers) => numbers,
            Encoded::Base64(text) => {
                let bytes = STANDARD.decode(text).map_err(|e| format!("holds an embedding that is no base64: {e}"))?;
                let (numbers, rest) = bytes.as_chunks::<4>();
                if !rest.is_empty() {
                    return Err(format!("holds an embedding of {} bytes, which are no floats", bytes.len()));
                }
                numbers.iter().map(|number| f32::from_le_bytes(*number)).collect()
            }
        };
        if vector.iter().any(|number: &f32| !number.is_finite()) {
            return Err("holds an embedding with something that is no number".to_owned());
        }
        match vectors.get_mut(index) {
            Some(place) if place.is_empty() && !vector.is_empty() => *place = vector,
            _ => return Err(format!("holds the embedding {index} of {texts} twice, out of range, or empty")),
        }
    }
    let lengths = vectors.iter().map(Vec::len);
    if let (Some(least), Some(most)) = (lengths.clone().min(), lengths.max())
        && least != most
    {
        return Err(format!("holds embeddings of {least} and of {most} numbers"));
    }
    Ok(Vectors { vectors, usage: embeddings.usage.and_then(|counted| counted.usage(|| 0)) })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn prompts_are_chat_completions() {
        let prompt = Prompt {
            system: Some("Be brief.".to_owned()),
            parts: vec![Part::Text("Hello?".to_owned())],
            params: json!({ "temperature": 0 }).as_object().expect("an object").clone(),
            max_tokens: Some(20),
            ..Prompt::default()
        };
        let expected = json!({
            "model": "m",
            "messages": [{ "role": "system", "content": "Be brief." }, { "role": "user", "content": "Hello?" }],
            "max_tokens": 20,
            "temperature": 0,
        });
        assert_eq!(completion("m", &prompt, None, false), expected);
        let image = Part::Image { media_type: "image/png".to_owned(), bytes: Bytes::from_static(b"png") };
        let prompt = Prompt {
            parts: vec![Part::Text("What is it?".to_owned()), image],
            repair: Some(("{}".to_owned(), "`kind` is missing".to_owned())),
            schema: Some(("row".to_owned(), json!({ "type": "object", "additionalProperties": false }))),
            max_tokens: Some(20),
            ..Prompt::default()
        };
        let expected = json!({
            "model": "m",
            "messages": [
                { "role": "user", "content": [
                    { "type": "text", "text": "What is it?" },
                    { "type": "image_url", "image_url": { "url": "data:image/png;base64,cG5n" } },
                ] },
                { "role": "assistant", "content": "{}" },
                { "role": "user", "content": "`kind` is missing" },
            ],
            "max_completion_tokens": 20,
            "response_format": { "type": "json_schema", "json_schema": { "name": "row", "strict": true, "schema": { "type": "object", "additionalProperties": false } } },
            "prompt_cache_key": "abc",
        });
        assert_eq!(completion("m", &prompt, Some("abc"), true), expected);
    }

    #[test]
    fn only_what_names_and_requires_all_is_asked_for_strictly() {
        let object = |more: Value| {
            let mut object = json!({ "type": "object", "properties": { "a": { "type": "string" } } });
            object.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
            object
        };
        let strict = json!({ "required": ["a"], "additionalProperties": false });
        assert!(is_strict(&object(strict.clone())));
        assert!(!is_strict(&object(json!({ "required": ["a"] }))));
        assert!(!is_strict(&object(json!({ "additionalProperties": false }))));
        assert!(is_strict(&json!({ "type": "array", "items": object(strict) })));
        assert!(!is_strict(&json!({ "anyOf": [{ "type": "null" }, object(json!({}))] })));
        assert!(!is_strict(&json!({ "type": "object" })));
    }

    #[test]
    fn answers_are_read_and_what_is_none_is_said() {
        let read = |body: Value| answer(body.to_string().as_bytes(), |_| 3);
        let usage =
            json!({ "prompt_tokens": 5, "completion_tokens": 2, "prompt_tokens_details": { "cached_tokens": 4 } });
        let body = json!({ "choices": [{ "message": { "content": "Hi" }, "finish_reason": "stop" }], "usage": usage });
        let expected = Usage { input: 5, cached_input: 4, output: 2, ..Usage::default() };
        assert_eq!(read(body), Ok(Answer { text: "Hi".to_owned(), finish: Finish::Stop, usage: Some(expected) }));
        let choice =
            |message: Value, finish: Value| json!({ "choices": [{ "message": message, "finish_reason": finish }] });
        for (body, finish) in [
            (choice(json!({ "content": "Hi" }), "length".into()), Finish::Length),
            (choice(json!({ "content": null, "reasoning_content": "Hm" }), "length".into()), Finish::Length),
            (choice(json!({ "content": null, "refusal": "No." }), "stop".into()), Finish::Refused),
            (choice(json!({ "content": "Hi" }), "content_filter".into()), Finish::Refused),
            (choice(json!({ "content": "Hi" }), Value::Null), Finish::Stop),
            (choice(json!({ "content": "Hi", "refusal": "" }), "stop".into()), Finish::Stop),
            (choice(json!({ "content": "Hi" }), "tool_calls".into()), Finish::Other("tool_calls".to_owned())),
        ] {
            assert_eq!(read(body).map(|answer| (answer.finish, answer.usage)), Ok((finish, None)));
        }
        for (body, words) in [
            (json!({ "choices": [] }), "without choices"),
            (json!({ "error": "no" }), "is no chat completion: missing field `choices`"),
            (choice(json!({ "content": null }), "stop".into()), "without a text"),
            ("text".into(), "is no chat completion: invalid type"),
        ] {
            let why = read(body).expect_err(words);
            assert!(why.contains(words), "{why}");
        }
        assert!(answer(b"{\"choices\": [{\"mess", |_| 3).expect_err("half a body").contains("EOF"));
    }

    #[test]
    fn what_is_not_said_of_tokens_is_made_of_what_is() {
        for (counted, expected) in [
            (json!({ "total_tokens": 10 }), Some((7, 3))),
            (json!({ "total_tokens": 2 }), Some((0, 2))),
            (json!({ "prompt_tokens": 6 }), Some((6, 3))),
            (json!({ "prompt_tokens": 6, "total_tokens": 10 }), Some((6, 4))),
            (json!({ "completion_tokens": 4, "total_tokens": 10 }), Some((6, 4))),
            (json!({ "completion_tokens": 4 }), None),
            (json!({ "prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0 }), None),
            (json!({ "prompt_tokens": null }), None),
            (json!({ "prompt_tokens": 6.0, "completion_tokens": " 4" }), Some((6, 4))),
            (json!({ "prompt_tokens": "6", "completion_tokens": "4.0" }), Some((6, 4))),
            (json!({ "prompt_tokens": "inf", "completion_tokens": "NaN" }), None),
            (json!({ "prompt_tokens": 6, "completion_tokens": 4.5, "total_tokens": 1e1 }), Some((6, 4))),
            (json!({ "prompt_tokens": -1, "completion_tokens": "many" }), None),
            (json!({}), None),
        ] {
            let body = json!({ "choices": [{ "message": { "content": "Hi" } }], "usage": counted }).to_string();
            let usage = answer(body.as_bytes(), |_| 3).expect("an answer").usage;
            assert_eq!(usage.map(|usage| (usage.input, usage.output)), expected, "{counted}");
        }
        let body = json!({ "data": [{ "index": 0, "embedding": [1] }], "usage": { "total_tokens": 9 } }).to_string();
        let usage = vectors(body.as_bytes(), 1).expect("a vector").usage;
        assert_eq!(usage, Some(Usage { input: 9, ..Usage::default() }));
    }

    #[test]
    fn vectors_come_as_base64_or_numbers_in_any_order() {
        let one = STANDARD.encode([1.0f32, -2.0].map(f32::to_le_bytes).concat());
        let body = json!({
            "data": [{ "index": 1, "embedding": [3, 4.5] }, { "index": 0, "embedding": one }],
            "usage": { "prompt_tokens": 7, "total_tokens": 7 },
        });
        let expected = Vectors {
            vectors: vec![vec![1.0, -2.0], vec![3.0, 4.5]],
            usage: Some(Usage { input: 7, ..Usage::default() }),
        };
        assert_eq!(vectors(body.to_string().as_bytes(), 2), Ok(expected));
        let given = |data: Value| vectors(json!({ "data": data }).to_string().as_bytes(), 2).expect_err("wrong");
        for (data, words) in [
            (json!([{ "index": 0, "embedding": [1] }]), "holds 1 embeddings for 2 texts"),
            (json!([{ "index": 0, "embedding": [1] }, { "index": 0, "embedding": [1] }]), "the embedding 0 of 2 twice"),
            (json!([{ "index": 0, "embedding": [1] }, { "index": 9, "embedding": [1] }]), "out of range"),
            (json!([{ "index": 0, "embedding": [1] }, { "index": 1, "embedding": [1, 2] }]), "of 1 and of 2 numbers"),
            (
                json!([{ "index": 0, "embedding": "AAA=" }, { "index": 1, "embedding": [1] }]),
                "2 bytes, which are no floats",
            ),
            (json!([{ "index": 0, "embedding": "AADAfw==" }, { "index": 1, "embedding": [1] }]), "no number"),
        ] {
            let why = given(data);
            assert!(why.contains(words), "{why}");
        }
        assert_eq!(embeddings("m", &["a"], Some(8))["dimensions"], 8);
    }
}
