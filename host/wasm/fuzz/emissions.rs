//! Feeds the checker of what guests emit with arbitrary bytes; what they mean is said in `case.rs`.

#![no_main]

mod case;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    case::run(bytes);
});
