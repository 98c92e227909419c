"""Four gigabytes of rows with 512 MiB of memory: streaming, sort, group and distinct."""

import json
import sys
from pathlib import Path

from engines import BENCH, component, dflow, install, knows, python
from inputs import made
from race import Contender, Report

sys.path.insert(0, str(Path(__file__).parent))
from cgroup import CantMake, Cgroup  # noqa: E402

# Files and rows of each: four gigabytes as Arrow holds them.
FULL, SMALL = (32, 560_000), (4, 40_000)
LIMIT = 512 << 20
SHARE = 0.95
# Queries, what their number of rows must be, and by which column they are ordered.
QUERIES = {"stream": (None, []), "sort": ("rows", ["amount"]), "group": ("keys", []), "distinct": ("texts", [])}


def rows(files, each):
    install("pyarrow", "numpy")
    return made(f"memory-{files}-{each}", lambda folder: json.loads(python("memory/make.py", folder, files, each)), files=files, rows=each)


def run(options):
    report = Report("memory")
    folder, size = rows(*(SMALL if options.small else FULL))
    component("validator")
    limited = knows("--memory")
    if options.cgroup:
        report.note(f"in a control group of {LIMIT >> 20} MiB")
    elif limited:
        report.note(f"with --memory {LIMIT >> 20}MiB")
    else:
        report.note("without a limit: this dflow has no --memory, and --cgroup isn't given")
    for query, (expected, order) in QUERIES.items():
        if options.only and query not in options.only:
            continue
        out = BENCH / "out/memory"
        memory = ["--memory", f"{LIMIT >> 20}MiB"] if limited else []
        contender = Contender("dflow", dflow(f"memory/{query}.toml", out / "state", *memory, rows=folder, out=f"{out}/rows/"), out / "rows", [out / "state"])
        try:
            sample = attempt(contender, report, query) if options.cgroup else contender.run(limit=3600)
        except CantMake as reason:
            report.check(f"{query}: a control group", False, f"can't be made: {reason}")
            return report
        if sample.ok:
            contender.samples.append(sample)
        else:
            contender.failed = sample.last_words()
        report.table(f"{query}: {size['rows']:,} rows, {size['bytes'] / 1e6:,.0f} MB", [contender], size=size["bytes"])
        report.check(f"{query} completes", sample.ok, contender.failed or "")
        report.target(f"{query}: anonymous memory under {SHARE} of {LIMIT >> 20} MiB", sample.anon < SHARE * LIMIT, f"{sample.anon / LIMIT:.2f}")
        if sample.ok:
            found = json.loads(python("memory/judge.py", out / "rows", *order))
            right = found["ascends"] and (expected is None or found["rows"] == size[expected])
            report.check(f"{query}: the rows that must come out", right, f"{found['rows']:,}" + (f" of {size[expected]:,}" if expected else ""))
        # Gigabytes that nobody needs any more.
        contender.clear()
    return report


def attempt(contender, report, query):
    """A run in a control group. It holds the page cache of what is read and written as well, which the kernel can give up."""
    with Cgroup(LIMIT) as group:
        sample = contender.run(limit=3600, enter=group.enter)
        report.check(f"{query}: no process was ended for its memory", group.kills() == "0", f"{group.kills()} ended")
    return sample
