//! Operators that say that they are pure, and whose answers depend on more than the row: what `dflow-host plugin verify` is to find.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    sync::Arc,
};

use dflow_plugin::arrow::{ArrayRef, DataType, Field, Int64Array, RecordBatch, Schema};
use dflow_plugin::{Description, Emitter, Failure, Opened, Operator, Port, Shape, text};

/// No settings, but one that isn't looked at.
#[derive(Debug, Default, serde::Deserialize, schemars::JsonSchema)]
#[serde(default)]
pub struct Settings {
    /// Nobody looks whether it is in its bounds.
    #[schemars(range(min = 1, max = 9))]
    least: i64,
}

/// How a number comes of a text.
trait Answers: 'static {
    const NAME: &'static str;
    const REJECTS: bool = false;
    fn new(settings: &Settings) -> Self;
    /// What is done before a batch.
    fn begin(&self) {}
    fn answer(&self, text: &str) -> Result<i64, String>;
}

struct Op<A>(A);

impl<A: Answers> Operator for Op<A> {
    type Settings = Settings;

    fn describe() -> Description {
        let described = Description::new(A::NAME, Shape::Map).version("0.1.0").port(Port::utf8("text", "a row"));
        if A::REJECTS { described.rejects_rows() } else { described }
    }

    fn open(settings: Settings, _input: &Schema) -> Result<(Self, Opened), Failure> {
        let opened = Opened::new(Shape::Map).column(Field::new("answer", DataType::Int64, true));
        Ok((Self(A::new(&settings)), opened))
    }

    fn process(&mut self, input: &RecordBatch, emit: &mut Emitter<'_>) -> Result<(), Failure> {
        self.0.begin();
        let mut answers = Vec::new();
        for (row, text) in text(input, 0)?.iter().enumerate() {
            match text.map(|text| self.0.answer(text)).transpose() {
                Ok(answer) => answers.push(answer),
                Err(why) => emit.error(row, "no", why),
            }
        }
        emit.map(vec![Arc::new(Int64Array::from(answers)) as ArrayRef])?;
        Ok(())
    }
}

/// Nothing wrong with it.
struct Sound;

impl Answers for Sound {
    const NAME: &'static str = "sound";
    fn new(_: &Settings) -> Self {
        Self
    }
    fn answer(&self, text: &str) -> Result<i64, String> {
        Ok(text.len() as i64)
    }
}

/// A sum over rows.
struct Sums(Cell<i64>);

impl Answers for Sums {
    const NAME: &'static str = "sums";
    fn new(_: &Settings) -> Self {
        Self(Cell::new(0))
    }
    fn answer(&self, text: &str) -> Result<i64, String> {
        self.0.set(self.0.get() + text.len() as i64);
        Ok(self.0.get())
    }
}

/// Remembers answers by something that doesn't tell texts apart.
struct Cached(RefCell<HashMap<usize, i64>>);

impl Answers for Cached {
    const NAME: &'static str = "cached";
    fn new(_: &Settings) -> Self {
        Self(RefCell::new(HashMap::new()))
    }
    fn answer(&self, text: &str) -> Result<i64, String> {
        let sum = || text.bytes().map(i64::from).sum();
        Ok(*self.0.borrow_mut().entry(text.len()).or_insert_with(sum))
    }
}

/// A clock: it moves on from batch to batch.
struct Clock(Cell<i64>);

impl Answers for Clock {
    const NAME: &'static str = "clock";
    fn new(_: &Settings) -> Self {
        Self(Cell::new(0))
    }
    fn begin(&self) {
        self.0.set(self.0.get() + 1);
    }
    fn answer(&self, _: &str) -> Result<i64, String> {
        Ok(self.0.get())
    }
}

/// Takes every character for a byte.
struct Bytes;

impl Answers for Bytes {
    const NAME: &'static str = "bytes";
    fn new(_: &Settings) -> Self {
        Self
    }
    fn answer(&self, text: &str) -> Result<i64, String> {
        Ok(text.get(..text.len() / 2).expect("a text is cut in the middle").len() as i64)
    }
}

/// Rejects rows, and doesn't say so.
struct Rejects;

impl Answers for Rejects {
    const NAME: &'static str = "rejects";
    fn new(_: &Settings) -> Self {
        Self
    }
    fn answer(&self, text: &str) -> Result<i64, String> {
        if text.is_empty() { Err("an empty text".to_owned()) } else { Ok(1) }
    }
}

/// Divides by a setting.
struct Divides(i64);

impl Answers for Divides {
    const NAME: &'static str = "divides";
    fn new(settings: &Settings) -> Self {
        Self(settings.least - 9)
    }
    fn answer(&self, text: &str) -> Result<i64, String> {
        Ok(text.len() as i64 / self.0)
    }
}

/// Needs memory by the square of a text's length.
struct Grows;

impl Answers for Grows {
    const NAME: &'static str = "grows";
    fn new(_: &Settings) -> Self {
        Self
    }
    fn answer(&self, text: &str) -> Result<i64, String> {
        let size = (text.len() as u64).pow(2) / 64;
        let table = vec![1u8; size.min(1 << 30) as usize];
        Ok(table.iter().map(|byte| i64::from(*byte)).sum())
    }
}

dflow_plugin::export!(
    plugin = "unsound",
    version = env!("CARGO_PKG_VERSION"),
    summary = "operators that aren't what they say",
    operators = [Op<Sound>, Op<Sums>, Op<Cached>, Op<Clock>, Op<Bytes>, Op<Rejects>, Op<Divides>, Op<Grows>]
);
