//! The types of `wit/operator.wit` as Rust sees them.
//!
//! Bound by hand, not generated: what goes in is lent as borrowed slices, and what a guest emits is viewed in its memory,
//! so that each crosses with one copy. `Instance::get_typed_func` and the linker compare these types with the component's.

use wasmtime::component::{ComponentType, Lift, Lower, WasmList, WasmStr};

/// The version of the package that this host speaks.
pub(crate) const VERSION: &str = "0.1.0";
/// The interface that components export.
pub(crate) const OPERATORS: &str = "dflow:operator/operators@0.1.0";
/// The interface through which results leave.
pub(crate) const EMITTING: &str = "dflow:operator/emitting@0.1.0";
/// The interface for words to people.
pub(crate) const LOGGING: &str = "dflow:operator/logging@0.1.0";

/// The interface for parts of files.
pub(crate) const BLOBS: &str = "dflow:operator/blobs@0.1.0";

/// The interface for requests.
pub(crate) const HTTP: &str = "dflow:operator/http@0.1.0";
/// The interface for models.
pub(crate) const MODELS: &str = "dflow:operator/models@0.1.0";
/// What may be asked for in one call of a capability: parts, requests, prompts. The host has memory of its own for each.
pub(crate) const MOST_OF_A_CALL: usize = 1 << 16;

/// `types.field`
#[derive(Clone, Debug, PartialEq, ComponentType, Lower, Lift)]
#[component(record)]
pub(crate) struct WireField {
    pub name: String,
    pub format: String,
    pub nullable: bool,
    pub ordered: bool,
    pub children: u32,
    pub metadata: Vec<(String, String)>,
}

impl From<dflow_boundary::WireField> for WireField {
    fn from(field: dflow_boundary::WireField) -> Self {
        let dflow_boundary::WireField { name, format, nullable, ordered, children, metadata } = field;
        Self { name, format, nullable, ordered, children, metadata }
    }
}

impl From<WireField> for dflow_boundary::WireField {
    fn from(field: WireField) -> Self {
        let WireField { name, format, nullable, ordered, children, metadata } = field;
        Self { name, format, nullable, ordered, children, metadata }
    }
}

/// `types.schema`
#[derive(Clone, Debug, PartialEq, ComponentType, Lower, Lift)]
#[component(record)]
pub(crate) struct WireSchema {
    pub fields: Vec<WireField>,
}

/// `types.node`
#[derive(Clone, Copy, Debug, PartialEq, ComponentType, Lower, Lift)]
#[component(record)]
pub(crate) struct WireNode {
    pub length: u32,
    #[component(name = "null-count")]
    pub null_count: u32,
    pub buffers: u32,
}

impl From<dflow_boundary::WireNode> for WireNode {
    fn from(node: dflow_boundary::WireNode) -> Self {
        Self { length: node.length, null_count: node.null_count, buffers: node.buffers }
    }
}

impl From<WireNode> for dflow_boundary::WireNode {
    fn from(node: WireNode) -> Self {
        Self { length: node.length, null_count: node.null_count, buffers: node.buffers }
    }
}

/// `types.batch`, lent.
#[derive(Clone, Copy, ComponentType, Lower)]
#[component(record)]
pub(crate) struct WireBatch<'a> {
    pub rows: u32,
    pub nodes: &'a [WireNode],
    pub buffers: &'a [&'a [u8]],
}

/// `types.failure`
#[derive(Clone, Debug, PartialEq, ComponentType, Lower, Lift)]
#[component(variant)]
pub(crate) enum Failure {
    #[component(name = "settings")]
    Settings(String),
    #[component(name = "schema")]
    Schema(String),
    #[component(name = "data")]
    Data(String),
    #[component(name = "unsupported")]
    Unsupported(String),
    #[component(name = "denied")]
    Denied(String),
    #[component(name = "other")]
    Other(String),
}

impl Failure {
    /// Its words.
    pub(crate) fn text(&self) -> &str {
        match self {
            Self::Settings(t)
            | Self::Schema(t)
            | Self::Data(t)
            | Self::Unsupported(t)
            | Self::Denied(t)
            | Self::Other(t) => t,
        }
    }
}

/// `operators.slice-column`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ComponentType, Lower, Lift)]
#[component(record)]
pub(crate) struct SliceColumn {
    pub column: u32,
    pub port: u32,
}

/// `operators.opened`
#[derive(Clone, Debug, PartialEq, ComponentType, Lower, Lift)]
#[component(record)]
pub(crate) struct WireOpened {
    pub output: WireSchema,
    pub shape: String,
    pub slices: Vec<SliceColumn>,
}

impl WireOpened {
    /// About how many bytes it takes.
    pub(crate) fn size(&self) -> usize {
        let field = |field: &WireField| {
            let metadata =
                field.metadata.iter().map(|(key, value)| key.len() + value.len() + size_of::<(String, String)>());
            size_of::<WireField>() + field.name.len() + field.format.len() + metadata.sum::<usize>()
        };
        self.output.fields.iter().map(field).sum::<usize>() + self.shape.len() + size_of_val(&*self.slices)
    }
}

/// `emitting.slice`, in guest memory.
#[derive(ComponentType, Lift)]
#[component(record)]
pub(crate) struct EmittedSlice {
    pub column: u32,
    pub starts: WasmList<u8>,
    pub ends: WasmList<u8>,
}

/// `emitting.row-error`, in guest memory.
#[derive(ComponentType, Lift)]
#[component(record)]
pub(crate) struct EmittedError {
    pub row: u32,
    pub kind: WasmStr,
    pub message: WasmStr,
}

/// `emitting.output`, in guest memory.
#[derive(ComponentType, Lift)]
#[component(record)]
pub(crate) struct EmittedOutput {
    pub rows: u32,
    pub nodes: WasmList<WireNode>,
    pub buffers: WasmList<WasmList<u8>>,
    pub parents: Option<WasmList<u8>>,
    pub slices: WasmList<EmittedSlice>,
    pub errors: WasmList<EmittedError>,
}

/// `logging.level`
#[expect(dead_code, reason = "guests make them")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, ComponentType, Lower, Lift)]
#[component(enum)]
#[repr(u8)]
pub(crate) enum Level {
    #[component(name = "trace")]
    Trace,
    #[component(name = "debug")]
    Debug,
    #[component(name = "info")]
    Info,
    #[component(name = "warn")]
    Warn,
    #[component(name = "error")]
    Error,
}
