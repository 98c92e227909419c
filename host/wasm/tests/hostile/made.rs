//! Components written as text: a core module around the world of a released `operator.wit`.

use std::{fs, path::Path};

use wit_component::{ComponentEncoder, StringEncoding};
use wit_parser::Resolve;

/// Where the module's data begins to be free for `realloc`.
const FREE: u32 = 1 << 20;
/// Where the description is.
const DESCRIPTION: u32 = 4096;

/// The bodies of a component's functions. The default is an honest operator `drop`, a filter that lets nothing through.
pub(crate) struct Made {
    /// More imports, tables, functions, a start function.
    pub(crate) more: String,
    /// Leaves the address of a pointer and a length.
    pub(crate) describe: String,
    /// Leaves the address of a `result<opened, failure>`.
    pub(crate) open: String,
    /// Leaves the address of a `result<_, failure>`.
    pub(crate) process: String,
    /// Leaves an address; parameters 2 and 3 are alignment and size.
    pub(crate) realloc: String,
    /// The document that `describe` gives.
    pub(crate) description: String,
    /// Pages of memory at the beginning.
    pub(crate) pages: u32,
    /// Changes of the WIT: pairs of what is replaced by what.
    pub(crate) wit: Vec<(&'static str, &'static str)>,
    /// The released version of the contract that it is made for.
    pub(crate) version: String,
    /// Of another version, that of the exported interface.
    pub(crate) exported: Option<&'static str>,
}

impl Default for Made {
    fn default() -> Self {
        Self {
            more: String::new(),
            describe: "(i32.const 16)".to_owned(),
            open: "(i32.const 64)".to_owned(),
            process: "(i32.const 192)".to_owned(),
            realloc: "
                (global.set $free (i32.and (i32.add (global.get $free) (i32.const 63)) (i32.const -64)))
                (global.get $free)
                (global.set $free (i32.add (global.get $free) (local.get 3)))"
                .to_owned(),
            description: description("drop", "1.0.0", "filter"),
            pages: 32,
            wit: Vec::new(),
            version: "0.1.0".to_owned(),
            exported: None,
        }
    }
}

/// A description of one operator.
pub(crate) fn description(operator: &str, version: &str, shape: &str) -> String {
    serde_json::json!({
        "describe": 1, "interface": "0.1.0", "plugin": "made", "version": "1.0.0",
        "operators": [{
            "name": operator, "version": version, "shape": shape, "profile": "pure", "ports": [{ "name": "text", "types": ["utf8"] }],
        }],
    })
    .to_string()
}

impl Made {
    /// The component.
    pub(crate) fn component(&self) -> Vec<u8> {
        let mut module = wat::parse_str(self.module()).unwrap_or_else(|e| panic!("{e}"));
        let wit =
            Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../wit/released/{}/operator.wit", self.version));
        let mut wit = fs::read_to_string(wit).expect("it is in the repository");
        for (from, to) in &self.wit {
            assert!(wit.contains(from), "`{from}` is in the WIT");
            wit = wit.replace(from, to);
        }
        let mut resolve = Resolve::default();
        let package = resolve.push_str("operator.wit", &wit).unwrap_or_else(|e| panic!("{e:#}"));
        let world = resolve.select_world(&[package], Some("operator")).unwrap_or_else(|e| panic!("{e:#}"));
        wit_component::embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)
            .unwrap_or_else(|e| panic!("{e:#}"));
        let encoded =
            ComponentEncoder::default().validate(true).module(&module).and_then(|mut encoder| encoder.encode());
        encoded.unwrap_or_else(|e| panic!("{e:#}"))
    }

    fn module(&self) -> String {
        let Self { more, describe, open, process, realloc, description, pages, version, exported, .. } = self;
        let export = format!("dflow:operator/operators@{}", exported.unwrap_or(version));
        // In `opened`: one field, the shape, no slices. In the field: name, format, nullable, no metadata.
        let opened = words(&[0, 128, 1, 256, 6, 0, 0]);
        let field = words(&[262, 4, 266, 1, 1, 0, 0, 0]);
        format!(
            r#"(module
                {more}
                (memory (export "memory") {pages})
                (global $free (mut i32) (i32.const {FREE}))
                (func $realloc (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) {realloc})
                (func (export "{export}#describe") (result i32) {describe})
                (func (export "{export}#open") (param i32 i32 i32 i32 i32 i32) (result i32) {open})
                (func (export "{export}#process") (param i32 i32 i32 i32 i32) (result i32) {process})
                (data (i32.const 16) "{described}")
                (data (i32.const 64) "{opened}")
                (data (i32.const 128) "{field}")
                (data (i32.const 256) "filtercopyu")
                (data (i32.const {DESCRIPTION}) "{document}"))"#,
            described = words(&[DESCRIPTION, description.len() as u32]),
            document = bytes(description.as_bytes()),
        )
    }
}

fn words(words: &[u32]) -> String {
    words.iter().map(|word| bytes(&word.to_le_bytes())).collect()
}

fn bytes(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("\\{byte:02x}")).collect()
}
