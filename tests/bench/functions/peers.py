"""Rows a second that others do with functions in Python: JSON on stdout, by work and contender.

usage: peers.py TEXTS.parquet ROUNDS     the texts of `upper`, `token2`, `regex` in the column `text`, those of `field` in TEXTS.parquet's neighbour `objects.parquet`
"""

import json
import os
import sys
import time
from pathlib import Path

# Beside Ray it would run on Ray.
os.environ["DAFT_RUNNER"] = "native"

import daft  # noqa: E402
import duckdb  # noqa: E402
import polars  # noqa: E402
import pyarrow  # noqa: E402
import pyarrow.parquet  # noqa: E402
import ray  # noqa: E402

sys.path.insert(0, str(Path(__file__).resolve().parent))
import work  # noqa: E402

WORKS = ["upper", "token2", "regex", "field"]
# Ray starts processes for each run; what others need a second for, it gets some of.
SLOW = 200_000


def main():
    path, rounds = Path(sys.argv[1]), int(sys.argv[2])
    cores = len(os.sched_getaffinity(0))
    ray.init(num_cpus=cores, include_dashboard=False, log_to_driver=False, logging_level="error")
    best = {}
    for name in WORKS:
        table = pyarrow.parquet.read_table(path if name != "field" else path.with_name("objects.parquet"))
        function = getattr(work, name)
        texts = table["text"].to_pylist()
        whole = [function(text) for text in texts]
        connection = duckdb.connect()
        connection.register("given", table)
        connection.execute(f"set threads to {cores}")
        connection.execute("create table texts as select text from given")
        connection.create_function("by_row", function, ["VARCHAR"], "VARCHAR")
        connection.create_function("by_batch", lambda batch: pyarrow.array(getattr(work, f"{name}_batch")(batch.to_pylist())), ["VARCHAR"], "VARCHAR", type="arrow")
        frame, frames = polars.from_arrow(table), daft.from_arrow(table).collect()
        rows = daft.func(function, return_dtype=daft.DataType.string())
        batches = daft.func.batch(return_dtype=daft.DataType.string())(lambda series: pyarrow.array(getattr(work, f"{name}_batch")(series.to_pylist())))
        dataset = ray.data.from_arrow(table.slice(0, SLOW)).materialize()

        def in_ray(batch):
            return pyarrow.table({"made": [function(text) for text in batch["text"].to_pylist()]})

        contenders = {
            "CPython, 1 core": (len(texts), lambda: [function(text) for text in texts]),
            "CPython with pyarrow's columns, 1 core": (len(texts), lambda: pyarrow.array([function(text) for text in table["text"].to_pylist()])),
            "DuckDB by row": (len(texts), lambda: connection.sql("select by_row(text) as made from texts").to_arrow_table()["made"]),
            "DuckDB by batch": (len(texts), lambda: connection.sql("select by_batch(text) as made from texts").to_arrow_table()["made"]),
            "Polars map_elements": (len(texts), lambda: frame.select(polars.col("text").map_elements(function, return_dtype=polars.String))["text"].to_arrow()),
            "Daft by row": (len(texts), lambda: frames.select(rows(daft.col("text")).alias("made")).to_arrow()["made"]),
            "Daft by batch": (len(texts), lambda: frames.select(batches(daft.col("text")).alias("made")).to_arrow()["made"]),
            "Ray Data by batch": (SLOW, lambda: dataset.map_batches(in_ray, batch_format="pyarrow").materialize()),
        }
        for who, (count, run) in contenders.items():
            found = run()
            if "Ray" not in who:
                found = found.to_pylist() if hasattr(found, "to_pylist") else found
                assert found == whole, f"{who} gives something else for {name}"
            seconds = []
            for _ in range(rounds):
                began = time.perf_counter()
                run()
                seconds.append(time.perf_counter() - began)
            best[f"{name}|{who}"] = count / min(seconds) / 1e6
    print(json.dumps(best))


if __name__ == "__main__":
    main()
