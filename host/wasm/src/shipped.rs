//! The plugins that ship inside the binary.
//!
//! They are components that were built before the host (`sdk/rust/build plugins`); the build script puts in whatever it
//! finds. A host built without them still runs, and says how to get them.

/// A plugin that ships: its bytes and their digest.
#[derive(Clone, Copy, Debug)]
pub struct Shipped {
    /// What pipelines call it.
    pub name: &'static str,
    /// The component.
    pub bytes: &'static [u8],
    /// `sha256:…` of the component.
    pub digest: &'static str,
}

include!(concat!(env!("OUT_DIR"), "/shipped.rs"));

/// A plugin that ships with this host, by name.
pub fn shipped(name: &str) -> Option<Shipped> {
    SHIPPED.iter().find(|s| s.name == name).copied()
}

/// The names of all that ship with this host; empty when it was built without.
pub fn shipped_names() -> impl Iterator<Item = &'static str> {
    SHIPPED.iter().map(|s| s.name)
}
