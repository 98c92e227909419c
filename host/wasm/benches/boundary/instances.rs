//! Instances: what it costs to have them.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use dflow_wasm::{Sandbox, SandboxSettings};

use crate::{
    epochs::shipped_operators,
    guests::{self, contender, guest, instance, open, runtime},
    turns::{Contender, Options, microseconds, race, show},
};

pub(crate) fn run(options: &Options) {
    let text: ArrayRef =
        Arc::new(StringArray::from_iter_values((0..8192).map(|i| format!("some words of a row, {i:>20}"))));
    let input = [RecordBatch::try_from_iter([("text", text)]).unwrap()];
    fresh(options, &input);
    many(&input);
    components(&input);
    for (plugin, operator, settings, input) in shipped_operators() {
        if ["extract", "chunk"].contains(&operator) && plugin != "json" {
            scaling(options, plugin, operator, &settings, &input);
        }
    }
}

/// A fresh instance for each batch, beside one that is used again.
fn fresh(options: &Options, input: &[RecordBatch]) {
    let operator = guests::of_bench("token2", &input[0]);
    let (runtime, again) = (runtime(), operator.clone());
    let fresh = Contender::new("a fresh instance for each batch", move |times| {
        runtime.block_on(async {
            for _ in 0..times {
                let mut instance = again.instance().await.unwrap();
                std::hint::black_box(instance.process(&input[0]).await.unwrap());
            }
        });
    });
    // That one which was kept isn't taken for a fresh one.
    drop(instance(&operator));
    let found = race(options, vec![contender("an instance used again", &operator, input), fresh]);
    show("token2 on 8,192 rows", &found, |_| None);
}

/// Memory of a hundred instances that live at a time, each of which has worked.
fn many(input: &[RecordBatch]) {
    let operator = guests::of_bench("token2", &input[0]);
    let (mut before, runtime) = (0, runtime());
    let mut live = Vec::new();
    // Operators allow so many at a time as their limits say: several of them.
    let operators = [operator, guests::of_bench("token2", &input[0])];
    for i in 0..102 {
        if i == 2 {
            // What all share is there now, and the allocator has had time to give back what compiling took.
            std::thread::sleep(Duration::from_millis(500));
            before = resident();
        }
        let mut instance = instance(&operators[i % 2]);
        runtime.block_on(instance.process(&input[0])).unwrap();
        live.push(instance);
    }
    let guests: u64 = live.iter().map(dflow_wasm::OperatorInstance::memory).sum();
    let grown = resident().saturating_sub(before);
    println!(
        "  100 live instances of token2: {:.2} MiB of guest memory each, {:.2} MiB resident each",
        guests as f64 / 102.0 / 1048576.0,
        grown as f64 / 100.0 / 1048576.0
    );
}

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0 kB");
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or_default() * 1024
}

/// Compiling, loading compiled code, and starting.
fn components(input: &[RecordBatch]) {
    let (least, small) = (guest("hostile"), guest("bench"));
    let large = padded(&small, 30 << 20);
    println!("  {:<38} {:>9} {:>11} {:>11} {:>11}", "component", "size", "compile", "load", "start");
    let parts: [(&str, &[u8], &str, &RecordBatch); 4] = [
        ("a guest made without the SDK", &least, "spin", &input[0]),
        ("a guest made with the SDK", &small, "token2", &input[0]),
        ("text", &guests::shipped("text"), "normalize", &input[0]),
        ("the first, and functions never called", &large, "token2", &input[0]),
    ];
    for (name, bytes, operator, input) in parts {
        let folder = std::env::temp_dir().join(format!("dflow-wasm-bench-{}", std::process::id()));
        let sandbox = || {
            let settings = SandboxSettings { cache: Some(folder.clone()), ..SandboxSettings::default() };
            Sandbox::new(settings).expect("the sandbox starts")
        };
        let empty = serde_json::json!({});
        let timed = |sandbox: &Sandbox| {
            let began = Instant::now();
            let operator = open(sandbox, name, bytes, operator, &empty, &input.schema());
            (began.elapsed(), operator)
        };
        let (compiled, _) = timed(&sandbox());
        let loads: Vec<_> = (0..7).map(|_| timed(&sandbox())).collect();
        let loaded = loads.iter().map(|(took, _)| *took).min().unwrap_or_default();
        let operator = &loads[0].1;
        let mut live = vec![instance(operator)];
        let start = (0..50)
            .map(|_| {
                let began = Instant::now();
                live.push(instance(operator));
                began.elapsed()
            })
            .min()
            .unwrap_or(Duration::ZERO);
        println!(
            "  {name:<38} {:>5} KiB {:>11} {:>11} {:>11}",
            bytes.len() >> 10,
            microseconds(compiled.as_secs_f64()),
            microseconds(loaded.as_secs_f64()),
            microseconds(start.as_secs_f64())
        );
        drop(std::fs::remove_dir_all(&folder));
    }
}

