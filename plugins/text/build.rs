//! Packs the tables of tokens, so that the component doesn't carry tiktoken-rs's five megabytes of base64.
//!
//! A packed table is, deflated: the number of tokens (u32, little-endian), the length of each (a byte), their bytes. A token's
//! rank is its place.

use std::path::Path;
use std::{env, fs};

use tiktoken_rs::CoreBPE;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let out = env::var_os("OUT_DIR").expect("cargo sets OUT_DIR");
    for (name, tables) in
        [("o200k_base", tiktoken_rs::o200k_base_singleton()), ("cl100k_base", tiktoken_rs::cl100k_base_singleton())]
    {
        fs::write(Path::new(&out).join(name).with_extension("tokens"), packed(tables)).expect("OUT_DIR is writable");
    }
}

fn packed(tables: &CoreBPE) -> Vec<u8> {
    let (mut lengths, mut bytes) = (Vec::new(), Vec::new());
    // Ranks are dense; between them and the special tokens one is left out.
    for rank in 0.. {
        let Ok(token) = tables.decode_bytes(&[rank]) else { break };
        lengths.push(u8::try_from(token.len()).expect("no token is longer than 128 bytes"));
        bytes.extend(token);
    }
    let count = u32::try_from(lengths.len()).expect("there are 200,000 tokens at most");
    let table = [&count.to_le_bytes()[..], &lengths, &bytes].concat();
    miniz_oxide::deflate::compress_to_vec(&table, 9)
}
