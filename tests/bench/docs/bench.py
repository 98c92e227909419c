"""The whole documentation folder in one run: MB/s, and memory for an eighth of it up to all."""

import inputs
from engines import BENCH, component, dflow
from race import Contender, Report, race

PARTS = [1, 2, 4, 8]
# One of so many pages when it is small.
SMALL = 32
# What more input may add to the memory of a smaller one.
GROWS = 1.10


def run(options):
    report = Report("docs")
    folder, eighths = inputs.docs(SMALL if options.small else 1)
    component("validator")
    # However many there are, the longest pages take their memory: so the eighth that has them is in every part.
    longest = [max(page.stat().st_size for page in (folder / str(eighth)).rglob("*.html")) for eighth in range(len(eighths))]
    order = sorted(range(len(eighths)), key=lambda eighth: -longest[eighth])
    out = BENCH / "out/docs"
    contenders = []
    for part in PARTS:
        # A glob for as many of the eight folders.
        pages = f"pages://{{{','.join(map(str, order[:part]))}}}/**/*.html"
        command = dflow("pages/pipeline.toml", out / "state", pages=folder, which=pages, out=f"{out}/rows/")
        contender = Contender(f"{part}/8", command, out / "rows", [out / "state"])
        contender.output = {key: sum(eighths[eighth][key] for eighth in order[:part]) for key in ("files", "bytes")}
        contenders.append(contender)
    finished = race(contenders, options.rounds)
    for c in finished:
        c.output["mb_s"] = c.output["bytes"] / 1e6 / c.median()
    report.table("dflow on a growing part of the documentation", contenders, first="1/8", columns=["files", "mb_s"])
    for c in contenders:
        if c.failed:
            report.check(f"{c.name} runs", False, c.failed)
    if len(finished) == len(PARTS):
        peaks = [c.most("peak") for c in finished]
        report.target("peak memory under 256 MB", max(peaks) < 256e6, f"{max(peaks) / 1e6:.0f} MB")
        report.target("memory doesn't grow with the input", peaks[-1] <= GROWS * peaks[0], f"{peaks[-1] / peaks[0]:.2f} times an eighth's for all of it")
    return report