/// A component and a module beside what is in it, of functions that nobody calls, so that both have `size` bytes.
fn padded(component: &[u8], size: usize) -> Vec<u8> {
    fn number(mut value: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        loop {
            bytes.push((value & 0x7f) as u8 | if value > 0x7f { 0x80 } else { 0 });
            value >>= 7;
            if value == 0 {
                return bytes;
            }
        }
    }
    let section = |id: u8, content: Vec<u8>| [vec![id], number(content.len()), content].concat();
    // local.get 0, i32.const, i32.mul, i32.const, i32.xor, local.set 0, again and again, none like the one before.
    let body = |seed: usize| {
        let turn = |i: usize| {
            let (a, b) = (((seed * 31 + i * 7) % 60) as u8, ((seed + i) % 60) as u8);
            [0x20, 0, 0x41, a, 0x6c, 0x41, b, 0x73, 0x21, 0]
        };
        let code = [vec![0], (0..100).flat_map(turn).collect(), vec![0x20, 0, 0x0b]].concat();
        [number(code.len()), code].concat()
    };
    let count = (size - component.len()) / body(0).len();
    let functions = [number(count), vec![0; count]].concat();
    let code = [number(count), (0..count).flat_map(body).collect()].concat();
    let module = [
        b"\0asm\x01\0\0\0".to_vec(),
        section(1, vec![1, 0x60, 1, 0x7f, 1, 0x7f]),
        section(3, functions),
        section(10, code),
    ];
    [component.to_vec(), section(1, module.concat())].concat()
}

/// One instance beside two at a time, each with all of the input.
fn scaling(options: &Options, plugin: &str, operator: &str, settings: &serde_json::Value, input: &[RecordBatch]) {
    let sandbox = Sandbox::new(guests::settings()).expect("the sandbox starts");
    let component = guests::shipped(plugin);
    let operator = open(&sandbox, plugin, &component, operator, settings, &input[0].schema());
    let rounds = options.rounds.div_ceil(2);
    let least = |threads: usize| {
        let barrier = std::sync::Barrier::new(threads);
        let seconds: Vec<Vec<f64>> = std::thread::scope(|scope| {
            let started: Vec<_> = (0..threads)
                .map(|_| {
                    scope.spawn(|| {
                        let mut contender = contender("", &operator, input);
                        let took = (0..=rounds).map(|_| {
                            barrier.wait();
                            contender.once()
                        });
                        took.skip(1).collect()
                    })
                })
                .collect();
            started.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        });
        let slowest = (0..rounds).map(|round| seconds.iter().map(|all| all[round]).fold(0.0, f64::max));
        slowest.fold(f64::INFINITY, f64::min)
    };
    let (one, two) = (least(1), least(2));
    println!(
        "  {plugin}/{}: two at a time do {:.2} times as much as one",
        operator.description().name,
        2.0 * one / two
    );
}
