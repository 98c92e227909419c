#!/usr/bin/env python3
"""Kills runs, goes on with them, and holds what comes out against a run that nobody disturbed.

usage: tests/crash.py [--kills N] [--seed N]

A pipeline with an expansion, a filter, a plugin stage at which rows fail, a saved stage and a sort beside it, a stage whose dead rows have a sink, and sinks of each kind (a folder, folders of
values, a single file, files named by rows) is killed (SIGKILL) at random moments until N kills are done (20 by default), each time gone on
with until it completes; and it is ended at each point before, after and in the middle of what a commit is made of. Each time rows, counts,
failed rows with their content, and files must be those of the undisturbed run. Names of files, times and the run's id may differ.
So is a replay of the rows that failed, after what was wrong is put right.
"""

import argparse
import gzip
import json
import random
import resource
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from common import DFLOW, Tally, environment, needs_dflow

PIPELINE = """
[stage.pages]
read = "in/*.txt"

[stage.chunks]
from = "pages"
use = "text/chunk"
in = { text = "content" }
with = { size = 200 }

[stage.valid]
from = "chunks"
use = "json/validate"
in = { chunk = "chunk" }
with = { schema = { properties = { chunk = { type = "string", pattern = "^[^#]*$" } } } }

[stage.long]
from = "valid"
filter = "length(chunk) > 100"

[stage.folder]
from = "long"
write = "out/folder/"
format = "jsonl"
columns = { uri = "pages.uri", chunk = "chunk" }

[stage.by_length]
from = "long"
write = "out/by_length/"
format = "jsonl"
columns = { chunk = "chunk", tens = "length(chunk) / 50" }
partition_by = ["tens"]

[stage.one]
from = "long"
write = "out/one.jsonl"
columns = { uri = "pages.uri", chunk = "chunk" }

[stage.lines]
read = "in/*.txt"
as = "line"

[stage.kept]
from = "lines"
set = { line = "upper(line)" }
save = true

[stage.sorted]
from = "kept"
sort = ["-line"]

[stage.write_sorted]
from = "sorted"
write = "out/sorted.csv"
columns = { line = "line" }

[stage.checked]
from = "lines"
use = "json/validate"
in = { line = "line" }
with = { schema = { properties = { line = { pattern = "^[^#]{0,}$" } } } }

[stage.quarantine]
from = "checked.dead"
write = "out/quarantine/"
format = "jsonl"
columns = { uri = "uri", line = "line", kind = "error_kind" }

[stage.files]
read = "in/1*.txt"

[stage.named]
from = "files"
write = "out/named/{{ uri | replace('in/', '') }}"
column = "content"
"""

# Beside a single file whose rows failed nothing can be tried again.
ONE = PIPELINE[PIPELINE.index("[stage.one]") : PIPELINE.index("[stage.lines]")]

STEPS = ["begun", "synced", "prepared", "published", "done", "complete", "cleaned", "removed", "ended"]
POINTS = [f"{side}-{step}" for step in STEPS for side in ("before", "after")] + ["amid-published"]
# A run whose rows failed.
FAILED = 4


def prepare(folder):
    """Makes the pipeline and its input."""
    words = random.Random(5)
    (folder / "pipeline.toml").write_text(PIPELINE)
    (folder / "in").mkdir()
    for number in range(40):
        paragraphs = [" ".join(f"w{words.randrange(400)}" for _ in range(words.randrange(5, 60))) for _ in range(40)]
        # A chunk with this character fails. Of one file more do than are described in a report, so that only their content is compared.
        paragraphs[number % 30] += " #"
        if number == 7:
            paragraphs = [paragraph + " #" for paragraph in paragraphs * 8]
        (folder / f"in/{number}.txt").write_text("\n\n".join(paragraphs) + "\n")


def command(*more):
    return [str(DFLOW), "run", "--json", "--workers", "2", "--task-bytes", "20KB", *more]


def no_core():
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def replay(folder, *more):
    """Tries rows again that failed; gives the exit code."""
    words = [str(DFLOW), "dead", "replay", "--quiet", "--workers", "2", *more]
    done = subprocess.run(words, cwd=folder, env=environment(), capture_output=True, text=True, preexec_fn=no_core)
    assert done.returncode in (0, -signal.SIGABRT), f"it ended with {done.returncode}:\n{done.stderr}"
    return done.returncode


