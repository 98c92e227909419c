//! The types of `wit/operator.wit` as Rust sees them.
//!
//! Bound by hand, not generated: what goes in is lent as borrowed slices, and what a guest emits is viewed in its memory,
//! so that each crosses with one copy. `Instance::get_typed_func` and the linker compare these types with the component's.

use wasmtime::component::{ComponentType, Lift, Lower, WasmList, WasmStr};

use crate::error::WasmError;

/// The newest version of the package that this host speaks.
pub(crate) const VERSION: &str = "0.1.1";
/// The oldest. What comes between is spoken, too: within a minor version (before 1.0; a major one after) only interfaces are added.
const OLDEST: &str = "0.1.0";
/// The interface that components export.
pub(crate) const OPERATORS: &str = "dflow:operator/operators@0.1.1";
/// The interface through which results leave.
pub(crate) const EMITTING: &str = "dflow:operator/emitting@0.1.1";
/// The interface for words to people.
pub(crate) const LOGGING: &str = "dflow:operator/logging@0.1.1";

/// The interface for parts of files.
pub(crate) const BLOBS: &str = "dflow:operator/blobs@0.1.1";

/// The interface for requests.
pub(crate) const HTTP: &str = "dflow:operator/http@0.1.1";
/// The interface for models.
pub(crate) const MODELS: &str = "dflow:operator/models@0.1.1";

/// Whether two names are of one interface, in versions that this host speaks.
pub(crate) fn same(name: &str, ours: &str) -> bool {
    let (Some((name, version)), Some((ours, _))) = (name.split_once('@'), ours.split_once('@')) else { return false };
    name == ours && speaks(version)
}

/// Whether this host speaks a version of the package.
pub(crate) fn speaks(version: &str) -> bool {
    let numbers = |version: &str| -> Option<Vec<u64>> { version.split('.').map(|part| part.parse().ok()).collect() };
    numbers(version).is_some_and(|v| v.len() == 3 && numbers(OLDEST) <= Some(v.clone()) && Some(v) <= numbers(VERSION))
}

/// The version of the package that an interface is of.
pub(crate) fn version_of(name: &str) -> Option<&str> {
    name.strip_prefix("dflow:operator/")?.split_once('@').map(|(_, version)| version)
}

/// That a component was built for a version that this host doesn't speak, and what to do.
pub(crate) fn unspoken(plugin: &str, version: &str) -> WasmError {
    let is_older =
        version.split('.').map(|part| part.parse::<u64>().ok()).lt(OLDEST.split('.').map(|part| part.parse().ok()));
    let what =
        format!("plugin `{plugin}` was built for `dflow:operator` {version}, this host speaks {OLDEST} to {VERSION}");
    WasmError::plugin(what).hint(if is_older {
        "build it again with the SDK of this host (`dflow-host plugin build`)"
    } else {
        "a newer dflow-host speaks it; or build it again with the SDK of this one (`dflow-host plugin build`)"
    })
}

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
    /// Whether it says that the guest is broken, and not that what it was given isn't what it accepts.
    pub(crate) fn is_broken(&self) -> bool {
        matches!(self, Self::Data(_) | Self::Other(_))
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_between_the_oldest_and_the_newest_are_spoken() {
        for (version, spoken) in [
            ("0.1.0", true),
            ("0.1.1", true),
            ("0.1.2", false),
            ("0.0.9", false),
            ("0.2.0", false),
            ("1", false),
            ("0.1.x", false),
        ] {
            assert_eq!(speaks(version), spoken, "{version}");
        }
        assert!(same("dflow:operator/http@0.1.0", HTTP));
        assert!(!same("dflow:operator/http@0.9.0", HTTP) && !same("dflow:operator/models@0.1.0", HTTP));
    }

    #[test]
    fn who_speaks_another_version_is_told_what_to_do() {
        assert!(unspoken("p", "0.0.9").to_string().contains("hint: build it again"));
        assert!(unspoken("p", "0.10.0").to_string().contains("hint: a newer dflow-host"));
    }
}
