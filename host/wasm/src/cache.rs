//! Compiled code, kept in a private folder.
//!
//! The key covers the component's digest, wasmtime's version, the target and the engine's flags. Compiled code is machine code
//! that is run as it is, so a folder that others may write to is refused, and nothing in it ever comes from elsewhere.

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    io::Write,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};
use wasmtime::{Engine, component::Component};

use crate::error::WasmError;

/// A folder of compiled components.
pub(crate) struct Cache {
    folder: PathBuf,
}

impl Cache {
    /// Opens the folder, making it private if it isn't there.
    pub(crate) fn open(folder: &Path) -> Result<Self, WasmError> {
        let failed = |e: std::io::Error| {
            WasmError::outside(format!("failed to open the folder for compiled code `{}`: {e}", folder.display()))
                .hint("set `DFLOW_CACHE_DIR` to a folder of your own")
        };
        #[cfg(unix)]
        {
            use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
            let mode = fs::metadata(folder).map_err(failed)?.permissions().mode();
            if mode & 0o022 != 0 {
                return Err(WasmError::outside(format!(
                    "others may write to the folder for compiled code `{}`",
                    folder.display()
                ))
                .hint(format!("chmod 700 {}", folder.display())));
            }
        }
        #[cfg(not(unix))]
        fs::create_dir_all(folder).map_err(failed)?;
        Ok(Self { folder: folder.to_owned() })
    }

    /// The file for a component and an engine.
    fn path(&self, engine: &Engine, digest: &str) -> PathBuf {
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        let mut key = Sha256::new();
        key.update(digest);
        key.update(hasher.finish().to_le_bytes());
        key.update(env!("CARGO_PKG_VERSION"));
        self.folder.join(format!("{}.cwasm", hex(&key.finalize()[..20])))
    }

    /// The compiled component, if it is here and fits this engine.
    pub(crate) fn get(&self, engine: &Engine, digest: &str) -> Option<Component> {
        let path = self.path(engine, digest);
        if !path.exists() {
            return None;
        }
        // SAFETY: the folder is writable by this user alone (`open`), its files are written by `put` alone, whole or not at
        // all, and wasmtime refuses code of other versions and flags.
        #[expect(unsafe_code, reason = "compiled code can only be loaded so")]
        let loaded = unsafe { Component::deserialize_file(engine, &path) };
        loaded.map_err(|e| tracing::debug!("compiled code at {} doesn't fit: {e:#}", path.display())).ok()
    }

    /// Keeps a compiled component. A failure costs the next run time and nothing else, so it is only logged.
    pub(crate) fn put(&self, engine: &Engine, digest: &str, component: &Component) {
        let path = self.path(engine, digest);
        // Several threads may have compiled the same component.
        let who = (std::process::id(), std::thread::current().id());
        let temporary = path.with_extension(format!("tmp{}-{:?}", who.0, who.1));
        let written = component.serialize().map_err(|e| e.to_string()).and_then(|code| {
            let write = || {
                let mut file = fs::File::create(&temporary)?;
                file.write_all(&code)?;
                file.sync_all()?;
                fs::rename(&temporary, &path)
            };
            write().map_err(|e| e.to_string())
        });
        if let Err(error) = written {
            // What is left of a failed write is of no use to anybody; if it can't be removed either, the name is reused.
            drop(fs::remove_file(&temporary));
            tracing::warn!("compiled code could not be kept at {}: {error}", path.display());
        }
    }
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
