//! What the author of a dflow plugin holds in hand.
//!
//! A plugin is a crate of type `cdylib` that holds one or more *operators*. An operator is a function of one row: the host
//! calls it with a batch of rows, in any batches and on any instance, and it emits rows and row errors. An author implements
//! [`Operator`] and names the type in [`export!`]; the script `sdk/rust/build` makes a component of it. The same crate runs
//! natively in a plain `cargo test`, with cases as files (feature `testing`).
//!
//! ```
//! use std::sync::Arc;
//!
//! use dflow_plugin::arrow::{Array, ArrayRef, DataType, Field, RecordBatch, Schema, StringArray, StringBuilder};
//! use dflow_plugin::{Description, Emitter, Failure, Opened, Operator, Port, Shape};
//!
//! /// Settings of `greet`.
//! #[derive(serde::Deserialize, schemars::JsonSchema)]
//! #[serde(default, deny_unknown_fields)]
//! pub struct Settings {
//!     /// What to say before the name.
//!     greeting: String,
//! }
//!
//! impl Default for Settings {
//!     fn default() -> Self {
//!         Self { greeting: "hello".to_owned() }
//!     }
//! }
//!
//! /// Greets whoever is named in a row.
//! pub struct Greet {
//!     settings: Settings,
//! }
//!
//! impl Operator for Greet {
//!     type Settings = Settings;
//!
//!     fn describe() -> Description {
//!         Description::new("greet", Shape::Map)
//!             .version("1.0.0")
//!             .summary("greets whoever is named in a row")
//!             .port(Port::utf8("name", "who is greeted"))
//!             .rejects_rows()
//!     }
//!
//!     fn open(settings: Settings, _input: &Schema) -> Result<(Self, Opened), Failure> {
//!         let opened = Opened::new(Shape::Map).column(Field::new("text", DataType::Utf8, false));
//!         Ok((Self { settings }, opened))
//!     }
//!
//!     fn process(&mut self, input: &RecordBatch, emit: &mut Emitter<'_>) -> Result<(), Failure> {
//!         let names = dflow_plugin::text(input, 0)?;
//!         let mut texts = StringBuilder::new();
//!         for (row, name) in names.iter().enumerate() {
//!             match name {
//!                 Some(name) => texts.append_value(format!("{} {name}", self.settings.greeting)),
//!                 None => emit.error(row, "no-name", "`name` is null"),
//!             }
//!         }
//!         emit.map(vec![Arc::new(texts.finish())])?;
//!         Ok(())
//!     }
//! }
//!
//! dflow_plugin::export!(
//!     plugin = "greetings",
//!     version = env!("CARGO_PKG_VERSION"),
//!     summary = "says hello",
//!     operators = [Greet]
//! );
//!
//! # fn main() {
//! # #[cfg(feature = "testing")] {
//! use dflow_plugin::testing;
//! let names: ArrayRef = Arc::new(StringArray::from(vec![Some("ada"), None]));
//! let input = RecordBatch::try_from_iter_with_nullable([("name", names, true)]).unwrap();
//! let ran = testing::run::<Greet>(r#"{"greeting": "good day"}"#, &input).unwrap();
//! assert_eq!(dflow_plugin::text(&ran.output, 0).unwrap().value(0), "good day ada");
//! assert_eq!(ran.parents, [0]);
//! assert_eq!(ran.errors[0].row, 1);
//! # }}
//! ```
//!
//! **Where to look.** [`Operator`] and its words: [`Description`], [`Port`], [`Opened`], [`Shape`], [`Failure`].
//! [`Emitter`] and [`Rows`] are how results leave. Words for people go through the [`log`] crate: `log::info!` and its like
//! reach the stage's log, and a panic's message and line too.
//!
//! **Deliberately absent.** State between rows, files, clocks, randomness: an operator's answer depends on the row and the
//! settings alone. One that must choose by chance is [seeded](Profile::Seeded), one that must ask a service [sends requests](http), or [asks a model](models). Files that are too large to go in are [read in parts](blobs).

#![cfg_attr(
    not(any(target_arch = "wasm32", feature = "testing")),
    expect(dead_code, reason = "what carries batches is used by components and by tests")
)]

mod boundary;
mod describe;
mod emit;
mod failure;
mod operator;
mod plugin;

#[cfg(target_arch = "wasm32")]
mod allocator;
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub mod guest;
#[cfg(all(target_arch = "wasm32", getrandom_backend = "custom"))]
mod random;

pub mod blobs;
pub mod http;
pub mod kernels;
pub mod models;
#[cfg(feature = "testing")]
pub mod testing;

pub use describe::{Description, Port, Profile, Shape};
pub use emit::{Emitter, RowError, Rows};
pub use failure::Failure;
pub use log;
pub use operator::{Opened, Operator, SEED, SliceColumn, bytes, seeds, text};
pub use plugin::{INTERFACE, OpenOperator, OperatorEntry, Plugin, Running};

/// The parts of Arrow that operators are written with, so that a plugin needs no dependency of its own for them.
pub mod arrow {
    pub use arrow_array::builder::*;
    pub use arrow_array::cast::AsArray;
    pub use arrow_array::*;
    pub use arrow_buffer::{
        self as buffer, BooleanBuffer, Buffer, NullBuffer, NullBufferBuilder, OffsetBuffer, ScalarBuffer,
    };
    pub use arrow_schema::{ArrowError, DataType, Field, FieldRef, Fields, Schema, SchemaRef, TimeUnit};
}
