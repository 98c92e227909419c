//! The plugins that ship inside the binary.
//!
//! They are components that were built before the host (`plugins/build`); the binary's build script puts in whatever it finds, and `main` says so
//! here, so that a plugin that has changed compiles none of the rooms again. A host built without them still runs, and says how to get them.

use std::sync::OnceLock;

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

static SHIPPED: OnceLock<&'static [Shipped]> = OnceLock::new();

/// Says what is in the binary. The first word counts.
pub fn ship(components: &'static [Shipped]) {
    let _ = SHIPPED.set(components);
}

fn all() -> &'static [Shipped] {
    SHIPPED.get().copied().unwrap_or_default()
}

/// A plugin that ships with this host, by name.
pub fn shipped(name: &str) -> Option<Shipped> {
    all().iter().find(|s| s.name == name).copied()
}

/// What interprets source texts: they are verbs of their own, not operators to be named.
pub const INTERPRETERS: [&str; 2] = ["js", "python"];

/// The names of all plugins whose operators pipelines use; empty when this host was built without.
pub fn shipped_names() -> impl Iterator<Item = &'static str> {
    all().iter().map(|s| s.name).filter(|name| !INTERPRETERS.contains(name))
}
