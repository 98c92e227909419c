#!/usr/bin/env python3
"""The sandbox beside those of other engines, and beside what engines do for the same without one: millions of rows a second.

    tests/bench/sandboxes.py [ROUNDS]       rounds of all, 2 unless given; each keeps the best of several turns of its own

`token2` is the second word of each of 1,000,000 texts of 41 bytes, `numeric` arithmetic on two columns of which three come out. Ours and
the sandboxes' have one thread unless it says otherwise; the engines in Python have two cores. Ours count the time of their thread on a
processor, peers all time: figures of a machine that isn't idle are unfair to them. Ours are `cargo bench -p dflow-wasm`, which needs
`sdk/rust/build plugins` and `sdk/rust/build tests/guests`; peers are built and installed when they aren't there, which takes an hour of
one core for those in Rust.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
import engines  # noqa: E402
from common import ROOT, TARGET  # noqa: E402

CORES = 2
PEERS = HERE / "boundary/peers"


def run(command, folder, **more):
    done = subprocess.run([str(word) for word in command], cwd=folder, stdout=subprocess.PIPE, text=True, env=os.environ | more)
    if done.returncode != 0:
        sys.exit(f"error: `{' '.join(str(word) for word in command)}` failed in {folder}")
    return done.stdout


def ours():
    """What `cargo bench` says of itself, by contender."""
    found, title = {}, ""
    for line in run(["cargo", "bench", "--quiet", "-p", "dflow-wasm", "--bench", "boundary", "--", "token2", "numeric"], ROOT).splitlines():
        if match := re.fullmatch(r"    (\S.*?) +([\d.]+) M rows/s", line):
            what = "token2" if title.startswith("1000000") else f"numeric, {title}"
            found[what, f"dflow, {match[1]}"] = float(match[2])
        elif match := re.fullmatch(r"  (\S.*)", line):
            title = match[1]
    return found


def sandboxes():
    """What the peers' sandboxes do."""
    target, wasm = TARGET / "boundary-peers", "wasm32-unknown-unknown"
    flags = {"RUSTFLAGS": "-Ctarget-feature=+simd128,+bulk-memory", "CARGO_TARGET_DIR": str(target / "udf")}
    for guest in ["udf", "words"]:
        run(["cargo", "build", "--quiet", "--release", "--locked", "--target", wasm], PEERS / guest, **flags)
    built, transform = target / "udf" / wasm / "release", target / "transforms/token2"
    transform.mkdir(parents=True, exist_ok=True)
    shutil.copy(PEERS / "words/transform.toml", transform)
    run([TARGET / "release/dflow-componentize", built / "words.wasm", transform / "main.wasm"], ROOT)
    program = ["cargo", "run", "--quiet", "--release", "--locked", "--", built / "udf.wasm", transform.parent]
    said = json.loads(run(program, PEERS, CARGO_TARGET_DIR=str(target), CARGO_INCREMENTAL="0"))
    return {named(name): speed for name, speed in said.items()}


def named(name):
    match = re.fullmatch(r"(.*), (\d+ rows)", name)
    return (f"numeric, {match[2]}", match[1]) if match else ("token2", name)


def in_python():
    """What engines do without a sandbox."""
    return {("token2", name): speed for name, speed in json.loads(engines.python("boundary/token2.py", "5")).items()}


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 2
    engines.install("daft", "duckdb", "numpy", "polars", "pyarrow")
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    best = {}
    for _ in range(rounds):
        for contenders in [ours, sandboxes, in_python]:
            for key, speed in contenders().items():
                best[key] = max(best.get(key, 0.0), speed)
    print(f"load {os.getloadavg()[0]:.1f}, best of {rounds} rounds; millions of rows a second, and the sandbox's as a multiple of it")
    for task in dict.fromkeys(task for task, _ in best):
        print(task)
        sandbox = best[task, "dflow, sandbox"]
        for (_, name), speed in ((key, speed) for key, speed in best.items() if key[0] == task):
            print(f"    {name:<44}{speed:>9.2f}{sandbox / speed:>9.2f}")


if __name__ == "__main__":
    main()
