//! What the sandbox and its boundary cost: ratios of what runs in turns.
//!
//!     sdk/rust/build plugins && sdk/rust/build tests/guests && cargo bench -p dflow-wasm [-- NAME…] [--rounds N]
//!
//! Each contender runs for some milliseconds, then the next; what is said is the least and the median of all rounds. Ratios are of the
//! least: what else the machine does only makes things slower.

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a program for who develops this")]

mod columns;
mod epochs;
mod fixed;
mod guests;
mod identity;
mod instances;
mod numeric;
mod token2;
mod turns;

#[expect(dead_code, unused_imports, unreachable_pub, reason = "the SDK's, of which only some are called natively")]
#[path = "../../../../sdk/rust/src/kernels/mod.rs"]
mod kernels;

#[expect(unreachable_pub, reason = "the guest's own file")]
#[path = "../../../../tests/guests/bench/src/arithmetic.rs"]
mod arithmetic;
#[expect(unreachable_pub, reason = "the guest's own file")]
#[path = "../../../../tests/guests/bench/src/words.rs"]
mod words;

/// The binary's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A benchmark: its name, what it is about, and what runs it.
type Benchmark = (&'static str, &'static str, fn(&turns::Options));

const BENCHMARKS: [Benchmark; 7] = [
    ("fixed", "what a call costs without data", fixed::run),
    ("identity", "a column of text, in and out, beside two memcpys of its bytes", identity::run),
    ("columns", "many columns of many types, in and out", columns::run),
    ("token2", "the second word of each of 1,000,000 texts of 41 bytes", token2::run),
    ("numeric", "arithmetic on two columns, and three that come out", numeric::run),
    ("epochs", "what it costs that a guest can be interrupted", epochs::run),
    ("instances", "making, loading and starting instances, and two at a time", instances::run),
];

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let (mut names, mut options) = (Vec::new(), turns::Options::default());
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--rounds" => options.rounds = arguments.next().and_then(|n| n.parse().ok()).expect("a number of rounds"),
            name if BENCHMARKS.iter().any(|(known, ..)| *known == name) => names.push(argument),
            other => panic!("there is no benchmark `{other}`: {}", BENCHMARKS.map(|(name, ..)| name).join(", ")),
        }
    }
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("load {}, {} rounds", load.split(' ').next().unwrap_or("unknown"), options.rounds);
    for (name, about, run) in BENCHMARKS {
        if names.is_empty() || names.iter().any(|wanted| wanted == name) {
            println!("\n{name}: {about}");
            run(&options);
        }
    }
}
