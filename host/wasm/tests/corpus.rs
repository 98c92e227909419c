//! What the fuzz target (`fuzz/run`) has found so far, tried again.

use std::{fs, path::Path};

#[path = "../fuzz/case.rs"]
mod case;

#[test]
fn the_corpus_is_refused_or_harmless() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let mut cases = 0;
    for entry in fs::read_dir(corpus).expect("it is in the repository") {
        let path = entry.expect("a readable folder").path();
        let bytes = fs::read(&path).expect("a readable case");
        println!("{}", path.display());
        case::run(&bytes);
        cases += 1;
    }
    assert!(cases > 100, "{cases} cases");
}
