"""A gigabyte of text in Parquet → text/chunk → Parquet of offsets, beside native code and mere reading."""

import json

import inputs
from engines import BENCH, dflow, install, peer, python
from race import Contender, Report, natively, race

SMALL = 20


def run(options):
    report = Report("chunk-offsets")
    folder, size = inputs.texts(SMALL if options.small else 1)
    out = BENCH / "out/chunk-offsets"
    install("pyarrow")
    contenders = [
        Contender("dflow", dflow("chunk-offsets/pipeline.toml", out / "state", texts=folder, out=f"{out}/dflow/"), out / "dflow", [out / "state"]),
        natively("offsets", folder, out / "native"),
        Contender("pyarrow, read only", peer("chunk-offsets/with_pyarrow.py", folder)),
    ]
    if options.only:
        contenders = [c for c in contenders if c.name in options.only | {"dflow"}]
    finished = race(contenders, options.rounds)
    for c in finished:
        if c.out:
            c.output = json.loads(python("chunk-offsets/judge.py", c.out))
    title = f"{size['rows']:,} texts in {size['files']} files, {size['bytes'] / 1e6:,.0f} MB of text"
    report.table(title, contenders, size=size["bytes"], columns=["chunks", "starts", "ends"])
    for c in contenders:
        if c.failed:
            report.check(f"{c.name} runs", False, c.failed)
    outputs = {c.name: c.output for c in finished if c.out}
    if len(outputs) == 2:
        report.check("as many chunks as native code, and the same sums of offsets", outputs["dflow"] == outputs["native"], f"{outputs['dflow']['chunks']:,} chunks")
    if "dflow" in outputs:
        speed = size["bytes"] / 1e6 / contenders[0].median()
        report.target("1 GB/s of text", speed >= 1000, f"{speed:.0f} MB/s")
    return report
