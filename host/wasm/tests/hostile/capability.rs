//! Asking for what isn't granted.

use crate::{
    arena::{Arena, is_a_lie},
    made::Made,
};

#[tokio::test]
async fn what_nobody_granted_is_refused_by_name() {
    let mut arena = Arena::new();
    let get = "interface files {\n get: func(url: string) -> string;\n}\n\nworld operator {\n    import files;";
    let made = Made {
        more: r#"(import "dflow:operator/files@0.1.0" "get" (func (param i32 i32 i32)))"#.to_owned(),
        wit: vec![("world operator {", get)],
        ..Made::default()
    };
    let error = arena.load("an interface that isn't", &made.component()).await.expect_err("nobody granted it");
    is_a_lie("files", &error);
    let made = Made {
        more: r#"(import "$root" "launch" (func (param i32)))"#.to_owned(),
        wit: vec![("world operator {", "world operator {\n    import launch: func(rockets: u32);")],
        ..Made::default()
    };
    let error = arena.load("a function without an interface", &made.component()).await.expect_err("nobody granted it");
    is_a_lie("launch", &error);
    arena.shown("capability");
}
