//! Operators that ask models: for words, for vectors, and without saying that they do.

use std::sync::Arc;

use dflow_plugin::arrow::{
    ArrayRef, DataType, Field, Float32Builder, ListBuilder, RecordBatch, Schema, StringBuilder, UInt64Builder,
};
use dflow_plugin::models::{Prompt, complete, embed};
use dflow_plugin::{Description, Emitter, Failure, Opened, Operator, Port, Profile, Shape, text};

/// Whom to ask, and what.
#[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The model's name in the pipeline.
    model: String,
    /// What is said before.
    #[serde(default)]
    system: String,
    /// The JSON Schema of the answers.
    #[serde(default)]
    schema: String,
    /// Further parameters, as JSON.
    #[serde(default)]
    params: String,
    /// The most tokens that may come out.
    #[serde(default)]
    max_tokens: u32,
    /// The operator breaks at a text with this word, when everything is answered.
    #[serde(default)]
    breaks_at: Option<String>,
}

/// Asks about each row.
struct Ask(Settings);

impl Operator for Ask {
    type Settings = Settings;

    fn describe() -> Description {
        Description::new("ask", Shape::Map)
            .summary("asks a model about each text")
            .port(Port::utf8("text", "what to ask"))
            .profile(Profile::Open)
            .wants("models")
            .rejects_rows()
    }

    fn open(settings: Settings, _input: &Schema) -> Result<(Self, Opened), Failure> {
        let opened = Opened::new(Shape::Map);
        let columns = [("said", DataType::Utf8), ("finish", DataType::Utf8), ("tokens", DataType::UInt64)];
        let opened = columns.into_iter().fold(opened, |opened, (name, of)| opened.column(Field::new(name, of, false)));
        Ok((Self(settings), opened))
    }

    fn process(&mut self, input: &RecordBatch, emit: &mut Emitter<'_>) -> Result<(), Failure> {
        let Settings { model, system, schema, params, max_tokens, breaks_at } = &self.0;
        let texts: Vec<&str> = text(input, 0)?.iter().map(Option::unwrap_or_default).collect();
        let prompts = texts.iter().map(|text| Prompt {
            system: system.clone(),
            schema: schema.clone(),
            params: params.clone(),
            ..Prompt::new(*text, *max_tokens)
        });
        let answers = complete(model, &prompts.collect::<Vec<_>>());
        let breaks = breaks_at.as_ref().is_some_and(|word| texts.iter().any(|text| text.contains(word)));
        assert!(!breaks, "a text breaks it");
        let (mut said, mut finish, mut tokens) = (StringBuilder::new(), StringBuilder::new(), UInt64Builder::new());
        for (row, answer) in answers.into_iter().enumerate() {
            match answer {
                Ok(answer) => {
                    said.append_value(answer.text);
                    finish.append_value(answer.finish);
                    tokens.append_value(answer.input_tokens + answer.output_tokens);
                }
                Err(why) => emit.error(row, "ask", why),
            }
        }
        emit.map(vec![Arc::new(said.finish()) as ArrayRef, Arc::new(finish.finish()), Arc::new(tokens.finish())])?;
        Ok(())
    }
}

/// Embeds each row.
struct Embed(Settings);

impl Operator for Embed {
    type Settings = Settings;

    fn describe() -> Description {
        Description::new("embed", Shape::Map)
            .summary("gives the vector of each text")
            .port(Port::utf8("text", "what to embed"))
            .profile(Profile::Open)
            .wants("models")
            .rejects_rows()
    }

    fn open(settings: Settings, _input: &Schema) -> Result<(Self, Opened), Failure> {
        let item = Arc::new(Field::new_list_field(DataType::Float32, true));
        Ok((Self(settings), Opened::new(Shape::Map).column(Field::new("vector", DataType::List(item), false))))
    }

    fn process(&mut self, input: &RecordBatch, emit: &mut Emitter<'_>) -> Result<(), Failure> {
        let texts: Vec<&str> = text(input, 0)?.iter().map(Option::unwrap_or_default).collect();
        let mut vectors = ListBuilder::new(Float32Builder::new());
        for (row, vector) in embed(&self.0.model, &texts).into_iter().enumerate() {
            match vector {
                Ok(vector) => vectors.append_value(vector.into_iter().map(Some)),
                Err(why) => emit.error(row, "embed", why),
            }
        }
        emit.map(vec![Arc::new(vectors.finish()) as ArrayRef])?;
        Ok(())
    }
}

/// Asks without saying that it does.
struct Sneaky;

impl Operator for Sneaky {
    type Settings = Settings;

    fn describe() -> Description {
        Description::new("sneaky", Shape::Map).summary("says nothing of models").port(Port::utf8("text", "what to ask"))
    }

    fn open(_settings: Settings, _input: &Schema) -> Result<(Self, Opened), Failure> {
        Ok((Self, Opened::new(Shape::Map).column(Field::new("said", DataType::Utf8, false))))
    }

    fn process(&mut self, input: &RecordBatch, emit: &mut Emitter<'_>) -> Result<(), Failure> {
        drop(complete("writer", &[Prompt::new("psst", 1)]));
        emit.map(vec![input.column(0).clone()])?;
        Ok(())
    }
}

dflow_plugin::export!(
    plugin = "asking",
    version = env!("CARGO_PKG_VERSION"),
    summary = "asks models",
    operators = [Ask, Embed, Sneaky]
);
