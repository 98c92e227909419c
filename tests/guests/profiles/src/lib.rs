//! Operators of each profile, which show what they can know.

use std::{
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use dflow_plugin::arrow::{ArrayRef, DataType, Field, RecordBatch, Schema, UInt64Array};
use dflow_plugin::{Description, Emitter, Failure, Opened, Operator, Port, Profile, Shape, seeds, text};

/// No settings.
#[derive(Debug, Default, serde::Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {}

/// What is shown of a batch: a number for each row.
trait Shown {
    const NAME: &'static str;
    const PROFILE: Profile;
    fn show(input: &RecordBatch) -> Result<UInt64Array, Failure>;
}

struct Shows<S>(std::marker::PhantomData<S>);

impl<S: Shown + 'static> Operator for Shows<S> {
    type Settings = Settings;

    fn describe() -> Description {
        Description::new(S::NAME, Shape::Map)
            .version("0.1.0")
            .summary("shows what it can know")
            .port(Port::utf8("text", "a row"))
            .profile(S::PROFILE)
    }

    fn open(_settings: Settings, _input: &Schema) -> Result<(Self, Opened), Failure> {
        let opened = Opened::new(Shape::Map).column(Field::new("shown", DataType::UInt64, false));
        Ok((Self(std::marker::PhantomData), opened))
    }

    fn process(&mut self, input: &RecordBatch, emit: &mut Emitter<'_>) -> Result<(), Failure> {
        emit.map(vec![Arc::new(S::show(input)?) as ArrayRef])?;
        Ok(())
    }
}

/// The seed of each row.
struct Seeded;

impl Shown for Seeded {
    const NAME: &'static str = "seeded";
    const PROFILE: Profile = Profile::Seeded;
    fn show(input: &RecordBatch) -> Result<UInt64Array, Failure> {
        seeds(input).cloned()
    }
}

/// How many rows it has seen: it says that it is pure, and isn't.
struct Counting;

impl Shown for Counting {
    const NAME: &'static str = "counting";
    const PROFILE: Profile = Profile::Pure;
    fn show(input: &RecordBatch) -> Result<UInt64Array, Failure> {
        static SEEN: AtomicU64 = AtomicU64::new(0);
        Ok((0..input.num_rows()).map(|_| Some(SEEN.fetch_add(1, Ordering::Relaxed))).collect())
    }
}

/// The bits of a product with a NaN that isn't the usual one.
fn product_with_nan(input: &RecordBatch) -> Result<UInt64Array, Failure> {
    let nan = f64::from_bits(0x7ff8_0000_0000_1234);
    let product = |length: usize| (black_box(nan) * black_box(length as f64)).to_bits();
    Ok(text(input, 0)?.iter().map(|text| Some(product(text.map_or(0, str::len)))).collect())
}

struct Pure;

impl Shown for Pure {
    const NAME: &'static str = "pure";
    const PROFILE: Profile = Profile::Pure;
    fn show(input: &RecordBatch) -> Result<UInt64Array, Failure> {
        product_with_nan(input)
    }
}

struct Open;

impl Shown for Open {
    const NAME: &'static str = "open";
    const PROFILE: Profile = Profile::Open;
    fn show(input: &RecordBatch) -> Result<UInt64Array, Failure> {
        product_with_nan(input)
    }
}

dflow_plugin::export!(
    plugin = "profiles",
    version = env!("CARGO_PKG_VERSION"),
    summary = "operators of each profile",
    operators = [Shows<Seeded>, Shows<Pure>, Shows<Counting>, Shows<Open>]
);
