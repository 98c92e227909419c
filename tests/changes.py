#!/usr/bin/env python3
"""Changes some files of many, runs again, and holds what is there then against a run that begins from nothing.

usage: tests/changes.py [--rounds N] [--seed N]

The pipeline is that of tests/crash.py. In each round some of its files get another content, are removed or are new, or rows that failed are
tried again. Rows, counts, failed rows and files must be those of a fresh run, and no file that is as it was goes through a plugin again.
"""

import argparse
import random
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from common import DFLOW, Tally, environment, needs_dflow
from crash import FAILED, ONE, PIPELINE, Ground, outcome, run, same

# Stages of which nothing is done again for a file that is as it was.
ROW_WISE = ("chunks", "valid", "folder", "by_length", "one", "lines")


class Changing:
    """A folder whose files change, and one in which all is done from nothing each time."""

    def __init__(self, parent, pipeline, chance):
        self.chance = chance
        (parent / "a").mkdir(), (parent / "b").mkdir()
        self.ground, self.fresh = Ground(parent / "a"), Ground(parent / "b")
        for ground in (self.ground, self.fresh):
            (ground.folder / "pipeline.toml").write_text(pipeline)
        self.files = self.ground.folder / "in"
        self.made = 100
        run(self.ground.folder)

    def change(self):
        """Changes files; gives those that have to be read."""
        names = sorted(self.files.iterdir())
        chosen = self.chance.sample(names, self.chance.choice([1, 1, 2, 3, 9]))
        read = []
        for path in chosen:
            match self.chance.choice(["edit", "edit", "touch", "remove", "add"]):
                case "edit":
                    text = path.read_text().split("\n\n")
                    text[self.chance.randrange(len(text))] = " ".join(f"n{self.chance.randrange(90)}" for _ in range(50))
                    if self.chance.random() < 0.3:
                        text.append("a row that fails # " * 3)
                    path.write_text("\n\n".join(text))
                    read.append(path)
                case "touch":
                    path.touch()
                    read.append(path)
                case "remove":
                    path.unlink()
                case "add":
                    self.made += 1
                    # Some before, some behind all others.
                    new = self.files / f"{self.chance.choice(['', '1', '9'])}{self.made}.txt"
                    shutil.copy(path, new)
                    read.append(new)
        return read

    def round(self):
        read = self.change()
        code, report = run(self.ground.folder)
        assert code == FAILED, f"exit {code}"
        for stage in report["stages"]:
            again = stage["rows_in"] - stage["reused"]
            changed = {"pages": len(read), "named": sum(path.name.startswith("1") for path in read)}.get(stage["stage"])
            assert changed in (None, again), f"{stage['stage']}: {again} files were worked on, and {changed} had changed"
            if stage["stage"] in ROW_WISE and not read:
                assert again == 0, f"{stage['stage']}: {again} rows were done again, and no file had changed"
        self.fresh.clear()
        shutil.rmtree(self.fresh.folder / "in")
        shutil.copytree(self.files, self.fresh.folder / "in")
        _, expected = run(self.fresh.folder)
        same(outcome(self.fresh.folder, expected), outcome(self.ground.folder, report))
        code, report = run(self.ground.folder)
        assert report["tasks"] == 0, "nothing has changed, and something was done"


def rounds(pipeline, count, seed, between=lambda folder: None):
    with tempfile.TemporaryDirectory(prefix="dflow-changes-") as parent:
        changing = Changing(Path(parent), pipeline, random.Random(seed))
        for number in range(count):
            between(changing.ground.folder)
            try:
                changing.round()
            except AssertionError as error:
                raise AssertionError(f"round {number} (seed {seed}): {error}") from None


def replay(folder):
    """Rows that failed are tried again: they fail again, but as tasks of their own."""
    words = [str(DFLOW), "dead", "replay", "--quiet"]
    done = subprocess.run(words, cwd=folder, env=environment(), capture_output=True, text=True)
    assert done.returncode == FAILED, done.stderr


def main():
    needs_dflow()
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    arguments = parser.parse_args()
    tally = Tally()
    tally.test("changed files alone", lambda: rounds(PIPELINE, arguments.rounds, arguments.seed))
    folders = PIPELINE.replace(ONE, "")
    tally.test("changed files alone, after replays", lambda: rounds(folders, arguments.rounds, arguments.seed, replay))
    for name in ("one.csv", "one.json", "one.csv.gz"):
        pipeline = PIPELINE.replace("out/one.jsonl", f"out/{name}")
        tally.test(f"changed files alone, into {name}", lambda: rounds(pipeline, max(arguments.rounds // 4, 1), arguments.seed))
    tally.finish()


if __name__ == "__main__":
    main()
