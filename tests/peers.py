#!/usr/bin/env python3
"""Others read the files that we write, and we read theirs: pyarrow, in a virtual environment under the cache."""

import csv
import json
import subprocess
import tempfile
import venv
from pathlib import Path

from common import CACHE, Tally, dflow, needs_dflow

PEERS = CACHE / "dflow/peers"
PYARROW = "pyarrow==21.0.0"
ROWS = """
[stage.items]
read = "in.jsonl"
[stage.to_parquet]
from = "items"
write = "rows.parquet"
[stage.to_jsonl]
from = "items"
write = "rows.jsonl"
[stage.flat]
from = "items"
select = ["name", "born", "height", "living", "note"]
[stage.to_csv]
from = "flat"
write = "rows.csv"
"""
INPUT = [
    {"name": "Ada", "born": 1815, "height": 1.65, "living": False, "note": 'a, "b"\nc', "tags": ["x", "y"], "place": {"city": "London"}},
    {"name": "Größe 👩‍👩‍👧 数", "born": -1, "height": 1e300, "living": True, "note": "", "tags": [], "place": {"city": None}},
    {"name": "Nobody", "born": None, "height": None, "living": None, "note": None, "tags": None, "place": None},
]
READ = """
import json, sys, pyarrow.parquet
print(json.dumps(pyarrow.parquet.read_table(sys.argv[1]).to_pylist()))
"""
WRITE = """
import json, sys, pyarrow, pyarrow.parquet
table = pyarrow.Table.from_pylist(json.loads(sys.argv[2]))
for codec in ["none", "snappy", "gzip", "zstd", "lz4"]:
    pyarrow.parquet.write_table(table, f"{sys.argv[1]}/{codec}.parquet", compression=codec, row_group_size=2)
"""


def pyarrow():
    """A Python that has pyarrow."""
    python = PEERS / "bin/python"
    if not python.exists():
        venv.create(PEERS, with_pip=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", PYARROW], check=True)
    return python


def main():
    needs_dflow()
    python = pyarrow()
    tally = Tally()
    with tempfile.TemporaryDirectory(prefix="dflow-peers-") as name:
        folder = Path(name)
        (folder / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in INPUT))
        (folder / "pipeline.toml").write_text(ROWS)
        dflow("run", "--quiet", cwd=folder)

        def parquet():
            found = subprocess.run([python, "-c", READ, folder / "rows.parquet"], capture_output=True, text=True, check=True)
            assert json.loads(found.stdout) == INPUT, f"pyarrow reads {found.stdout}"

        def jsonl():
            found = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
            assert found == INPUT, f"Python reads {found}"

        def comma():
            with open(folder / "rows.csv", newline="", encoding="utf-8") as file:
                found = [(row["name"], row["note"]) for row in csv.DictReader(file)]
            assert found == [(row["name"], row["note"] or "") for row in INPUT], f"Python reads {found}"

        def theirs():
            subprocess.run([python, "-c", WRITE, folder, json.dumps(INPUT)], check=True)
            for codec in ["none", "snappy", "gzip", "zstd", "lz4"]:
                text = f'[stage.items]\nread = "{codec}.parquet"\n[stage.show]\nfrom = "items"\nwrite = "-"\n'
                (folder / "show.toml").write_text(text)
                found = [json.loads(line) for line in dflow("run", "--quiet", "show.toml", cwd=folder).splitlines()]
                assert found == INPUT, f"of pyarrow's {codec} we read {found}"

        tally.test("pyarrow reads our parquet", parquet)
        tally.test("Python reads our jsonl", jsonl)
        tally.test("Python reads our csv", comma)
        tally.test("we read pyarrow's parquet, by every codec", theirs)
    tally.finish()


if __name__ == "__main__":
    main()
