//! Puts the components in `plugins/.built` into the binary, with their digests.

use std::{
    env, fs,
    io::Write,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

fn main() {
    let manifest = PathBuf::from(env::var("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let built = manifest.join("../../plugins/.built");
    println!("cargo:rerun-if-changed={}", built.display());
    println!("cargo:rerun-if-changed=build.rs");
    let mut components: Vec<PathBuf> = fs::read_dir(&built)
        .map(|entries| {
            entries
                .filter_map(|e| e.ok().map(|e| e.path()))
                .filter(|p| p.extension().is_some_and(|e| e == "wasm"))
                .collect()
        })
        .unwrap_or_default();
    components.sort();
    let out = Path::new(&env::var("OUT_DIR").expect("cargo sets it")).join("shipped.rs");
    let mut out = fs::File::create(out).expect("cargo's folder can be written to");
    writeln!(out, "pub(crate) static SHIPPED: &[Shipped] = &[").expect("can be written to");
    for path in components {
        let path = path.canonicalize().expect("it was just listed");
        println!("cargo:rerun-if-changed={}", path.display());
        let digest: String =
            Sha256::digest(fs::read(&path).expect("it was just listed")).iter().map(|b| format!("{b:02x}")).collect();
        let name = path.file_stem().expect("it ends in .wasm").to_string_lossy().into_owned();
        writeln!(
            out,
            "    Shipped {{ name: {name:?}, bytes: include_bytes!({path:?}), digest: \"sha256:{digest}\" }},"
        )
        .expect("can be written to");
    }
    writeln!(out, "];").expect("can be written to");
}
