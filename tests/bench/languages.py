#!/usr/bin/env python3
"""Functions in Python and JavaScript in the sandbox, beside the same functions in Python without one: millions of rows a second.

    tests/bench/languages.py [--rows N] [--rounds N] [--ours]

1,000,000 texts of about 40 characters unless told: in capitals, their second word, numbers in them replaced by a regular expression, a field of
a JSON object. Ours are whole runs, from a Parquet file to a sum, less the same run without the function; peers have their texts in memory, in the form
that each has. The best of the rounds counts.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
import engines  # noqa: E402
from common import needs_dflow  # noqa: E402

WORKS = ["upper", "token2", "regex", "field"]


def made(folder, rows):
    """The texts, as Parquet files."""
    code = f"""
import json, random, pyarrow, pyarrow.parquet
random.seed(7)
words = ["".join(random.choices("abcdefghijklmnopqrstuvwxyz", k=random.randint(3, 9))) for _ in range(5000)]
texts = [" ".join([*random.choices(words, k=4), str(random.randint(0, 10**6)), random.choice(words)]) for _ in range({rows})]
objects = [json.dumps({{"id": i, "name": random.choice(words), "tags": [random.choice(words)]}}) for i in range({rows})]
for name, column in [("texts", texts), ("objects", objects)]:
    pyarrow.parquet.write_table(pyarrow.table({{"text": column}}), r"{folder}/" + name + ".parquet", row_group_size=65536)
"""
    subprocess.run([engines.PYTHON, "-c", code], check=True)


def ours(pipeline, texts, code, workers, folder, **more):
    """Seconds of a run, and what came out."""
    command = engines.dflow(pipeline, folder / "state", "--workers", workers, texts=texts, **({"code": code} if code else {}))
    began = time.perf_counter()
    done = subprocess.run([str(word) for word in command if word != "--json"], capture_output=True, text=True, env=engines.surroundings() | more)
    seconds = time.perf_counter() - began
    if done.returncode != 0:
        sys.exit(f"error: {code}: {done.stderr}")
    return seconds, json.loads(done.stdout)


def main():
    parser = argparse.ArgumentParser(usage=__doc__, add_help=False)
    parser.add_argument("-h", "--help", action="store_true")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ours", action="store_true")
    arguments = parser.parse_args()
    if arguments.help:
        raise SystemExit(__doc__.strip())
    needs_dflow()
    engines.install("pyarrow", *([] if arguments.ours else ["daft", "duckdb", "numpy", "pandas", "polars", "ray"]))
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        made(folder, arguments.rows)
        best = {}
        for language, ending in [("python", "py"), ("js", "js")]:
            pipeline = f"functions/pipeline{'' if language == 'python' else '-js'}.toml"
            # What is compiled once isn't counted.
            ours(pipeline, folder / "texts.parquet", f"work.{ending}:upper", 1, folder)
            for work in WORKS:
                texts = folder / ("objects.parquet" if work == "field" else "texts.parquet")
                for workers in (1, 2):
                    without = min(ours("functions/nothing.toml", texts, None, workers, folder)[0] for _ in range(arguments.rounds))
                    for kind in ("", "_batch"):
                        runs = [ours(pipeline, texts, f"work.{ending}:{work}{kind}", workers, folder) for _ in range(arguments.rounds)]
                        seconds = min(run[0] for run in runs) - without
                        name = f"dflow, {language} by {'batch' if kind else 'row'}, {workers} core{'s' if workers > 1 else ''}"
                        best[f"{work}|{name}"] = arguments.rows / seconds / 1e6
        print(f"{'M rows/s':42}" + "".join(f"{work:>10}" for work in WORKS))
        show(best)
        if not arguments.ours:
            show(json.loads(engines.python("functions/peers.py", folder / "texts.parquet", arguments.rounds)))


def show(best):
    for name in dict.fromkeys(key.split("|")[1] for key in best):
        print(f"{name:42}" + "".join(f"{best[f'{work}|{name}']:10.2f}" for work in WORKS), flush=True)


if __name__ == "__main__":
    main()
