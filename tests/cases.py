#!/usr/bin/env python3
"""Runs the system cases: each folder of tests/cases is one, and adding one needs no code.

usage: tests/cases.py [--again] [NAME…]        (DFLOW_BLESS=1 rewrites what is expected)

A case is copied to an empty folder and run there. In its folder are

    pipeline.toml   and any input files
    make            optional: makes input that isn't kept as files; run first, must succeed
    cmd             optional: the shell lines that are the case; `"$DFLOW" run` when there is none; servers to run them
                    against are in "$SERVERS", and a Python with pyarrow and the package `dflow` is "$PYTHON"
    exit            the exit code that is expected, 0 when there is none
    stdout, stderr  what is expected there, empty when there is none; times, sizes, ids and the folder's path are taken out
    out/            the files that must come out, all of them, by name; NAME.parquet.jsonl is the content of NAME.parquet
    once            optional: why the case isn't run again with --again; it tells of tasks, files or bytes
    needs           optional: shell lines that fail where the case can't be run; then it is left out, which is said
    sorted          optional: the order of lines is left open, in out/ and on stdout

Shell lines end at the first that fails (`bash -e`). No temporary file may be left behind, whatever happens.

With --again each case that gives rows runs with one row a batch, one worker and a task for each file, and must give the same rows:
results don't depend on where batches are cut, nor on tasks or workers.
"""

import concurrent.futures
import difflib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from common import DFLOW, PYTHON, ROOT, Tally, dflow, environment, needs_dflow, needs_pyarrow

CASES = ROOT / "tests/cases"
BLESS = bool(os.environ.get("DFLOW_BLESS"))
EXPECTED = {"cmd", "exit", "stdout", "stderr", "out", "once", "sorted", "needs"}
SECONDS = 120

# What differs from run to run. Numbers of rows and files are not among it.
VOLATILE = [
    (re.compile(r"\b[0-9a-f]{64}\b|(?<=sha256:)[0-9a-f]{12}\b"), "<digest>"),
    (re.compile(r"\b[0-9a-f]{15}\b"), "<run>"),
    (re.compile(r"(\bstore/[\w.]+/)[0-9a-f]{16}\b"), r"\1<fingerprint>"),
    (re.compile(r"\b[0-9a-f]{1,8}-[0-9a-f]{16}\b"), "<etag>"),
    (re.compile(r"\b127\.0\.0\.1:\d+"), "<server>"),
    (re.compile(r"\b[\d,.]+ ?[kM]? rows/s"), "<rate>"),
    (re.compile(r"\b\d[\d,]*(\.\d+)? (h|min|s|ms|µs)(?![\w/])( \d+ s\b)?"), "<time>"),
    # In the summary a stage's rows a second stand behind its time, when there are any.
    (re.compile(r"<time> +[\d,.]+$"), "<time>"),
    (re.compile(r"\b\d[\d,]*(\.\d+)? (KiB|MiB|GiB)\b"), "<size>"),
    (re.compile(r"\b20\d\d-\d\d-\d\dT[\d:.]+Z?"), "<moment>"),
]
# A message is broken into lines by its width, which differs with what is taken out.
BROKEN = re.compile(r"^(  [×⚠] .*)\n +│ (.*)$", re.MULTILINE)
PROGRESS = re.compile(r"^\d+(\.\d+)? (s|min|h)( \d+ s)?: \d+/\d+ tasks?; ")
# A label under the characters that it means keeps its place.
DRAWN = re.compile(r"^\s*(\d+ )?[│·╭╰]")


