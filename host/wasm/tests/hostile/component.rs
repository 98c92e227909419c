//! Components that are none, and components that are too much.

use dflow_pipeline::{GuestLimits, Millis};

use crate::{
    arena::{Arena, is_a_lie},
    made::Made,
};

#[tokio::test]
async fn what_is_no_component_is_refused() {
    let mut arena = Arena::new();
    let fine = Made::default().component();
    arena.load("one that is fine", &fine).await.expect("it is");
    let core = wat::parse_str("(module)").expect("it is text of a module");
    let mut later = fine.clone();
    later[4] = 0x0e;
    let mut text = fine.clone();
    text.extend(b"\x00\xff\xff\xff\xff\xff\xff\xff");
    let another = Made {
        wit: vec![("package dflow:operator@0.1.0;", "package dflow:operator@0.9.0;")],
        exported: Some("0.9.0"),
        ..Made::default()
    };
    let types = Made {
        wit: vec![("process: func(input: batch) -> result<_, failure>;", "process: func(input: batch) -> u32;")],
        ..Made::default()
    };
    let lacks = Made { wit: vec![("    process: func(input: batch) -> result<_, failure>;", "")], ..Made::default() };
    let wrong: [(&str, &[u8]); 12] = [
        ("nothing", b""),
        ("a script", b"#!/bin/sh\nrm -rf /\n"),
        ("zeros", &[0; 1000]),
        ("the magic number alone", b"\0asm"),
        ("a core module", &core),
        ("a later format", &later),
        ("bytes behind the end", &text),
        ("a component of nothing", &fine[..8]),
        ("half of one", &fine[..fine.len() / 2]),
        ("one that exports another version", &another.component()),
        ("one whose functions have other types", &types.component()),
        ("one that lacks a function", &lacks.component()),
    ];
    for (how, bytes) in wrong {
        let error = arena.load(how, bytes).await.expect_err(how);
        is_a_lie(how, &error);
    }
    arena.shown("component");
}

/// Whatever is wrong with the bytes: an error, and nothing else.
#[tokio::test]
async fn bytes_changed_at_random_are_refused_or_harmless() {
    let fine = Made::default().component();
    let mut arena = Arena::new();
    let (mut refused, mut state) = (0, 7u64);
    for _ in 0..300 {
        let mut below = |end: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % end
        };
        let mut bytes = fine.clone();
        match below(3) {
            0 => bytes.truncate(below(bytes.len())),
            _ => (0..1 + below(4)).for_each(|_| bytes[below(fine.len())] = below(256) as u8),
        }
        refused += usize::from(arena.load("", &bytes).await.is_err());
    }
    assert!(refused > 100, "{refused} of 300 refused");
}

#[tokio::test]
#[ignore = "compiles 100,000 functions"]
async fn a_component_of_a_hundred_thousand_functions_is_compiled_like_any_other() {
    let mut arena = Arena::within(GuestLimits { time: Millis(20_000), ..GuestLimits::default() });
    let functions = (0..100_000).map(|i| format!("(func (result i32) (i32.const {i}))\n")).collect::<String>();
    let made = Made { more: functions, ..Made::default() };
    arena.load("a hundred thousand functions", &made.component()).await.expect("it works");
    arena.shown("component-of-many");
}
