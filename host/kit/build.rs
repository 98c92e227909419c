//! Puts the SDKs and the contract into the crate, so that a binary alone makes and builds plugins: file by file, with one digest of all.

use std::{
    env, fs,
    io::Write,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

/// What of the repository a plugin is built with.
const PARTS: [&str; 13] = [
    "wit",
    "sdk/rust/Cargo.toml",
    "sdk/rust/README.md",
    "sdk/rust/build",
    "sdk/rust/src",
    "sdk/rust/boundary/Cargo.toml",
    "sdk/rust/boundary/src",
    "sdk/python",
    "sdk/js/componentize",
    "sdk/js/index.d.ts",
    "sdk/js/package.json",
    "sdk/js/package-lock.json",
    "sdk/js/src",
];
/// Folders that aren't part of it.
const LEFT_OUT: [&str; 5] = ["tests", "released", "build", "__pycache__", "node_modules"];

fn main() {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("../..");
    let mut files = Vec::new();
    for part in PARTS {
        println!("cargo:rerun-if-changed={}", root.join(part).display());
        collect(&root.join(part), &mut files);
    }
    println!("cargo:rerun-if-changed=build.rs");
    files.sort();
    let mut digest = Sha256::new();
    let out = Path::new(&env::var("OUT_DIR").expect("cargo sets it")).join("sdk.rs");
    let mut out = fs::File::create(out).expect("cargo's folder can be written to");
    writeln!(out, "pub(super) static FILES: &[(&str, &[u8])] = &[").expect("can be written to");
    for path in &files {
        let name = path.strip_prefix(&root).expect("it is in there").to_string_lossy().replace('\\', "/");
        let content = fs::read(path).expect("it was just listed");
        digest.update(format!("{name}\0{}\0", content.len()));
        digest.update(&content);
        let path = path.canonicalize().expect("it was just listed");
        writeln!(out, "    ({name:?}, include_bytes!({path:?})),").expect("can be written to");
    }
    let digest: String = digest.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    writeln!(out, "];\npub(super) const DIGEST: &str = {digest:?};").expect("can be written to");
}

/// The files at a path or below it.
fn collect(path: &Path, files: &mut Vec<PathBuf>) {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if path.is_file() {
        // The script `sdk/rust/build` is a file; a folder of this name is what `pip` leaves.
        let is_source = !name.starts_with('.') && !name.ends_with(".pyc");
        files.extend(is_source.then(|| path.to_owned()));
    } else if !LEFT_OUT.contains(&&*name) && !name.ends_with(".egg-info") {
        let entries = fs::read_dir(path).unwrap_or_else(|e| panic!("`{}`: {e}", path.display()));
        entries.for_each(|entry| collect(&entry.expect("it can be listed").path(), files));
    }
}
