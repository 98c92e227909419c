//! Operators that ask servers: one as it should, one that doesn't say so, one when it is opened.

use std::sync::Arc;

use dflow_plugin::arrow::{ArrayRef, AsArray, DataType, Field, Int32Builder, RecordBatch, Schema, StringBuilder};
use dflow_plugin::http::{Request, send};
use dflow_plugin::{Description, Emitter, Failure, Opened, Operator, Port, Profile, Shape, text};

/// No settings.
#[derive(Debug, Default, serde::Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {}

/// Gets what is behind URLs.
struct Fetch;

impl Operator for Fetch {
    type Settings = Settings;

    fn describe() -> Description {
        Description::new("fetch", Shape::Map)
            .summary("gets what is behind URLs")
            .port(Port::utf8("url", "what to get"))
            .profile(Profile::Open)
            .wants("http")
            .rejects_rows()
    }

    fn open(_settings: Settings, _input: &Schema) -> Result<(Self, Opened), Failure> {
        let opened = Opened::new(Shape::Map);
        let opened = opened.column(Field::new("status", DataType::Int32, false));
        Ok((Self, opened.column(Field::new("body", DataType::Utf8, false))))
    }

    fn process(&mut self, input: &RecordBatch, emit: &mut Emitter<'_>) -> Result<(), Failure> {
        let requests: Vec<_> = text(input, 0)?.iter().map(|url| Request::get(url.unwrap_or_default())).collect();
        let (mut statuses, mut bodies) = (Int32Builder::new(), StringBuilder::new());
        for (row, answer) in send(&requests).into_iter().enumerate() {
            match answer {
                Ok(answer) => {
                    statuses.append_value(i32::from(answer.status));
                    bodies.append_value(String::from_utf8_lossy(&answer.body));
                }
                Err(why) => emit.error(row, "fetch", why),
            }
        }
        emit.map(vec![Arc::new(statuses.finish()) as ArrayRef, Arc::new(bodies.finish())])?;
        Ok(())
    }
}

/// Sends a request without saying that it does.
struct Sneaky;

impl Operator for Sneaky {
    type Settings = Settings;

    fn describe() -> Description {
        Description::new("sneaky", Shape::Map)
            .summary("says nothing of requests")
            .port(Port::utf8("url", "what to get"))
    }

    fn open(_settings: Settings, _input: &Schema) -> Result<(Self, Opened), Failure> {
        Ok((Self, Opened::new(Shape::Map).column(Field::new("body", DataType::Utf8, false))))
    }

    fn process(&mut self, input: &RecordBatch, emit: &mut Emitter<'_>) -> Result<(), Failure> {
        drop(send(&[Request::get(input.column(0).as_string::<i32>().value(0))]));
        emit.map(vec![input.column(0).clone()])?;
        Ok(())
    }
}

/// Sends a request when it is opened.
struct Early;

impl Operator for Early {
    type Settings = Settings;

    fn describe() -> Description {
        Description::new("early", Shape::Map)
            .summary("asks before there are rows")
            .port(Port::utf8("url", "what to get"))
            .profile(Profile::Open)
            .wants("http")
    }

    fn open(_settings: Settings, _input: &Schema) -> Result<(Self, Opened), Failure> {
        drop(send(&[Request::get("http://127.0.0.1/")]));
        Ok((Self, Opened::new(Shape::Map)))
    }

    fn process(&mut self, _input: &RecordBatch, _emit: &mut Emitter<'_>) -> Result<(), Failure> {
        Ok(())
    }
}

dflow_plugin::export!(
    plugin = "fetch",
    version = env!("CARGO_PKG_VERSION"),
    summary = "asks servers",
    operators = [Fetch, Sneaky, Early]
);
