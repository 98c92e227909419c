//! Guests that attack their host: what an operator sees of each attack, and that the host goes on.
//!
//! Each file of `tests/guests/hostile/src` is an attack, and its test is the file of the same name here. What is an attack as a
//! whole component is written here as text ([`made`]). What is shown of an attack is kept in `shown/NAME.txt`;
//! `DFLOW_BLESS=1` writes those files anew. After every attack the same sandbox works on other rows, and memory comes back
//! ([`arena`]).

mod arena;
mod made;

mod blobs;
mod buffers;
mod capability;
mod component;
mod describe;
mod emit;
mod grow;
mod keep;
mod log;
mod message;
mod names;
mod nesting;
mod nulls;
mod offsets;
mod panic;
mod parents;
mod realloc;
mod recurse;
mod rows;
mod schema;
mod slices;
mod spin;
mod table;
mod text;
mod types;
mod wasi;

use std::{collections::BTreeSet, fs, path::Path};

#[test]
fn each_attack_has_a_test_of_its_name() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = |folder: &str| -> BTreeSet<_> {
        let entries = fs::read_dir(here.join(folder)).expect("the folder is in the repository");
        entries.map(|entry| entry.expect("a readable folder").file_name()).collect()
    };
    let mut attacks = files("../../tests/guests/hostile/src");
    attacks.retain(|file| !["lib.rs", "attack.rs"].iter().any(|other| file == other));
    let missing: Vec<_> = attacks.difference(&files("tests/hostile")).cloned().collect();
    assert!(attacks.len() > 10 && missing.is_empty(), "attacks without a test: {missing:?}");
}
