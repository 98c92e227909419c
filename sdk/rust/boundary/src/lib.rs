//! In what parts does Arrow cross the sandbox boundary?
//!
//! A schema crosses as fields in pre-order ([`fields_of`], [`schema_of`]), an array as nodes and buffers: [`Lent`] takes arrays
//! apart, and lends their buffers, [`Parts`] puts them together, and checks them. The host and the SDK both use this crate, so
//! that a plugin's native tests are as strict as the host is. What the parts mean is said in `wit/operator.wit`.
//!
//! Deliberately absent: WIT bindings (each side has its own), rows, and whatever else the contract asks for.

mod lend;
mod receive;
mod schema;
mod types;

pub use lend::Lent;
pub use receive::{Parts, Trust};
pub use schema::{WireField, fields_of, schema_of};
pub use types::{children, type_name, unviewed};

/// One array of a batch, as `types.node` of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WireNode {
    /// Number of values.
    pub length: u32,
    /// Number of nulls among them.
    pub null_count: u32,
    /// Number of buffers.
    pub buffers: u32,
}
