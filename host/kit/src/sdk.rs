//! The SDKs as files: unpacked from the binary into the user's cache, once for each version of them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::KitError;

mod embedded {
    include!(concat!(env!("OUT_DIR"), "/sdk.rs"));
}

/// The folder that holds `sdk/` and `wit/`.
#[derive(Clone, Debug)]
pub struct Sdk(PathBuf);

impl Sdk {
    /// Unpacks the SDKs below `cache`, if they aren't there.
    ///
    /// # Errors
    ///
    /// The folder can't be written to.
    pub fn unpacked(cache: &Path) -> Result<Self, KitError> {
        let folder = cache.join("sdk").join(embedded::DIGEST);
        if folder.is_dir() {
            return Ok(Self(folder));
        }
        let making = cache.join("sdk").join(format!(".{}-{}", embedded::DIGEST, std::process::id()));
        let write = || -> std::io::Result<()> {
            for (name, content) in embedded::FILES {
                let path = making.join(name);
                fs::create_dir_all(path.parent().unwrap_or(&making))?;
                fs::write(path, content)?;
            }
            match fs::rename(&making, &folder) {
                // Another process was first.
                Err(_) if folder.is_dir() => fs::remove_dir_all(&making),
                renamed => renamed,
            }
        };
        write()
            .map_err(|e| KitError::outside(format!("failed to unpack the SDKs into `{}`: {e}", folder.display())))?;
        Ok(Self(folder))
    }

    /// A file or a folder of it, such as `sdk/rust`.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}
