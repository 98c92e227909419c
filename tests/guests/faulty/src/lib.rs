//! Operators that break what can be broken: each does so for rows whose text is its own name, and copies all others.

use std::{hint::black_box, sync::Arc};

use dflow_plugin::arrow::{Array, AsArray, DataType, Field, RecordBatch, Schema, StringArray};
use dflow_plugin::{Description, Emitter, Failure, Opened, Operator, Port, Rows, Shape};

/// No settings.
#[derive(Debug, Default, serde::Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {}

/// What is done for a row whose text is the operator's name.
trait Fault {
    const NAME: &'static str;
    /// Whether to say then that all rows are done.
    fn happen(emit: &mut Emitter<'_>, input: &RecordBatch) -> Result<bool, Failure>;
}

struct Faulty<F>(std::marker::PhantomData<F>);

impl<F: Fault + 'static> Operator for Faulty<F> {
    type Settings = Settings;

    fn describe() -> Description {
        Description::new(F::NAME, Shape::Map)
            .version("0.1.0")
            .summary("breaks something")
            .port(Port::utf8("text", "what to copy"))
    }

    fn open(_settings: Settings, _input: &Schema) -> Result<(Self, Opened), Failure> {
        Ok((Self(std::marker::PhantomData), Opened::new(Shape::Map).column(Field::new("copy", DataType::Utf8, true))))
    }

    fn process(&mut self, input: &RecordBatch, emit: &mut Emitter<'_>) -> Result<(), Failure> {
        let text = input.column(0).as_string::<i32>();
        if (0..text.len()).any(|i| text.is_valid(i) && text.value(i) == F::NAME) && F::happen(emit, input)? {
            return Ok(());
        }
        emit.map(vec![input.column(0).clone()])?;
        Ok(())
    }
}

/// Panics with a message.
struct Panic;

impl Fault for Panic {
    const NAME: &'static str = "panic";
    fn happen(_: &mut Emitter<'_>, input: &RecordBatch) -> Result<bool, Failure> {
        panic!("a row said so, one of {}", input.num_rows())
    }
}

/// Never comes back.
struct Spin;

impl Fault for Spin {
    const NAME: &'static str = "spin";
    fn happen(_: &mut Emitter<'_>, _: &RecordBatch) -> Result<bool, Failure> {
        let mut turns = 0u64;
        loop {
            turns = black_box(turns + 1);
        }
    }
}

/// Wants all memory.
struct Grow;

impl Fault for Grow {
    const NAME: &'static str = "grow";
    fn happen(_: &mut Emitter<'_>, _: &RecordBatch) -> Result<bool, Failure> {
        let mut hoard = Vec::new();
        loop {
            hoard.push(black_box(vec![1u8; 16 << 20]));
        }
    }
}

/// Calls itself until the stack ends.
struct Recurse;

fn recurse(depth: u64) -> u64 {
    if black_box(depth) == u64::MAX { 0 } else { black_box(recurse(depth + 1)) + 1 }
}

impl Fault for Recurse {
    const NAME: &'static str = "recurse";
    fn happen(_: &mut Emitter<'_>, _: &RecordBatch) -> Result<bool, Failure> {
        black_box(recurse(0));
        Ok(false)
    }
}

/// Says that all rows are done when one has a result.
struct Lie;

impl Fault for Lie {
    const NAME: &'static str = "lie";
    fn happen(emit: &mut Emitter<'_>, input: &RecordBatch) -> Result<bool, Failure> {
        emit.rows(Rows::new(vec![input.column(0).slice(0, 1)]).parents(vec![0]))?;
        Ok(true)
    }
}

/// Gives up on the batch.
struct GiveUp;

impl Fault for GiveUp {
    const NAME: &'static str = "give_up";
    fn happen(_: &mut Emitter<'_>, _: &RecordBatch) -> Result<bool, Failure> {
        Err(Failure::Data("no more of this".to_owned()))
    }
}

/// Emits row by row, and panics amid them.
struct Stumble;

impl Fault for Stumble {
    const NAME: &'static str = "stumble";
    fn happen(emit: &mut Emitter<'_>, input: &RecordBatch) -> Result<bool, Failure> {
        let text = input.column(0).as_string::<i32>();
        for i in 0..text.len() {
            assert_ne!(text.value(i), Self::NAME, "row {i} of {}", text.len());
            emit.map(vec![input.column(0).slice(i, 1)])?;
        }
        Ok(true)
    }
}

/// Takes some milliseconds for each such row, and does what it is asked for.
struct Slow;

impl Fault for Slow {
    const NAME: &'static str = "slow";
    fn happen(_: &mut Emitter<'_>, input: &RecordBatch) -> Result<bool, Failure> {
        let mut turns = 0u64;
        for _ in input.column(0).as_string::<i32>().iter().filter(|text| *text == Some(Self::NAME)) {
            for _ in 0..10_000_000 {
                turns = black_box(turns + 1);
            }
        }
        Ok(false)
    }
}

/// Gives as many pieces of 1 MiB as a row says, one after the other, and then does what else it says: `20 panic`.
struct Stream;

impl Operator for Stream {
    type Settings = Settings;

    fn describe() -> Description {
        Description::new("stream", Shape::Expand)
            .version("0.1.0")
            .summary("gives much, and breaks then")
            .port(Port::utf8("text", "how many pieces, and what then"))
            .rejects_rows()
            .streaming()
    }

    fn open(_settings: Settings, _input: &Schema) -> Result<(Self, Opened), Failure> {
        Ok((Self, Opened::new(Shape::Expand).column(Field::new("piece", DataType::Utf8, false))))
    }

    fn process(&mut self, input: &RecordBatch, emit: &mut Emitter<'_>) -> Result<(), Failure> {
        let text = input.column(0).as_string::<i32>();
        for row in 0..text.len() {
            let (count, then) = text.value(row).split_once(' ').unwrap_or((text.value(row), ""));
            let count: usize = count.parse().map_err(|_| Failure::Data("that is no number".to_owned()))?;
            for number in 0..count {
                let piece = StringArray::from_iter_values([format!("{}{number}", " ".repeat(1 << 20))]);
                if !emit.rows(Rows::new(vec![Arc::new(piece)]).parents(vec![row as u32]))? {
                    return Ok(());
                }
            }
            match then {
                "panic" => panic!("a row said so after {count} pieces"),
                "error" => emit.error(row, "said-so", format!("after {count} pieces")),
                "spin" => return Spin::happen(emit, input).map(drop),
                _ => {}
            }
        }
        Ok(())
    }
}

dflow_plugin::export!(
    plugin = "faulty",
    version = env!("CARGO_PKG_VERSION"),
    summary = "operators that break what can be broken",
    operators = [
        Faulty<Panic>,
        Faulty<Spin>,
        Faulty<Grow>,
        Faulty<Recurse>,
        Faulty<Lie>,
        Faulty<GiveUp>,
        Faulty<Stumble>,
        Faulty<Slow>,
        Stream
    ]
);