def run(folder, *more):
    """Runs the pipeline; gives its exit code, and its report if it came to its end."""
    done = subprocess.run(command(*more), cwd=folder, env=environment(), capture_output=True, text=True, preexec_fn=no_core)
    events = [json.loads(line) for line in done.stdout.splitlines() if line.endswith("}")]
    report = events[-1]["report"] if events and events[-1]["event"] == "finished" else None
    assert report or done.returncode < 0, f"it ended with {done.returncode}:\n{done.stdout[-2000:]}\n{done.stderr}"
    return done.returncode, report


def killed(folder, after):
    """Kills a run after some seconds; whether it was still running."""
    process = subprocess.Popen(command(), cwd=folder, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        process.wait(after)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
    return process.wait() == -signal.SIGKILL


def outcome(folder, report):
    """All that must be the same of two runs."""
    out = folder / "out"
    files = [p for p in out.rglob("*") if p.is_file()]
    assert not [p for p in files if p.name.startswith(".")], f"temporary files are left: {files}"
    assert not (folder / ".dflow/parts").exists(), "parts are left"
    stored = [p for p in (folder / ".dflow/store").rglob("*") if p.is_file()]
    assert stored and not [p for p in stored if p.name.startswith(".")], f"temporary files are left: {stored}"
    rows = {}
    for path in files:
        # Names of files in folders bear their run; which rows stand together in one is left open.
        kind = path.relative_to(out).parts[0]
        if kind in ("folder", "by_length", "quarantine"):
            place = str(path.parent.relative_to(out))
            rows[place] = sorted(rows.get(place, []) + path.read_text().splitlines())
        else:
            text = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text()
            rows[str(path.relative_to(out))] = text
    counts = {s["stage"]: [s[key] for key in ("rows_in", "rows_out", "filtered", "pruned", "skipped", "failed")] for s in report["stages"]}
    shown = subprocess.run(
        [str(DFLOW), "dead", "show", "--json", "-n", "1000000"], cwd=folder, env=environment(), capture_output=True, text=True, check=True
    )
    volatile = ("run", "error_at", "error_attempts")
    dead = [json.loads(line) for line in shown.stdout.splitlines()]
    dead = sorted(json.dumps({k: v for k, v in row.items() if k not in volatile}, sort_keys=True) for row in dead)
    assert not list(folder.glob(".dflow/dead/.*")), "temporary files of rows that failed are left"
    written = {o["sink"]: 0 for o in report["outputs"]}
    for output in report["outputs"]:
        written[output["sink"]] += output["rows"]
    return {"rows": rows, "counts": counts, "dead": dead, "written": written, "exit": report["exit"]}


def same(expected, found):
    for key, value in expected.items():
        if found[key] != value and isinstance(value, dict):
            names = [name for name in value.keys() | found[key].keys() if value.get(name) != found[key].get(name)]
            raise AssertionError(f"{key} of {sorted(names)} differ from an undisturbed run's")
        if isinstance(value, list):
            more, less = [row for row in found[key] if row not in value], [row for row in value if row not in found[key]]
            counts = f"{len(found[key])}, of an undisturbed run {len(value)}"
            assert found[key] == value, f"{key}: {counts}; more: {more[:3]}; less: {less[:3]}"
        assert found[key] == value, f"{key}: {found[key]}, of an undisturbed run {value}"


class Ground:
    """A folder with the input, and a fresh state and output."""

    def __init__(self, parent):
        self.folder = Path(parent) / "pipeline"
        self.folder.mkdir()
        prepare(self.folder)

    def clear(self):
        for name in (".dflow", "out"):
            shutil.rmtree(self.folder / name, ignore_errors=True)


def at_random(ground, expected, seconds, kills, seed):
    """Kills runs at random moments, and goes on with each until it completes."""
    chance = random.Random(seed)
    done = lives = 0
    while done < kills:
        ground.clear()
        lives += 1
        while done < kills and killed(ground.folder, chance.uniform(0.1, 1.0) * seconds):
            done += 1
        code, report = run(ground.folder)
        assert code == FAILED, f"exit {code} after {done} kills (seed {seed})"
        try:
            same(expected, outcome(ground.folder, report))
        except AssertionError as error:
            raise AssertionError(f"after {done} kills (seed {seed}): {error}") from None
    print(f"{done} kills, {lives} runs were gone on with (seed {seed})", flush=True)


def at_point(ground, expected, point, prior):
    """Ends a run at a point, for the first time and later ones; there again while it is gone on with; then it completes."""
    for time_of in (1, 2, 7):
        ground.clear()
        if prior:
            run(ground.folder)
            # A file has another content now: files are replaced.
            path = ground.folder / "in/1.txt"
            path.touch()
        code, _ = run(ground.folder, "--crash-at", f"{point}:{time_of}")
        if code != -signal.SIGABRT:
            assert time_of > 1, f"`{point}` was never reached"
            return
        run(ground.folder, "--crash-at", point)
        code, report = run(ground.folder)
        assert code == FAILED, f"exit {code} after `{point}:{time_of}`"
        same(expected, outcome(ground.folder, report))


class Replays(Ground):
    """A ground whose pipeline is put right after its rows have failed; and what comes of one that is right from the beginning."""

    def __init__(self, parent):
        super().__init__(parent)
        wrong = PIPELINE.replace(ONE, "")
        self.wrong, self.right = wrong, wrong.replace("^[^#]*$", "^[^%]*$")
        self.write(self.right)
        code, report = run(self.folder)
        assert code == 0, f"the undisturbed run ended with {code}"
        self.expected = outcome(self.folder, report)

    def write(self, pipeline):
        (self.folder / "pipeline.toml").write_text(pipeline)

    def failed(self):
        """As it is when rows have failed, and what was wrong is put right."""
        self.clear()
        self.write(self.wrong)
        code, _ = run(self.folder)
        assert code == FAILED, f"the run ended with {code}"
        self.write(self.right)

    def done(self):
        """Tries what is left again; a run finds nothing to do then, and all is as if nothing had failed."""
        assert replay(self.folder) == 0
        code, report = run(self.folder)
        assert code == 0, f"exit {code} after the replay"
        again = sum(s["rows_in"] - s["reused"] for s in report["stages"] if s["stage"] in ("chunks", "valid", "folder", "by_length"))
        assert again == 0, f"{again} rows were done again that stand"
        same(self.expected, outcome(self.folder, report))


def replayed_at(ground, point):
    """Ends a replay at a point, there again while it is gone on with; then it completes."""
    for time_of in (1, 2, 7):
        ground.failed()
        if replay(ground.folder, "--crash-at", f"{point}:{time_of}") == 0:
            assert time_of > 1, f"`{point}` was never reached"
            return
        replay(ground.folder, "--crash-at", point)
        ground.done()


def main():
    needs_dflow()
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    arguments = parser.parse_args()
    tally = Tally()
    with tempfile.TemporaryDirectory(prefix="dflow-crash-") as parent:
        ground = Ground(parent)
        run(ground.folder)
        ground.clear()
        began = time.monotonic()
        code, report = run(ground.folder)
        seconds = time.monotonic() - began
        assert code == FAILED, f"the undisturbed run ended with {code}"
        expected = outcome(ground.folder, report)
        assert report["tasks"] > 10 and len(expected["dead"]) > 150, "the pipeline tests too little"
        for point in POINTS:
            tally.test(f"ended {point}", lambda: at_point(ground, expected, point, prior=True))
        tally.test(
            f"killed {arguments.kills} times", lambda: at_random(ground, expected, seconds, arguments.kills, arguments.seed)
        )
    with tempfile.TemporaryDirectory(prefix="dflow-crash-") as parent:
        ground = Replays(parent)
        # A replay leaves it to the next run to complete and to clean up.
        for point in [point for point in POINTS if point.split("-")[1] not in ("complete", "cleaned", "removed")]:
            tally.test(f"replay ended {point}", lambda: replayed_at(ground, point))
    tally.finish()


if __name__ == "__main__":
    main()
