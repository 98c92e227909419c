#!/usr/bin/env python3
"""The quickstart's rows don't depend on where batches are cut, on the number of workers, nor on the size of tasks.

usage: tests/determinism.py [--full]

Runs examples/quickstart on the Rust Book with other limits, and compares the rows, sorted by `__id__`, with each other.
"""

import hashlib
import json
import sys
import tempfile
import time
from pathlib import Path

from common import ROOT, Tally, book, dflow, needs_dflow

QUICKSTART = ROOT / "examples/quickstart/pipeline.toml"
SHOW = '[stage.items]\nread = "chunks/*.parquet"\n[stage.show]\nfrom = "items"\nwrite = "rows.jsonl"\nmode = "replace"\n'


# A second sink, further up in the same chain.
TITLES = """
[stage.write_titles]
from = "article"
write = "titles.jsonl"
columns = { id = "__id__", title = "title", links = "links" }
"""


def pipeline():
    """The quickstart with the size of batches as a parameter and one sink more, writing into the folder it stands in."""
    text = QUICKSTART.read_text()
    assert "[param]\n" in text and "[batch]" not in text, f"{QUICKSTART} has no [param], or a [batch] of its own"
    return text.replace("[param]\n", '[param]\nrows = 8192\n', 1) + TITLES + '\n[batch]\nrows = "${rows}"\n'


def rows(folder, batch_rows, workers, task_bytes):
    """The chunks of a run, sorted by id, and its titles as they come, as text; and how many files the chunks were in."""
    (folder / "pipeline.toml").write_text(pipeline())
    (folder / "show.toml").write_text(SHOW)
    limits = ["--workers", workers, "--task-bytes", task_bytes]
    dflow("run", "--quiet", "-p", f"rows={batch_rows}", "-p", "out=chunks/", *limits, cwd=folder, DFLOW_DOCS=book())
    dflow("run", "--quiet", "show.toml", "--state", "shown", cwd=folder)
    read = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
    ids = [row["id"] for row in read]
    assert len(set(ids)) == len(ids), f"{len(ids) - len(set(ids))} of {len(ids)} ids are there twice"
    read.sort(key=lambda row: row["id"])
    titles = (folder / "titles.jsonl").read_text().splitlines()
    return [json.dumps(row, sort_keys=True) for row in read] + titles, len(list((folder / "chunks").glob("*.parquet")))


def main():
    needs_dflow()
    runs = [(b, w, "64MiB") for b in (8192, 1000, 7, 1) for w in (1, 2)]
    runs += [(8192, 1, "512KiB"), (1000, 2, "256KiB"), (7, 2, "1MiB")]
    if "--full" in sys.argv[1:]:
        runs += [(b, w, t) for b in (2, 100, 1000) for w in (1, 2, 4) for t in ("16KiB", "1GiB")]
    tally = Tally()
    first = None

    def same(limits):
        nonlocal first
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="dflow-determinism-") as folder:
            found, files = rows(Path(folder), *limits)
        digest = hashlib.sha256("\n".join(found).encode()).hexdigest()[:16]
        print(f"{len(found)} rows in {files} files, digest {digest}, {time.monotonic() - began:.1f} s")
        assert len(found) > 1000, f"only {len(found)} rows: that isn't the Rust Book"
        if first is None:
            first = found
        other = [(a, b) for a, b in zip(first, found) if a != b]
        assert found == first, f"other rows: {len(first)} and {len(found)}, the first that differ: {other[:1]}"

    for batch_rows, workers, task_bytes in runs:
        name = f"batch.rows = {batch_rows}, {workers} workers, tasks of {task_bytes}"
        tally.test(name, lambda limits=(batch_rows, workers, task_bytes): same(limits))
    tally.finish()


if __name__ == "__main__":
    main()
