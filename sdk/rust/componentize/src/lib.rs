//! Turns core modules built with `dflow-plugin` into components.

use std::{borrow::Cow, fs, path::Path};

use wit_component::ComponentEncoder;

/// The prefix of every interface that a component may import: anything else would have to be granted, and nobody grants it.
/// Further prefixes are named by who knows better.
const GRANTED: &str = "dflow:operator/";

/// Encodes, validates and writes a component; a file with the same content is left alone, so that its time doesn't change.
/// `more` are beginnings of what it may import beyond the contract.
///
/// # Errors
///
/// What can't be read or written, a module that isn't a plugin's, an import that nobody grants.
pub fn componentize(from: &Path, to: &Path, more: &[Cow<'_, str>]) -> Result<(), String> {
    let module = fs::read(from).map_err(|e| format!("failed to read `{}`: {e}", from.display()))?;
    let encode = || ComponentEncoder::default().validate(true).module(&module)?.encode();
    let component = encode().map_err(|e| {
        format!(
            "failed to make a component of `{}`: {e:#}\n\
             hint: a plugin calls `dflow_plugin::export!` at its root, and none of its dependencies asks for JavaScript or WASI",
            from.display()
        )
    })?;
    check_imports(&component, more).map_err(|e| format!("failed to make a component of `{}`: {e}", from.display()))?;
    if fs::read(to).is_ok_and(|there| there == component) {
        return Ok(());
    }
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = to.file_name().ok_or_else(|| format!("`{}` is not a file name", to.display()))?;
    let temporary = folder.join(format!(".{}.{}", name.to_string_lossy(), std::process::id()));
    fs::write(&temporary, &component)
        .and_then(|()| fs::rename(&temporary, to))
        .map_err(|e| format!("failed to write `{}`: {e}", to.display()))
}

/// Whether a component asks for nothing but what the contract's world offers, or what begins like one of `more`.
fn check_imports(component: &[u8], more: &[Cow<'_, str>]) -> Result<(), String> {
    let decoded = wit_component::decode(component).map_err(|e| format!("{e:#}"))?;
    let resolve = decoded.resolve();
    let worlds = resolve.worlds.iter().flat_map(|(_, world)| world.imports.keys());
    let allowed = |name: &str| name.starts_with(GRANTED) || more.iter().any(|start| name.starts_with(&**start));
    match worlds.map(|key| resolve.name_world_key(key)).find(|name| !allowed(name)) {
        Some(name) => Err(format!("it imports `{name}`\nhint: a plugin may import interfaces of `{GRANTED}` only")),
        None => Ok(()),
    }
}
