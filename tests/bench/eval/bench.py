"""`dflow-host eval` of one string: the whole process, its plugin's compiled code in the cache."""

import sys

from engines import DFLOW, HERE
from race import Contender, Report, race

ROUNDS = 30
TEXT = "The quick brown fox jumps over the lazy dog. Pack my box with five dozen liquor jugs. How vexingly quick daft zebras jump!"


def run(options):
    report = Report("eval")
    contenders = [
        Contender("dflow", [DFLOW, "eval", HERE / "eval/pipeline.toml", TEXT]),
        # What an interpreter and a binary of this size need to do nothing.
        Contender("python3 -c pass", [sys.executable, "-c", "pass"]),
        Contender("dflow-host --version", [DFLOW, "--version"]),
    ]
    finished = race(contenders, 3 if options.small else max(ROUNDS, options.rounds), watch=False)
    report.table("one string into chunks", contenders)
    ours = contenders[0]
    if ours not in finished:
        report.check("dflow runs", False, ours.failed)
        return report
    rows = ours.samples[-1].stdout.splitlines()
    report.check("a row for each sentence or so", 2 <= len(rows) <= 6, f"{len(rows)} rows")
    report.target("under 25 ms", ours.median() < 0.025, f"median {ours.median() * 1e3:.1f} ms, least {ours.least() * 1e3:.1f} ms")
    return report
