"""HTML → text → chunks → validator → Parquet, beside Python, Polars, Daft, datatrove, Ray Data and native code."""

import json

import inputs
from engines import BENCH, NotInstalled, component, dflow, install, peer, python
from race import Contender, Report, natively, race

PAGES, SMALL = 6000, 600
# Who, the program and its last arguments, what is to be installed.
PEERS = [
    ("python", ["with_python.py", 1], ["pyarrow", "selectolax"]),
    ("python, 2 processes", ["with_python.py", 2], ["pyarrow", "selectolax"]),
    ("polars", ["with_polars.py"], ["polars", "selectolax"]),
    ("daft", ["with_daft.py"], ["daft", "selectolax"]),
    ("datatrove", ["with_datatrove.py"], ["datatrove", "pyarrow", "regex", "selectolax"]),
    ("ray", ["with_ray.py"], ["ray[data]", "pandas", "pyarrow", "selectolax"]),
]
# These cut texts in the same places.
OURS = ("dflow", "native")
# The share of characters that may differ.
TEXT = 0.01


def run(options):
    report = Report("pages")
    folder, size = inputs.pages(SMALL if options.small else PAGES)
    component("validator")
    out = BENCH / "out/pages"
    contenders = [Contender("dflow", dflow("pages/pipeline.toml", out / "state", pages=folder, out=f"{out}/dflow/"), out / "dflow", [out / "state"])]
    contenders.append(natively("pages", folder, out / "native"))
    for name, (program, *more), packages in PEERS:
        contenders.append(Contender(name, peer(f"pages/{program}", folder, out / name, *more), out / name, [out / "logs"]))
        if options.only and name not in options.only:
            continue
        try:
            install(*packages)
        except NotInstalled as reason:
            contenders[-1].failed = f"can't be installed: {reason}"
    if options.only:
        contenders = [c for c in contenders if c.name in options.only | {"dflow"}]
    finished = race(contenders, options.rounds)

    install("pyarrow", "selectolax")
    for c in finished:
        c.output = json.loads(python("pages/judge.py", "chunks", c.out))
    report.table(f"{size['files']:,} pages, {size['bytes'] / 1e6:.1f} MB of HTML", contenders, size=size["bytes"], columns=["chunks", "characters"])
    check(report, contenders, finished, folder, size["files"], out)
    targets(report, {c.name: c for c in finished}, size["bytes"])
    return report


def check(report, contenders, finished, folder, pages, out):
    """dflow's text is selectolax's; native code gives dflow's chunks, and the peers all give the same."""
    text = Contender("text", dflow("pages/texts.toml", out / "state", pages=folder, out=f"{out}/text/"), out / "text", [out / "state"])
    if not (sample := text.run()).ok:
        report.check("the text of each page", False, sample.last_words())
        return
    found = json.loads(python("pages/judge.py", "texts", text.out, folder))
    report.check(
        f"text differs from selectolax's by at most {TEXT:.0%} of characters, white space aside",
        found["pages"] == pages and found["differ"] <= TEXT * found["characters"],
        f"{found['differ']:,} of {found['characters']:,}, summed over {found['pages']:,} pages",
    )
    digests = {c.name: c.output["digest"] for c in finished}
    ours, peers = ([name for name in digests if (name in OURS) == own] for own in (True, False))
    for names in (ours, peers):
        if len(names) > 1:
            found = {digests[name] for name in names}
            report.check(f"the same chunks of the same pages: {', '.join(names)}", len(found) == 1, ", ".join(sorted(found)))
    for c in contenders:
        if c.failed:
            report.check(f"{c.name} runs", False, c.failed)


def targets(report, by_name, size):
    if "dflow" not in by_name:
        return
    seconds, peak = by_name["dflow"].median(), by_name["dflow"].most("peak")
    if peers := [c for name, c in by_name.items() if name not in OURS]:
        best = min(peers, key=lambda c: c.work())
        report.target("2.5 times the best peer (at least 1.5), its start left out", best.work() / seconds >= 2.5, f"{best.work() / seconds:.2f} times {best.name}")
    if "native" in by_name:
        share = by_name["native"].median() / seconds
        report.target("0.6 of the same operators called natively", share >= 0.6, f"{share:.2f}")
    report.target("115 MB/s", size / 1e6 / seconds >= 115, f"{size / 1e6 / seconds:.1f}")
    report.target("at most 150 MB resident", peak <= 150e6, f"{peak / 1e6:.0f}")
