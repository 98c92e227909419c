"""TPC-H at scale 1: filters, groups, joins and sorts through `sql`, beside DataFusion, DuckDB, Polars and Daft."""

import json
import math
import subprocess

from engines import BENCH, PEERS, NotInstalled, dflow, install, peer, python
from inputs import made
from race import Contender, Report, race

SCALE, SMALL = 1, 0.1
# Whether the order of the answer's rows counts.
QUERIES = {"q6": True, "q1": True, "q3": True, "group": False, "top": True, "sort": True}
ENGINES = ["datafusion", "duckdb", "polars", "daft"]


def tables(scale):
    def make(folder):
        command = [PEERS / "bin/tpchgen-cli", "parquet", "-s", str(scale), "--tables=lineitem,orders,customer", "--output-dir", folder, "--quiet"]
        subprocess.run(command, check=True)
        python("tpch/make.py", folder)
        return {"bytes": sum(path.stat().st_size for path in folder.iterdir())}

    install("tpchgen-cli", "pyarrow", "numpy")
    return made(f"tpch-{scale}", make, tables=3)


def run(options):
    report = Report("tpch")
    folder, _ = tables(SMALL if options.small else SCALE)
    missing = {}
    for engine in ENGINES:
        try:
            install(engine, "pyarrow")
        except NotInstalled as reason:
            missing[engine] = f"can't be installed: {reason}"
    medians = {}
    for query, ordered in QUERIES.items():
        out = BENCH / "out/tpch"
        contenders = [Contender("dflow", dflow(f"tpch/{query}.toml", out / "state", tables=folder, out=f"{out}/dflow/"), out / "dflow", [out / "state"])]
        for engine in ENGINES:
            contenders.append(Contender(engine, peer(f"tpch/with_{engine}.py", query, folder, out / engine), out / engine, failed=missing.get(engine)))
        if options.only:
            contenders = [c for c in contenders if c.name in options.only | {"dflow", "duckdb"}]
        finished = race(contenders, options.rounds)
        report.table(f"{query}, scale {SMALL if options.small else SCALE}", contenders)
        medians[query] = {c.name: c.median() if c.name == "dflow" else c.work() for c in finished}
        for c in contenders:
            if c.name == "dflow" and c.failed:
                report.check(f"{query}: dflow runs", False, c.failed)
        compare(report, query, ordered, finished)
    targets(report, medians)
    return report


def compare(report, query, ordered, finished):
    """Answers beside DuckDB's. A peer's that differs is said, and doesn't count against us."""
    judged = {c.name: c for c in finished}
    if not (that := judged.pop("duckdb", None)) or not judged:
        return
    found = json.loads(python("tpch/judge.py", int(ordered), that.out, *(c.out for c in judged.values())))
    for name, differs in zip(judged, found["differ"]):
        if name == "dflow":
            report.check(f"{query}: DuckDB's answer", not differs, differs or f"{found['rows']:,} rows")
        elif differs:
            report.note(f"{query}: the answer of {name} isn't DuckDB's: {differs}")


def targets(report, medians):
    """dflow's whole process beside the work of the others, their start left out."""

    def against(peers, queries):
        shares = [medians[q]["dflow"] / min(medians[q][p] for p in peers if p in medians[q]) for q in queries if "dflow" in medians[q] and any(p in medians[q] for p in peers)]
        return shares and (math.prod(shares) ** (1 / len(shares)), max(shares))

    if found := against(["datafusion"], QUERIES):
        report.target("never over 1.05 times DataFusion", found[1] <= 1.05, f"at most {found[1]:.2f}, {found[0]:.2f} in the geometric mean")
    if found := against(["duckdb"], ["top"]):
        report.target("the sort with limit at most 1.4 times DuckDB", found[1] <= 1.4, f"{found[1]:.2f}")
    if found := against(["duckdb", "polars"], QUERIES):
        report.target("1.3 times the better of DuckDB and Polars in the geometric mean", found[0] <= 1.3, f"{found[0]:.2f}, at most {found[1]:.2f}")
