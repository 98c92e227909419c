"""Contenders in turns, and what is said of them."""

import json
import os
import shutil
import statistics
import sys
from dataclasses import dataclass, field
from pathlib import Path

import measured
from engines import NotInstalled, native, surroundings

MB = 1e6
# Above this load of the machine no figure is worth keeping.
IDLE = 0.5


@dataclass
class Contender:
    """Somebody who does what is measured. The folders are emptied before each run, `out` is made anew."""

    name: str
    command: list
    out: Path | None = None
    empty: list = field(default_factory=list)
    samples: list = field(default_factory=list)
    # Why it has no figures.
    failed: str | None = None
    # What its output was found to be.
    output: dict = field(default_factory=dict)

    def clear(self):
        """Removes what it has written."""
        for folder in [self.out, *self.empty]:
            if folder:
                shutil.rmtree(folder, ignore_errors=True)

    def run(self, **how):
        self.clear()
        if self.out:
            self.out.mkdir(parents=True)
        return measured.run(self.command, env=surroundings(), **how)

    def median(self, what="seconds"):
        return statistics.median(getattr(sample, what) for sample in self.samples)

    def least(self):
        return min(sample.seconds for sample in self.samples)

    def most(self, what):
        return max(getattr(sample, what) for sample in self.samples)

    def work(self):
        """Seconds from when it was ready to begin, where it tells."""
        found = [own for sample in self.samples if (own := told(sample)) is not None]
        return statistics.median(found) if found else self.median()


def told(sample):
    """The seconds that a program of ours says on its last line; dflow counts with its start."""
    try:
        return json.loads(sample.stdout.splitlines()[-1]).get("seconds")
    except (ValueError, IndexError, AttributeError):
        return None


def natively(what, folder, out):
    """The native program as a contender."""
    try:
        return Contender("native", [native("chunks"), what, folder, out], out)
    except NotInstalled as reason:
        return Contender("native", [], out, failed=str(reason))


def race(contenders, rounds, **how):
    """Runs each once to warm up, then all in turns. Who fails is out, and the others go on."""
    for number in range(rounds + 1):
        for contender in contenders:
            if contender.failed:
                continue
            progress(f"{contender.name}, {'warming up' if number == 0 else f'round {number} of {rounds}'}")
            sample = contender.run(**how)
            if not sample.ok:
                contender.failed = sample.last_words()
            elif number:
                contender.samples.append(sample)
    progress("")
    return [contender for contender in contenders if contender.samples and not contender.failed]


def progress(text):
    """One line on a terminal, nothing elsewhere."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{text}")
        sys.stderr.flush()


class Report:
    """What a benchmark found: tables, checks that must hold, and targets that should be reached."""

    def __init__(self, name):
        self.name, self.tables, self.checks, self.targets, self.notes = name, [], [], [], []

    def table(self, title, contenders, first="dflow", size=None, columns=()):
        """Contenders with their seconds, beside those of `first`; `size` is the input's bytes; `columns` are of their output."""
        rows = []
        base = next((c.median() for c in contenders if c.name == first and c.samples and not c.failed), None)
        for c in contenders:
            row = {"name": c.name}
            if c.failed or not c.samples:
                row["failed"] = c.failed or "not run"
            else:
                row |= {"seconds": c.median(), "least": c.least(), "work": c.work()}
                if size:
                    row["mb_per_second"] = size / MB / c.median()
                if base and len(contenders) > 1:
                    row["times"] = c.median() / base
                row["cpu"] = c.median("cpu")
                if c.most("peak"):
                    row |= {"peak_mb": c.most("peak") / MB, "anon_mb": c.most("anon") / MB}
                row |= {"samples": [{key: value for key, value in vars(s).items() if key not in ("stdout", "stderr")} for s in c.samples]}
                row |= c.output
            rows.append(row)
        self.tables.append({"title": title, "rows": rows, "columns": list(columns), "first": first})

    def check(self, what, ok, found=""):
        self.checks.append({"what": what, "ok": bool(ok), "found": found})

    def target(self, what, reached, found):
        self.targets.append({"what": what, "reached": bool(reached), "found": found})

    def note(self, text):
        self.notes.append(text)

    @property
    def ok(self):
        return all(check["ok"] for check in self.checks)

    def show(self):
        """Everything as text."""
        for table in self.tables:
            print(f"\n{table['title']}")
            present = [(key, head, form) for key, head, form in COLUMNS(table["first"]) if any(key in row for row in table["rows"])]
            present += [(key, key.replace("_", " "), amount) for key in table["columns"]]
            lines = [["", *(head for _, head, _ in present)]]
            lines += [[row["name"], *(form(row[key]) if key in row else "" for key, _, form in present)] for row in table["rows"]]
            widths = [max(map(len, column)) for column in zip(*lines)]
            for line, row in zip(lines, [{}, *table["rows"]]):
                words = [f"{line[0]:<{widths[0]}}", *(f"{word:>{width}}" for word, width in zip(line[1:], widths[1:]))]
                print("  " + ("  ".join(words) if "failed" not in row else f"{words[0]}  {row['failed']}").rstrip())
        for check in self.checks:
            print(f"  {'ok    ' if check['ok'] else 'WRONG '} {check['what']}" + (f": {check['found']}" if check["found"] else ""))
        for target in self.targets:
            print(f"  {'target' if target['reached'] else 'missed'} {target['what']}: {target['found']}")
        for note in self.notes:
            print(f"  note   {note}")
        sys.stdout.flush()

    def document(self):
        return {"benchmark": self.name, "tables": self.tables, "checks": self.checks, "targets": self.targets, "notes": self.notes}


def amount(value):
    return f"{value:,}" if isinstance(value, int) else f"{value:,.3g}" if isinstance(value, float) else str(value)


def COLUMNS(first):
    """What is shown of each contender, where it is known."""
    seconds = lambda value: f"{value:.3f}"  # noqa: E731
    return [
        ("seconds", "seconds", seconds),
        ("least", "least", seconds),
        ("work", "of it work", seconds),
        ("mb_per_second", "MB/s", lambda value: f"{value:.1f}"),
        ("times", f"times {first}'s", lambda value: f"{value:.2f}"),
        ("cpu", "cpu s", lambda value: f"{value:.2f}"),
        ("peak_mb", "peak MB", lambda value: f"{value:.0f}"),
        ("anon_mb", "of it anon", lambda value: f"{value:.0f}"),
    ]


def machine():
    """Where all this was measured."""
    models = {line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")}
    return {"cpu": ", ".join(sorted(models)), "cores": len(os.sched_getaffinity(0)), "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), "load": os.getloadavg()[0]}
