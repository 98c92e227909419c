#!/usr/bin/env python3
"""Engines of JavaScript in the sandbox: that of `js` stages (StarlingMonkey) beside QuickJS (quickjs-ng), millions of rows a second.

    tests/bench/javascript.py [ROUNDS]       rounds of both in turns, 3 unless given

What an engine does by itself, without the boundary: `javascript/work.js`, less the same without work; the best of the rounds. QuickJS is compiled
here with zig's C compiler (PyPI) from the sources in the crate rquickjs-sys, and runs in wasmtime (PyPI) with epochs, as guests here do.
"""

import io
import subprocess
import sys
import tarfile
import time
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
import engines  # noqa: E402
from common import dflow, needs_dflow  # noqa: E402

CRATE = "https://static.crates.io/crates/rquickjs-sys/rquickjs-sys-0.14.0.crate"
SOURCES = ["quickjs.c", "libregexp.c", "libunicode.c", "dtoa.c"]
WORKS = ["upper", "token2", "regex", "field", "loop"]
# How often `work.js` calls: twice for each of its rows.
ROWS = 400_000
FOLDER = engines.BENCH / "javascript"

RUN = """
import sys, time, wasmtime
config = wasmtime.Config()
config.epoch_interruption = True
engine = wasmtime.Engine(config)
module = wasmtime.Module.from_file(engine, sys.argv[1])
linker = wasmtime.Linker(engine)
linker.define_wasi()
store = wasmtime.Store(engine)
store.set_epoch_deadline(1000)
wasi = wasmtime.WasiConfig()
wasi.stdin_file = sys.argv[2]
wasi.stdout_file = sys.argv[3]
store.set_wasi(wasi)
start = linker.instantiate(store, module).exports(store)["_start"]
begun = time.monotonic()
try:
    start(store)
except wasmtime.ExitTrap as trap:
    assert trap.code == 0, open(sys.argv[3]).read()
print(time.monotonic() - begun)
"""


def quickjs():
    """The module, made if it isn't there."""
    module = FOLDER / "quickjs.wasm"
    engines.install("ziglang", "wasmtime")
    if not module.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        with urllib.request.urlopen(CRATE) as crate, tarfile.open(fileobj=io.BytesIO(crate.read())) as files:
            files.extractall(FOLDER, filter="data")
        source = FOLDER / Path(CRATE).stem / "quickjs"
        defined = ["-DNDEBUG", "-D_GNU_SOURCE", "-D_WASI_EMULATED_PROCESS_CLOCKS", "-D_WASI_EMULATED_SIGNAL"]
        linked = ["-lwasi-emulated-process-clocks", "-lwasi-emulated-signal", "-Wl,-z,stack-size=1048576", "-s"]
        command = [engines.PYTHON, "-m", "ziglang", "cc", "-target", "wasm32-wasi", "-O3", "-w", *defined, f"-I{source}"]
        subprocess.run([*command, HERE / "javascript/quickjs.c", *(source / each for each in SOURCES), "-o", module, *linked], check=True)
    return module


def seconds_of_quickjs(module, name):
    """How long it takes, and what comes out."""
    script, said = FOLDER / "script.js", FOLDER / "said"
    script.write_text((HERE / "javascript/work.js").read_text().replace("export function", "function") + f'\nwork("{name}");\n')
    done = subprocess.run([engines.PYTHON, "-c", RUN, module, script, said], check=True, capture_output=True, text=True)
    return float(done.stdout), said.read_text().strip()


def seconds_of_dflow(name):
    """How long the whole run takes, and what comes out."""
    pipeline = FOLDER / "pipeline.toml"
    pipeline.write_text(f"""
[plugin.js]
limits = {{ memory = "2GiB", time = "10m" }}
[stage.names]
values = [{{ name = "{name}" }}]
[stage.sum]
from = "names"
js = "{HERE}/javascript/work.js:work"
[stage.out]
from = "sum"
write = "-"
format = "csv"
columns = ["work"]
""")
    begun = time.monotonic()
    said = dflow("run", "--fresh", pipeline, cwd=FOLDER)
    return time.monotonic() - begun, said.split()[-1]


def main():
    if "-h" in sys.argv or "--help" in sys.argv:
        return print(__doc__)
    needs_dflow()
    module = quickjs()
    contenders = {"StarlingMonkey": seconds_of_dflow, "QuickJS": lambda name: seconds_of_quickjs(module, name)}
    best = {}
    seconds_of_dflow("none")
    for _ in range(int(sys.argv[1]) if len(sys.argv) > 1 else 3):
        for name in ["none", *WORKS]:
            sums = set()
            for contender, seconds in contenders.items():
                took, total = seconds(name)
                best[contender, name] = min(took, best.get((contender, name), took))
                sums.add(float(total))
            assert len(sums) == 1, f"{name}: {sums}"
    print(f"{'M rows/s':<20}" + "".join(f"{name:>10}" for name in WORKS))
    for contender in contenders:
        print(f"{contender:<20}" + "".join(f"{ROWS / 1e6 / (best[contender, name] - best[contender, 'none']):>10.2f}" for name in WORKS))


if __name__ == "__main__":
    main()
