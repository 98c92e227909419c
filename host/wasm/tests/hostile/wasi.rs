//! Calling all of WASI: nothing of it reaches the machine.

use arrow::array::AsArray;

use crate::arena::Arena;

/// All functions that can be called at all: what has to do with files or sockets hangs on one, and none is to be had.
const ANSWER: &[&str] = &[
    "cli/environment.get-environment",
    "cli/environment.get-arguments",
    "cli/environment.initial-cwd",
    "cli/terminal-stdin.get-terminal-stdin",
    "cli/terminal-stdout.get-terminal-stdout",
    "cli/terminal-stderr.get-terminal-stderr",
    "cli/stdin: read",
    "cli/stdin: blocking-read",
    "cli/stdin: skip",
    "cli/stdin: blocking-skip",
    "cli/stdin: subscribe",
    "cli/stdout: write",
    "cli/stderr: write",
    "cli/stdout: write-zeroes",
    "cli/stdout: blocking-write-zeroes-and-flush",
    "cli/stdout: splice",
    "cli/stdout: blocking-splice",
    "cli/stdout: flush",
    "a write without asking",
    "clocks/monotonic-clock.now",
    "clocks/monotonic-clock.resolution",
    "clocks/monotonic-clock.subscribe-duration, a day",
    "clocks/monotonic-clock.subscribe-instant, for ever",
    "clocks/monotonic-clock.subscribe-duration, asked until it is ready",
    "clocks/wall-clock.now",
    "clocks/wall-clock.resolution",
    "filesystem/preopens.get-directories",
    "io/poll.poll",
    "random/random.get-random-bytes",
    "random/random.get-random-u64",
    "random/insecure.get-insecure-random-bytes",
    "random/insecure.get-insecure-random-u64",
    "random/insecure-seed.insecure-seed",
    "sockets/ip-name-lookup.resolve-addresses",
    "sockets/ip-name-lookup.resolve-addresses, an address",
    "sockets/tcp-create-socket.create-tcp-socket",
    "sockets/udp-create-socket.create-udp-socket",
];
const TRAP: &[&str] = &[
    "cli/exit.exit",
    "cli/exit.exit-with-code",
    "filesystem/types.descriptor, forged",
    "io/poll.poll of nothing",
    "random/random.get-random-bytes, all there are",
    "random/random.get-random-bytes, thirty megabytes",
    "sockets/tcp.tcp-socket, forged",
    "a million resources",
    "a million standard outputs",
];

#[tokio::test]
async fn no_function_of_wasi_reaches_the_machine() {
    let mut arena = Arena::new();
    for how in ANSWER {
        let done = arena.attack_on("wasi", how, &[Some(how)]).await.unwrap_or_else(|e| panic!("{how}: {e}"));
        let rows = done.joined().expect("fits").expect("a row").0;
        arena.note(&format!("answer: {}\n", rows.column(0).as_string_view().value(0)));
    }
    for how in TRAP {
        arena.attack_on("wasi", how, &[Some(how)]).await.expect_err(how);
    }
    arena.shown("wasi");
}