def normal(text, folder):
    """The text without what differs from run to run."""
    lines = []
    while (joined := BROKEN.sub(r"\1 \2", text)) != text:
        text = joined
    for line in text.replace(str(folder), "<here>").replace(str(PYTHON), "<python>").splitlines():
        line = line.rstrip()
        # Whether a plugin's compiled code is in the cache already depends on what ran before.
        if line.startswith("compiled plugin "):
            continue
        # Where stderr is no terminal, a line now and then says how far a run is.
        if PROGRESS.match(line):
            continue
        for pattern, word in VOLATILE:
            line = pattern.sub(word, line)
        if not DRAWN.match(line):
            # Columns are as wide as what is in them, times included.
            line = re.sub(r"(?<=\S) {2,}", "  ", re.sub(r"─{3,}", "───", line))
        lines.append(line + "\n")
    return "".join(lines)


def in_order(text, name):
    """The lines in one order. The first line of csv names the columns."""
    lines = text.splitlines(keepends=True)
    head = lines[:1] if name.endswith(".csv") else []
    return "".join(head + sorted(lines[len(head):]))


def read_back(path):
    """The rows of a parquet file, as JSON lines."""
    with tempfile.TemporaryDirectory() as folder:
        pipeline = Path(folder) / "pipeline.toml"
        pipeline.write_text(f'[stage.items]\nread = "{path}"\n[stage.show]\nfrom = "items"\nwrite = "-"\n')
        return dflow("run", cwd=folder)


def produced(out, case, folder):
    """The files under a case's out/, by name, as text."""
    files = {}
    for path in sorted(p for p in out.rglob("*") if p.is_file()) if out.is_dir() else []:
        name = normal(str(path.relative_to(out)), folder).strip().replace("<run>", "RUN")
        if path.suffix == ".parquet":
            name, text = name + ".jsonl", read_back(path)
        else:
            text = path.read_bytes().decode("utf-8", "backslashreplace")
        files[name] = in_order(text, name) if (case / "sorted").exists() else text
    return files


def compare(what, expected, found, problems):
    """Notes the difference of two texts."""
    if expected != found:
        lines = difflib.unified_diff(expected.splitlines(True), found.splitlines(True), f"{what} expected", f"{what} found")
        problems.append("".join(line if line.endswith("\n") else line + "\n" for line in lines))


def one_row_a_batch(folder):
    """Makes the case's pipelines cut batches after each row, as long as they don't say otherwise."""
    for pipeline in folder.glob("*.toml"):
        text = pipeline.read_text(encoding="utf-8", errors="surrogateescape")
        if pipeline.name != "dflow.toml" and "[batch]" not in text:
            pipeline.write_text(text + "\n[batch]\nrows = 1\n", encoding="utf-8", errors="surrogateescape")
    wrapper = folder.parent / "dflow-again"
    wrapper.write_text(
        "#!/bin/sh\n"
        f'case "$1" in run) shift; exec "{DFLOW}" run --workers 1 --task-bytes 1B "$@" ;; *) exec "{DFLOW}" "$@" ;; esac\n'
    )
    wrapper.chmod(0o755)
    return {"DFLOW": wrapper}


def shell(command, folder, more):
    """Runs shell lines in a folder."""
    return subprocess.run(
        command, cwd=folder, env=environment(**more), stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS
    )


