//! How does foreign code run safely?
//!
//! Start with [`Sandbox`], which holds the engine; [`Sandbox::load`] makes a [`Plugin`] of a component, [`Plugin::open`] an
//! [`Operator`] for given settings and columns, [`Operator::instance`] an [`OperatorInstance`], and
//! [`OperatorInstance::process`] gives it a batch of rows. What a guest hands back is untrusted until [`emission`] has made
//! checked Arrow arrays of it.
//!
//! Deliberately absent: plans, stages' policies for failed rows, and where components come from.

mod abi;
mod account;
mod blobs;
mod cache;
mod description;
mod emission;
mod error;
#[doc(hidden)]
pub mod fuzzed;
mod granted;
mod http;
mod inert;
mod instance;
mod joined;
mod label;
mod lower;
mod models;
mod plugin;
mod printed;
mod ranges;
mod sandbox;
mod schema;
mod shipped;
mod state;
mod streaming;
mod waiting;

pub use account::MemoryAccount;
pub use blobs::Blobs;
pub use description::{Description, OperatorDescription, PortDescription, PortType, Profile, RowShape, SEED};
pub use emission::{Piece, Processed, RowError};
pub use error::{TIME, WasmError};
pub use granted::Granted;
pub use http::Http;
pub use instance::{OperatorInstance, Stopped};
pub use lower::{goes_in, takes_files};
pub use models::{Asked, AskedAnswer, AskedPrompt, Asks};
pub use plugin::{Operator, Plugin, Within};
pub use sandbox::{Cancel, Sandbox, SandboxSettings};
pub use schema::fields_as_json;
pub use shipped::{INTERPRETERS, Shipped, ship, shipped, shipped_names};
