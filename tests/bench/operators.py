#!/usr/bin/env python3
"""Operators that ship with dflow in the sandbox, beside the same code called natively: the same pages, one core, in turns.

    tests/bench/operators.py [ROUNDS]       rounds of both, 5 unless given

What is shown for the sandbox is all of a stage's time: evaluating its ports, the copies in and out, checking what comes out and
joining it with the columns that are carried along. Natively it is the operator's own time on plain Arrow arrays.
"""

import json
import os
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
import inputs  # noqa: E402
from common import DFLOW, TARGET, environment, needs_dflow  # noqa: E402

PAGES = 6000


def native():
    """Builds the program that calls the operators natively."""
    target = TARGET / "guests-native"
    subprocess.run(["cargo", "build", "--profile", "measured", "--quiet", "--bin", "native"], cwd=HERE / "native", check=True, env=os.environ | {"CARGO_TARGET_DIR": str(target)})
    return target / "measured/native"


def natively(program, pages, stages):
    done = subprocess.run([program, pages, "1", json.dumps(stages)], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def sandboxed(pages, folder):
    """What `run --json` says of each stage."""
    command = [DFLOW, "run", HERE / "operators.toml", "--json", "--fresh", "--workers", "1", "--state", folder / "state", "-p", f"pages={pages}", "-p", f"out={folder / 'out'}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment())
    events = [json.loads(line) for line in done.stdout.splitlines()]
    return {stage["stage"]: stage for stage in events[-1]["report"]["stages"]}


def main():
    needs_dflow()
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    pages, program = inputs.pages(PAGES)[0], native()
    written = tomllib.loads((HERE / "operators.toml").read_text())["stage"]
    stages = [{"use": s["use"], "in": s["in"], "with": s.get("with", {}), "out": s.get("out", {})} for s in written.values() if "use" in s]
    names = [name for name, s in written.items() if "use" in s]
    best = {name: [float("inf"), float("inf")] for name in names}
    with tempfile.TemporaryDirectory() as folder:
        sandboxed(pages, Path(folder))
        for _ in range(rounds):
            there = natively(program, pages, stages)
            here = sandboxed(pages, Path(folder))
            for name, operator in zip(names, there["operators"], strict=True):
                if here[name]["rows_out"] != operator["rows"]:
                    sys.exit(f"error: `{name}` gives {here[name]['rows_out']} rows here and {operator['rows']} natively")
                best[name] = [min(best[name][0], operator["seconds"]), min(best[name][1], here[name]["seconds"])]
    print(f"{there['pages']} pages, {there['bytes'] / 1e6:.1f} MB; best of {rounds} rounds, one core")
    print(f"{'operator':<16}{'rows':>8}{'native s':>11}{'sandbox s':>11}{'native / sandbox':>18}")
    for name, operator in zip(names, there["operators"]):
        print(f"{operator['use']:<16}{operator['rows']:>8}{best[name][0]:>11.4f}{best[name][1]:>11.4f}{best[name][0] / best[name][1]:>18.2f}")
    total = [sum(times) for times in zip(*best.values())]
    print(f"{'all':<16}{'':>8}{total[0]:>11.4f}{total[1]:>11.4f}{total[0] / total[1]:>18.2f}")


if __name__ == "__main__":
    main()
