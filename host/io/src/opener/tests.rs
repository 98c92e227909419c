//! Tests of opening the files that rows name.

use super::*;
use crate::testing::{Ground, block_on};

fn open(opener: &Arc<Opener>, uris: &[&str], content: bool) -> Vec<Result<Opened, Unopened>> {
    let uris = uris.iter().map(|uri| Some((*uri).to_owned())).collect();
    block_on(opener.open(uris, content).map(|opening| opening.unwrap().unwrap()).collect())
}

#[test]
fn contents_come_in_order_and_within_bounds() {
    let ground = Ground::new();
    let names: Vec<String> = (0..100).map(|i| format!("in/{i}.txt")).collect();
    for (i, name) in names.iter().enumerate() {
        ground.write(name, "x".repeat(i * 1000));
    }
    let opener = Arc::new(Opener::new(&ground.stores(&[]), None, None, None, Bytes(90_000)));
    let uris: Vec<&str> = names.iter().map(String::as_str).collect();
    for (i, opened) in open(&opener, &uris, true).into_iter().enumerate() {
        match opened {
            Ok(opened) => assert_eq!((opened.content.len(), opened.size), (i * 1000, Some(i as u64 * 1000))),
            Err(unopened) => assert_eq!((i > 90, unopened.kind), (true, "too-large")),
        }
    }
    // Who doesn't ask for content reads no file: a large one is fine.
    assert!(open(&opener, &uris, false).iter().all(|opened| opened.as_ref().is_ok_and(|o| o.content.is_empty())));
    let none: Vec<_> = block_on(opener.open(vec![None, None], true).map(Result::unwrap).collect());
    assert_eq!(none, [None, None]);
}

#[test]
fn only_declared_places_are_opened() {
    let ground = Ground::new();
    for name in ["job/a.txt", "docs/b.txt", "secret/c.txt"] {
        ground.write(name, name);
    }
    let link = |to: &str, at: &str| std::os::unix::fs::symlink(ground.path(to), ground.path(at)).unwrap();
    link("secret/c.txt", "job/out.txt");
    link("docs/b.txt", "job/in.txt");
    link("secret", "docs/deep");
    let job = ground.path("job");
    let pipeline = ground.pipeline(&[("docs", "../docs")]);
    let stores = Stores::new(&pipeline, &job, |_| None, ground.io()).unwrap();
    let opener = Arc::new(Opener::new(&stores, None, None, None, Bytes(100)));
    let absolute = ground.path("secret/c.txt").display().to_string();
    let own = format!("file://{}", ground.path("docs/b.txt").display());
    for (uri, kind) in [
        ("a.txt", None),
        ("./x/../a.txt", None),
        ("in.txt", None),
        ("docs://b.txt", None),
        ("../docs/b.txt", None),
        (own.as_str(), None),
        ("out.txt", Some("not-allowed")),
        ("docs://deep/c.txt", Some("not-allowed")),
        ("docs://../secret/c.txt", Some("not-allowed")),
        ("../secret/c.txt", Some("not-allowed")),
        ("../secret/none.txt", Some("not-allowed")),
        (absolute.as_str(), Some("not-allowed")),
        ("lake://x", Some("not-allowed")),
        ("https://me:pw@host/x?key=1", Some("not-allowed")),
        ("", Some("not-allowed")),
        ("none.txt", Some("missing")),
        ("docs://none.txt", Some("missing")),
        ("docs://", Some("unreadable")),
    ] {
        let opened = open(&opener, &[uri], true).remove(0);
        assert_eq!(opened.as_ref().err().map(|unopened| unopened.kind), kind, "{uri}: {opened:?}");
    }
    let refused = open(&opener, &["https://me:pw@host/x?key=1"], true).remove(0).unwrap_err();
    assert_eq!(
        refused.message,
        "`https://host/x` is in none of the pipeline's volumes; a volume with `url = \"https://host\"` would have it"
    );
    let docs = Arc::new(Opener::new(&stores, Some("docs".to_owned()), None, None, Bytes(100)));
    assert_eq!(open(&docs, &["b.txt"], true).remove(0).unwrap().content, b"docs/b.txt");
}