def run(case, again):
    """Runs one case; gives a list of what is wrong."""
    with tempfile.TemporaryDirectory(prefix="dflow-case-") as parent:
        folder = Path(parent).resolve() / case.name
        shutil.copytree(case, folder, ignore=lambda at, names: [n for n in names if Path(at) == case and n in EXPECTED])
        more = {}
        if (folder / "make").exists():
            made = shell(["bash", "-e", "./make"], folder, more)
            if made.returncode != 0:
                return [f"make ended with {made.returncode}:\n{made.stderr.decode()}"]
            (folder / "make").unlink()
        if again:
            more = one_row_a_batch(folder)
        lines = (case / "cmd").read_text() if (case / "cmd").exists() else '"$DFLOW" run\n'
        try:
            done = shell(["bash", "-e", "-c", lines], folder, more)
        except subprocess.TimeoutExpired:
            return [f"it ran for more than {SECONDS} s"]
        stdout, stderr = (normal(b.decode("utf-8", "backslashreplace"), folder) for b in (done.stdout, done.stderr))
        if (case / "sorted").exists():
            stdout = in_order(stdout, "")
        files = produced(folder / "out", case, folder)
        problems = []
        left = [str(p.relative_to(folder)) for p in folder.rglob(".*.tmp")]
        if left:
            problems.append(f"temporary files were left behind: {', '.join(left)}\n")
        if "panicked at" in stderr and "panicked at" not in text_of(case / "stderr"):
            problems.append(f"a panic:\n{stderr}")
        if BLESS and not again and not problems:
            bless(case, done.returncode, stdout, stderr, files)
            return []
        expected_exit = int(text_of(case / "exit") or 0)
        if done.returncode != expected_exit:
            problems.append(f"exit code {done.returncode}, expected {expected_exit}\n{stderr}")
        compare("stdout", text_of(case / "stdout"), stdout, problems)
        if not again:
            compare("stderr", text_of(case / "stderr"), stderr, problems)
        wanted = {str(p.relative_to(case / "out")): text_of(p) for p in (case / "out").rglob("*") if p.is_file()}
        if wanted.keys() != files.keys():
            problems.append(f"in out/ there is {sorted(files)}, expected {sorted(wanted)}\n")
        for name in wanted.keys() & files.keys():
            compare(f"out/{name}", wanted[name], files[name], problems)
        return problems


def text_of(path):
    """A file's text, empty when there is none."""
    return path.read_text(encoding="utf-8") if path.exists() else ""


def bless(case, code, stdout, stderr, files):
    """Makes what came out what is expected."""
    shutil.rmtree(case / "out", ignore_errors=True)
    expected = {"exit": f"{code}\n" if code else "", "stdout": stdout, "stderr": stderr}
    expected |= {f"out/{name}": text for name, text in files.items()}
    for name, text in expected.items():
        path = case / name
        # Absent means empty, except in out/, where a file may be empty.
        if text or name.startswith("out/"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        else:
            path.unlink(missing_ok=True)


def repeatable(case):
    """Whether a case gives rows (some of which may fail), into files with names of their own."""
    if text_of(case / "exit").strip() not in ("", "4") or not (case / "pipeline.toml").exists():
        return False
    if "--workers" in text_of(case / "cmd") or (case / "once").exists():
        return False
    return not any("RUN" in p.name for p in (case / "out").rglob("*"))


def possible(case):
    """Whether what a case needs is there."""
    needs = text_of(case / "needs")
    return not needs or subprocess.run(["bash", "-e", "-c", needs], capture_output=True).returncode == 0


def main():
    needs_dflow()
    arguments = sys.argv[1:]
    again = "--again" in arguments
    names = [a for a in arguments if not a.startswith("-")]
    if unknown := [a for a in arguments if a.startswith("-") and a != "--again"]:
        sys.exit(f"error: unknown option `{unknown[0]}`\n\n{__doc__}")
    cases = sorted(p for p in CASES.iterdir() if p.is_dir())
    if names:
        if unknown := set(names) - {p.name for p in cases}:
            sys.exit(f"error: there is no case {', '.join(f'`{n}`' for n in sorted(unknown))} in {CASES}")
        cases = [p for p in cases if p.name in names]
    if again:
        cases = [p for p in cases if repeatable(p)]
    if any("PYTHON" in text_of(case / "pipeline.toml") for case in cases):
        needs_pyarrow()
    for case in [case for case in cases if not possible(case)]:
        cases.remove(case)
        print(f"left out {case.name}: `{text_of(case / 'needs').strip()}` fails here", flush=True)
    tally = Tally()

    def test(case, problems):
        def body():
            found = problems.result()
            assert not found, "\n".join(found)

        tally.test(case.name, body)

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for case, problems in [(case, pool.submit(run, case, again)) for case in cases]:
            test(case, problems)
    tally.finish()


if __name__ == "__main__":
    main()
